"""The same in the operators' own bytes: their real clients, their callbacks, and queries that say otherwise."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2 as httpx
import pytest
from conftest import FakeClock
from desk import Desk, open_desk
from redis.asyncio import Redis
from safaricom import GIVEN, TOKEN, pair
from test_contradictions import alerts

from ussd_app.config import load
from ussd_app.money import Money
from ussd_app.movement import Claimed
from ussd_app.msisdn import Msisdn
from ussd_app.operators import Kind, Operator, airtel, daraja, mtn_momo
from ussd_app.orders import Placed, send_money
from ussd_app.payments import claims
from ussd_app.payments.decisions import Decision
from ussd_app.providers.airtel import written
from ussd_app.store import Store

HOUR = 3600
Answers = Callable[[httpx.Request], httpx.Response]


def reply(body: str, status: int = 200) -> httpx.Response:
    """One answer."""
    return httpx.Response(status, content=body.encode(), headers={"content-type": "application/json"})


@asynccontextmanager
async def using(desk: Desk, operator: Callable[[httpx.AsyncClient], Operator], answers: Answers) -> AsyncIterator[None]:
    """The desk with one real client, and these answers to it."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(answers), trust_env=False) as http:
        built = operator(http)
        desk.payments.operators = {built.name: built}
        desk.orders.routes.operators = desk.payments.operators
        yield


@pytest.fixture
async def desk(store: Store, database: str, clock: FakeClock) -> AsyncIterator[Desk]:
    """A desk."""
    async with open_desk(store, database, clock) as desk:
        yield desk


async def send(desk: Desk, country: str, amount: int, currency: str) -> None:
    """Somebody sends somebody money."""
    placed = await send_money.place(
        desk.orders, run="run-1", msisdn=Msisdn(f"+{country}000001"), sender_name="Ama",
        recipient=Msisdn(f"+{country}000002"), recipient_name="Kofi", amount=Money.of(amount, currency), language="en",
    )  # fmt: skip
    assert isinstance(placed, Placed)
    await desk.run(5)


async def told(desk: Desk, step: str, body: str, path: str | None = None) -> None:
    """A callback comes, and is acted upon."""
    row = await desk.payment(step)
    where = f"{row.kind}/{row.id}" if path is None else path
    await desk.callbacks.keep(row.operator, where, "application/json", body.encode())
    await desk.run(11)


async def in_doubt(desk: Desk, step: str, *, first: bool) -> None:
    """The payment waits for a person; where its failure came first it is in doubt."""
    row = await desk.payment(step)
    assert row.state == ("parked" if first else "failed")
    assert await desk.order_states() == ["parked"]
    assert await alerts(desk) == [claims.CONTRADICTED]
    assert desk.outbox.templates[-1] == "still_waiting"
    assert await desk.orders.decide(row.id, Decision("the treasurer", "FROM-STATEMENT")) is None


# --- M-PESA: the prompt's own bytes of wire/momo.md 3.2

CHECKOUT = "ws_CO_050120260930004171700000001"
PUSHED = (
    f'{{"MerchantRequestID":"1000-2000417-1","CheckoutRequestID":"{CHECKOUT}","ResponseCode":"0",'
    '"ResponseDescription":"Success. Request accepted for processing","CustomerMessage":"Success."}'
)
QUERIED = (
    '{"ResponseCode":"0","ResponseDescription":"The service request has been accepted successfully",'
    f'"MerchantRequestID":"1000-2000417-1","CheckoutRequestID":"{CHECKOUT}","ResultCode":"CODE","ResultDesc":"x"}}'
)
STK = (
    f'{{"Body":{{"stkCallback":{{"MerchantRequestID":"1000-2000417-1","CheckoutRequestID":"{CHECKOUT}",'
    '"ResultCode":0,"ResultDesc":"The service request is processed successfully.","CallbackMetadata":{"Item":['
    'AMOUNT{"Name":"MpesaReceiptNumber","Value":"UA50DEMO417"},{"Name":"Balance"},'
    '{"Name":"TransactionDate","Value":20260105093042},{"Name":"PhoneNumber","Value":254700000001}]}}}}'
)
WHOLE = STK.replace("AMOUNT", '{"Name":"Amount","Value":1515.00},')


@pytest.mark.parametrize("first", [True, False], ids=["callback first", "query first"])
@pytest.mark.parametrize("body", [WHOLE, STK.replace("AMOUNT", "")], ids=["whole", "no amount"])
async def test_daraja(desk: Desk, redis: Redis, clock: FakeClock, body: str, *, first: bool) -> None:
    """A prompt: ResultCode 0 with receipt by callback, 1032 by the query."""
    code = ["4999"]

    def answers(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/oauth/v1/generate":
            return reply(TOKEN)
        return reply(PUSHED if "processrequest" in request.url.path else QUERIED.replace("CODE", code[0]))

    settings = load(daraja.Settings, **GIVEN, certificate=pair()[1])
    async with using(desk, lambda http: daraja.Operator(settings, http, redis, clock), answers):
        await send(desk, "254700", 1500, "KES")
        code[0] = "1032"
        if not first:
            await desk.run(30)
            assert desk.outbox.templates == ["payment_rejected"]
        await told(desk, "collect", body)
        await in_doubt(desk, "collect", first=first)


RESULT: dict[str, Any] = {
    "ResultType": 0, "ResultCode": 0, "ResultDesc": "The service request is processed successfully.",
    "ConversationID": "AG_20260105_00000000000000000417", "TransactionID": "UA50DEMO418",
}  # fmt: skip


@pytest.mark.parametrize(
    ("parameters", "alert", "state"),
    [
        ([{"Key": "TransactionAmount", "Value": 1500}, {"Key": "TransactionReceipt", "Value": "UA50DEMO418"}],
         claims.DENIED, "done"),
        ([{"Key": "TransactionReceipt", "Value": "UA50DEMO418"}], claims.CONTRADICTED, "parked"),
    ],
    ids=["whole", "no amount"],
)  # fmt: skip
async def test_daraja_payouts(
    desk: Desk, redis: Redis, clock: FakeClock, parameters: list[dict[str, Any]], alert: str, state: str
) -> None:
    """Two results of one B2C that contradict: paid is believed where it says how much, and a person is told."""

    def answers(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/oauth/v1/generate":
            return reply(TOKEN)
        if "processrequest" in request.url.path:
            return reply(PUSHED)
        return reply(QUERIED.replace("CODE", "0") if "stkpushquery" in request.url.path else json.dumps(TAKEN))

    settings = load(daraja.Settings, **GIVEN, certificate=pair()[1])
    async with using(desk, lambda http: daraja.Operator(settings, http, redis, clock), answers):
        await send(desk, "254700", 1500, "KES")
        await desk.run(30)
        row = await desk.payment("disburse")
        named = {**RESULT, "OriginatorConversationID": str(row.id)}
        paid = {**named, "ResultParameters": {"ResultParameter": parameters}}
        for result in (paid, {**named, "ResultCode": 2040, "ResultDesc": "Credit Party customer type is not valid"}):
            body = json.dumps({"Result": result}).encode()
            await desk.callbacks.keep("daraja", f"disbursement/{row.id}", "application/json", body)
        await desk.run(30)
        assert await desk.order_states() == [state]
        assert await alerts(desk) == [alert]
        assert (await desk.payment("disburse")).state == ("succeeded" if state == "done" else "parked")


TAKEN = {
    "ConversationID": "AG_20260105_00000000000000000417", "OriginatorConversationID": "x", "ResponseCode": "0",
    "ResponseDescription": "Accept the service request successfully.",
}  # fmt: skip


# --- MTN MoMo: all kinds, one body

MTN = {
    "paid": '{"financialTransactionId":"9100000417","externalId":"LABEL","amount":"AMOUNT","currency":"GHS",'
    '"payer":{"partyIdType":"MSISDN","partyId":"233240000001"},"status":"SUCCESSFUL"}',
    "failed": '{"externalId":"LABEL","amount":"AMOUNT","currency":"GHS","status":"FAILED","reason":"EXPIRED"}',
    "pending": '{"externalId":"LABEL","amount":"AMOUNT","currency":"GHS","status":"PENDING"}',
}


@pytest.mark.parametrize("first", [True, False], ids=["callback first", "query first"])
@pytest.mark.parametrize("kind", [Kind.COLLECTION, Kind.DISBURSEMENT, Kind.REFUND])
async def test_mtn(desk: Desk, redis: Redis, clock: FakeClock, kind: Kind, *, first: bool) -> None:
    """SUCCESSFUL with a financialTransactionId by callback, FAILED by GET."""
    words = {"requesttopay": "paid", "transfer": "failed" if kind is Kind.REFUND else "paid", "refund": "paid"}
    own = {Kind.COLLECTION: "requesttopay", Kind.DISBURSEMENT: "transfer", Kind.REFUND: "refund"}[kind]
    step, amount = {
        Kind.COLLECTION: ("collect", "50.5"), Kind.DISBURSEMENT: ("disburse", "50"),
        Kind.REFUND: ("undo:collect", "50.5"),
    }[kind]  # fmt: skip
    words[own] = "pending"

    def body(resource: str, word: str) -> str:
        told = MTN[word].replace('"externalId":"LABEL",', "")
        return told.replace("AMOUNT", "50" if resource == "transfer" else "50.5")

    def answers(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path.endswith("/token/"):
            return reply('{"access_token":"t","token_type":"access_token","expires_in":3600}')
        if request.method == "POST":
            return reply("", 202)
        resource = path.split("/")[-2]
        return reply(body(resource, words[resource]))

    given = {"subscription_key": "k", "api_user": "u", "api_key": "a", "environment": "mtnghana"}
    settings = load(mtn_momo.Settings, **given)
    async with using(desk, lambda http: mtn_momo.Operator(settings, http, redis, clock), answers):
        await send(desk, "233240", 50, "GHS")
        await desk.run(25)
        words[own] = "failed"
        if not first:
            await desk.run(60)
        asked = (await desk.payment(step)).attempts
        for _ in range(3):
            await told(desk, step, body(own, "paid"))
        assert [what for what in await alerts(desk) if what == claims.CONTRADICTED] == [claims.CONTRADICTED]
        row = await desk.payment(step)
        assert (row.state, row.attempts) == ("parked" if first else "failed", asked)
        if first and kind is Kind.DISBURSEMENT:
            await desk.run(100 * HOUR)
            assert await desk.order_states() == ["parked"]
        assert f'"amount":"{amount}"' in body(own, "paid")


# --- Airtel: one address for all, and no amount

AIRTEL_PAID = (
    '{"transaction":{"id":"ID","message":"Paid UGX 50","status_code":"TS","airtel_money_id":"MP260105.0930.A00417"}}'
)
AIRTEL = (
    '{"data":{"transaction":{"airtel_money_id":"","id":"ID","message":"x","status":"WORD"}},"status":{"code":"200",'
    '"message":"SUCCESS","result_code":"ESB000010","response_code":"CODE","success":true}}'
)


@pytest.mark.parametrize("first", [True, False], ids=["callback first", "query first"])
async def test_airtel(desk: Desk, redis: Redis, clock: FakeClock, *, first: bool) -> None:
    """TS with an airtel_money_id by callback, TF by the enquiry."""
    said = ["TIP", "DP00800001006"]

    def answers(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/oauth2/token"):
            return reply('{"access_token":"t","expires_in":"180","token_type":"bearer"}')
        key = request.url.path.rpartition("/")[2]
        word, code = ("TIP", "DP00800001006") if request.method == "POST" else said
        return reply(AIRTEL.replace("ID", key or "X").replace("WORD", word).replace("CODE", code))

    settings = load(airtel.Settings, client_id="c", client_secret="s", country="UG")
    async with using(desk, lambda http: airtel.Operator(settings, http, redis, clock), answers):
        await send(desk, "256700", 500, "UGX")
        said[:] = "TF", "DP00800001008"
        if not first:
            await desk.run(30)
            assert desk.outbox.templates == ["payment_rejected"]
        row = await desk.payment("collect")
        body = AIRTEL_PAID.replace('"ID"', f'"{written(row.id)}"')
        for _ in range(3):
            await told(desk, "collect", body, path="")
        await in_doubt(desk, "collect", first=first)


async def test_what_claims_without_an_amount_names_its_receipt(redis: Redis, clock: FakeClock) -> None:
    """Shown to whoever decides."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: reply(""))) as http:
        ug = airtel.Operator(load(airtel.Settings, client_id="c", client_secret="s", country="UG"), http, redis, clock)
        given = {"subscription_key": "k", "api_user": "u", "api_key": "a", "environment": "mtnghana"}
        gh = mtn_momo.Operator(load(mtn_momo.Settings, **given), http, redis, clock)
    assert ug.parse_callback("", AIRTEL_PAID.encode()).status == Claimed("TS", receipt="MP260105.0930.A00417")
    body = b'{"status":"SUCCESSFUL","financialTransactionId":"9100000417","amount":"","currency":"GHS"}'
    note = gh.parse_callback("collection/6f1d2c3b-4a59-4e68-8d77-0a1b2c3d4e5f", body)
    assert note.status == Claimed("no amount in the answer", receipt="9100000417")
