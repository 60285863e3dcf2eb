"""A page is nobody's word: whoever is asked whatever, it is tried again, and a person is told once an hour."""

import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import airtel_wire
import httpx2 as httpx
import pytest
import safaricom
import test_mtn_momo as mtn_wire
from conftest import FakeClock
from redis.asyncio import Redis
from structlog.testing import capture_logs

from ussd_app.breakers import Breakers
from ussd_app.config import load
from ussd_app.errors import PAGE, ProviderError, Reason, Rejected, Throttled, Unknown
from ussd_app.http import HEAD_BYTES, Answer, call
from ussd_app.operators import Kind, Operator, airtel, daraja, mtn_momo

ROWS = tomllib.loads((Path(__file__).parent / "pages.toml").read_text(encoding="utf-8"))["answer"]
PAGES = [row for row in ROWS if row["expect"] != "spoken"]
WALL = {"status": 403, "body": "<html><body>Request unsuccessful.</body></html>"}
MOVED = (Kind.COLLECTION, Kind.DISBURSEMENT, Kind.REFUND)
FOUND: dict[str, type[Throttled | Unknown]] = {"stopped": Throttled, "doubted": Unknown}

Respond = Callable[[httpx.Request], httpx.Response]
Make = Callable[[str, Respond], Operator]


def named(row: dict[str, Any]) -> str:
    """A row's name, for pytest."""
    return str(row["name"])


def response(row: dict[str, Any]) -> httpx.Response:
    """The answer of a row."""
    body = bytes.fromhex(row["hex"]) if "hex" in row else row["body"].encode()
    return httpx.Response(row["status"], headers=row.get("headers"), content=body)


@pytest.fixture
async def make(redis: Redis, clock: FakeClock) -> AsyncIterator[Make]:
    """Makes the client of an operator, whose other end is a function."""
    opened: list[httpx.AsyncClient] = []

    def made(name: str, respond: Respond) -> Operator:
        opened.append(httpx.AsyncClient(transport=httpx.MockTransport(respond), trust_env=False))
        parts = opened[-1], redis, clock
        if name == "mtn_momo":
            given = {"environment": "mtnghana", **mtn_wire.CREDENTIALS}
            return mtn_momo.Operator(load(mtn_momo.Settings, **given), *parts)
        if name == "airtel":
            settings = load(airtel.Settings, client_id="ours", country="UG", **airtel_wire.SECRETS)
            return airtel.Operator(settings, *parts)
        given = {**safaricom.GIVEN, "certificate": safaricom.pair()[1], "b2c_shortcode": "600222"}
        return daraja.Operator(load(daraja.Settings, **given), *parts)

    yield made
    for http in opened:
        await http.aclose()


def question(name: str, operator: Operator, what: str) -> Callable[[], Awaitable[object]]:
    """One call of an operator."""
    wire: Any = {"mtn_momo": mtn_wire, "airtel": airtel_wire, "daraja": safaricom}[name]
    kind = Kind(what.partition(" ")[2] or Kind.COLLECTION)
    more = {"external_id": safaricom.CHECKOUT} if name == "daraja" else {}
    request = wire.asking(kind, **more)
    if what.startswith("submit"):
        return partial(operator.submit, request)
    if what.startswith("check"):
        return partial(operator.check, request)
    if what == "balance":
        return partial(operator.balance, kind, request.amount.currency, "https://pay.example.org/b")
    return partial(operator.is_active, wire.PAYER)


CALLS = [
    (name, what)
    for name in ("mtn_momo", "airtel", "daraja")
    for what in (*(f"{does} {kind}" for does in ("submit", "check") for kind in MOVED), "balance", "is_active")
    if (name, what) != ("daraja", "is_active")  # which M-PESA is not asked
]


def behind_tokens(row: dict[str, Any]) -> Respond:
    """The other end that gives tokens and keys, and to all else one answer."""
    kinds: tuple[Any, ...] = (mtn_wire.Mtn(), airtel_wire.Airtel(), safaricom.Daraja())

    def respond(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        for end, own in zip(kinds, ("/token/", "/auth/oauth2/token /v1/rsa/encryption-keys", "/oauth/v1/generate"),
                            strict=True):  # fmt: skip
            if any(path.endswith(each) for each in own.split()):
                answered: httpx.Response = end(request)
                return answered
        return response(row)

    return respond


@pytest.mark.parametrize("row", ROWS, ids=named)
async def test_what_is_a_page_and_what_is_not(row: dict[str, Any]) -> None:
    """By its beginning or its type, never where it is JSON; refused before it was read, or perhaps after."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: response(row))) as http:
        if row["expect"] == "spoken":
            assert (await call(http, "POST", "https://api.example.org/")).status == row["status"]
            return
        with pytest.raises(FOUND[row["expect"]]) as caught:
            await call(http, "POST", "https://api.example.org/")
    assert (caught.value.outage, caught.value.alert) == (True, PAGE)


@pytest.mark.parametrize(("name", "what"), CALLS)
@pytest.mark.parametrize("row", PAGES, ids=named)
async def test_no_operator_speaks_in_pages(name: str, what: str, row: dict[str, Any], make: Make) -> None:
    """Neither refused nor failed, of every operator and call; a refund that asks first has asked for nothing."""
    operator = make(name, behind_tokens(row))
    with pytest.raises((Throttled, Unknown)) as caught:
        await question(name, operator, what)()
    asks_first = (name, what) == ("airtel", "submit refund")
    assert isinstance(caught.value, Throttled if asks_first else FOUND[row["expect"]])
    assert (caught.value.outage, caught.value.alert) == (True, PAGE)


@pytest.mark.parametrize(("name", "what"), CALLS)
@pytest.mark.parametrize("row", PAGES, ids=named)
async def test_a_page_is_no_refusal_of_our_keys(name: str, what: str, row: dict[str, Any], make: Make) -> None:
    """In the place of a token it means that the call behind it never left."""
    operator = make(name, lambda _: response(row))
    with pytest.raises(Throttled) as caught:
        await question(name, operator, what)()
    assert (caught.value.outage, caught.value.alert) == (True, PAGE)


@pytest.mark.parametrize("part", [b"<!---->", b"<!--", b"<a", b"<?xml", b" ", b"<!----> "])
def test_a_body_made_to_be_slow_is_read_in_no_time(part: bytes) -> None:
    """Comments, tags and blanks without an end."""
    began = perf_counter()
    assert Answer(200, {"content-type": "text/html"}, part * HEAD_BYTES).is_page == (b">" in part)
    assert perf_counter() - began < 2


def alerts(logs: list[Any]) -> list[tuple[str, str]]:
    """Which alerts were left, about whom."""
    return [(entry["what"], entry["provider"]) for entry in logs if entry["event"] == "alert"]


async def test_a_person_is_told_once_an_hour_of_each_operator(make: Make, redis: Redis, clock: FakeClock) -> None:
    """By one process of several, with its status; a second operator and a second hour have alerts of their own."""
    clock.advance(-(clock.now().timestamp() % 3600))
    one, two = Breakers(redis, clock), Breakers(redis, clock)

    async def ask(breakers: Breakers, name: str, times: int) -> None:
        submit = question(name, make(name, behind_tokens(WALL)), "submit disbursement")
        for _ in range(times):
            with pytest.raises(ProviderError):
                await breakers.call(name, Kind.DISBURSEMENT, submit)

    with capture_logs() as logs:
        await ask(one, "mtn_momo", 2)
        await ask(two, "mtn_momo", 1)
        await ask(two, "daraja", 1)
        clock.advance(3600)
        await ask(two, "mtn_momo", 1)
    assert alerts(logs) == [(PAGE, "mtn_momo"), (PAGE, "daraja"), (PAGE, "mtn_momo")]
    [first, *_] = [entry for entry in logs if entry["event"] == "alert"]
    assert (first["call"], "HTTP 403" in first["detail"]) == ("disbursement", True)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("mtn_momo", '{"statusCode":404,"message":"Resource not found"}'),
        ("daraja", '{"requestId":"0000-demo-1","errorCode":"404.003.01","errorMessage":"Resource not found"}'),
    ],
)
@pytest.mark.parametrize(
    "what", ["submit collection", "submit disbursement", "submit refund", "check collection", "balance"]
)
async def test_what_the_gateway_refuses_wants_a_person(
    name: str, body: str, what: str, make: Make, redis: Redis, clock: FakeClock
) -> None:
    """It reached nobody who could have done it; our product or address is to be mended."""
    breakers, ask = (
        Breakers(redis, clock),
        question(name, make(name, behind_tokens({"status": 404, "body": body})), what),
    )
    with capture_logs() as logs:
        for _ in range(3):
            with pytest.raises(Rejected) as caught:
                await breakers.call(name, what.partition(" ")[0], ask)
            assert caught.value.reason is Reason.NOT_AUTHORISED
    assert alerts(logs) == [("not authorised", name)]
