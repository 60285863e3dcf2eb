"""A village of savings groups: everything real but the SMS; time and jobs move when a test says so."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid4

import procrastinate
import pytest
from conftest import FakeClock
from sqlalchemy import insert, select, text, update
from sqlalchemy.dialects import postgresql

from ussd_app.config import Settings
from ussd_app.groups import Groups, members
from ussd_app.groups.model import Group, Member, Rules
from ussd_app.jobs import Jobs
from ussd_app.money import Money
from ussd_app.msisdn import CURRENCIES, Msisdn
from ussd_app.store import Look, Store
from ussd_app.tables import cycles, dues, group_events, group_rules, memberships, rounds, subscribers
from ussd_app.tables import groups as groups_table

NAMES = ("Ama", "Kofi", "Esi", "Yaw", "Efua", "Kojo", "Abena", "Kwame", "Akua", "Fiifi", "Adwoa", "Kwesi")
ROLES = ("chair", "secretary", "treasurer")  # of members 1, 2 and 3; the others are members

Job = Callable[[Groups, Any], Awaitable[object]]


def phone(number: int) -> Msisdn:
    """The number of person ``number``: 1 is +233240000001."""
    return Msisdn(f"+23324{number:07d}")


def name(number: int) -> str:
    """What person ``number`` is called."""
    return NAMES[number - 1] if number <= len(NAMES) else f"Member {number}"


@dataclass(frozen=True)
class Sms:
    """One message as it was queued."""

    key: str
    template: str
    msisdn: Msisdn
    language: str
    variables: Mapping[str, Any]


@dataclass
class Outbox:
    """Stands for Messages: remembers each key once, as the table does."""

    sent: dict[str, Sms] = field(default_factory=dict)

    async def queue(
        self,
        _connection: Look,
        *,
        key: str,
        msisdn: Msisdn,
        template: str,
        language: str,
        variables: Mapping[str, Any],
        **_: object,
    ) -> None:
        """Remember it."""
        self.sent.setdefault(key, Sms(key, template, msisdn, language, variables))

    async def pump(self, sender: str) -> None:
        """Nothing is handed over."""

    async def wake(self) -> None:
        """Nobody sleeps."""

    def to(self, msisdn: Msisdn) -> list[str]:
        """The templates somebody got, in order."""
        return [sms.template for sms in self.sent.values() if sms.msisdn == msisdn]


@dataclass
class Circle:
    """The parts of one test's village."""

    store: Store
    clock: FakeClock
    outbox: Outbox
    groups: Groups
    app: procrastinate.App
    told: list[int] = field(default_factory=list)  # events of groups.tell, where a test lets nothing else do it
    jobs: dict[str, Job] = field(default_factory=dict)

    def on(self, job: str, does: Job) -> None:
        """From now on, jobs of that name do this with their one id (a UUID or an event's number)."""
        if job not in self.jobs:

            @self.app.task(name=job)
            async def run(**ids: str | int) -> None:
                (given,) = ids.values()
                await self.jobs[job](self.groups, UUID(given) if isinstance(given, str) else given)

        self.jobs[job] = does

    async def found(
        self,
        count: int = 5,
        *,
        kind: str = "rotating",
        share: str = "50",
        period: str = "weekly",
        called: str = "ADEHYE",
        state: str = "forming",
        **rules: Any,  # noqa: ANN401 - any field of Rules
    ) -> Group:
        """A group of the people 1 to ``count``: chair, secretary, treasurer and members, all of them trusted."""
        now, currency = self.clock.now(), CURRENCIES[phone(1).country]
        agreed = Rules(**{"share": Money.of(share, currency).minor, "period": period, "order": "agreed", **rules})
        group_id = uuid4()
        group = {
            "id": group_id, "kind": kind, "name": called, "currency": currency, "state": state, "rules_version": 1,
            "created_at": now, "run": uuid4().hex,
        }  # fmt: skip
        people = [
            {
                "id": uuid4(), "group_id": group_id, "number": number, "msisdn": phone(number), "name": name(number),
                "role": dict(enumerate(ROLES, 1)).get(number, "member"), "state": "active", "joined_at": now,
                "trusted_from": now,
            }
            for number in range(1, count + 1)
        ]  # fmt: skip
        version = {"group_id": group_id, "version": 1, "rules": agreed.dump(), "adopted_at": now}
        registered = [
            {"msisdn": person["msisdn"], "name": person["name"], "language": "en", "registered_at": now}
            for person in people
        ]
        async with self.store.work() as connection:
            await connection.execute(insert(groups_table).values(group))
            await connection.execute(insert(group_rules).values(version))
            await connection.execute(insert(memberships), people)
            await connection.execute(postgresql.insert(subscribers).on_conflict_do_nothing(), registered)
        return await self.group(group_id)

    async def cycle(self, group: Group, count: int, paid: int = 0) -> None:
        """Have a cycle run: weekly rounds for the members 1 to ``count``, of which the first ``paid`` are paid out."""
        now, cycle_id = self.clock.now(), uuid4()
        people = [await self.member(group, number) for number in range(1, count + 1)]
        cycle = {
            "id": cycle_id, "group_id": group.id, "number": 1, "state": "open", "share": group.rules.share,
            "rules_version": group.rules_version, "started_at": now,
        }  # fmt: skip
        states = ["paid"] * paid + ["open"] + ["planned"] * (count - paid - 1)
        turns = [
            {
                "id": uuid4(), "cycle_id": cycle_id, "group_id": group.id, "number": number,
                "due_at": now + timedelta(weeks=number), "beneficiary": person.id, "state": state,
            }
            for number, (person, state) in enumerate(zip(people, states, strict=True), 1)
        ]  # fmt: skip
        share = group.rules.share
        owed = [
            {"round_id": turn["id"], "member_id": person.id, "amount": share, "paid": share * (turn["state"] == "paid")}
            for turn in turns[: paid + 1]
            for person in people
        ]
        async with self.store.work() as connection:
            await connection.execute(insert(cycles), [cycle])
            await connection.execute(insert(rounds), turns)
            await connection.execute(insert(dues), owed)
            await connection.execute(update(groups_table).where(groups_table.c.id == group.id).values(state="running"))

    async def group(self, group: Group | UUID) -> Group:
        """A group as it stands now."""
        async with self.store.look() as connection:
            return await members.load(connection, group.id if isinstance(group, Group) else group)

    async def member(self, group: Group, number: int) -> Member:
        """The member of that number, as they stand now."""
        query = select(memberships).where(memberships.c.group_id == group.id, memberships.c.number == number)
        async with self.store.look() as connection:
            return members.member_of((await connection.execute(query)).mappings().one())

    async def change(self, group: Group, number: int, **values: object) -> Member:
        """Set columns of a member's row."""
        m = memberships.c
        async with self.store.work() as connection:
            await connection.execute(
                update(memberships).where(m.group_id == group.id, m.number == number).values(values)
            )
        return await self.member(group, number)

    async def events(self, group: Group, kind: str | None = None) -> list[Any]:
        """What has happened in a group, oldest first."""
        e = group_events.c
        query = select(group_events).where(e.group_id == group.id).order_by(e.id)
        async with self.store.look() as connection:
            return list((await connection.execute(query.where(e.kind == kind) if kind else query)).all())

    async def kinds(self, group: Group) -> list[str]:
        """The kinds of what has happened in a group, oldest first."""
        return [event.kind for event in await self.events(group)]

    async def work(self, seconds: float = 0) -> None:
        """Let time pass, and run every job that is due by then, in order, with those they bring about."""
        until = self.clock.seconds + seconds
        while (due := await self._bring_forward(until)) is not None:
            self.clock.seconds = max(self.clock.seconds, due)
            await self.app.run_worker_async(
                wait=False, listen_notify=False, install_signal_handlers=False, delete_jobs="successful"
            )
            await self._none_failed()
        self.clock.seconds = until

    async def work_until(self, moment: datetime) -> None:
        """Let time pass until a moment, and run what is due by then."""
        await self.work((moment - self.clock.now()).total_seconds())

    async def _bring_forward(self, until: float) -> float | None:
        """Make the earliest waiting job (and those of its moment) due now; the fake second it was waiting for."""
        start = self.clock.now().timestamp() - self.clock.seconds
        todo = "FROM procrastinate_jobs WHERE status = 'todo'"
        bring = text(
            "UPDATE procrastinate_jobs SET scheduled_at = NULL WHERE status = 'todo'"
            " AND coalesce(scheduled_at, 'epoch') <= :at"
        )
        async with self.store.work() as connection:
            earliest = text(f"SELECT min(coalesce(scheduled_at, 'epoch')) {todo}")
            at: datetime | None = (await connection.execute(earliest)).scalar_one()
            if at is None or at > datetime.fromtimestamp(start + until, UTC):
                return None
            await connection.execute(bring, {"at": at})
        return at.timestamp() - start

    async def _none_failed(self) -> None:
        async with self.store.look() as connection:
            failed = text("SELECT task_name, args FROM procrastinate_jobs WHERE status = 'failed'")
            assert (await connection.execute(failed)).all() == []


@asynccontextmanager
async def open_circle(store: Store, database: str, clock: FakeClock) -> AsyncIterator[Circle]:
    """Build one; ``groups.tell`` only keeps the events' numbers until a test says otherwise with ``on``."""
    connector = procrastinate.PsycopgConnector(conninfo=database.replace("+psycopg", ""), min_size=1, max_size=4)
    app, outbox = procrastinate.App(connector=connector), Outbox()
    random = Random(55)  # noqa: S311 - a draw that comes out the same every time
    groups = Groups(store, Jobs(app), outbox, clock, Settings(), random)  # type: ignore[arg-type]  # an outbox for Messages
    circle = Circle(store, clock, outbox, groups, app)

    async def tell(_: Groups, event: int) -> None:
        circle.told.append(event)

    circle.on("groups.tell", tell)
    async with app.open_async():
        yield circle


@pytest.fixture
async def circle(store: Store, database: str, clock: FakeClock) -> AsyncIterator[Circle]:
    """A village nobody lives in yet."""
    async with open_circle(store, database, clock) as circle:
        yield circle
