"""Evidence that contradicts itself: a callback says paid, the operator says failed. A person is told, nobody is denied.

Everybody who learns the address of one payment's callbacks may make that one wait for a person, once, and no more.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

import pytest
from conftest import FakeClock
from desk import Desk, open_desk
from sqlalchemy import select
from test_claims import Mute

from ussd_app.errors import Reason, Rejected, Unknown
from ussd_app.money import Money
from ussd_app.movement import Claimed
from ussd_app.operators import CallbackNote, Failed, Kind, Pending, Succeeded
from ussd_app.payments import claims
from ussd_app.payments.decisions import Decision, Undecided
from ussd_app.store import Store
from ussd_app.tables import audit

HOUR = 3600
PAID, HALF, SILENT, FAILED = (
    {"paid": "50.50", "receipt": "UA50DEMO900"}, {"paid": "1.00"}, {"moved": "UA50DEMO900"}, {"failed": "expired"},
)  # fmt: skip


@dataclass
class Talker(Mute):
    """The same, and it can claim without an amount, or by an id of its own alone."""

    def parse_callback(self, path: str, body: bytes) -> CallbackNote:
        """``{"moved": "R"}`` says that it moved; ``"id"`` beside it stands for a reference."""
        told = json.loads(body)
        note = Mute.parse_callback(self, path, body)
        status = Claimed("moved", receipt=told["moved"]) if "moved" in told else note.status
        return CallbackNote(note.reference, status, external_id=told.get("id"))


@pytest.fixture
async def desk(store: Store, database: str, clock: FakeClock) -> AsyncIterator[Desk]:
    """A desk whose operator and delivery can be asked about everything."""
    async with open_desk(store, database, clock) as desk:
        desk.operator, desk.delivery = Talker(), Talker("airtime_scripted")
        for each in (desk.operator, desk.delivery):
            each.unqueried = frozenset()
        desk.payments.operators = {"scripted": desk.operator}
        desk.payments.deliveries = {"airtime_scripted": desk.delivery}
        desk.orders.routes.operators = desk.payments.operators
        yield desk


async def alerts(desk: Desk) -> list[str]:
    """What a person was told, but of floats."""
    query = select(audit.c.detail["what"].astext).where(audit.c.event == "alert").order_by(audit.c.id)
    async with desk.store.look() as connection:
        said = list((await connection.execute(query)).scalars())
    return [what for what in said if not what.startswith("float ")]


async def told(desk: Desk, step: str, body: dict[str, str], copies: int = 1) -> None:
    """Callbacks come to the address of a step's payment, each is acted upon."""
    row = await desk.payment(step)
    for _ in range(copies):
        await desk.callbacks.keep(row.operator, f"{row.kind}/{row.id}", "application/json", json.dumps(body).encode())
        await desk.run(11)


async def decide(desk: Desk, step: str, receipt: str | None) -> None:
    """A treasurer has read the statement, and what follows is done."""
    row = await desk.payment(step)
    assert await desk.orders.decide(row.id, Decision("the treasurer", receipt)) is None
    await desk.run(60)


async def collecting(desk: Desk) -> None:
    """Ama's prompt is on her handset."""
    desk.operator.states[Kind.COLLECTION] = Pending()
    await desk.send()
    await desk.run(5)


def fails(desk: Desk, kind: Kind = Kind.COLLECTION) -> None:
    """From now on the query says so."""
    provider = desk.delivery if kind is Kind.DELIVERY else desk.operator
    provider.states[kind] = Failed(Reason.REJECTED_BY_PAYER, "1032")


# --- a collection, in either order


@pytest.mark.parametrize("body", [PAID, HALF, SILENT], ids=["paid", "another amount", "no amount"])
async def test_paid_by_a_callback_and_failed_by_the_query_is_parked(desk: Desk, body: dict[str, str]) -> None:
    """Nothing is booked, nothing denied: a person is told, and the payer that we look into it."""
    await collecting(desk)
    fails(desk)
    await told(desk, "collect", body)
    assert (await desk.payment("collect")).state == "parked"
    assert await desk.order_states() == ["parked"]
    assert await alerts(desk) == [claims.CONTRADICTED]
    assert desk.outbox.templates == ["still_waiting"]
    await desk.run(100 * HOUR)
    assert (await desk.payment("collect")).state == "parked"
    assert await alerts(desk) == [claims.CONTRADICTED]
    assert desk.operator.submissions[1:] == []


@pytest.mark.parametrize("body", [PAID, HALF, SILENT], ids=["paid", "another amount", "no amount"])
async def test_a_failure_that_a_callback_contradicts_later_is_in_doubt(desk: Desk, body: dict[str, str]) -> None:
    """The payer was told that nothing was taken; now that it is looked into, by SMS and on their screen."""
    await collecting(desk)
    fails(desk)
    await desk.run(30)
    assert desk.outbox.templates == ["payment_rejected"]
    await told(desk, "collect", body)
    assert (await desk.payment("collect")).state == "failed"
    assert await desk.order_states() == ["parked"]
    assert await alerts(desk) == [claims.CONTRADICTED]
    assert desk.outbox.templates == ["payment_rejected", "still_waiting"]
    (standing,) = await desk.orders.standing((await desk.payment("collect")).msisdn)
    assert standing.state == "unclear"


async def test_a_failure_that_nobody_knew_of_for_three_days_is_in_no_doubt(desk: Desk) -> None:
    """A person was told that nobody could say; then the operator says, and there is nothing left to decide."""
    await collecting(desk)
    await desk.run(73 * HOUR)
    assert (await desk.payment("collect")).state == "parked"
    fails(desk)
    await told(desk, "collect", FAILED)
    assert await desk.order_states() == ["failed"]
    row = await desk.payment("collect")
    assert await desk.orders.decide(row.id, Decision("the treasurer", None)) == Undecided(
        "refused: it has failed already, and nothing says otherwise"
    )
    await told(desk, "collect", PAID)
    assert await desk.order_states() == ["parked"]
    await decide(desk, "collect", None)
    assert await desk.order_states() == ["failed"]


async def test_a_hundred_callbacks_are_one_alert_and_one_message(desk: Desk) -> None:
    """Whoever holds the address of one payment's callbacks writes to nobody again."""
    await collecting(desk)
    fails(desk)
    await desk.run(30)
    await told(desk, "collect", PAID, copies=40)
    await told(desk, "collect", SILENT, copies=30)
    await told(desk, "collect", HALF, copies=30)
    assert await alerts(desk) == [claims.CONTRADICTED]
    assert desk.outbox.templates == ["payment_rejected", "still_waiting"]
    await decide(desk, "collect", None)
    await told(desk, "collect", PAID, copies=5)
    assert await alerts(desk) == [claims.CONTRADICTED]
    assert await desk.order_states() == ["failed"]


async def test_a_failure_without_a_claim_fails_at_once(desk: Desk) -> None:
    """Nor does a callback that says the same, or that is about another payment, make anybody wait."""
    await collecting(desk)
    row = await desk.payment("collect")
    other = UUID(int=row.id.int ^ 1)
    for path in ("", f"collection/{other}", f"disbursement/{row.id}", f"refund/{row.id}"):
        await desk.callbacks.keep("scripted", path, "application/json", json.dumps(PAID).encode())
    fails(desk)
    await told(desk, "collect", FAILED)
    assert (await desk.payment("collect")).state == "failed"
    assert await alerts(desk) == []
    assert desk.outbox.templates == ["payment_rejected"]


async def test_a_query_that_says_paid_wins_whatever_callbacks_say(desk: Desk) -> None:
    """Failed by callback, and later parked by two words: the query's success is booked, and the order goes on."""
    await collecting(desk)
    await told(desk, "collect", FAILED)
    assert (await desk.payment("collect")).state == "pending"
    fails(desk)
    await told(desk, "collect", PAID)
    assert (await desk.payment("collect")).state == "parked"
    desk.operator.states[Kind.COLLECTION] = Succeeded("UA50DEMO900", Money.of("50.50", "GHS"))
    await told(desk, "collect", PAID)
    assert await desk.order_states() == ["done"]
    assert desk.outbox.templates == ["still_waiting", "money_sent", "money_received"]
    assert await alerts(desk) == [claims.CONTRADICTED]


async def test_a_failure_is_in_doubt_also_where_the_query_answers_no_more(desk: Desk) -> None:
    """The operator has forgotten it, weeks later: the callback's word stands against the one we had booked."""
    await collecting(desk)
    fails(desk)
    await desk.run(40 * 24 * HOUR)
    desk.operator.states[Kind.COLLECTION] = Unknown("404")
    await told(desk, "collect", PAID)
    assert await desk.order_states() == ["parked"]
    assert await alerts(desk) == [claims.CONTRADICTED]


async def test_a_late_success_needs_no_doubt(desk: Desk) -> None:
    """The query says paid by now: booked and given back, as ever."""
    await collecting(desk)
    fails(desk)
    await desk.run(30)
    del desk.operator.states[Kind.COLLECTION]
    await told(desk, "collect", PAID)
    assert await desk.order_states() == ["undone"]
    assert await alerts(desk) == ["late success"]


async def test_a_refused_request_that_a_callback_calls_paid_is_parked(desk: Desk) -> None:
    """Its callback had come before the answer, and the operator does not know it now."""
    desk.operator.answers[Kind.COLLECTION].append(Rejected(Reason.BAD_REQUEST))
    desk.operator.states[Kind.COLLECTION] = Unknown("404")
    await desk.send()
    await told(desk, "collect", PAID)
    assert (await desk.payment("collect")).state == "parked"
    assert await alerts(desk) == [claims.CONTRADICTED]
    assert desk.outbox.templates == ["still_waiting"]


@pytest.mark.parametrize(
    ("receipt", "state", "last"), [("UA50DEMO900", "done", "money_received"), (None, "failed", "payment_failed")]
)
async def test_a_parked_collection_is_decided_both_ways(desk: Desk, receipt: str | None, state: str, last: str) -> None:
    """Paid: the order goes on. Unpaid: it ends, and now its payer is told so."""
    await collecting(desk)
    fails(desk)
    await told(desk, "collect", PAID)
    await decide(desk, "collect", receipt)
    assert await desk.order_states() == [state]
    assert desk.outbox.templates[-1] == last
    assert await desk.balance("float:scripted") == ("0.50" if receipt else "0.00")


@pytest.mark.parametrize(
    ("receipt", "state", "last"), [("UA50DEMO900", "undone", "money_refunded"), (None, "failed", "payment_rejected")]
)
async def test_a_failed_collection_is_decided_both_ways(desk: Desk, receipt: str | None, state: str, last: str) -> None:
    """Paid: booked as late and given back. Unpaid: it stays failed, and its payer, who waits, is told again."""
    await collecting(desk)
    fails(desk)
    await desk.run(30)
    await told(desk, "collect", PAID)
    await decide(desk, "collect", receipt)
    assert await desk.order_states() == [state]
    assert desk.outbox.templates[-1] == last
    assert len(desk.outbox.templates) == 3
    assert await desk.balance("float:scripted") == "0.00"


# --- what goes out


@pytest.mark.parametrize(("receipt", "state"), [("UA50DEMO901", "done"), (None, "undone")])
async def test_a_payout_in_doubt_is_not_refunded_unasked(desk: Desk, receipt: str | None, state: str) -> None:
    """Its callback says paid: what was collected stays where it is until a person has looked."""
    desk.operator.states[Kind.DISBURSEMENT] = Pending()
    await desk.send()
    await desk.run(30)
    fails(desk, Kind.DISBURSEMENT)
    await told(desk, "disburse", {"paid": "50.00", "receipt": "UA50DEMO901"})
    await desk.run(100 * HOUR)
    assert await desk.order_states() == ["parked"]
    assert await alerts(desk) == [claims.CONTRADICTED]
    assert desk.outbox.templates == ["still_waiting"]
    assert [each.kind for each in desk.operator.submissions] == [Kind.COLLECTION, Kind.DISBURSEMENT]
    await decide(desk, "disburse", receipt)
    assert await desk.order_states() == [state]


async def test_a_payout_that_is_contradicted_after_its_refund_is_told_once(desk: Desk) -> None:
    """The sender has their money; ours may be gone, which a person's word books as owed to us."""
    desk.operator.states[Kind.DISBURSEMENT] = Failed(Reason.PARTY_NOT_FOUND)
    await desk.send()
    await desk.run(60)
    assert await desk.order_states() == ["undone"]
    await told(desk, "disburse", {"paid": "50.00", "receipt": "UA50DEMO901"}, copies=5)
    assert await alerts(desk) == [claims.CONTRADICTED]
    assert await desk.order_states() == ["undone"]
    await decide(desk, "disburse", "UA50DEMO901")
    assert await desk.balance("receivable") == "50.00"
    assert await alerts(desk) == [claims.CONTRADICTED, "late success", "paid out twice"]


@pytest.mark.parametrize(("receipt", "state"), [("UA50DEMO902", "undone"), (None, "parked")])
async def test_a_refund_in_doubt_is_not_made_twice(desk: Desk, receipt: str | None, state: str) -> None:
    """It waits for a person's word, and fails on no other."""
    desk.operator.states |= {Kind.DISBURSEMENT: Failed(Reason.PARTY_NOT_FOUND), Kind.REFUND: Pending()}
    await desk.send()
    await desk.run(60)
    fails(desk, Kind.REFUND)
    await told(desk, "undo:collect", PAID)
    assert (await desk.payment("undo:collect")).state == "parked"
    assert await alerts(desk) == [claims.CONTRADICTED]
    await decide(desk, "undo:collect", receipt)
    assert await desk.order_states() == [state]
    assert sum(each.kind is Kind.REFUND for each in desk.operator.submissions) == 1


@pytest.mark.parametrize("early", [False, True], ids=["after the answer", "before the answer"])
async def test_a_delivery_named_by_an_id_of_its_providers_is_in_doubt_likewise(desk: Desk, *, early: bool) -> None:
    """Airtime's callbacks name no reference of ours, and may come before we know whose id it is."""
    desk.delivery.answers[Kind.DELIVERY].append(Pending(external_id="ATQid_1"))
    desk.delivery.states[Kind.DELIVERY] = Pending()
    body = json.dumps({"paid": "5.00", "receipt": "ATQid_1", "id": "ATQid_1"}).encode()
    if early:
        await desk.callbacks.keep("airtime_scripted", "", "application/json", body)
    await desk.top_up()
    await desk.run(15)
    fails(desk, Kind.DELIVERY)
    if not early:
        await desk.callbacks.keep("airtime_scripted", "", "application/json", body)
    await desk.run(100)
    assert (await desk.payment("deliver")).state == "parked"
    assert await alerts(desk) == [claims.CONTRADICTED]
    assert all(each.kind is not Kind.REFUND for each in desk.operator.submissions)


# --- where only callbacks tell


async def paying_out(desk: Desk) -> None:
    """A payout of which no query tells."""
    desk.operator.unqueried = frozenset({Kind.DISBURSEMENT, Kind.REFUND})  # type: ignore[attr-defined]  # a Mute one
    desk.operator.states |= {Kind.DISBURSEMENT: Pending(), Kind.REFUND: Pending()}
    await desk.send()
    await desk.run(30)


OUT = {"paid": "50.00", "receipt": "UA50DEMO901"}


async def test_of_two_callbacks_success_counts_and_a_person_is_told(desk: Desk) -> None:
    """They come in the same seconds, or the failure afterwards, and again and again."""
    await paying_out(desk)
    row = await desk.payment("disburse")
    for body in (FAILED, OUT):
        await desk.callbacks.keep("scripted", f"disbursement/{row.id}", "application/json", json.dumps(body).encode())
    await desk.run(30)
    assert await desk.order_states() == ["done"]
    await told(desk, "disburse", FAILED, copies=5)
    assert await alerts(desk) == [claims.DENIED]


async def test_a_failure_after_a_success_that_was_believed_is_told_once(desk: Desk) -> None:
    """Nothing is undone by it."""
    await paying_out(desk)
    await told(desk, "disburse", OUT)
    assert await alerts(desk) == []
    await told(desk, "disburse", FAILED, copies=5)
    assert await desk.order_states() == ["done"]
    assert await alerts(desk) == [claims.DENIED]


async def test_a_success_without_an_amount_proves_nothing_and_keeps_a_failure_from_being_booked(desk: Desk) -> None:
    """Only callbacks tell, and they differ: the payout is parked, not refunded."""
    await paying_out(desk)
    await told(desk, "disburse", SILENT)
    assert (await desk.payment("disburse")).state == "pending"
    await told(desk, "disburse", FAILED)
    assert await desk.order_states() == ["parked"]
    assert await alerts(desk) == [claims.CONTRADICTED]


async def test_a_success_without_an_amount_after_the_refund_is_told(desk: Desk) -> None:
    """It cannot be booked by itself, and must not be silent."""
    await paying_out(desk)
    await told(desk, "disburse", FAILED)
    await told(desk, "undo:collect", PAID)
    await told(desk, "disburse", SILENT, copies=3)
    assert await desk.order_states() == ["undone"]
    assert await alerts(desk) == [claims.CONTRADICTED]
