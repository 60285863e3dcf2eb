"""Daraja's client against our sandbox: what one hand wrote, the other must understand."""

import json
import re
import tomllib
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2 as httpx
import pytest
import structlog
from conftest import FakeClock
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.routing import Mount

from ussd_app import config
from ussd_app.errors import ProviderError, Rejected, Unknown
from ussd_app.money import Money
from ussd_app.movement import Deposit
from ussd_app.msisdn import Msisdn
from ussd_app.operators import CallbackNote, Failed, Kind, Pending, Request, Status, Succeeded
from ussd_app.operators.daraja import Operator, Settings
from ussd_app.sandbox import Sandbox
from ussd_app.sandbox import daraja as half
from ussd_app.sandbox.country import Answer
from ussd_app.sandbox.faults import Fault

ROWS = tomllib.loads((Path(__file__).parent / "operators" / "daraja.toml").read_text(encoding="utf-8"))["sandbox"]
HERE = "http://127.0.0.1:8000/sandbox"
CALLBACKS = "http://pay.example.org/callbacks/daraja/s"
PAYER = Msisdn("+254700000001")
AMOUNT = Money.of(150, "KES")


@dataclass
class World:
    """A sandbox behind ASGI, the callbacks it made, and the client that talks to it."""

    sandbox: Sandbox
    http: httpx.AsyncClient
    redis: Redis
    clock: FakeClock
    callbacks: list[httpx.Request] = field(default_factory=list)

    def operator(self, **more: Any) -> Operator:  # noqa: ANN401 - any setting
        """A client with the settings the sandbox gives."""
        variables = half.environment(f"{HERE}/daraja", "KE")
        given = {name[len("DARAJA_") :].lower(): value for name, value in variables.items() if name[:3] == "DAR"}
        return Operator(config.load(Settings, **{**given, **more}), self.http, self.redis, self.clock)

    async def answer(self, msisdn: Msisdn, answer: Answer) -> None:
        """What the person does with the one prompt on the handset."""
        handset = self.sandbox.country.handset(msisdn)
        [prompt] = handset.prompts
        self.sandbox.country.answer(handset, prompt, answer)
        await self.sandbox.settled()

    async def pass_by(self, seconds: float) -> None:
        """Let that time go, and all happen that is due meanwhile."""
        for _ in range(round(seconds)):
            self.clock.advance(1)
            await self.sandbox.settled()

    def plan(self, name: str, target: str, **more: Any) -> None:  # noqa: ANN401 - any member of a fault
        """One fault, once unless it says otherwise."""
        fault = Fault.model_validate({"name": name, "target": f"daraja.{target}", "count": 1, **more})
        self.sandbox.country.faults.plan = [fault]

    async def switch(self, **to: object) -> None:
        """Change how the sandbox behaves."""
        answer = await self.http.put(f"{HERE}/switches", json={"daraja": to})
        assert answer.status_code == 200

    def heard(self, operator: Operator) -> list[CallbackNote]:
        """What the callbacks so far have claimed."""
        return [operator.parse_callback(path_of(called), called.content) for called in self.callbacks]

    def movements(self) -> list[tuple[str, str]]:
        """Kind and state of everything in the operator's book."""
        return [(movement.kind, movement.status) for movement in self.sandbox.country.books.movements]

    def balance(self, msisdn: Msisdn) -> str:
        """What a person has."""
        country = self.sandbox.country
        return country.books.balances(country.wallet(msisdn.digits, "KES"))["KES"]


@pytest.fixture
async def world(redis: Redis, clock: FakeClock) -> AsyncIterator[World]:
    """Everything but us."""
    called: list[httpx.Request] = []

    def hear(request: httpx.Request) -> httpx.Response:
        called.append(request)
        return httpx.Response(200, text=made.operator().acknowledge(path_of(request)))

    loaded = config.load(config.Settings, country="KE", operators=("daraja",))
    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(hear)) as back,
        Sandbox(loaded, clock, back, {"daraja": CALLBACKS}) as sandbox,
        httpx.AsyncClient(transport=httpx.ASGITransport(Starlette(routes=[Mount("/sandbox", sandbox.app)]))) as http,
    ):
        made = World(sandbox, http, redis, clock, called)
        yield made


def path_of(called: httpx.Request) -> str:
    """What followed the secret."""
    return called.url.path.partition("/s/")[2]


def asking(kind: Kind = Kind.COLLECTION, msisdn: Msisdn = PAYER, receipt: str = "", amount: Money = AMOUNT) -> Request:
    """A hundred and fifty shillings."""
    reference = uuid4()
    url = f"{CALLBACKS}/{kind}/{reference}"
    return Request(reference, kind, msisdn, amount, "10000417", "Ref 10000417", url, receipt=receipt)


async def submitted(operator: Operator, request: Request) -> Request:
    """The same request, with the id it was answered with."""
    status = await operator.submit(request)
    assert isinstance(status, Pending)
    return replace(request, external_id=status.external_id)


def said(status: Status) -> str:
    """A status, in the words of the rows; receipts are the sandbox's own, and so are its words of what is unclear."""
    match status:
        case Pending(raw):
            return f"pending {raw}" if raw in {"Pending", "Failed", "4999"} else "pending"
        case Succeeded(_, amount):
            return "succeeded" if amount == AMOUNT else "succeeded another amount"
        case Failed(reason):
            return f"failed {reason}"


def refused(error: ProviderError) -> str:
    """An error, in the words of the rows."""
    return f"rejected {error.reason}" if isinstance(error, Rejected) else type(error).__name__.lower()


async def outcome(call: Awaitable[Status]) -> str:
    """What a call came to, in the words of the rows."""
    try:
        return said(await call)
    except ProviderError as error:
        return refused(error)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row["name"]))
async def test_a_movement_ends_as_the_row_says(row: dict[str, Any], world: World) -> None:
    """Submitted, decided, asked about and told."""
    operator, request = world.operator(), asking(Kind(row["kind"]), Msisdn(row["msisdn"]))
    came_to = "pending"
    try:
        request = await submitted(operator, request)
    except ProviderError as error:
        came_to = refused(error)
    assert came_to == row["submitted"]
    await world.sandbox.settled()
    if "person" in row:
        await world.answer(request.msisdn, row["person"])
    await world.pass_by(row.get("wait", 0))
    assert await outcome(operator.check(request)) == row["checked"]
    await world.sandbox.settled()
    notes = world.heard(operator)
    assert [said(note.status) for note in notes] == row["told"]
    assert {note.reference for note in notes} <= {request.reference}


async def test_a_prompts_callback_agrees_with_its_query(world: World) -> None:
    """And has what the query has not, a receipt; its id is the one that we were answered with."""
    operator = world.operator()
    request = await submitted(operator, asking())
    await world.answer(PAYER, "approve")
    [note] = world.heard(operator)
    assert isinstance(note.status, Succeeded)
    assert note.status.receipt
    assert note == CallbackNote(request.reference, Succeeded(note.status.receipt, AMOUNT), request.external_id)
    assert await operator.check(request) == Succeeded("", AMOUNT)


async def test_a_prompts_callback_in_another_order(world: World) -> None:
    """With a number that is hidden."""
    await world.switch(items="reversed", masked_phone=True)
    operator = world.operator()
    await operator.submit(asking())
    await world.answer(PAYER, "approve")
    assert [said(note.status) for note in world.heard(operator)] == ["succeeded"]


async def test_a_lost_answers_callback_names_the_prompt(world: World) -> None:
    """So that it can be asked about after all."""
    operator, request = world.operator(), asking(msisdn=Msisdn("+254700000050"))
    with pytest.raises(Unknown):
        await operator.submit(request)
    await world.sandbox.settled()
    [note] = world.heard(operator)
    assert await operator.check(replace(request, external_id=note.external_id)) == Succeeded("", AMOUNT)


async def test_a_repeated_payout_is_one_movement(world: World) -> None:
    """The same reference again is taken for the first one."""
    operator, request = world.operator(), asking(Kind.DISBURSEMENT)
    first, second = await operator.submit(request), await operator.submit(request)
    await world.sandbox.settled()
    assert (said(first), second) == ("pending", Pending())
    assert world.movements() == [("disbursement", "succeeded")]


async def test_a_repeated_prompt_is_another_prompt(world: World) -> None:
    """Which is why payments never do: the second finds the handset busy."""
    operator, request = world.operator(), asking()
    await operator.submit(request)
    await world.switch(busy="refused")
    assert await outcome(operator.submit(request)) == "rejected unreachable"


@pytest.mark.parametrize(
    ("fault", "expect"), [("503", "unknown"), ("429", "throttled"), ("500", "unknown"), ("html_200", "unknown")]
)
@pytest.mark.parametrize("kind", [Kind.COLLECTION, Kind.DISBURSEMENT])
async def test_faults_of_the_exchange_have_their_class(kind: Kind, fault: str, expect: str, world: World) -> None:
    """As the sandbox words them."""
    world.plan(fault, kind)
    assert await outcome(world.operator().submit(asking(kind))) == expect


@pytest.mark.parametrize("said", ["404.001.03", "400.003.01", "401"])
async def test_a_withdrawn_token_is_replaced(said: str, world: World) -> None:
    """In each of the three answers that are met; one fresh token, one movement."""
    await world.switch(stale_answer=said)
    world.plan("token_expired", "collection")
    assert await outcome(world.operator().submit(asking())) == "pending"
    assert world.movements() == [("collection", "pending")]


@pytest.mark.parametrize("given", [{"consumer_key": "wrong"}, {"consumer_secret": "wrong"}, {"passkey": "wrong"}])
async def test_wrong_credentials_are_refused(given: dict[str, str], world: World) -> None:
    """Before anything is done."""
    assert await outcome(world.operator(**given).submit(asking())) == "rejected not_authorised"
    assert world.movements() == []


@pytest.mark.parametrize("given", [{"initiator": "wrong"}, {"initiator_password": "another"}])
async def test_a_wrong_initiator_is_told_later(given: dict[str, str], world: World) -> None:
    """By a result; nothing moved."""
    operator = world.operator(**given)
    await submitted(operator, asking(Kind.DISBURSEMENT))
    await world.sandbox.settled()
    assert [said(note.status) for note in world.heard(operator)] == ["failed not_authorised"]
    assert world.balance(PAYER) == "1000.00"


async def test_a_payout_that_waits_too_long_is_unknown(world: World) -> None:
    """Its time-out says nothing, and a question about it finds it pending."""
    operator = world.operator()
    world.plan("queued_for_ever", "disbursement")
    request = await submitted(operator, asking(Kind.DISBURSEMENT))
    await world.pass_by(11)
    await operator.check(request)
    await world.sandbox.settled()
    assert [path_of(called).rpartition("/")[2] for called in world.callbacks] == ["timeout", "status"]
    assert [said(note.status) for note in world.heard(operator)] == ["pending", "pending Pending"]


async def test_a_result_of_one_parameter_is_read(world: World) -> None:
    """Which is no list then; a question is not answered by one."""
    await world.switch(result_parameters="single", reference_item="list")
    operator = world.operator()
    request = await submitted(operator, asking(Kind.DISBURSEMENT))
    await operator.check(request)
    await world.sandbox.settled()
    assert [said(note.status) for note in world.heard(operator)] == ["succeeded", "pending"]


async def test_a_collection_is_reversed_once(world: World) -> None:
    """The payer has it back; the result does not say how much, a question about it does. Again it is refused."""
    operator = world.operator()
    await operator.submit(asking())
    await world.answer(PAYER, "approve")
    [paid] = world.heard(operator)
    assert isinstance(paid.status, Succeeded)
    assert world.balance(PAYER) == "850.00"
    for told in (["pending", "succeeded"], ["pending", "pending Failed"]):
        world.callbacks.clear()
        request = await submitted(operator, asking(Kind.REFUND, receipt=paid.status.receipt))
        await world.sandbox.settled()
        assert request.external_id == world.heard(operator)[0].external_id
        assert await operator.check(request) == Pending("asked, a callback tells")
        await world.sandbox.settled()
        notes = world.heard(operator)
        assert [said(note.status) for note in notes] == told
        assert {note.reference for note in notes} == {request.reference}
    assert world.balance(PAYER) == "1000.00"


async def test_a_till_is_registered_and_a_deposit_confirmed(world: World) -> None:
    """Validation is welcomed, the confirmation is noted, and a question about its receipt says the same."""
    operator = world.operator()
    await operator.register_till(f"{CALLBACKS}/confirmation", f"{CALLBACKS}/validation")
    paid = await world.http.post(f"{HERE}/daraja/till", json={"msisdn": PAYER.digits, "amount": 150, "label": "INV417"})
    receipt = paid.json()["TransID"]
    assert [path_of(called) for called in world.callbacks] == ["validation", "confirmation"]
    deposit = Deposit(receipt, AMOUNT, "2547*****001", "INV417")
    assert world.heard(operator) == [CallbackNote(None, Pending()), CallbackNote(None, Pending(), deposit=deposit)]
    world.callbacks.clear()
    await operator.look_up(deposit, f"{CALLBACKS}/deposit/{receipt}")
    await world.sandbox.settled()
    assert world.heard(operator) == [CallbackNote(None, Succeeded(receipt, AMOUNT), receipt)]


async def test_a_payout_is_no_deposit(world: World) -> None:
    """Whoever forges a confirmation with the receipt of a payout gains nothing by it."""
    operator = world.operator()
    await operator.submit(asking(Kind.DISBURSEMENT))
    await world.sandbox.settled()
    receipt = json.loads(world.callbacks.pop().content)["Result"]["TransactionID"]
    await operator.look_up(Deposit(receipt, AMOUNT, "", ""), f"{CALLBACKS}/deposit/{receipt}")
    await world.sandbox.settled()
    assert world.heard(operator) == [CallbackNote(None, Pending("another transaction"), receipt)]


async def test_balances_are_told(world: World) -> None:
    """At the address that was named."""
    operator = world.operator()
    await operator.balance(Kind.DISBURSEMENT, "KES", f"{CALLBACKS}/balance/disbursement")
    await world.sandbox.settled()
    assert world.heard(operator) == [CallbackNote(None, Pending(), balance=Money.of(100_000, "KES"))]


async def test_the_smallest_payout_is_the_operators_to_refuse(world: World) -> None:
    """Ten shillings; what it takes may change."""
    for amount, came_to in ((9, "rejected bad_request"), (10, "pending")):
        request = asking(Kind.DISBURSEMENT, amount=Money.of(amount, "KES"))
        assert await outcome(world.operator().submit(request)) == came_to


async def test_nothing_secret_is_logged(world: World) -> None:
    """No key, no password, no token in any line."""
    operator = world.operator(consumer_key="the-key", consumer_secret="the-secret", passkey="the-passkey")
    with structlog.testing.capture_logs() as lines:
        await operator.submit(asking())
        await operator.submit(asking(Kind.DISBURSEMENT))
    assert lines
    assert not re.search("the-key|the-secret|the-passkey|of-the-sandbox|Bearer", str(lines))
