"""A savings group in a world where everything goes wrong at once: what its people hold is what its books say."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from conftest import FakeClock
from desk import Desk, open_desk
from groups import Circle, circle, phone
from rotating import Susu, cedis, run, running
from sqlalchemy import select, text
from test_money_attacks import SELDOM, Chaos, DyingClock, World

from ussd_app.config import Settings
from ussd_app.groups import books, contributions, invites, members
from ussd_app.groups.contributions import Booked
from ussd_app.groups.payouts import Asked
from ussd_app.msisdn import Msisdn
from ussd_app.orders import airtime, contribution, payout, take_back
from ussd_app.store import Store
from ussd_app.tables import payments

__all__ = ["circle"]

# Of each round: what its dues and its cover have put into its pot, against what the ledger says.
POTS = text("""
    SELECT r.number, r.covered + (SELECT coalesce(sum(paid), 0) FROM dues WHERE round_id = r.id) AS noted,
        (SELECT coalesce(sum(credits_posted), 0) FROM accounts WHERE name LIKE '%round:' || r.id)
        - (SELECT coalesce(sum(t.amount), 0) FROM transfers t JOIN accounts a ON a.id = t.debit_account
            WHERE a.name LIKE '%round:' || r.id AND t.reason = 'entry reversed') AS booked
    FROM rounds r ORDER BY r.number
""")
PENDING = text("""
    SELECT (SELECT sum(debits_pending) FROM accounts)
        - (SELECT coalesce(sum(amount), 0) FROM payments WHERE state = 'parked')
""")
HELD = text("SELECT debits_posted - credits_posted FROM accounts WHERE name = 'float:scripted'")
OWED_TO_US = text("SELECT coalesce(sum(debits_posted - credits_posted), 0) FROM accounts WHERE name = 'receivable'")
TWICE = text("SELECT count(*) FROM audit WHERE detail ->> 'what' = 'paid out twice'")


@pytest.fixture
def clock() -> DyingClock:
    """A clock that only the test moves, and at whose points jobs die."""
    return DyingClock()


@pytest.fixture
async def desk(store: Store, database: str, clock: FakeClock) -> AsyncIterator[Desk]:
    """A desk that keeps the groups' deadlines, and tells everybody."""
    async with open_desk(store, database, clock, SELDOM) as desk:
        yield desk


class Life:
    """What the people of one group do, at random."""

    def __init__(self, chaos: Chaos, susu: Susu) -> None:
        self.chaos = chaos
        self.chance = chaos.chance
        self.desk, self.groups = chaos.desk, chaos.desk.orders.groups
        self.susu = susu
        self.codes: list[str] = []  # of cash entries
        self.asked: list[str] = []

    async def live(self, steps: int) -> None:
        """So many of them, between the world's own."""
        world = [self.chaos.work, self.chaos.jump, self.chaos.call_back, self.chaos.die]
        own = [
            self.pay, self.pay, self.pay, self.pay, self.cash, self.reverse, self.ask, self.ask, self.vote, self.vote,
            self.back, self.top_up, self.leave, self.start, self.a_day,
        ]  # fmt: skip
        for _ in range(steps):
            does: Callable[[], Awaitable[object]] = self.chance.choice(own if self.chance.random() < 0.6 else world)
            await does()
        self.chaos.world.quiet, self.chaos.clock.deaths = True, []
        for _ in range(2000):
            if not await self.chaos.work():
                return
            await self.chaos.next_hour()
        raise AssertionError("the work never ends")

    async def pay(self) -> None:
        await contribution.place(
            self.desk.orders, run=run(), msisdn=self.somebody(), language="en", group_id=self.susu.group.id,
            amount=self.chance.choice([None, cedis(10), cedis(70)]),
        )  # fmt: skip

    async def cash(self) -> None:
        said = await self.susu.cash(self.chance.randrange(1, 7), self.chance.choice([20, 50, 50, 80]))
        if isinstance(said, Booked):
            self.codes.append(said.code)

    async def reverse(self) -> None:
        if self.codes:
            await contributions.reverse(self.groups, run(), phone(3), self.chance.choice(self.codes))

    async def ask(self) -> None:
        asked = await payout.ask(
            self.desk.orders, run=run(), msisdn=phone(self.chance.randrange(1, 4)), group_id=self.susu.group.id
        )
        if isinstance(asked, Asked):
            self.asked.append(asked.code)

    async def vote(self) -> None:
        """Two at the same second."""
        if self.asked:
            code, approves = self.asked[-1], self.chance.random() < 0.95
            votes = (
                payout.vote(self.desk.orders, phone(number), code, approves=approves) for number in (1, 2, 3, 4, 3)
            )
            await asyncio.gather(*votes)

    async def back(self) -> None:
        who = self.somebody()
        both = (
            take_back.place(self.desk.orders, run=run(), msisdn=who, language="en", group_id=self.susu.group.id)
            for _ in range(2)
        )
        await asyncio.gather(*both)

    async def top_up(self) -> None:
        await airtime.place(
            self.desk.orders, run=run(), msisdn=self.somebody(), sender_name="A", recipient=self.somebody(),
            amount=cedis(5), language="en",
        )  # fmt: skip

    async def leave(self) -> None:
        if self.chance.random() < 0.2:
            who = phone(self.chance.randrange(4, 7))
            await take_back.leave(self.desk.orders, run=run(), msisdn=who, language="en", group_id=self.susu.group.id)
            code = await invites.renew_open_code(self.groups, phone(1), self.susu.group.id)
            if isinstance(code, invites.Invite) and self.chance.random() < 0.7:
                await invites.join(self.groups, who, "Back", code.code)

    async def a_day(self) -> None:
        self.chaos.clock.advance(86_400)

    async def start(self) -> None:
        await self.susu.start()

    def somebody(self) -> Msisdn:
        return phone(self.chance.randrange(1, 7))


async def simulate(desk: Desk, circle: Circle, clock: DyingClock, seed: int, steps: int) -> None:
    """One group's life, and then its books."""
    chance = random.Random(seed)  # noqa: S311 - a world, no secret
    world = World(clock=clock, chance=chance)
    desk.payments.operators = {"scripted": world}
    desk.payments.deliveries = {"airtime_scripted": World(name="airtime_scripted", clock=clock, chance=chance)}
    desk.orders.settings = Settings(daily_limit=10**6, payments_per_hour=10**6, new_recipients_per_day=10**6)
    rules: dict[str, Any] = {
        "short": chance.choice(["pay", "cover"]), "arrears": chance.choice(["net", "skip", "swap"]),
        "order": chance.choice(["agreed", "drawn"]), "fine": 500, "period": "daily",
    }  # fmt: skip
    susu = await running(circle, 6, **rules)
    await Life(Chaos(desk, world, clock, chance), susu).live(steps)
    async with desk.store.look() as connection:
        assert (await connection.execute(PENDING)).scalar_one() == 0
        unknown = set((await connection.execute(select(payments.c.id).where(payments.c.state == "parked"))).scalars())
        # What nobody could find out in three days a person books, whatever it was.
        world.book = {reference: each for reference, each in world.book.items() if reference not in unknown}
        assert (await connection.execute(HELD)).scalar_one() == world.held
        owed = (await connection.execute(OWED_TO_US)).scalar_one()
        assert bool(owed) == bool((await connection.execute(TWICE)).scalar_one())
        for number, noted, booked in await connection.execute(POTS):
            assert noted == booked, f"round {number}"
        held = await books.balances(connection, susu.group.id, "GHS")
        former = [each for each in await members.everyone(connection, susu.group.id) if each.state != "active"]
    for person in former:
        names = [books.account(susu.group.id, books.member_part(person.id), cash=cash) for cash in (False, True)]
        shown = await take_back.left(desk.orders, person.msisdn)
        assert bool(shown) == any(held.get(name) for name in names)


@pytest.mark.long
async def test_a_group_survives_everything_at_once(desk: Desk, circle: Circle, clock: DyingClock) -> None:
    """Bad lines, deaths, jumps of the clock, doubled presses, leavers, cash, late and lying answers."""
    await simulate(desk, circle, clock, 2, 100)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 120))
async def test_many_groups_survive_everything_at_once(desk: Desk, circle: Circle, clock: DyingClock, seed: int) -> None:
    """The same for twenty other groups, and longer."""
    await simulate(desk, circle, clock, seed, 150)
