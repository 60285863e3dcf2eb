"""Callbacks that nobody signs: proof where no query tells, up to an amount, and only at a payment's own address."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID, uuid4

import pytest
from conftest import FakeClock
from desk import Desk, ScriptedOperator, open_desk
from sqlalchemy import func, select

from ussd_app.errors import Reason
from ussd_app.money import Money
from ussd_app.operators import CallbackNote, Failed, Kind, Pending, Status, Succeeded
from ussd_app.payments import claims
from ussd_app.payments.decisions import Decision
from ussd_app.store import Store
from ussd_app.tables import audit, callbacks

HOUR = 3600
DAY = 24 * HOUR


@dataclass
class Mute(ScriptedOperator):
    """An operator that no query asks about what it pays out; its callbacks are JSON of a status."""

    unqueried: frozenset[Kind] = frozenset({Kind.DISBURSEMENT, Kind.REFUND})
    most: int = 10_000  # minor units

    def believed_up_to(self, currency: str) -> Money:
        """As the test likes."""
        return Money(self.most, currency)

    def parse_callback(self, path: str, body: bytes) -> CallbackNote:
        """``{"paid": "50.00", "receipt": "R"}``, ``{"failed": "expired"}``, or nothing final."""
        try:
            reference = UUID(path.split("/")[1])
        except (IndexError, ValueError):
            reference = None
        return CallbackNote(reference, _status(json.loads(body)))


def _status(told: dict[str, str]) -> Status:
    if "paid" in told:
        return Succeeded(told.get("receipt", "R-1"), Money.of(told["paid"], "GHS"))
    return Failed(Reason(told["failed"])) if "failed" in told else Pending()


@pytest.fixture
async def desk(store: Store, database: str, clock: FakeClock) -> AsyncIterator[Desk]:
    """A desk whose only operator answers queries about collections alone, with Pending to all others."""
    async with open_desk(store, database, clock) as desk:
        desk.operator = Mute()
        desk.operator.states = {Kind.DISBURSEMENT: Pending(), Kind.REFUND: Pending()}
        desk.payments.operators = {"scripted": desk.operator}
        desk.orders.routes.operators = desk.payments.operators
        yield desk


async def told(desk: Desk, step: str, body: dict[str, str], tail: str = "") -> None:
    """A callback comes to the address of a step's payment, and is acted upon."""
    row = await desk.payment(step)
    path = f"{row.kind}/{row.id}{tail}"
    await desk.callbacks.keep("scripted", path, "application/json", json.dumps(body).encode())
    await desk.run(30)


async def paying_out(desk: Desk) -> None:
    """Ama's money is collected, and its payout has been asked for."""
    await desk.send()
    await desk.run(30)
    assert (await desk.payment("disburse")).state == "pending"


async def test_a_callback_at_the_payments_own_address_ends_it(desk: Desk) -> None:
    """The amount fits, the address is its own, and no query could tell more."""
    await paying_out(desk)
    await told(desk, "disburse", {"paid": "50.00", "receipt": "UA50DEMO417"})
    assert await desk.order_states() == ["done"]
    assert (await desk.payment("disburse")).receipt == "UA50DEMO417"
    assert await desk.balance("float:scripted") == "0.50"
    assert desk.outbox.templates == ["money_sent", "money_received"]


async def test_a_failure_is_believed_likewise_and_the_sender_is_refunded(desk: Desk) -> None:
    """What was collected goes back, by a payment of its own that a callback ends too."""
    await paying_out(desk)
    await told(desk, "disburse", {"failed": "party_not_found"})
    assert await desk.order_states() == ["undoing"]
    await told(desk, "undo:collect", {"paid": "50.50"})
    assert await desk.order_states() == ["undone"]
    assert await desk.balance("float:scripted") == "0.00"


async def test_what_is_not_final_ends_nothing(desk: Desk) -> None:
    """A timeout at the operator's own queue, or words nobody listed."""
    await paying_out(desk)
    await told(desk, "disburse", {"words": "in the queue"}, "/timeout")
    assert await desk.order_states() == ["open"]
    await told(desk, "disburse", {"paid": "50.00"}, "/status")
    assert await desk.order_states() == ["done"]


@pytest.mark.parametrize("body", [{"paid": "50.00"}, {"failed": "internal"}])
async def test_above_the_limit_a_person_decides(desk: Desk, body: dict[str, str]) -> None:
    """Paid or failed, it is parked with an alert that says why, and the sender is told that we look."""
    desk.operator.most = 4_999  # type: ignore[attr-defined]  # a Mute one
    await paying_out(desk)
    await told(desk, "disburse", body)
    assert await desk.order_states() == ["parked"]
    async with desk.store.look() as connection:
        alerts = list((await connection.execute(select(audit.c.detail["what"].astext))).scalars())
    assert alerts == [claims.OVER]
    assert desk.outbox.templates == ["still_waiting"]
    row = await desk.payment("disburse")
    word = Decision("the treasurer", "FROM-STATEMENT" if "paid" in body else None)
    assert await desk.orders.decide(row.id, word) is None
    await desk.run(30)
    assert await desk.order_states() == ["done" if "paid" in body else "undoing"]


async def test_another_amount_is_never_booked(desk: Desk) -> None:
    """Whoever wrote it, a person looks."""
    await paying_out(desk)
    await told(desk, "disburse", {"paid": "49.00"})
    assert await desk.order_states() == ["parked"]
    assert (await desk.payment("disburse")).state == "parked"


async def test_a_late_success_after_failure_is_owed_to_us(desk: Desk) -> None:
    """The refund has gone out already: the payout is booked against what is owed, never collected by itself."""
    await paying_out(desk)
    await told(desk, "disburse", {"failed": "expired"})
    await told(desk, "undo:collect", {"paid": "50.50"})
    await told(desk, "disburse", {"paid": "50.00"})
    await told(desk, "disburse", {"paid": "50.00"})
    assert (await desk.payment("disburse")).state == "late"
    assert await desk.balance("receivable") == "50.00"


async def test_only_the_payments_own_address_proves_anything(desk: Desk) -> None:
    """Another payment's path, the registered address, and a kind that it is not: kept, asked about, not believed."""
    await paying_out(desk)
    row = await desk.payment("disburse")
    body = json.dumps({"paid": "50.00"}).encode()
    for path in ("", f"disbursement/{uuid4()}", f"refund/{row.id}", f"collection/{row.id}", f"disbursement/{row.id}x"):
        await desk.callbacks.keep("scripted", path, "application/json", body)
    await desk.run(60)
    assert await desk.order_states() == ["open"]


async def test_a_queried_kind_is_asked_about_whatever_a_callback_claims(desk: Desk) -> None:
    """The collection's callback says failed, the operator says paid."""
    desk.operator.states[Kind.COLLECTION] = Pending()
    await desk.send()
    await desk.run(5)
    await told(desk, "collect", {"failed": "expired"})
    assert (await desk.payment("collect")).state == "pending"
    desk.operator.states[Kind.COLLECTION] = Succeeded("", Money.of("50.50", "GHS"))
    await told(desk, "collect", {"failed": "expired"})
    assert (await desk.payment("collect")).state == "succeeded"


@pytest.mark.parametrize(
    ("query", "callback", "reason", "said"),
    [
        (Reason.INTERNAL, "insufficient_funds", Reason.INSUFFICIENT_FUNDS, "payment_failed_funds"),
        (Reason.INTERNAL, "internal", Reason.INTERNAL, "payment_failed"),
        (Reason.EXPIRED, "insufficient_funds", Reason.EXPIRED, "payment_expired"),
    ],
)
async def test_a_reason_is_taken_from_a_callback_where_the_query_has_none(
    desk: Desk, query: Reason, callback: str, reason: Reason, said: str
) -> None:
    """It ends nothing before the query says so, and what the query says goes before it."""
    desk.operator.states[Kind.COLLECTION] = Pending()
    await desk.send()
    await desk.run(5)
    await told(desk, "collect", {"failed": callback})
    assert (await desk.payment("collect")).state == "pending"
    desk.operator.states[Kind.COLLECTION] = Failed(query)
    await desk.run(60)
    row = await desk.payment("collect")
    assert (row.state, row.reason, desk.outbox.templates) == ("failed", reason, [said])


async def test_a_receipt_is_taken_from_a_callback_where_the_query_has_none(desk: Desk) -> None:
    """Before the answer or after it; never with another amount, and never over one that is known."""
    desk.operator.states[Kind.COLLECTION] = Succeeded("", Money.of("50.50", "GHS"))
    await desk.send()
    await desk.run(15)
    assert (await desk.payment("collect")).receipt == ""
    await told(desk, "collect", {"paid": "1.00", "receipt": "FORGED"})
    assert (await desk.payment("collect")).receipt == ""
    await told(desk, "collect", {"paid": "50.50", "receipt": "UA50DEMO900"})
    await told(desk, "collect", {"paid": "50.50", "receipt": "LATER"})
    assert (await desk.payment("collect")).receipt == "UA50DEMO900"


async def test_a_refund_carries_the_receipt_that_was_known_when_it_was_made(desk: Desk) -> None:
    """And keeps to it: another one that comes later may not turn it into another request."""
    desk.operator.states[Kind.COLLECTION] = Succeeded("UA50DEMO900", Money.of("50.50", "GHS"))
    await paying_out(desk)
    await told(desk, "disburse", {"failed": "party_not_found"})
    refund = next(r for r in desk.operator.submissions if r.kind is Kind.REFUND)
    assert refund.receipt == "UA50DEMO900"


async def test_a_hundred_copies_settle_once(desk: Desk) -> None:
    """All are kept; one is enough."""
    await paying_out(desk)
    row = await desk.payment("disburse")
    body = json.dumps({"paid": "50.00"}).encode()
    path = f"disbursement/{row.id}"
    keep = desk.callbacks.keep
    await asyncio.gather(*(keep("scripted", path, "application/json", body) for _ in range(100)))
    await desk.run(60)
    assert await desk.order_states() == ["done"]
    assert await desk.balance("float:scripted") == "0.50"
    async with desk.store.look() as connection:
        assert (await connection.execute(select(func.count()).select_from(callbacks))).scalar_one() == 100
