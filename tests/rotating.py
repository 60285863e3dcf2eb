"""A rotating group at work: members pay, deadlines pass, officers approve, payouts end as a test says."""

from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import UUID, uuid4

from groups import Circle, phone
from sqlalchemy import select

from ussd_app import ledger
from ussd_app.groups import books, contributions, cycles, departures, members, payouts, policy, proposals, rotation
from ussd_app.groups.contributions import Booked
from ussd_app.groups.cycles import Started
from ussd_app.groups.model import Group, Proposal, Refused, Round
from ussd_app.groups.payouts import Asked
from ussd_app.groups.proposals import Adopted
from ussd_app.money import Money
from ussd_app.store import Look, Work
from ussd_app.tables import orders, rounds
from ussd_app.tables import proposals as proposals_table

FLOAT = "float:scripted"  # of the desk's operator
CODES = count(80_000_000)  # of orders


def run() -> str:
    """A run of a flow that has not been before."""
    return uuid4().hex


def cedis(amount: str | int) -> Money:
    """Cedis."""
    return Money.of(amount, "GHS")


@dataclass
class Susu:
    """One rotating group; persons are named by their numbers."""

    circle: Circle
    group: Group
    sent: dict[UUID, tuple[UUID, UUID | None]] = field(default_factory=dict)  # proposal -> order, hold

    async def start(self) -> Started | Refused:
        """The chair starts a cycle."""
        return await cycles.start(self.circle.groups, run(), phone(1), self.group.id)

    async def pay(self, number: int, amount: str | int) -> None:
        """A member's wallet payment is collected."""
        groups, member = self.circle.groups, await self.circle.member(self.group, number)
        async with groups.store.work() as connection:
            await books.lock(connection, self.group.id)
            order, code = await self.place(connection, "contribution", cedis(amount))
            clearing, now = ledger.clearing_account(order), groups.clock.now()
            await ledger.move(connection, FLOAT, clearing, cedis(amount), order=order, reason="collected", at=now)
            await contributions.book(groups, connection, self.group.id, member.id, cedis(amount), order, code)

    async def cash(self, number: int, amount: str | int, keeper: int = 3) -> Booked | Refused:
        """The treasurer enters what a member gave them."""
        groups = self.circle.groups
        return await contributions.book_cash(groups, run(), phone(keeper), self.group.id, number, cedis(amount))

    async def all_pay(self, amount: str | int = 50) -> int:
        """Every active member pays by wallet; how many they are."""
        async with self.circle.store.look() as connection:
            people = await members.active(connection, self.group.id)
        for person in people:
            await self.pay(person.number, amount)
        return len(people)

    async def deadline(self) -> None:
        """The next deadline passes."""
        self.circle.on("groups.due", cycles.due)
        self.circle.on("groups.expire", proposals.expire)
        turn = next(turn for turn in await self.rounds() if turn.due_at > self.circle.clock.now())
        await self.circle.work_until(turn.due_at)

    async def ask(self, number: int = 1) -> Asked | Refused:
        """Somebody asks for the pot."""
        return await payouts.ask(self.circle.groups, run(), phone(number), self.group.id)

    async def approve(self, asked: Asked | Refused, *voters: int) -> Refused | None:
        """These approve (or as many as are needed), and what they adopt is placed: its hold stands."""
        assert isinstance(asked, Asked), asked
        groups = self.circle.groups
        voters = voters or await self.voters(asked)
        async with groups.store.work() as connection:
            for number in voters:
                said = await proposals.vote(groups, connection, phone(number), asked.code, approves=True, sim="trusted")
            assert isinstance(said, Adopted), said
            unready = await payouts.prepare(groups, connection, said.proposal)
            if unready:
                await payouts.failed(groups, connection, said.proposal.id, unready.why)
                return unready
            await self._place(connection, said.proposal)
        return None

    async def voters(self, asked: Asked) -> tuple[int, ...]:
        """As many of those entitled as are needed."""
        proposal = await self.proposal(asked)
        async with self.circle.store.look() as connection:
            people = await members.active(connection, self.group.id)
        entitled = policy.entitled(proposal.policy, people, proposal.asked_by, proposal.payee)
        return tuple(person.number for person in people if person.id in entitled)[: asked.needed]

    async def _place(self, connection: Work, proposal: Proposal) -> None:
        assert proposal.amount is not None
        if not proposal.amount:
            await payouts.paid(self.circle.groups, connection, proposal.id)
            return
        order, _ = await self.place(connection, "payout", proposal.amount)
        now = self.circle.clock.now()
        hold = await ledger.hold(
            connection, self.pot(proposal), FLOAT, proposal.amount, order=order, reason="asked", at=now
        )
        assert isinstance(hold, UUID), hold
        self.sent[proposal.id] = (order, hold)

    async def end(self, asked: Asked | Refused, how: str) -> None:
        """The payee's operator has the last word: done, failed, or late (it had failed, and has come after all)."""
        groups, now = self.circle.groups, self.circle.clock.now()
        proposal = await self.proposal(asked)
        order, hold = self.sent[proposal.id]
        async with groups.store.work() as connection:
            await books.lock(connection, self.group.id)
            if how == "late":
                await self._late(connection, proposal, order)
                return
            assert hold
            resolve = ledger.post if how == "done" else ledger.void
            await resolve(connection, hold, reason=how, at=now)
            if how == "done":
                await payouts.paid(groups, connection, proposal.id, order, str(next(CODES)))
            else:
                await payouts.failed(groups, connection, proposal.id, "unreachable", order)

    async def _late(self, connection: Work, proposal: Proposal, order: UUID) -> None:
        assert proposal.amount is not None
        await self.book_late(connection, self.pot(proposal), proposal.amount, order)
        await payouts.late(self.circle.groups, connection, proposal.id, order, str(next(CODES)))

    async def swap(self, one: int, other: int) -> bool:
        """Two members swap their next turns."""
        first, second = await self.circle.member(self.group, one), await self.circle.member(self.group, other)
        async with self.circle.store.work() as connection:
            return await rotation.swap(self.circle.groups, connection, self.group.id, first.id, second.id)

    async def remove(self, number: int) -> None:
        """A member has died, and the group has voted that they are one no more."""
        circle, member = self.circle, await self.circle.member(self.group, number)
        async with circle.store.work() as connection:
            await departures.remove(circle.groups, connection, await circle.group(self.group), member)

    async def book_late(self, connection: Look, source: str, money: Money, order: UUID | None) -> None:
        """What had failed was paid after all: out of where it was to come from or, where that is gone, at our cost."""
        now = self.circle.clock.now()
        for debit in (source, ledger.RECEIVABLE):
            moved = await ledger.move(connection, debit, FLOAT, money, order=order, reason="late", at=now)
            if isinstance(moved, UUID):
                break

    async def pay_out(self, asker: int = 1) -> Asked:
        """The pot is asked for, approved and paid."""
        asked = await self.ask(asker)
        assert isinstance(asked, Asked), asked
        assert await self.approve(asked) is None
        if asked.amount:
            await self.end(asked, "done")
        return asked

    async def rounds(self) -> list[Round]:
        """The rounds of the group, the oldest cycle's first."""
        query = select(rounds).where(rounds.c.group_id == self.group.id).order_by(rounds.c.due_at)
        async with self.circle.store.look() as connection:
            return [rotation.round_of(row) for row in (await connection.execute(query)).mappings()]

    async def order(self) -> list[int]:
        """Whose turns they are, by number."""
        async with self.circle.store.look() as connection:
            numbers = {person.id: person.number for person in await members.everyone(connection, self.group.id)}
        return [numbers[turn.beneficiary] if turn.beneficiary else 0 for turn in await self.rounds()]

    async def proposal(self, asked: Asked | Refused) -> Proposal:
        """What was asked for."""
        assert isinstance(asked, Asked), asked
        query = select(proposals_table).where(proposals_table.c.code == asked.code)
        async with self.circle.store.look() as connection:
            row = (await connection.execute(query)).mappings().one()
        return proposals.proposal_of(row, self.group.currency)

    async def held(self) -> dict[str, Money]:
        """What stands in the group's accounts that hold anything, by the part of their name after the group's."""
        async with self.circle.store.look() as connection:
            found = await books.balances(connection, self.group.id, self.group.currency)
        prefix = f"group:{self.group.id}:"
        return {name.removeprefix(prefix): money for name, money in found.items() if money}

    async def pots(self, *, cash: bool = False) -> list[int]:
        """What the pots hold, in whole cedis, by round."""
        held = await self.held()
        parts = [f"{'cash:' if cash else ''}{books.round_part(turn.id)}" for turn in await self.rounds()]
        return [held.get(part, cedis(0)).minor // 100 for part in parts]

    def pot(self, proposal: Proposal) -> str:
        """The wallet account of the round a payout is of."""
        assert proposal.round_id
        return books.account(self.group.id, books.round_part(proposal.round_id))

    async def place(self, connection: Work, kind: str, money: Money) -> tuple[UUID, str]:
        """The row of an order: its id and code."""
        order = uuid4()
        code = str(next(CODES))
        row = {
            "id": order, "run": run(), "digest": "", "code": code, "kind": kind, "state": "open", "msisdn": phone(1),
            "language": "en", "amount": money.minor, "fee": 0, "currency": money.currency, "group_id": self.group.id,
            "details": {"recipient_name": self.group.name}, "created_at": self.circle.clock.now(),
        }  # fmt: skip
        await connection.execute(orders.insert().values(row))
        return order, code


async def found(circle: Circle, size: int = 5, **rules: Any) -> Susu:  # noqa: ANN401 - any field of Rules
    """A group of that many, whose shares are 50."""
    return Susu(circle, await circle.found(size, **rules))


async def running(circle: Circle, size: int = 5, **rules: Any) -> Susu:  # noqa: ANN401 - any field of Rules
    """The same, with its first cycle begun."""
    susu = await found(circle, size, **rules)
    assert isinstance(await susu.start(), Started)
    return susu
