"""Airtel Money's client against our sandbox: what one hand wrote, the other must understand."""

import tomllib
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2 as httpx
import pytest
from conftest import FakeClock
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.routing import Mount

from ussd_app import config
from ussd_app.errors import Rejected, Throttled, Unknown
from ussd_app.money import Money
from ussd_app.movement import Claimed
from ussd_app.msisdn import Msisdn
from ussd_app.operators import Failed, Kind, Pending, Request, Status, Succeeded
from ussd_app.operators.airtel import Operator, Settings
from ussd_app.providers.airtel import written
from ussd_app.sandbox import Sandbox, airtel
from ussd_app.sandbox.country import Answer
from ussd_app.sandbox.faults import Fault

ROWS = tomllib.loads((Path(__file__).parent / "operators" / "airtel.toml").read_text(encoding="utf-8"))["sandbox"]
BASE_URL = "http://127.0.0.1:8000/sandbox/airtel"
CALLBACK_URL = "http://pay.example.org/callbacks/airtel/secret"
SETTINGS = ("version", "signing", "pin", "pin_padding")  # of ours, which a row may name
PAYER, PAYEE = Msisdn("+256700000901"), Msisdn("+256700000902")
AMOUNT = Money.of(500, "UGX")


@dataclass
class World:
    """A sandbox behind ASGI, the callbacks it made, and the clients that talk to it."""

    sandbox: Sandbox
    http: httpx.AsyncClient
    redis: Redis
    clock: FakeClock
    callbacks: list[httpx.Request] = field(default_factory=list)

    def operator(self, **given: Any) -> Operator:  # noqa: ANN401 - any setting
        """A client with what the sandbox tells to be told, and this beside."""
        told = airtel.environment(BASE_URL, "UG")
        named = {name.removeprefix("AIRTEL_").lower(): value for name, value in told.items()}
        return Operator(config.load(Settings, **{**named, **given}), self.http, self.redis, self.clock)

    async def switch(self, **values: Any) -> None:  # noqa: ANN401 - any switch
        """Turn switches of Airtel's half."""
        answer = await self.http.put("http://127.0.0.1:8000/sandbox/switches", json={"airtel": values})
        assert answer.is_success, answer.text

    async def answer(self, msisdn: Msisdn, answer: Answer) -> None:
        """What the person does with the one prompt on the handset."""
        handset = self.sandbox.country.handset(msisdn)
        [prompt] = handset.prompts
        self.sandbox.country.answer(handset, prompt, answer)
        await self.sandbox.settled()

    async def passed(self, seconds: float) -> None:
        """Let time pass, and what is due happen."""
        self.clock.advance(seconds)
        await self.http.get("http://127.0.0.1:8000/sandbox/books")
        await self.sandbox.settled()

    def plan(self, name: str, target: str, **more: Any) -> None:  # noqa: ANN401 - any member of a fault
        """One fault, once unless it says otherwise."""
        fault = Fault.model_validate({"name": name, "target": f"airtel.{target}", "count": 1, **more})
        self.sandbox.country.faults.plan = [fault]

    def movements(self) -> list[tuple[str, str]]:
        """Kind and state of everything in the operator's book."""
        return [(movement.kind, movement.status) for movement in self.sandbox.country.books.movements]


@pytest.fixture
async def world(redis: Redis, clock: FakeClock) -> AsyncIterator[World]:
    """Everything but us."""
    called: list[httpx.Request] = []

    def hear(request: httpx.Request) -> httpx.Response:
        called.append(request)
        return httpx.Response(200)

    loaded = config.load(config.Settings, country="UG", operators=("airtel",))
    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(hear)) as back,
        Sandbox(loaded, clock, back, {"airtel": CALLBACK_URL}) as sandbox,
        httpx.AsyncClient(transport=httpx.ASGITransport(Starlette(routes=[Mount("/sandbox", sandbox.app)]))) as http,
    ):
        yield World(sandbox, http, redis, clock, called)


def asking(kind: Kind = Kind.COLLECTION, msisdn: Msisdn = PAYER, **given: Any) -> Request:  # noqa: ANN401 - any member
    """Five hundred shillings."""
    members: dict[str, Any] = {"callback_url": "", **given}
    return Request(uuid4(), kind, msisdn, AMOUNT, "10000417", "Order 417", **members)


async def outcome(call: Awaitable[Status]) -> str:
    """What a call came to, in the words of the rows; receipts are the sandbox's own."""
    try:
        status = await call
    except Rejected as error:
        return f"rejected {error.reason}"
    except Throttled:
        return "throttled"
    except Unknown:
        return "unknown"
    match status:
        case Pending(raw):
            return f"pending {raw}".strip()
        case Succeeded(receipt, amount):
            assert receipt
            assert amount == AMOUNT
            return "succeeded"
        case Failed(reason):
            return f"failed {reason}"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row["name"]))
async def test_a_movement_ends_as_the_row_says(row: dict[str, Any], world: World) -> None:
    """Submitted, decided and asked about, as each application is set up."""
    await world.switch(**row.get("switches", {}))
    operator = world.operator(**{name: row[name] for name in SETTINGS if name in row})
    request = asking(Kind(row["kind"]), Msisdn(row["msisdn"]))
    assert await outcome(operator.submit(request)) == row["submitted"]
    await world.sandbox.settled()
    if "person" in row:
        await world.answer(request.msisdn, row["person"])
    if "later" in row:
        await world.passed(row["later"])
    assert await outcome(operator.check(request)) == row["checked"]


@pytest.mark.parametrize("kind", [Kind.COLLECTION, Kind.DISBURSEMENT])
@pytest.mark.parametrize(("status", "where"), [(200, "result_code"), (400, "response_code")])
async def test_a_repeated_submission_is_one_movement(kind: Kind, status: int, where: str, world: World) -> None:
    """The same reference again is taken for the first one, wherever its code stands."""
    await world.switch(refusal_status=status, refusals_in=where)
    operator, request = world.operator(), asking(kind)
    await operator.submit(request)
    assert isinstance(await operator.submit(request), Pending)
    assert [found for found, _ in world.movements()] == [kind]


@pytest.mark.parametrize("kind", [Kind.COLLECTION, Kind.DISBURSEMENT])
async def test_what_was_accepted_and_not_answered_is_found_again(kind: Kind, world: World) -> None:
    """The request is taken and the answer lost: unknown, and the enquiry knows."""
    operator, request = world.operator(), asking(kind)
    world.plan("accepted_then_500", kind)
    assert await outcome(operator.submit(request)) == "unknown"
    found = await outcome(operator.check(request))
    assert found == ("pending TIP" if kind is Kind.COLLECTION else "succeeded")
    assert len(world.movements()) == 1


@pytest.mark.parametrize(
    ("fault", "expect"), [("503", "unknown"), ("429", "throttled"), ("500", "unknown"), ("html_200", "unknown")]
)
@pytest.mark.parametrize("kind", [Kind.COLLECTION, Kind.DISBURSEMENT])
async def test_faults_of_the_exchange_have_their_class(kind: Kind, fault: str, expect: str, world: World) -> None:
    """As the sandbox words them; 503 may have moved money."""
    operator = world.operator()
    world.plan(fault, kind)
    assert await outcome(operator.submit(asking(kind))) == expect


@pytest.mark.parametrize("point", ["token", "keys"])
async def test_what_breaks_before_the_movement_is_not_unknown(point: str, world: World) -> None:
    """Nothing has been asked for."""
    operator, request = world.operator(), asking(Kind.DISBURSEMENT)
    world.plan("500", point)
    assert await outcome(operator.submit(request)) == "throttled"
    assert world.movements() == []
    assert await outcome(operator.submit(request)) == "succeeded"


async def test_wrong_credentials_are_refused(world: World) -> None:
    """Before anything is asked for."""
    assert await outcome(world.operator(client_secret="wrong").submit(asking())) == "rejected not_authorised"


async def test_a_withdrawn_token_is_replaced(world: World) -> None:
    """One 401, one fresh token, one movement."""
    operator = world.operator(version="v2", signing=True)
    await world.switch(signing=True)
    world.plan("token_expired", "collection")
    assert await outcome(operator.submit(asking())) == "pending Success."
    assert world.movements() == [("collection", "pending")]


async def test_tokens_are_replaced_before_they_end(world: World) -> None:
    """For ten minutes no call is refused, however short their life."""
    operator = world.operator()
    for _ in range(20):
        assert await outcome(operator.submit(asking())) == "pending SUCCESS"
        world.clock.advance(30)


@pytest.mark.parametrize("hashed", ["body", "transaction"])
async def test_a_callback_is_authentic_and_names_its_collection(hashed: str, world: World) -> None:
    """It comes once, to the registered address, and is a reason to ask."""
    await world.switch(callback_hash=hashed)
    operator, request = world.operator(enforce_hash=True, callback_hash_key="of-the-sandbox"), asking()
    await operator.submit(request)
    await world.answer(PAYER, "approve")
    [called] = world.callbacks
    assert str(called.url) == CALLBACK_URL
    note = operator.parse_callback("", called.content)
    paid = await operator.check(request)
    assert isinstance(paid, Succeeded)
    assert (note.reference, note.status) == (request.reference, Claimed("TS", receipt=paid.receipt))
    assert operator.authentic(called.headers, called.content)
    assert not world.operator(enforce_hash=True, callback_hash_key="other").authentic({}, called.content)


async def test_a_forged_callback_is_refused_and_the_enquiry_is_right(world: World) -> None:
    """Its hash is of another key, its amount another one."""
    await world.switch(callback_hash="body")
    operator, request = world.operator(enforce_hash=True, callback_hash_key="of-the-sandbox"), asking()
    forged = asking(msisdn=Msisdn("+256700000064"))
    await operator.submit(forged)
    await world.sandbox.settled()
    [called] = world.callbacks
    assert not operator.authentic(called.headers, called.content)
    assert await outcome(operator.check(forged)) == "succeeded"
    assert await outcome(operator.check(request)) == "unknown"


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("flag", [False, True])
@pytest.mark.parametrize("known", [False, True], ids=["receipt unknown", "receipt known"])
async def test_a_collection_is_refunded_once(
    known: bool,  # noqa: FBT001 - a parameter of a test
    flag: bool,  # noqa: FBT001 - the same
    version: str,
    world: World,
) -> None:
    """The payer has it back; asked for again, it is found done and not asked for."""
    await world.switch(refund_flag=flag)
    operator, collection = world.operator(version=version), asking()
    await operator.submit(collection)
    await world.answer(PAYER, "approve")
    paid = await operator.check(collection)
    assert isinstance(paid, Succeeded)
    refund = asking(Kind.REFUND, refunds=collection.reference, receipt=paid.receipt if known else "")
    assert await outcome(operator.check(refund)) == "pending TS"
    assert await outcome(operator.submit(refund)) == "pending SUCCESS"
    assert await operator.check(refund) == await operator.submit(refund) == Succeeded(paid.receipt, AMOUNT)
    assert world.movements() == [("collection", "succeeded"), ("refund", "succeeded")]
    books = world.sandbox.country.books
    assert books.balances(world.sandbox.country.wallet(PAYER.digits, "UGX"))["UGX"] == "1000"
    assert await outcome(operator.check(collection)) == "unknown"  # it was paid, and is no longer


async def test_a_refund_of_what_was_not_paid_is_not_asked_for(world: World) -> None:
    """Nobody has decided yet."""
    operator, collection = world.operator(), asking()
    await operator.submit(collection)
    refund = asking(Kind.REFUND, refunds=collection.reference, receipt="MP1")
    assert await outcome(operator.submit(refund)) == "throttled"
    assert await outcome(operator.check(refund)) == "unknown"
    assert world.movements() == [("collection", "pending")]


async def test_a_refund_that_was_not_answered_is_found_again(world: World) -> None:
    """It is done, and its enquiry says so."""
    operator, collection = world.operator(), asking()
    await operator.submit(collection)
    await world.answer(PAYER, "approve")
    refund = asking(Kind.REFUND, refunds=collection.reference)
    world.plan("accepted_then_500", "refund")
    assert await outcome(operator.submit(refund)) == "unknown"
    assert await outcome(operator.check(refund)) == "succeeded"


async def test_names_wallets_and_balances_are_read(world: World) -> None:
    """What a confirm screen and the operations page ask for."""
    operator = world.operator()
    handset = world.sandbox.country.handset(PAYER)
    handset.name = "Ama Serwaa Mensah"
    assert await operator.name_of(PAYER) == "Ama Serwaa Mensah"
    assert await operator.is_active(PAYER)
    handset.can_receive = False
    assert not await operator.is_active(PAYER)
    assert not await operator.is_active(Msisdn("+256770000001"))
    assert await operator.name_of(Msisdn("+256770000001")) is None
    assert await operator.balance(Kind.DISBURSEMENT, "UGX") == Money.of(100_000, "UGX")


async def test_a_country_that_is_not_enabled_is_refused(world: World) -> None:
    """An application of Kenya in a sandbox of Uganda."""
    operator = world.operator(country="KE")
    request = Request(uuid4(), Kind.COLLECTION, Msisdn("+254730000001"), Money.of(50, "KES"), "10000417", "Order", "")
    assert await outcome(operator.submit(request)) == "rejected bad_request"
    assert world.movements() == []


async def test_the_id_on_the_wire_is_the_reference(world: World) -> None:
    """In base 36, as the books keep it."""
    request = asking()
    await world.operator().submit(request)
    assert [movement.reference for movement in world.sandbox.country.books.movements] == [written(request.reference)]
