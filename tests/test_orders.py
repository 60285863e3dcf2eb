"""Send money at an order desk: every path an operator can take us down, and what the books and the people see."""

import asyncio
from collections.abc import AsyncIterator
from itertools import permutations

import pytest
from conftest import FakeClock
from desk import AMA, KOFI, Desk, open_desk
from sqlalchemy import func, select, update

from ussd_app.breakers import FAILURES
from ussd_app.errors import Reason, Rejected, Throttled, Unknown
from ussd_app.money import Money
from ussd_app.operators import Failed, Kind, Pending, Succeeded
from ussd_app.orders import LimitReached, Placed, send_money
from ussd_app.store import Store
from ussd_app.tables import audit, orders, payments

DAY = 86_400


@pytest.fixture
async def desk(store: Store, database: str, clock: FakeClock) -> AsyncIterator[Desk]:
    """A desk on a database of its own."""
    async with open_desk(store, database, clock) as desk:
        yield desk


async def settled(desk: Desk, *, money: str, fees: str, state: str, said: list[str]) -> None:
    """Check books, order and SMS at once."""
    assert await desk.order_states() == [state]
    assert await desk.balance("float:scripted") == money
    assert await desk.balance("fees") == f"-{fees}" if fees != "0.00" else "0.00"
    assert desk.outbox.templates == said


async def test_money_is_collected_handed_on_and_both_are_told(desk: Desk) -> None:
    """50 arrive, 50.50 leave the sender, half a cedi is earned."""
    await desk.send()
    await desk.run(30)
    await settled(desk, money="0.50", fees="0.50", state="done", said=["money_sent", "money_received"])
    assert [(r.kind, r.msisdn, r.amount.plain) for r in desk.operator.submissions] == [
        (Kind.COLLECTION, AMA, "50.50"),
        (Kind.DISBURSEMENT, KOFI, "50.00"),
    ]


async def test_nothing_is_asked_for_before_the_dialogue_is_over(desk: Desk) -> None:
    """The prompt can only reach a handset whose session has ended (law 7)."""
    await desk.send()
    await desk.run(0.9)
    assert desk.operator.submissions == []
    await desk.run(0.2)
    assert len(desk.operator.submissions) == 1


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (Reason.REJECTED_BY_PAYER, "payment_rejected"),
        (Reason.EXPIRED, "payment_expired"),
        (Reason.INSUFFICIENT_FUNDS, "payment_failed_funds"),
        (Reason.INTERNAL, "payment_failed"),
    ],
)
async def test_a_failed_collection_moves_nothing(desk: Desk, reason: Reason, said: str) -> None:
    """The sender is told why; nobody else hears of it."""
    desk.operator.states[Kind.COLLECTION] = Failed(reason)
    await desk.send()
    await desk.run(3 * DAY)
    await settled(desk, money="0.00", fees="0.00", state="failed", said=[said])


async def test_what_cannot_be_delivered_goes_back_with_its_fee(desk: Desk) -> None:
    """The recipient cannot receive: the whole total returns."""
    desk.operator.states[Kind.DISBURSEMENT] = Failed(Reason.PARTY_NOT_ALLOWED)
    await desk.send()
    await desk.run(60)
    await settled(desk, money="0.00", fees="0.00", state="undone", said=["recipient_failed", "money_refunded"])
    refund = desk.operator.submissions[-1]
    assert (refund.kind, refund.msisdn, refund.amount.plain) == (Kind.REFUND, AMA, "50.50")
    assert refund.refunds == desk.operator.submissions[0].reference


OWN = {Reason.PARTY_NOT_FOUND, Reason.PARTY_NOT_ALLOWED, Reason.LIMIT_REACHED, Reason.BAD_RECIPIENT}


@pytest.mark.parametrize("reason", Reason)
async def test_a_recipient_is_blamed_for_their_own_cause_alone(desk: Desk, reason: Reason) -> None:
    """Our keys, our float, the operator's trouble: it could not be delivered, and whose money goes back is told."""
    desk.operator.states[Kind.DISBURSEMENT] = Failed(reason)
    await desk.send()
    await desk.run(60)
    said = "recipient_failed" if reason in OWN else "not_delivered"
    await settled(desk, money="0.00", fees="0.00", state="undone", said=[said, "money_refunded"])


async def test_a_refused_refund_waits_for_a_person_with_the_money_kept_apart(desk: Desk) -> None:
    """Nothing is invented: the total stays in the order's clearing account."""
    desk.operator.states[Kind.DISBURSEMENT] = Failed(Reason.PARTY_NOT_ALLOWED)
    desk.operator.states[Kind.REFUND] = Failed(Reason.LIMIT_REACHED)
    await desk.send()
    await desk.run(60)
    await settled(desk, money="50.50", fees="0.00", state="parked", said=["recipient_failed", "still_waiting"])


async def test_no_answer_is_not_a_failure_and_never_makes_a_second_reference(desk: Desk) -> None:
    """Dropped answers are asked again under the same reference, and the polling settles it."""
    desk.operator.answers[Kind.COLLECTION].extend([Unknown("dropped", outage=True)] * 9)
    desk.operator.states[Kind.COLLECTION] = Unknown("404")
    await desk.send()
    await desk.run(3600)
    assert await desk.order_states() == ["open"]
    collections = [r.reference for r in desk.operator.submissions]
    assert len(collections) == 4
    assert len(set(collections)) == 1
    del desk.operator.states[Kind.COLLECTION]
    await desk.run(3600)
    await settled(desk, money="0.50", fees="0.50", state="done", said=["money_sent", "money_received"])


async def test_an_operator_that_does_not_deduplicate_is_never_asked_twice(desk: Desk) -> None:
    """Its answer lost, only its state is asked for."""
    desk.operator.deduplicates = frozenset()
    desk.operator.answers[Kind.COLLECTION].append(Unknown("dropped", outage=True))
    await desk.send()
    await desk.run(60)
    assert [r.kind for r in desk.operator.submissions] == [Kind.COLLECTION, Kind.DISBURSEMENT]


async def test_a_refusal_after_a_lost_answer_proves_nothing(desk: Desk) -> None:
    """The first attempt may have been taken: only the status tells."""
    desk.operator.answers[Kind.COLLECTION].extend([Unknown("dropped", outage=True), Rejected(Reason.NOT_AUTHORISED)])
    desk.operator.states[Kind.COLLECTION] = Pending()
    await desk.send()
    await desk.run(3600)
    assert await desk.order_states() == ["open"]


async def test_a_call_that_is_not_taken_is_tried_again_and_then_given_up(desk: Desk) -> None:
    """Four times nobody at home: the collection has failed, and was never in doubt."""
    desk.operator.answers[Kind.COLLECTION].extend([Throttled(2.0, "refused")] * 99)
    desk.operator.states[Kind.COLLECTION] = Unknown("404")
    await desk.send()
    await desk.run(600)
    await settled(desk, money="0.00", fees="0.00", state="failed", said=["payment_failed"])
    assert len(desk.operator.submissions) == 4


async def test_collected_money_waits_longer_for_an_operator_that_rests(desk: Desk) -> None:
    """Three minutes of trouble at disbursing, seen by others before: delivered in the end, not refunded."""

    async def fail() -> None:
        raise Throttled(2.0, "503", outage=True)

    for _ in range(FAILURES):
        with pytest.raises(Throttled):
            await desk.payments.breakers.call("scripted", Kind.DISBURSEMENT, fail)
    desk.operator.answers[Kind.DISBURSEMENT].extend([Throttled(2.0, "503", outage=True)] * 2)
    desk.operator.states[Kind.DISBURSEMENT] = Unknown("404")
    await desk.send()
    await desk.run(120)
    del desk.operator.states[Kind.DISBURSEMENT]
    await desk.run(900)
    said = ["being_delivered", "money_sent", "money_received"]
    await settled(desk, money="0.50", fees="0.50", state="done", said=said)


async def test_a_refund_is_still_tried_after_thousands_of_refusals(desk: Desk) -> None:
    """Three days of "busy" at every minute: the wait between two tries stays a minute."""
    desk.operator.states[Kind.DISBURSEMENT] = Failed(Reason.PARTY_NOT_ALLOWED)
    desk.operator.answers[Kind.REFUND].extend([Throttled(2.0, "busy")] * 2)
    desk.operator.states[Kind.REFUND] = Unknown("404")
    await desk.send()
    await desk.run(22)
    async with desk.store.work() as connection:
        await connection.execute(update(payments).where(payments.c.kind == Kind.REFUND).values(attempts=4000))
    desk.operator.answers[Kind.REFUND].append(Throttled(2.0, "busy"))
    await desk.run(120)
    del desk.operator.states[Kind.REFUND]
    await desk.run(600)
    assert await desk.order_states() == ["undone"]
    assert not (await desk.payment("undo:collect")).doubtful  # no job of it failed on the way


async def test_late_success_after_expiry_is_booked_and_sent_back(desk: Desk) -> None:
    """The payer approved after all: a new posting, and the refund."""
    desk.operator.states[Kind.COLLECTION] = Failed(Reason.EXPIRED)
    await desk.send()
    await desk.run(120)
    assert await desk.order_states() == ["failed"]
    del desk.operator.states[Kind.COLLECTION]
    await desk.callback((await desk.payment("collect")).id)
    await desk.run(120)
    await settled(desk, money="0.00", fees="0.00", state="undone", said=["payment_expired", "money_refunded"])


async def test_late_success_is_found_without_any_callback(desk: Desk) -> None:
    """A failure is looked at once more ten minutes and a day later."""
    desk.operator.states[Kind.COLLECTION] = Failed(Reason.EXPIRED)
    await desk.send()
    await desk.run(120)
    del desk.operator.states[Kind.COLLECTION]
    await desk.run(600)
    await settled(desk, money="0.00", fees="0.00", state="undone", said=["payment_expired", "money_refunded"])


async def test_a_payout_that_succeeds_after_its_undo_is_owed_to_us(desk: Desk) -> None:
    """Never an automatic collection: a receivable and an alert."""
    desk.operator.states[Kind.DISBURSEMENT] = Failed(Reason.INTERNAL)
    await desk.send()
    await desk.run(60)
    del desk.operator.states[Kind.DISBURSEMENT]
    await desk.callback((await desk.payment("disburse")).id)
    await desk.run(1)
    assert await desk.balance("receivable") == "50.00"
    assert await desk.balance("float:scripted") == "-50.00"
    assert len(desk.operator.submissions) == 3
    async with desk.store.look() as connection:
        alerts = (await connection.execute(select(audit.c.detail["what"].astext))).scalars().all()
    assert list(alerts) == ["late success", "paid out twice"]


async def test_another_amount_than_asked_for_is_parked_with_an_alert(desk: Desk) -> None:
    """What the operator says moved is not what we asked for: a person looks."""
    desk.operator.states[Kind.COLLECTION] = Succeeded("R", Money.of("5.05", "GHS"))
    await desk.send()
    await desk.run(60)
    assert await desk.order_states() == ["parked"]
    assert desk.outbox.templates == ["still_waiting"]


async def test_after_three_days_a_person_takes_over_and_late_truth_still_counts(desk: Desk) -> None:
    """The polling ends; a callback after that is still believed once confirmed."""
    desk.operator.states[Kind.COLLECTION] = Pending()
    await desk.send()
    await desk.run(4 * DAY)
    assert await desk.order_states() == ["parked"]
    assert desk.outbox.templates == ["still_waiting"]
    asked = len(desk.operator.checks)
    assert asked < 180
    await desk.run(DAY)
    assert len(desk.operator.checks) == asked
    del desk.operator.states[Kind.COLLECTION]
    await desk.callback((await desk.payment("collect")).id)
    await desk.run(60)
    assert await desk.order_states() == ["done"]


async def test_checks_come_at_growing_intervals(desk: Desk) -> None:
    """10, 30, 60, 120, 300 s, then every five minutes for an hour (wire/momo.md 1.6)."""
    desk.operator.states[Kind.COLLECTION] = Pending()
    await desk.send()
    await desk.run(1)
    counted = []
    for seconds in (9, 1, 20, 30, 60, 180, 300):
        await desk.run(seconds)
        counted.append(len(desk.operator.checks))
    assert counted == [0, 1, 2, 3, 4, 5, 6]


async def test_a_storm_of_callbacks_has_the_operator_asked_twice(desk: Desk) -> None:
    """Fifty at once: one question now, one ten seconds later, one step forward."""
    desk.operator.states[Kind.COLLECTION] = Pending()
    await desk.send()
    await desk.run(2)
    payment = (await desk.payment("collect")).id
    await asyncio.gather(*(desk.callback(payment) for _ in range(50)))
    await desk.run(5)
    assert len(desk.operator.checks) == 1
    await desk.run(7)
    assert len(desk.operator.checks) == 2 + 1  # the polling's own, ten seconds after submission
    del desk.operator.states[Kind.COLLECTION]
    await desk.run(30)
    await settled(desk, money="0.50", fees="0.50", state="done", said=["money_sent", "money_received"])


async def test_every_order_of_events_ends_in_the_operators_truth(store: Store, database: str, clock: FakeClock) -> None:
    """All orders of answer, callback, doubled callback, poll and second submission: one collection, one payout."""
    async with open_desk(store, database, clock) as desk:
        every_order = set(permutations(["submit", "confirm", "confirm", "poll", "submit"]))
        for number, events in enumerate(every_order):
            await desk.send(amount="1", run=f"run-{number}")
            async with store.look() as connection:
                query = select(payments.c.id).where(payments.c.state == "created", payments.c.step == "collect")
                payment = (await connection.execute(query)).scalar_one()
            for event in events:
                await (desk.orders.poll(payment, 1) if event == "poll" else getattr(desk.orders, event)(payment))
            clock.advance(0.01)
            await desk.run(DAY + 1)
        assert set(await desk.order_states()) == {"done"}
        assert await desk.balance("float:scripted") == f"{len(await desk.order_states()) * 0.01:.2f}"
        assert len({r.reference for r in desk.operator.submissions}) == 2 * len(every_order) == 60


async def test_a_run_places_once_whatever_is_pressed(desk: Desk) -> None:
    """Ten copies of a confirmation, at once: one order, one code."""
    placed = await asyncio.gather(*(desk.send() for _ in range(10)))
    assert len(set(placed)) == 1
    await desk.run(30)
    assert await desk.order_states() == ["done"]


async def test_the_same_run_with_another_amount_is_an_alert_and_no_second_order(desk: Desk) -> None:
    """The first stands."""
    first, second = await desk.send("50"), await desk.send("60")
    assert first == second
    async with desk.store.look() as connection:
        assert (await connection.execute(select(func.count()).select_from(audit))).scalar_one() == 1
        assert (await connection.execute(select(orders.c.amount))).scalars().all() == [5000]


async def test_limits_hold_to_the_unit_under_parallel_orders(desk: Desk) -> None:
    """Fifty at once against 5,000 a day: five of 1,000, and the rest are told the limit."""
    placed = await asyncio.gather(*(desk.send("1000", f"run-{n}") for n in range(50)))
    assert sum(isinstance(p, Placed) for p in placed) == 5
    assert {p.limit.plain for p in placed if isinstance(p, LimitReached)} == {"5000.00"}
    assert await desk.send("0.01", "one more") == LimitReached(Money.of(5000, "GHS"))
    assert await desk.send("2000.01", "too much at once") == LimitReached(Money.of(2000, "GHS"))
    desk.clock.advance(DAY + 1)
    assert isinstance(await desk.send("1000", "tomorrow"), Placed)


async def test_what_failed_does_not_count_towards_the_limit(desk: Desk) -> None:
    """Nothing moved, nothing used up."""
    desk.operator.states[Kind.COLLECTION] = Failed(Reason.REJECTED_BY_PAYER)
    for number in range(4):
        await desk.send("2000", f"run-{number}")
        await desk.run(60)
    assert await desk.order_states() == ["failed"] * 4


async def test_a_quote_tells_the_cost_or_why_not(desk: Desk) -> None:
    """Fee, total and name; or itself, another network, too much, or an amount that does not fit."""
    fifty = Money.of(50, "GHS")
    quote = await send_money.quote(desk.orders, AMA, KOFI, fifty)
    fee, total = Money.of("0.50", "GHS"), Money.of("50.50", "GHS")
    assert quote == send_money.Quote(fee, total, "Holder 002", desk.operator, others=False)
    assert await send_money.quote(desk.orders, AMA, AMA, fifty) == send_money.SelfSend()
    telecel = type(KOFI)("+233200000001")
    assert await send_money.quote(desk.orders, AMA, telecel, fifty) == send_money.NotReachable(telecel)
    assert isinstance(await send_money.quote(desk.orders, AMA, KOFI, Money.of(2001, "GHS")), LimitReached)


async def test_a_person_sees_what_moved_and_what_is_waiting(desk: Desk) -> None:
    """What is open, and the last five movements, from both sides."""
    assert await desk.orders.standing(AMA) == []
    placed = await desk.send()
    assert isinstance(placed, Placed)
    (waiting,) = await desk.orders.standing(AMA)
    assert (waiting.code, waiting.state, waiting.party) == (placed.reference, "waiting", "Kofi")
    await desk.run(60)
    (paid,) = await desk.orders.standing(AMA, placed.reference)
    assert paid.state == "paid"
    assert await desk.orders.standing(KOFI, placed.reference) == []
    assert [(m.label, m.money.plain, m.party) for m in await desk.orders.movements(AMA)] == [("sent", "50.00", "Kofi")]
    assert [(m.label, m.party) for m in await desk.orders.movements(KOFI)] == [("received", "Ama")]
    assert await desk.orders.standing(AMA) == []
