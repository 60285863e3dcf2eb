"""A village whose SMS are real: written by the menus' own words into the table they are sent from."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from groups import Circle, phone
from redis.asyncio import Redis
from sqlalchemy import select
from test_messages import Scripted

from ussd_app.groups import Groups, contributions, cycles, events, notices, rotation
from ussd_app.groups.model import Group, Round
from ussd_app.jobs import Jobs
from ussd_app.menus.check import examine
from ussd_app.menus.model import Limits
from ussd_app.menus.signature import resolve
from ussd_app.menus.text import Templates
from ussd_app.messages import Messages
from ussd_app.money import Money
from ussd_app.tables import messages, rounds

FIFTY = Money.of(50, "GHS")


@pytest.fixture(scope="session")
def wording() -> SimpleNamespace:
    """The SMS of menus/ in every language."""
    draft = examine(Path(__file__).parent.parent / "menus", Limits(), resolve)
    septets = {name: shape.septets for name, shape in draft.variables.items()}
    return SimpleNamespace(sms=draft.sms, texts=Templates(draft.english, draft.catalogs, septets, UTC))


@dataclass
class Post:
    """A circle, and its groups with the real queue."""

    circle: Circle
    groups: Groups

    async def happened(self, group: Group, kind: str, **what: Any) -> int:  # noqa: ANN401 - events.record's own
        """Record an event and tell it; its number."""
        async with self.circle.store.work() as connection:
            number = await events.record(self.groups, connection, group.id, kind, **what)
        await notices.tell(self.groups, number)
        return number

    async def rows(self, event: int | None = None) -> list[Any]:
        """What was queued, for one event or altogether, by number of who gets it."""
        query = select(messages).order_by(messages.c.msisdn, messages.c.created_at, messages.c.key)
        if event is not None:
            query = query.where(messages.c.key.startswith(f"group:{event}:"))
        async with self.circle.store.look() as connection:
            return list((await connection.execute(query)).all())

    async def told(self, event: int | None = None) -> dict[int, str]:
        """The templates, by the number of the person (the last digits of their phone)."""
        return {int(row.msisdn[-4:]): row.template for row in await self.rows(event)}

    async def text(self, number: int, event: int | None = None) -> str:
        """The words person ``number`` got last."""
        return [str(row.text) for row in await self.rows(event) if int(row.msisdn[-4:]) == number][-1]

    def at(self, hour: int, minute: int = 0, days: int = 0) -> None:
        """Move the clock to an hour of this day, or of a later one."""
        start = self.circle.clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
        moment = start.timestamp() + days * 86_400 + hour * 3_600 + minute * 60
        self.circle.clock.advance(moment - self.circle.clock.now().timestamp())

    @contextmanager
    def counted(self) -> Iterator[list[str]]:
        """The statements that are sent meanwhile."""
        sent: list[str] = []
        self.circle.store.heard = sent.append
        yield sent
        self.circle.store.heard = None


def wire_reminders(post: Post) -> None:
    """Run the jobs of notices.py as the worker does."""

    @post.circle.app.task(name="groups.remind")
    async def remind(round: str, which: notices.Which) -> None:  # noqa: A002 - the job's own name for it
        await notices.remind(post.groups, UUID(round), which)

    @post.circle.app.task(name="groups.remind_savers")
    async def remind_savers(group: str, day: str) -> None:
        await notices.remind_savers(post.groups, UUID(group), date.fromisoformat(day))

    async def tell(_: Groups, number: int) -> None:
        await notices.tell(post.groups, number)

    async def nothing(_: Groups, _id: UUID) -> None:
        """Leave the deadline of a round alone."""

    post.circle.on("groups.tell", tell)
    post.circle.on("groups.due", nothing)


@pytest.fixture
def post(circle: Circle, wording: SimpleNamespace, redis: Redis) -> Post:
    """One that speaks English, French and Swahili."""
    jobs = Jobs(circle.app)
    queue = Messages(circle.store, jobs, {"first": Scripted("first")}, lambda: wording, circle.clock, redis)

    @circle.app.task(name="messages.pump")
    async def pump(sender: str) -> None:
        """Nothing is handed over."""

    return Post(circle, replace(circle.groups, messages=queue))


async def running(post: Post, count: int = 5, **rules: Any) -> Group:  # noqa: ANN401 - any field of Rules
    """A rotating group whose first round is open; whose turn is when goes by number."""
    group = await post.circle.found(count, **rules)
    await cycles.start(post.groups, f"start-{group.id}", phone(1), group.id)
    return await post.circle.group(group)


async def first_round(post: Post, group: Group) -> Round:
    """The round that is open."""
    query = select(rounds).where(rounds.c.group_id == group.id, rounds.c.state == "open")
    async with post.circle.store.look() as connection:
        return rotation.round_of((await connection.execute(query)).mappings().one())


async def pay(post: Post, group: Group, number: int, money: Money = FIFTY) -> int:
    """The treasurer keys cash; the number of the event, which nobody has been told of yet."""
    await contributions.book_cash(post.groups, f"pay-{uuid4()}", phone(3), group.id, number, money)
    return int((await post.circle.events(group))[-1].id)
