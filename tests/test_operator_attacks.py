"""Attempts to have money lost, doubled, invented or sent astray by operators, callbacks, tills and our own people."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import httpx2 as httpx
import pytest
from conftest import FakeClock
from desk import Desk, open_desk
from redis.asyncio import Redis
from sqlalchemy import select
from starlette.exceptions import HTTPException
from test_claims import Mute, paying_out, told
from test_doors import posted
from test_floats import put
from tills import HOUR, RECEIPT, Shop, cedis, shop

from ussd_app.config import load
from ussd_app.errors import Reason, Rejected, Unknown
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.operators import Failed, Kind, Pending, Request, Succeeded, airtel
from ussd_app.orders import Placed, floats
from ussd_app.payments import claims, decisions
from ussd_app.payments.decisions import Decision, Undecided
from ussd_app.providers.airtel import written
from ussd_app.store import Store
from ussd_app.tables import audit, payments
from ussd_app.web.doors import Door, secret_of

__all__ = ["shop"]


@pytest.fixture
async def desk(store: Store, database: str, clock: FakeClock) -> AsyncIterator[Desk]:
    """A desk whose only operator tells of payouts by callbacks alone."""
    async with open_desk(store, database, clock) as desk:
        desk.operator = Mute()
        desk.operator.states = {Kind.DISBURSEMENT: Pending(), Kind.REFUND: Pending()}
        desk.payments.operators = {"scripted": desk.operator}
        desk.orders.routes.operators = desk.payments.operators
        yield desk


async def alerts(desk: Desk) -> list[str]:
    """What a person was told, in order, but of floats."""
    query = select(audit.c.detail["what"].astext).where(audit.c.event == "alert").order_by(audit.c.id)
    async with desk.store.look() as connection:
        said = list((await connection.execute(query)).scalars())
    return [what for what in said if not what.startswith("float ")]


# --- what a person decides


async def test_of_two_people_who_decide_one_payment_one_has(desk: Desk) -> None:
    """Both have seen it parked, and read the statement differently: the second word changes nothing."""
    desk.operator.most = 1  # type: ignore[attr-defined]  # a Mute one
    await paying_out(desk)
    await told(desk, "disburse", {"paid": "50.00"})
    row = await desk.payment("disburse")
    assert await desk.orders.decide(row.id, Decision("the treasurer", None)) is None
    assert await desk.orders.decide(row.id, Decision("somebody else", None)) == Undecided(decisions.FAILED)
    assert (await desk.payment("disburse")).state == "failed"
    assert await desk.order_states() == ["undoing"]
    async with desk.store.look() as connection:
        decided = select(audit.c.detail["by"].astext).where(audit.c.event == "decided")
        assert list((await connection.execute(decided)).scalars()) == ["the treasurer"]


async def test_nobody_calls_failed_what_is_under_way(desk: Desk) -> None:
    """A callback or an answer of the operator's is still to come, and the money may leave a minute later."""
    await paying_out(desk)
    row = await desk.payment("disburse")
    assert isinstance(await desk.orders.decide(row.id, Decision("the treasurer", None)), Undecided)
    assert (await desk.payment("disburse")).state == "pending"


# --- what callbacks claim


async def test_a_late_success_over_what_is_believed_is_told_to_a_person(desk: Desk) -> None:
    """The payout had been refused and its refund is on the way: nobody would ever have heard of it."""
    desk.operator.most = 1  # type: ignore[attr-defined]  # a Mute one
    desk.operator.answers[Kind.DISBURSEMENT].append(Rejected(Reason.INTERNAL))
    await paying_in(desk)
    assert (await desk.payment("disburse")).state == "failed"
    await told(desk, "disburse", {"failed": "internal"})
    assert await alerts(desk) == []
    await told(desk, "disburse", {"paid": "50.00"})
    assert await alerts(desk) == [claims.OVER]
    assert (await desk.payment("disburse")).state == "failed"


async def test_a_second_receipt_of_one_payment_is_told_to_a_person(desk: Desk) -> None:
    """An operator that was busy, and asked its customer all the same, has taken twice what we have booked once."""
    await paying_out(desk)
    await told(desk, "collect", {"paid": "50.50", "receipt": "R-1"})
    assert await alerts(desk) == []
    await told(desk, "collect", {"paid": "50.50", "receipt": "R-2"})
    assert await alerts(desk) == [claims.TWICE]
    assert (await desk.payment("collect")).receipt == "R-1"


async def test_a_refund_waits_for_our_credentials_to_be_mended(desk: Desk) -> None:
    """They had expired, which ended every refund of that hour for good."""
    desk.operator.answers[Kind.DISBURSEMENT].append(Rejected(Reason.NOT_AUTHORISED))
    desk.operator.answers[Kind.REFUND].extend([Rejected(Reason.NOT_AUTHORISED)] * 9)
    await paying_in(desk)
    await desk.run(HOUR)
    assert await desk.order_states() == ["undoing"]
    await told(desk, "undo:collect", {"paid": "50.50"})
    assert await desk.order_states() == ["undone"]
    assert len([each for each in desk.operator.submissions if each.kind is Kind.REFUND]) == 10


async def test_a_refund_that_comes_late_is_not_asked_for_a_third_time(desk: Desk) -> None:
    """The first had failed, a person asked again, the first arrived after all, and the second failed too."""
    desk.operator.answers[Kind.DISBURSEMENT].append(Rejected(Reason.INTERNAL))
    placed = await desk.send()
    assert isinstance(placed, Placed)
    await desk.run(30)
    await told(desk, "undo:collect", {"failed": "internal"})
    assert await desk.orders.refund_again(placed.reference, "the treasurer")
    await told(desk, "undo:collect", {"paid": "50.50"})
    async with desk.store.look() as connection:
        second = (await connection.execute(select(payments.c.step).order_by(payments.c.created_at.desc()))).scalar()
    await told(desk, second or "", {"failed": "internal"})
    assert not await desk.orders.refund_again(placed.reference, "the treasurer")
    assert await desk.order_states() == ["undone"]
    assert [await desk.balance(each) for each in ("float:scripted", "receivable")] == ["0.00", "0.00"]


async def paying_in(desk: Desk) -> None:
    """Ama's money is collected."""
    await desk.send()
    await desk.run(30)
    assert (await desk.payment("collect")).state == "succeeded"


# --- what is promised of a float


async def test_an_operator_with_two_accounts_does_not_promise_one_twice(desk: Desk) -> None:
    """What is collected there lies in the other account: twenty at once, and money to pay out three."""
    desk.operator.one_float = False
    desk.operator.states[Kind.COLLECTION] = Pending()
    await put(desk, "170", "float:scripted:disbursement")
    placed = await asyncio.gather(*(desk_send(desk, f"run-{number}") for number in range(20)))
    assert placed.count("Placed") == 3


async def desk_send(desk: Desk, run: str) -> str:
    """What becomes of 50 for Kofi."""
    try:
        return type(await desk.send(run=run)).__name__
    except AssertionError:
        return "refused"


async def test_an_orders_end_does_not_wait_for_who_promises_of_its_float(desk: Desk) -> None:
    """A group's payout has looked at the float and is not placed yet; an order promised beside it ends meanwhile."""
    await put(desk, "1000", "float:scripted")
    await paying_out(desk)
    async with desk.store.work() as connection:
        assert await floats.pauses(connection, desk.orders, desk.operator, cedis("1")) is None
        async with asyncio.timeout(20):
            await told(desk, "disburse", {"paid": "50.00"})
            desk.operator.states.clear()
            await desk.run(60)
        assert await desk.order_states() == ["done"]


# --- money at our till


async def test_a_copy_of_what_sent_it_back_does_not_claim_it_again(shop: Shop) -> None:
    """The order has failed meanwhile and given the deposit up: it would be claimed for ever, for what is over."""
    deposit = await shop.paid()
    shop.operator.states[Kind.DISBURSEMENT] = Failed(Reason.PARTY_NOT_FOUND)
    placed = await shop.back(deposit)
    await shop.desk.run(30)
    assert await shop.back(deposit) == placed
    assert (await shop.row()).claimed_at is None
    shop.operator.states.clear()
    assert isinstance(await shop.back(deposit, "run-2"), Placed)


async def test_what_is_paid_under_an_orders_code_while_its_prompt_waits_is_not_lost(shop: Shop) -> None:
    """The prompt did not come, so its payer typed the account themselves: that is no collection, and nobody's yet."""
    shop.operator.states[Kind.COLLECTION] = Pending()
    placed = await shop.desk.send()
    assert isinstance(placed, Placed)
    await shop.desk.run(5)
    await shop.told("50.50", label=placed.reference)
    await shop.answered("50.50")
    assert (await shop.row()).state == "told"
    shop.operator.states[Kind.COLLECTION] = Failed(Reason.EXPIRED)
    await shop.desk.run(60)
    assert await shop.desk.order_states() == ["failed"]
    await shop.answered("50.50")
    assert await shop.alerts() == ["till money for a collection that failed"]


async def test_what_is_paid_twice_under_an_orders_code_counts_twice(shop: Shop) -> None:
    """By hand and by the prompt: the one whose receipt the collection has is it, the other is a deposit."""
    shop.operator.states[Kind.COLLECTION] = Pending()
    placed = await shop.desk.send()
    assert isinstance(placed, Placed)
    await shop.desk.run(5)
    await shop.told("50.50", label=placed.reference, receipt="BYHAND1")
    shop.operator.states[Kind.COLLECTION] = Succeeded("BYPROMPT2", cedis("50.50"))
    await shop.desk.run(30)
    await shop.told("50.50", label=placed.reference, receipt="BYPROMPT2")
    for receipt in ("BYHAND1", "BYPROMPT2"):
        await shop.answered("50.50", receipt)
    assert [(await shop.row(each)).state for each in ("BYHAND1", "BYPROMPT2")] == ["confirmed", "own"]
    await shop.books(held="51.00", waiting="50.50")


async def test_a_collection_that_failed_and_comes_late_is_not_booked_as_a_deposit_too(shop: Shop) -> None:
    """Its notice, without an account, stands beside a failure that the next look takes back."""
    shop.operator.states[Kind.COLLECTION] = Failed(Reason.UNREACHABLE)
    await shop.desk.send()
    await shop.desk.run(30)
    assert await shop.desk.order_states() == ["failed"]
    await shop.told("50.50")
    await shop.answered("50.50")
    shop.operator.states[Kind.COLLECTION] = Succeeded(RECEIPT, cedis("50.50"))
    await shop.desk.run(HOUR)
    await shop.answered("50.50")
    assert await shop.desk.order_states() == ["undone"]
    assert (await shop.row()).state == "own"
    await shop.books(held="0.00", waiting="0.00")


async def test_a_notice_that_comes_late_is_not_booked_beside_its_collection(shop: Shop) -> None:
    """Our web was away for an hour, so its callback never gave us its receipt."""
    shop.operator.states[Kind.COLLECTION] = Succeeded("", cedis("50.50"))
    await shop.desk.send()
    await shop.desk.run(HOUR)
    assert await shop.desk.order_states() == ["done"]
    await shop.told("50.50")
    await shop.answered("50.50")
    await shop.books(held="0.50", waiting="0.00")


# --- what an operator's answer is about


async def test_a_failure_of_another_transaction_ends_nothing(redis: Redis, clock: FakeClock) -> None:
    """Airtel answers about an id that is not the one it was asked for."""
    reference = uuid4()

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("token"):
            return httpx.Response(200, json={"access_token": "t", "expires_in": "180"})
        status = {"response_code": "DP00800001007", "result_code": "ESB000010", "success": False}
        data = {"transaction": {"id": written(uuid4()), "status": "TF"}}
        return httpx.Response(200, json={"data": data, "status": status})

    settings = load(airtel.Settings, client_id="c", client_secret="s", country="UG")
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        operator = airtel.Operator(settings, http, redis, clock)
        with pytest.raises(Unknown):
            await operator.check(
                Request(reference, Kind.COLLECTION, Msisdn("+256700000001"), Money.of(500, "UGX"), "L", "N", "http://x")
            )


# --- who may call back


def test_whoever_learns_a_registered_address_learns_no_payments() -> None:
    """It stands in portals and in mails: a forged deposit must not be confirmed at an address made from it."""
    door = Door("s3cret", key=b"ours")
    path, own = f"deposit/{RECEIPT}", secret_of("s3cret", f"deposit/{RECEIPT}", b"ours")
    with pytest.raises(HTTPException) as refused:
        door.admit(posted(secret_of("s3cret", path)), path)
    assert refused.value.status_code == 404
    door.admit(posted(own), path)
