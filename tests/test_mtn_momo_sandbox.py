"""MTN MoMo's client and its set-up against our sandbox: what one hand wrote, the other must understand."""

import stat
import tomllib
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2 as httpx
import pytest
import structlog
from conftest import FakeClock
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.routing import Mount

from ussd_app import config
from ussd_app.commands import setup_momo
from ussd_app.commands.setup_momo import SetupError
from ussd_app.errors import Rejected, Throttled, Unknown
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.operators import CallbackNote, Failed, Kind, Pending, Request, Status, Succeeded
from ussd_app.operators.mtn_momo import PRODUCTS, Operator, Settings
from ussd_app.sandbox import Sandbox
from ussd_app.sandbox.country import Answer
from ussd_app.sandbox.faults import Fault

ROWS = tomllib.loads((Path(__file__).parent / "operators" / "mtn_momo.toml").read_text(encoding="utf-8"))["sandbox"]
BASE_URL = "http://127.0.0.1:8000/sandbox/mtn_momo"
PUBLIC_URL = "http://pay.example.org"
KEYS = dict.fromkeys(PRODUCTS, "subscription-key-of-both")
PAYER = Msisdn("+233240000001")


@dataclass
class World:
    """A sandbox behind ASGI, the callbacks it made, and the clients that talk to it."""

    sandbox: Sandbox
    http: httpx.AsyncClient
    redis: Redis
    clock: FakeClock
    callbacks: list[httpx.Request] = field(default_factory=list)

    async def operator(self, environment: str = "mtnghana") -> Operator:
        """A client: with a user of its own in the environment `sandbox`, as a live country's elsewhere."""
        given = dict.fromkeys(("MTN_MOMO_SUBSCRIPTION_KEY", "MTN_MOMO_API_USER", "MTN_MOMO_API_KEY"), "live")
        if environment == "sandbox":
            given = await setup_momo.provision(self.http, PUBLIC_URL, KEYS, BASE_URL)
        named = {name.removeprefix("MTN_MOMO_").lower(): value for name, value in given.items()}
        loaded = config.load(Settings, **{**named, "environment": environment, "base_url": BASE_URL})
        return Operator(loaded, self.http, self.redis, self.clock)

    async def answer(self, msisdn: Msisdn, answer: Answer) -> None:
        """What the person does with the one prompt on the handset."""
        handset = self.sandbox.country.handset(msisdn)
        [prompt] = handset.prompts
        self.sandbox.country.answer(handset, prompt, answer)
        await self.sandbox.settled()

    def plan(self, name: str, target: str, **more: Any) -> None:  # noqa: ANN401 - any member of a fault
        """One fault, once unless it says otherwise."""
        fault = Fault.model_validate({"name": name, "target": f"mtn_momo.{target}", "count": 1, **more})
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

    loaded = config.load(config.Settings)
    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(hear)) as back,
        Sandbox(loaded, clock, back) as sandbox,
        httpx.AsyncClient(transport=httpx.ASGITransport(Starlette(routes=[Mount("/sandbox", sandbox.app)]))) as http,
    ):
        yield World(sandbox, http, redis, clock, called)


def asking(
    kind: Kind = Kind.COLLECTION, msisdn: Msisdn = PAYER, callback: str = "", refunds: UUID | None = None
) -> Request:
    """Fifty cedis and a half."""
    return Request(uuid4(), kind, msisdn, Money.of("50.50", "GHS"), "10000417", "Order 417", callback, refunds)


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
        case Succeeded():
            return "succeeded"
        case Failed(reason):
            return f"failed {reason}"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row["name"]))
async def test_a_movement_ends_as_the_row_says(row: dict[str, Any], world: World) -> None:
    """Submitted, decided and asked about, in each environment."""
    operator = await world.operator(row["environment"])
    request = asking(Kind(row["kind"]), Msisdn(row["msisdn"]), row.get("callback_url", ""))
    assert await outcome(operator.submit(request)) == row["submitted"]
    await world.sandbox.settled()
    if "person" in row:
        await world.answer(request.msisdn, row["person"])
    assert await outcome(operator.check(request)) == row["checked"]


async def test_a_repeated_submission_is_one_movement(world: World) -> None:
    """The same reference again is taken for the first one."""
    operator, request = await world.operator(), asking()
    assert [await operator.submit(request), await operator.submit(request)] == [Pending(), Pending()]
    assert world.movements() == [("collection", "pending")]


async def test_what_was_accepted_and_not_answered_is_found_again(world: World) -> None:
    """The request is taken and the answer lost: unknown, and the query knows."""
    operator, request = await world.operator(), asking()
    world.plan("accepted_then_500", "collection")
    with pytest.raises(Unknown):
        await operator.submit(request)
    assert await operator.check(request) == Pending("PENDING")
    assert await operator.submit(request) == Pending()


@pytest.mark.parametrize(
    ("fault", "expect"), [("503", "throttled"), ("429", "throttled"), ("500", "unknown"), ("html_200", "unknown")]
)
async def test_faults_of_the_exchange_have_their_class(fault: str, expect: str, world: World) -> None:
    """As the sandbox words them."""
    operator = await world.operator()
    world.plan(fault, "collection")
    assert await outcome(operator.submit(asking())) == expect


async def test_a_withdrawn_token_is_replaced(world: World) -> None:
    """One 401, one fresh token, one movement."""
    operator = await world.operator()
    world.plan("token_expired", "collection")
    assert await operator.submit(asking()) == Pending()
    assert world.movements() == [("collection", "pending")]


async def test_a_callback_is_understood_and_agrees_with_the_query(world: World) -> None:
    """It comes once, to the address we named, and says what a query says."""
    operator = await world.operator("sandbox")
    reference = uuid4()
    callback = f"{PUBLIC_URL}/callbacks/mtn_momo/secret/collection/{reference}"
    request = Request(reference, Kind.COLLECTION, PAYER, Money.of(50, "GHS"), "10000417", "Order", callback)
    await operator.submit(request)
    await world.answer(PAYER, "approve")
    [called] = world.callbacks
    assert str(called.url) == callback
    note = operator.parse_callback(called.url.path.partition("/secret/")[2], called.content)
    found = await operator.check(request)
    assert isinstance(found, Succeeded)
    assert note == CallbackNote(reference, Succeeded(found.receipt, Money.of(50, "EUR")))


async def test_a_collection_is_refunded_once(world: World) -> None:
    """The payer has it back; a second refund of the same is refused by the operator."""
    operator, collection = await world.operator(), asking()
    await operator.submit(collection)
    await world.answer(PAYER, "approve")
    for expected in ("succeeded", "failed not_authorised"):
        refund = asking(Kind.REFUND, refunds=collection.reference)
        assert await operator.submit(refund) == Pending()
        await world.sandbox.settled()
        assert await outcome(operator.check(refund)) == expected
    books = world.sandbox.country.books
    assert books.balances(world.sandbox.country.wallet(PAYER.digits, "GHS"))["GHS"] == "1000.00"


async def test_names_wallets_and_balances_are_read(world: World) -> None:
    """What a confirm screen and the operations page ask for."""
    operator = await world.operator()
    world.sandbox.country.handset(PAYER).name = "Ama Serwaa Mensah"
    assert await operator.name_of(PAYER) == "Ama Serwaa Mensah"
    assert await operator.is_active(PAYER)
    assert not await operator.is_active(Msisdn("+46733123451"))
    assert not await operator.is_active(Msisdn("+46733123450"))
    assert await operator.balance(Kind.DISBURSEMENT, "GHS") == Money.of(100_000, "GHS")


@pytest.mark.parametrize("second", ["subscription-key-of-both", "subscription-key-of-its-own"])
async def test_set_up_makes_users_that_work(second: str, world: World) -> None:
    """One user for each key; a token for each product; a collection that pays."""
    keys = {**KEYS, "disbursement": second}
    variables = await setup_momo.provision(world.http, "https://pay.example.org:8443/x", keys, BASE_URL)
    users = {variables[f"MTN_MOMO_{product.upper()}_API_USER"] for product in PRODUCTS}
    assert len(users) == len(set(keys.values()))
    status = await setup_momo.prove(world.http, world.clock, variables, collect=True)
    assert isinstance(status, Succeeded)
    assert await setup_momo.prove(world.http, world.clock, variables) is None


async def test_set_up_says_what_is_wrong(world: World) -> None:
    """In one line, without the key, whether MTN refuses it, breaks or is away."""
    wrong = dict.fromkeys(PRODUCTS, "wrong-key")
    with pytest.raises(SetupError, match="copy the primary key") as refused:
        await setup_momo.provision(world.http, PUBLIC_URL, wrong, BASE_URL)
    assert "wrong-key" not in str(refused.value)
    with pytest.raises(SetupError, match="callback host"):
        await setup_momo.provision(world.http, "http://", KEYS, BASE_URL)
    world.plan("500", "provisioning")
    with pytest.raises(SetupError, match="HTTP 500"):
        await setup_momo.provision(world.http, PUBLIC_URL, KEYS, BASE_URL)


async def test_set_up_says_that_nobody_answers() -> None:
    """Not even to refuse."""

    def away(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    async with httpx.AsyncClient(transport=httpx.MockTransport(away)) as http:
        with pytest.raises(SetupError, match="did not answer"):
            await setup_momo.provision(http, PUBLIC_URL, KEYS, BASE_URL)


async def test_set_up_does_not_trust_an_odd_key(world: World) -> None:
    """A key that would break a line of `.env` is not written."""
    world.plan("answer", "provisioning", count=2, status=201, body='{"apiKey":"short\\nPATH=/tmp"}')
    with pytest.raises(SetupError, match="no key"):
        await setup_momo.provision(world.http, PUBLIC_URL, KEYS, BASE_URL)


async def test_a_user_that_does_not_work_is_reported(world: World) -> None:
    """A key that was issued again makes the former worthless."""
    variables = await setup_momo.provision(world.http, PUBLIC_URL, KEYS, BASE_URL)
    stale = {**variables, "MTN_MOMO_COLLECTION_API_KEY": "0" * 32}
    with pytest.raises(SetupError, match="login_failed"):
        await setup_momo.prove(world.http, world.clock, stale)


async def test_nothing_secret_is_logged(world: World) -> None:
    """No key and no token in any line of set-up and its trial payment."""
    with structlog.testing.capture_logs() as lines:
        variables = await setup_momo.provision(world.http, PUBLIC_URL, KEYS, BASE_URL)
        await setup_momo.prove(world.http, world.clock, variables, collect=True)
    secret = [value for name, value in variables.items() if name.endswith("_KEY")]
    written = str(lines)
    assert lines
    assert not [value for value in secret if value in written]
    assert "Bearer" not in written


def test_env_keeps_every_other_line(tmp_path: Path) -> None:
    """Named lines are replaced where they stand, doubles dropped, new ones appended, comments kept."""
    path = tmp_path / ".env"
    path.write_text("# mine\nSERVICE_CODE=*920*55#\nexport A = old\n\nB='b'\nA=older\n#A=no\n", encoding="utf-8")
    setup_momo.write_env(path, {"A": "new", "C": "c"})
    assert path.read_text(encoding="utf-8") == "# mine\nSERVICE_CODE=*920*55#\nA=new\n\nB='b'\n#A=no\nC=c\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in tmp_path.iterdir()] == [".env"]


def test_env_is_made_where_there_is_none(tmp_path: Path) -> None:
    """And read by the settings that follow."""
    setup_momo.write_env(tmp_path / ".env", {"A": "1"})
    assert (tmp_path / ".env").read_text(encoding="utf-8") == "A=1\n"
