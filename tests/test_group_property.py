"""Whatever happens in a group, in whatever order: its books agree with what came in and what went out."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from groups import Circle, circle, phone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lives import MEMBERS, RARE, Life
from rotating import FLOAT, found, run

from ussd_app import ledger
from ussd_app.errors import Reason
from ussd_app.groups import books, savings, takeouts
from ussd_app.groups.model import Refused
from ussd_app.groups.takeouts import TakeOut
from ussd_app.store import Look

__all__ = ["circle"]


@dataclass
class Savers(Life):
    """A daily group's life: the same, but every saver takes out their own."""

    ends: list[tuple[TakeOut, UUID]] = field(default_factory=list)
    given_up: list[TakeOut] = field(default_factory=list)

    async def ask(self, who: int, chance: int) -> None:
        """A saver takes out a cycle, or all that are complete."""
        which: int | Literal["complete"] = "complete" if chance > RARE else 1 + chance % 4
        circle, number = self.susu.circle, self.number(who)
        async with circle.store.work() as connection:
            await books.lock(connection, self.susu.group.id)
            group, taker = self.susu.group, phone(number)
            offer = await savings.offer(circle.groups, connection, group, taker, which, 1)
            if isinstance(offer, Refused):
                return
            if not offer.payable.wallet:
                await takeouts.hand_over(circle.groups, connection, offer, run())
                self.box -= offer.payable.cash.minor
                return
            order, code = await self.susu.place(connection, "daily_payout", offer.payable.wallet)
            out, now = TakeOut(group.id, offer.member.id, offer.payable, code, order), circle.clock.now()
            hold = await ledger.hold(connection, _own(out), FLOAT, out.payable.wallet, order=order, reason="x", at=now)
            assert isinstance(hold, UUID)
            await takeouts.reserve(circle.groups, connection, out)
            self.ends.append((out, hold))

    async def done(self, which: int, _other: int) -> None:
        """The saver's wallet has it."""
        await self._end(which, ledger.post)

    async def fail(self, which: int, _other: int) -> None:
        """It has not."""
        await self._end(which, ledger.void)

    async def _end(self, which: int, resolve: Callable[..., Awaitable[None]]) -> None:
        if not self.ends:
            return
        out, hold = self.ends.pop(which % len(self.ends))
        groups = self.susu.circle.groups
        async with groups.store.work() as connection:
            await books.lock(connection, out.group_id)
            await resolve(connection, hold, reason="end", at=groups.clock.now())
            if resolve == ledger.post:
                await takeouts.paid(groups, connection, out)
                self.wallet -= out.payable.wallet.minor
                self.box -= out.payable.cash.minor
            else:
                await takeouts.failed(groups, connection, out, Reason.UNREACHABLE)
                self.given_up.append(out)

    async def late(self, which: int, _other: int) -> None:
        """It has, after all."""
        if not self.given_up:
            return
        out = self.given_up.pop(which % len(self.given_up))
        groups, before = self.susu.circle.groups, await self.sums()
        async with groups.store.work() as connection:
            await books.lock(connection, out.group_id)
            await self.susu.book_late(connection, _own(out), out.payable.wallet, out.order_id)
            await takeouts.late(groups, connection, out)
        after = await self.sums()
        assert before["wallet"] - after["wallet"] in {0, out.payable.wallet.minor}
        assert before["cash"] - after["cash"] in {0, out.payable.cash.minor}
        self.wallet, self.box = after["wallet"], after["cash"]

    async def agree(self, connection: Look, held: dict[str, int]) -> None:
        """The cycles of each saver divide just what stands in their accounts."""
        for number in range(1, self.people + 1):
            member = await self.susu.circle.member(self.susu.group, number)
            standing = sum(minor for name, minor in held.items() if name.endswith(f"member:{member.id}"))
            assert (await savings.state(connection, member)).total.minor == standing


def _own(out: TakeOut) -> str:
    return books.account(out.group_id, books.member_part(out.member_id))


# What a group does most comes most often, or hardly an example would see a payout.
OFTEN = ("week", "week", "pay", "cash", "deadline", "ask", "approve", "fail", "start")
RARELY = ("all_pay", "reverse", "reject", "done", "late", "late", "swap", "leave", "remove", "join")
STEPS: dict[str, Callable[[Life, int, int], Awaitable[None]]] = {
    name: getattr(Life, name) for name in (*OFTEN, *RARELY)
}

SAVING = ("pay", "pay", "cash", "ask", "ask", "reverse", "done", "fail", "late")

steps = st.lists(
    st.tuples(st.sampled_from([*OFTEN * 2, *RARELY]), st.integers(0, 11), st.integers(1, 120)), min_size=6, max_size=16
)
agreed = st.fixed_dictionaries(
    {
        "short": st.sampled_from(["pay", "cover", "pay", "wait", None]),
        "arrears": st.sampled_from(["net", "skip", "swap"]),
        "fine": st.sampled_from([0, 700]),
        "order": st.sampled_from(["agreed", "drawn"]),
    }
)


@given(steps=steps, agreed=agreed)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_life_of_a_group_keeps_its_books(
    circle: Circle, steps: list[tuple[str, int, int]], agreed: dict[str, str | int | None]
) -> None:
    """Wallet and cash apart, what is in the accounts is what came less what went, and nobody is paid twice."""
    life = Life(await found(circle, MEMBERS, members_min=2, approvals=1, **agreed))
    await life.start(0, 0)
    for name, one, other in steps:
        circle.clock.advance(1)
        await STEPS[name](life, one, other)
        await life.check()


@given(steps=st.lists(st.tuples(st.sampled_from(SAVING), st.integers(0, 11), st.integers(1, 120)), max_size=25))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_life_of_savers_keeps_their_books(circle: Circle, steps: list[tuple[str, int, int]]) -> None:
    """The same of a daily group whose cycles are small, so that all that can happen to one does."""
    life = Savers(await found(circle, MEMBERS, kind="daily", period="daily", share="2", state="running"))
    for name, one, other in steps:
        circle.clock.advance(1)
        await getattr(life, name)(one, other)
        await life.check()
