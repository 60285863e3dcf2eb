"""A contribution: collect from a member into their group's books. What comes of it there, the group's notices tell."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from ussd_app.groups import contributions, kinds, members, owed
from ussd_app.groups.model import Group, Member
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.orders import LimitReached, Order, Orders, Placed, Repeated, Short, Step, TooFast
from ussd_app.orders.course import Course
from ussd_app.orders.steps import AmountUnfit, Collect, Collecting, NotServed, TooLarge, TooSmall, bounds, misfit
from ussd_app.store import Work


@dataclass(frozen=True, slots=True)
class NotMember:
    """Who pays is no active member of this group."""


@dataclass(frozen=True, slots=True)
class NotOpen:
    """The group takes no contributions now."""


@dataclass(frozen=True, slots=True)
class NothingDue:
    """The member owes nothing, and has named no amount."""


@dataclass(frozen=True, slots=True)
class Contribution(Collecting):
    """The kind."""

    steps: tuple[Step, ...] = (Collect(),)

    def variables(self, order: Order) -> Mapping[str, Any]:
        """How much, and for which group."""
        total = order.amount + order.fee
        return {"amount": order.amount, "total": total, "recipient_name": order.details["recipient_name"]}

    def party(self, order: Order, seen_by: Msisdn) -> str:  # noqa: ARG002 - there is one party
        """The group."""
        return order.details["recipient_name"]

    async def settled(self, desk: Course, connection: Work, order: Order, state: str) -> None:
        """What was collected is the member's, and goes where they owe it."""
        if state == "done" and order.group:
            member = UUID(order.details["member"])
            await contributions.book(desk.groups, connection, order.group, member, order.amount, order.id, order.code)


KIND = Contribution()


async def place(
    orders: Orders,
    *,
    run: str,
    msisdn: Msisdn,
    language: str,
    group_id: UUID,
    amount: Money | None,
    network: str | None = None,
    again: bool = True,
) -> (
    Placed | LimitReached | TooFast | NotMember | NotOpen | NothingDue | NotServed | AmountUnfit | TooSmall | TooLarge
    | Repeated
):  # fmt: skip
    """Place the order, for what is due where no amount is named; its prompt reaches the payer a moment later.

    Repeated, and nothing written, where an equal order stands and the payer has not said ``again``.
    """
    async with orders.store.look() as connection:
        member = await members.member(connection, group_id, msisdn)
        if member is None:
            return NotMember()
        group = await members.load(connection, group_id)
        is_open = await kinds.kind(group.kind).is_open(connection, group)
        due = await owed.expected(connection, group, member)
        payer = await orders.routes.serving(connection, msisdn, network)
    if not is_open:
        return NotOpen()
    if amount is None and not due:
        return NothingDue()
    if payer is None or (amount and amount.currency != group.currency):
        return NotServed(msisdn)
    step = payer.step(group.currency)
    # What is due is collected whole: what its rounding adds is paid ahead.
    money = amount or Money(-(-due.minor // step) * step, group.currency)
    unfit = misfit(money, step, bounds(payer, msisdn))
    return unfit or await _place(orders, run, language, group, member, payer.name, money, network, again=again)


async def _place(
    orders: Orders,
    run: str,
    language: str,
    group: Group,
    member: Member,
    operator: str,
    money: Money,
    network: str | None,
    *,
    again: bool,
) -> Placed | LimitReached | TooFast | Repeated:
    placed = await orders.place_unless_repeated(
        "contribution",
        run=run,
        msisdn=member.msisdn,
        language=language,
        amount=money,
        fee=Money(0, group.currency),
        group=group.id,
        network=network,
        again=again,
        details={
            "sender_operator": operator,
            "sender_name": member.name,
            "recipient_name": group.name,
            "member": str(member.id),
        },
    )
    if isinstance(placed, Short):
        raise LookupError(f"{placed.account} has too little for a contribution")  # noqa: TRY004 - a result, no type
    return placed
