"""The life of a rotating group: what may happen in it, and what must hold whatever does."""

from collections import Counter
from dataclasses import dataclass, field
from uuid import uuid4

from groups import phone
from rotating import Susu, run
from sqlalchemy import func, insert, select

from ussd_app import ledger
from ussd_app.groups import books, contributions, cycles, departures, owed, proposals
from ussd_app.groups.contributions import Booked, Reversed
from ussd_app.groups.model import Refused
from ussd_app.groups.payouts import Asked
from ussd_app.groups.proposals import Rejected
from ussd_app.money import Money
from ussd_app.store import Look
from ussd_app.tables import dues, memberships, rounds

MEMBERS = 3
RARE = 80  # of 120


@dataclass
class Life:
    """One group's life, and what a careful treasurer would have written down beside it, in minor units."""

    susu: Susu
    wallet: int = 0
    box: int = 0
    people: int = MEMBERS
    entries: list[tuple[str, int]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    sent: list[Asked] = field(default_factory=list)
    failed: list[Asked] = field(default_factory=list)

    async def start(self, _one: int, _other: int) -> None:
        """A cycle begins, if it can."""
        await self.susu.start()

    async def pay(self, who: int, amount: int) -> None:
        """By wallet; also by whoever has left meanwhile."""
        await self.susu.pay(self.number(who), amount)
        self.wallet += amount * 100

    async def all_pay(self, _one: int, _other: int) -> None:
        """Everybody pays their share."""
        self.wallet += await self.susu.all_pay() * 50_00

    async def week(self, one: int, other: int) -> None:
        """A week as it should be."""
        for step in (self.all_pay, self.ask, self.approve, self.done, self.deadline):
            await step(one if step == self.ask else 0, other)

    async def cash(self, who: int, amount: int) -> None:
        """In cash."""
        booked = await self.susu.cash(self.number(who), amount, await self._keeper())
        if isinstance(booked, Booked):
            self.entries.append((booked.code, amount * 100))
            self.box += amount * 100

    async def reverse(self, which: int, _other: int) -> None:
        """An entry is taken back, if its money is still there."""
        if self.entries:
            code, minor = self.entries[which % len(self.entries)]
            keeper = phone(await self._keeper())
            said = await contributions.reverse(self.susu.circle.groups, run(), keeper, code)
            self.box -= minor if isinstance(said, Reversed) else 0

    async def deadline(self, _one: int, _other: int) -> None:
        """The next deadline passes."""
        clock = self.susu.circle.clock
        ahead = [turn for turn in await self.susu.rounds() if turn.state == "open" and turn.due_at > clock.now()]
        if ahead:
            clock.advance((ahead[0].due_at - clock.now()).total_seconds())
            for _ in range(2):
                await cycles.due(self.susu.circle.groups, ahead[0].id)

    async def ask(self, who: int, _other: int) -> None:
        """Somebody asks for a pot."""
        asked = await self.susu.ask(self.number(who))
        if isinstance(asked, Asked):
            self.asked.append(asked)

    async def approve(self, which: int, _other: int) -> None:
        """A request is approved, if there still are enough who may; cash is handed over at the same time."""
        if not self.asked:
            return
        asked = self.asked.pop(which % len(self.asked))
        voters = await self.susu.voters(asked)
        alive = (await self.susu.proposal(asked)).expires_at > self.susu.circle.clock.now()
        if len(voters) >= asked.needed and alive and await self.susu.approve(asked, *voters) is None:
            if asked.amount:
                self.sent.append(asked)
            else:
                self.box -= asked.cash.minor

    async def reject(self, which: int, _other: int) -> None:
        """A request is rejected."""
        if self.asked:
            asked = self.asked.pop(which % len(self.asked))
            groups = self.susu.circle.groups
            async with groups.store.work() as connection:
                for number in await self.susu.voters(asked):
                    said = await proposals.vote(
                        groups, connection, phone(number), asked.code, approves=False, sim="trusted"
                    )
                    assert isinstance(said, Rejected | Refused | None)

    async def done(self, which: int, _other: int) -> None:
        """The payee's wallet has it."""
        if self.sent:
            asked = self.sent.pop(which % len(self.sent))
            await self.susu.end(asked, "done")
            self.wallet -= asked.amount.minor
            self.box -= asked.cash.minor

    async def fail(self, which: int, _other: int) -> None:
        """It has not."""
        if self.sent:
            asked = self.sent.pop(which % len(self.sent))
            await self.susu.end(asked, "failed")
            self.failed.append(asked)

    async def late(self, which: int, _other: int) -> None:
        """It has, after all: out of the pot where that still holds it, or at our own cost."""
        if self.failed:
            asked = self.failed.pop(which % len(self.failed))
            before = await self.sums()
            await self.susu.end(asked, "late")
            after = await self.sums()
            assert before["wallet"] - after["wallet"] in {0, asked.amount.minor}
            assert 0 <= before["cash"] - after["cash"] <= asked.cash.minor
            self.wallet -= before["wallet"] - after["wallet"]
            self.box -= before["cash"] - after["cash"]

    async def swap(self, one: int, other: int) -> None:
        """Two swap their turns."""
        await self.susu.swap(self.number(one), self.number(other))

    async def leave(self, who: int, chance: int) -> None:
        """A member goes, which is rare."""
        if chance > RARE:
            await departures.leave(self.susu.circle.groups, phone(self.number(who)), self.susu.group.id)

    async def remove(self, who: int, chance: int) -> None:
        """A member has died, which is rare; the chair lives."""
        member = await self.susu.circle.member(self.susu.group, self.number(who))
        if member.state == "active" and member.number > 1 and chance > RARE:
            await self.susu.remove(member.number)

    async def join(self, _one: int, _other: int) -> None:
        """Somebody new."""
        self.people += 1
        now = self.susu.circle.clock.now()
        values = {
            "id": uuid4(), "group_id": self.susu.group.id, "number": self.people, "msisdn": phone(self.people),
            "name": "Newcomer", "role": "member", "state": "active", "joined_at": now, "trusted_from": now,
        }  # fmt: skip
        async with self.susu.circle.store.work() as connection:
            await connection.execute(insert(memberships).values(values))

    async def check(self) -> None:
        """All that must hold at any time."""
        async with self.susu.circle.store.look() as connection:
            assert set((await ledger.imbalance(connection)).values()) <= {0}
            held = {name: money.minor for name, money in (await self._balances(connection)).items()}
            assert all(minor >= 0 for minor in held.values())
            await self.agree(connection, held)
        assert await self.sums() == {"wallet": self.wallet, "cash": self.box, "box": self.box}

    async def agree(self, connection: Look, held: dict[str, int]) -> None:
        """What the kind of group says of itself agrees with its accounts."""
        await self._pots_agree(connection, held)
        await self._nothing_lies_idle(connection, held)
        await self._nobody_twice()

    async def _pots_agree(self, connection: Look, held: dict[str, int]) -> None:
        """What members have paid for rounds is in the pots, was paid out of them, or went on to earlier ones."""
        of = select(func.coalesce(func.sum(dues.c.paid), 0)).join(rounds, rounds.c.id == dues.c.round_id)
        paid = (await connection.execute(of.where(rounds.c.group_id == self.susu.group.id))).scalar_one()
        query = select(func.coalesce(func.sum(rounds.c.covered), 0)).where(rounds.c.group_id == self.susu.group.id)
        covered = (await connection.execute(query)).scalar_one()
        pots = sum(minor for name, minor in held.items() if ":round:" in name)
        told = await self.susu.circle.events(self.susu.group)
        out = sum(event.amount for event in told if event.kind == "paid_out")
        netted = sum(event.amount for event in told if event.details.get("source") == "pot")
        assert pots == int(paid) + int(covered) - out - netted

    async def _nothing_lies_idle(self, connection: Look, held: dict[str, int]) -> None:
        """Nobody has money in their account who owes for a round."""
        for number in range(1, self.people + 1):
            member = await self.susu.circle.member(self.susu.group, number)
            if await owed.open_dues(connection, member, "GHS"):
                assert not [name for name, minor in held.items() if name.endswith(f"member:{member.id}") and minor]

    async def _nobody_twice(self) -> None:
        """In no cycle has anybody more turns than slots, nor was the pot of one round paid to two."""
        turns = Counter((turn.cycle_id, turn.beneficiary) for turn in await self.susu.rounds() if turn.beneficiary)
        assert max(turns.values(), default=1) == 1
        payees = {
            (event.round_id, event.member) for event in await self.susu.circle.events(self.susu.group, "paid_out")
        }
        assert len(payees) == len({turn for turn, _ in payees})

    async def sums(self) -> dict[str, int]:
        """What all wallet accounts hold together, all cash accounts, and the box."""
        async with self.susu.circle.store.look() as connection:
            found = await self._balances(connection)
        box = books.cash_box(self.susu.group.id)
        of_cash = [":cash:" in name for name in found]
        amounts = [(name, money.minor, cash) for (name, money), cash in zip(found.items(), of_cash, strict=True)]
        return {
            "wallet": sum(minor for name, minor, cash in amounts if name != box and not cash),
            "cash": sum(minor for _, minor, cash in amounts if cash),
            "box": sum(minor for name, minor, _ in amounts if name == box),
        }

    async def _balances(self, connection: Look) -> dict[str, Money]:
        return dict(await books.balances(connection, self.susu.group.id, "GHS"))

    async def _keeper(self) -> int:
        treasurer = await self.susu.circle.member(self.susu.group, 3)
        return 3 if treasurer.role == "treasurer" and treasurer.state == "active" else 1

    def number(self, any_: int) -> int:
        """Of somebody who is or was a member."""
        return any_ % self.people + 1
