"""Contributions and payouts at an order desk: what a member's wallet and their operator make of them."""

import asyncio

import pytest
from desk import Desk
from groups import Circle, circle, phone
from rotating import Susu, cedis, found, run, running
from sqlalchemy import select, update
from test_daily_payout import alerts, desk

from ussd_app.errors import Reason
from ussd_app.groups import books, payouts
from ussd_app.groups.model import Refused
from ussd_app.groups.payouts import Asked
from ussd_app.groups.proposals import Adopted, Counted, Rejected
from ussd_app.money import Money
from ussd_app.movement import Failed, Kind, Pending
from ussd_app.msisdn import Msisdn
from ussd_app.orders import LimitReached, Placed, contribution, payout
from ussd_app.orders.contribution import NothingDue, NotMember, NotOpen
from ussd_app.orders.payout import NotPaid
from ussd_app.orders.steps import AmountUnfit, NotServed
from ussd_app.tables import groups as groups_table
from ussd_app.tables import memberships, orders, subscribers

__all__ = ["circle", "desk"]

MINUTE, HOUR = 60, 3_600
VODAFONE = Msisdn("+233200000001")


async def pay(desk: Desk, susu: Susu, number: int, amount: Money | None = None, once: str | None = None) -> object:
    """A member dials and pays."""
    place = contribution.place(
        desk.orders,
        run=once or run(),
        msisdn=phone(number),
        language="en",
        group_id=susu.group.id,
        amount=amount,
    )
    return await place


async def full(circle: Circle) -> Susu:
    """The first pot is full."""
    susu = await running(circle)
    await susu.all_pay()
    return susu


async def ask(desk: Desk, susu: Susu) -> Asked:
    """The chair asks for the pot."""
    asked = await payout.ask(desk.orders, run=run(), msisdn=phone(1), group_id=susu.group.id)
    assert isinstance(asked, Asked), asked
    return asked


async def vote(desk: Desk, asked: Asked, number: int, *, approves: bool = True) -> object:
    """An officer dials its code."""
    return await payout.vote(desk.orders, phone(number), asked.code, approves=approves)


async def payout_states(desk: Desk) -> list[str]:
    """The states of the payouts' orders, oldest first."""
    query = select(orders.c.state).where(orders.c.kind == "payout").order_by(orders.c.created_at)
    async with desk.store.look() as connection:
        return list((await connection.execute(query)).scalars())


async def test_a_contribution_is_collected_and_booked_where_it_is_due(desk: Desk, circle: Circle) -> None:
    """What is due where no amount is named, once a run; its code is the receipt's, and the notice tells the payer."""
    susu = await running(circle)
    once = run()
    placed = await pay(desk, susu, 2, once=once)
    assert isinstance(placed, Placed)
    assert await pay(desk, susu, 2, once=once) == placed
    await desk.run(MINUTE)
    assert await desk.order_states() == ["done"]
    assert (await susu.pots())[0] == 50
    (event,) = await circle.events(susu.group, "contribution")
    assert (event.code, event.amount, event.details["source"]) == (placed.reference, 5000, "wallet")
    assert desk.outbox.templates == []
    assert await pay(desk, susu, 2) == NothingDue()
    assert isinstance(await pay(desk, susu, 2, cedis("10.50")), Placed)


async def test_who_cannot_contribute_is_told_why(desk: Desk, circle: Circle) -> None:
    """Strangers, numbers nobody of ours collects from, a group that takes nothing now, amounts that do not fit."""
    susu = await found(circle)
    assert await pay(desk, susu, 2, cedis(50)) == NotOpen()
    await susu.start()
    assert await pay(desk, susu, 9, cedis(50)) == NotMember()
    assert await pay(desk, susu, 2, Money(100, "KES")) == NotServed(phone(2))
    assert isinstance(await pay(desk, susu, 2, cedis(14_000)), LimitReached)
    desk.operator.countries = {}
    assert await pay(desk, susu, 2) == NotServed(phone(2))


async def test_amounts_fit_the_operators_step(desk: Desk, circle: Circle, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is typed and does not fit is refused; what is due is rounded up, and the rest of it is an advance."""
    susu = await running(circle, share="50.50")
    monkeypatch.setattr(desk.operator, "step", lambda _: 100)
    assert await pay(desk, susu, 2, cedis("50.50")) == AmountUnfit(cedis(1))
    assert isinstance(await pay(desk, susu, 2), Placed)
    await desk.run(MINUTE)
    member = await circle.member(susu.group, 2)
    assert (await susu.held())[books.member_part(member.id)] == cedis("0.50")
    for number in (1, 3, 4, 5):
        await susu.pay(number, "50.50")
    asked = await ask(desk, susu)
    assert asked.amount == cedis(252)  # payouts down, and what is left into the fund
    for number in (2, 3):
        await vote(desk, asked, number)
    assert (await susu.held())[books.FUND] == cedis("0.50")


async def test_a_contribution_that_fails_leaves_nothing(desk: Desk, circle: Circle) -> None:
    """Whoever did not approve is told, and still owes."""
    susu = await running(circle)
    desk.operator.states[Kind.COLLECTION] = Failed(Reason.REJECTED_BY_PAYER)
    await pay(desk, susu, 2)
    await desk.run(MINUTE)
    assert desk.outbox.templates == ["payment_rejected"]
    assert await susu.held() == {}


async def test_a_contribution_that_comes_after_the_cycle_is_kept(desk: Desk, circle: Circle) -> None:
    """Placed while the round was open, collected when it no longer was: suspense, and told."""
    susu = await running(circle)
    await pay(desk, susu, 2)
    async with circle.store.work() as connection:
        await connection.execute(update(groups_table).values(state="forming"))
    await desk.run(MINUTE)
    assert (await susu.held())[books.SUSPENSE] == cedis(50)
    assert (await circle.kinds(susu.group))[-1] == "suspended_money"


async def test_a_payout_is_approved_by_code_held_and_paid(desk: Desk, circle: Circle) -> None:
    """The second approval places it; until the operator has spoken its money can be spent by nobody else."""
    susu = await full(circle)
    asked = await ask(desk, susu)
    assert await payout.vote(desk.orders, phone(2), "10000008", approves=True) is None
    assert await vote(desk, asked, 4) is None
    assert await vote(desk, asked, 2) == Counted(1, 2)
    assert isinstance(await vote(desk, asked, 3), Adopted)
    pot = susu.pot(await susu.proposal(asked))
    async with circle.store.look() as connection:
        assert not await books.spendable(connection, pot, "GHS")
    await desk.run(MINUTE)
    assert await payout_states(desk) == ["done"]
    (sent,) = desk.operator.submissions
    assert (sent.kind, sent.msisdn, sent.amount) == (Kind.DISBURSEMENT, phone(1), cedis(250))
    (event,) = await circle.events(susu.group, "paid_out")
    assert (event.amount, event.code, event.order_id) == (25_000, sent.label, (await susu.proposal(asked)).order_id)
    assert await susu.held() == {}


async def test_two_officers_who_approve_at_the_same_second_pay_once(desk: Desk, circle: Circle) -> None:
    """Each waits for the other: one of them counts, one carries it, and one order is placed."""
    susu = await full(circle)
    asked = await ask(desk, susu)
    said = await asyncio.gather(vote(desk, asked, 2), vote(desk, asked, 3))
    assert {type(one) for one in said} == {Counted, Adopted}
    await desk.run(MINUTE)
    assert await payout_states(desk) == ["done"]
    assert len(desk.operator.submissions) == 1


async def test_a_payout_that_fails_leaves_the_pot_and_may_come_late(desk: Desk, circle: Circle) -> None:
    """The hold is given up and the pot whole; when the operator has paid it after all, the round is paid."""
    susu = await full(circle)
    asked = await ask(desk, susu)
    desk.operator.states[Kind.DISBURSEMENT] = Failed(Reason.PARTY_NOT_ALLOWED)
    for number in (2, 3):
        await vote(desk, asked, number)
    await desk.run(MINUTE)
    assert await payout_states(desk) == ["failed"]
    failed = (await circle.events(susu.group, "payout_failed"))[-1]
    assert (failed.amount, failed.details["reason"]) == (25_000, Reason.PARTY_NOT_ALLOWED)
    assert (await susu.pots())[0] == 250
    del desk.operator.states[Kind.DISBURSEMENT]
    await desk.callback((await desk.payment("disburse")).id)
    await desk.run(HOUR)
    assert await susu.held() == {}
    assert (await circle.kinds(susu.group))[-1] == "paid_out"
    assert await alerts(desk) == ["late success"]


async def test_a_payout_that_comes_late_where_another_was_made_is_looked_at(desk: Desk, circle: Circle) -> None:
    """The group has paid once; what was paid twice is owed to us, and a person is told."""
    susu = await full(circle)
    desk.operator.states[Kind.DISBURSEMENT] = Failed(Reason.PARTY_NOT_ALLOWED)
    first = await ask(desk, susu)
    for number in (2, 3):
        await vote(desk, first, number)
    await desk.run(MINUTE)
    payment = (await desk.payment("disburse")).id
    await susu.pay_out()
    del desk.operator.states[Kind.DISBURSEMENT]
    await desk.callback(payment)
    await desk.run(HOUR)
    assert await alerts(desk) == ["late success", "paid out twice", "payout came late"]
    assert len(await circle.events(susu.group, "paid_out")) == 1


async def test_no_payout_to_a_sim_that_has_changed_or_a_network_we_do_not_serve(desk: Desk, circle: Circle) -> None:
    """It is approved and not carried out; nothing has moved, and it can be asked for again."""
    susu = await full(circle)
    asked = await ask(desk, susu)
    await vote(desk, asked, 2)
    async with circle.store.work() as connection:
        own = update(subscribers).where(subscribers.c.msisdn == phone(1))
        await connection.execute(own.values(sim_changed_at=circle.clock.now()))
    assert await vote(desk, asked, 3) == NotPaid("sim_changed")
    circle.clock.advance(25 * HOUR)
    asked = await ask(desk, susu)
    async with circle.store.work() as connection:
        await connection.execute(update(memberships).where(memberships.c.number == 1).values(msisdn=VODAFONE))
    assert await vote(desk, asked, 2) == Counted(1, 2)
    assert await vote(desk, asked, 3) == NotPaid("not_served")
    reasons = [event.details["reason"] for event in await circle.events(susu.group, "payout_failed")]
    assert reasons == ["sim_changed", "not_served"]
    assert await payout_states(desk) == []
    assert (await susu.pots())[0] == 250


async def test_a_rejection_closes_it_and_cash_needs_no_order(desk: Desk, circle: Circle) -> None:
    """One officer says no and it is asked again; a pot of cash alone is handed over once it is approved."""
    susu = await running(circle)
    for number in range(1, 6):
        await susu.cash(number, 50)
    asked = await ask(desk, susu)
    assert isinstance(await vote(desk, asked, 2, approves=False), Rejected)
    asked = await ask(desk, susu)
    assert (asked.amount, asked.cash) == (cedis(0), cedis(250))
    for number in (2, 3):
        await vote(desk, asked, number)
    assert await payout_states(desk) == []
    assert await susu.held() == {}
    assert (await circle.events(susu.group, "paid_out"))[-1].details["cash"] == 25_000


async def test_an_unresolved_payout_stays_on_its_way(desk: Desk, circle: Circle) -> None:
    """Nobody knows whether it was paid: it cannot be asked for again, and a person looks at it."""
    susu = await full(circle)
    desk.operator.states[Kind.DISBURSEMENT] = Pending()
    asked = await ask(desk, susu)
    for number in (2, 3):
        await vote(desk, asked, number)
    await desk.run(80 * HOUR)
    assert await payout_states(desk) == ["parked"]
    assert desk.outbox.templates == ["payout_coming", "payout_waiting"]
    assert await payouts.ask(circle.groups, run(), phone(1), susu.group.id) == Refused("already_asked", {})
