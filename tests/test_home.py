"""Dialling: the SIM a person calls with, what their groups ask of them, and what that costs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast
from uuid import uuid4

import pytest
from groups import Circle, circle, phone  # noqa: F401 - a fixture
from sqlalchemy import insert

from ussd_app.actions import Call, Services, account, main
from ussd_app.actions.account import NoGroups, NoticesOff, NoticesOn
from ussd_app.actions.arrival import arrive
from ussd_app.actions.main import NothingOpen, Overview, Registered
from ussd_app.guesses import Guesses
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.orders import Orders, history
from ussd_app.orders.model import Standing
from ussd_app.sims import Sims, trust
from ussd_app.subscribers import Subscribers
from ussd_app.tables import cycles, dues, proposals, rounds
from ussd_app.ussd import Event, Turn

OLD, NEW = "620010000000001", "620010000000002"
ESI = phone(3)


@dataclass
class Books:
    """As much of Orders as a dial asks for."""

    circle: Circle

    @property
    def store(self) -> Any:  # noqa: ANN401 - the circle's
        """Where orders are kept."""
        return self.circle.store

    @property
    def clock(self) -> Any:  # noqa: ANN401 - the circle's
        """The circle's."""
        return self.circle.clock

    async def standing(self, msisdn: Msisdn, code: str = "") -> list[Standing]:
        """As Orders does."""
        return await history.standing(cast("Orders", self), msisdn, code)


@pytest.fixture
def services(circle: Circle) -> Services:
    """What the home flow calls."""
    groups = circle.groups
    people = Subscribers(circle.store, groups.messages, circle.clock, (b"k" * 32,))
    sims = Sims(circle.store, groups.jobs, None, circle.clock, (b"s" * 32,))
    orders = cast("Orders", Books(circle))
    guesses = Guesses(circle.store, circle.clock)
    return Services(
        groups.settings, circle.clock, orders, groups, people, sims, guesses, languages=dict, bundles=dict,
        arrive=partial(arrive, orders, groups),
    )  # fmt: skip


def call(services: Services, imsi: str | None = None, msisdn: Msisdn | None = ESI) -> Call:
    """A hop of Esi's."""
    turn = Turn("mtn", "s1", "233240000003", msisdn, "*920*55#", Event.BEGIN, "", imsi=imsi)
    return Call(services, turn, "run-1", "en", 5.0)


@contextmanager
def counted(circle: Circle) -> Iterator[list[str]]:
    """The statements that are sent meanwhile."""
    sent: list[str] = []
    circle.store.heard = sent.append
    yield sent
    circle.store.heard = None


async def dialled(services: Services, imsi: str | None = None) -> Overview:
    """Esi dials, and nothing of hers is on its way."""
    hop = call(services, imsi)
    assert await main.greet(hop) == Registered("Esi", "en")
    assert await main.open_payment(hop) == NothingOpen()
    return await main.whats_due(hop)


async def test_a_dial_shows_what_is_due_and_what_waits_in_one_query(circle: Circle, services: Services) -> None:
    """The person with their SIM, their open payments, their groups; the first sight of a SIM is written down."""
    nothing = Overview(due=False, due_group="", due_amount=Money(0, "GHS"), waiting=False, waiting_code="")
    assert await main.whats_due(call(services, msisdn=None)) == nothing
    group = await circle.found(5, state="running")
    assert await dialled(services, OLD) == nothing
    await _ask(circle, group.id)
    with counted(circle) as sent:
        overview = await dialled(services, OLD)
    assert overview == Overview(
        due=True, due_group="ADEHYE", due_amount=Money.of(30, "GHS"), waiting=True, waiting_code="48215037"
    )
    assert len(sent) == 1


async def _ask(circle: Circle, group: Any) -> None:  # noqa: ANN401 - a UUID
    """A round of which Esi has paid 20 of 50, and a payout she may approve."""
    now = circle.clock.now()
    found = await circle.group(group)
    (chair, payee, esi) = [(await circle.member(found, number)).id for number in (1, 5, 3)]
    cycle, round_ = uuid4(), uuid4()
    policy = {"count": 2, "percent": 0, "roles": ["chair", "secretary", "treasurer"], "members": [], "veto": True}
    async with circle.store.work() as connection:
        await connection.execute(
            insert(cycles).values(
                id=cycle, group_id=group, number=1, state="open", share=5_000, rules_version=1, started_at=now
            )
        )
        await connection.execute(
            insert(rounds).values(id=round_, cycle_id=cycle, group_id=group, number=1, due_at=now, state="open")
        )
        await connection.execute(insert(dues).values(round_id=round_, member_id=esi, amount=5_000, paid=2_000))
        await connection.execute(
            insert(proposals).values(
                id=uuid4(), group_id=group, code="48215037", run="asked", kind="payout", state="open", policy=policy,
                details={}, asked_by=chair, payee=payee, amount=5_000, asked_at=now, expires_at=now.replace(year=2099),
            )
        )  # fmt: skip


async def test_another_sim_is_told_to_every_group_once(circle: Circle, services: Services) -> None:
    """Its owner is greeted as ever; what they may approve waits."""
    groups = [await circle.found(3, called="ADEHYE"), await circle.found(4, called="NKOSUO")]
    for imsi in (OLD, OLD, None, NEW, NEW):
        await dialled(services, imsi)
    for group in groups:
        assert await circle.kinds(group) == ["sim_changed"]
    async with circle.store.look() as connection:
        assert await trust(connection, ESI, circle.clock.now()) == "changed"


async def test_the_sim_of_the_first_dial_is_remembered(circle: Circle, services: Services) -> None:
    """Whoever registers is known by it at once."""
    assert await main.register(call(services, OLD), "Esi Mensah", "en") == Registered("Esi", "en")
    async with circle.store.look() as connection:
        assert await trust(connection, ESI, circle.clock.now()) == "unknown"  # the first sight proves nothing yet


async def test_notices_are_muted_in_every_group_and_one_kind_at_a_time(circle: Circle, services: Services) -> None:
    """What was muted in one group alone stays so."""
    esi = call(services)
    assert await account.notices(esi, "reminders") == NoGroups()
    first, second = await circle.found(3), await circle.found(3)
    await circle.change(second, 3, muted=["changes"])
    assert await account.notices(esi, "changes") == NoticesOn()
    assert await account.mute(esi, "reminders") == NoticesOff()
    assert await account.notices(esi, "reminders") == NoticesOff()
    assert [(await circle.member(group, 3)).muted for group in (first, second)] == [
        {"reminders"},
        {"reminders", "changes"},
    ]
    assert await account.unmute(esi, "reminders") == NoticesOn()
    assert [(await circle.member(group, 3)).muted for group in (first, second)] == [frozenset(), {"changes"}]
