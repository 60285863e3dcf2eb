"""Airtime, bundles and SIM insights through Africa's Talking, against literal bytes."""

import socket
import tomllib
from collections.abc import Awaitable, Mapping
from datetime import date
from pathlib import Path
from ssl import SSLCertVerificationError
from typing import Any
from uuid import UUID

import httpx2 as httpx
import pytest
import requests
from conftest import FakeClock
from redis.asyncio import Redis
from structlog.testing import capture_logs
from test_senders import Recorded, listening
from urllib3 import HTTPConnectionPool
from urllib3.exceptions import MaxRetryError, SSLError

from ussd_app.clock import Clock
from ussd_app.config import load
from ussd_app.deliveries import Delivery, airtime_africastalking, bundles_africastalking
from ussd_app.errors import Rejected, Throttled, Unknown
from ussd_app.insights import SimAnswer
from ussd_app.insights import africastalking as insights
from ussd_app.money import Money
from ussd_app.movement import Failed, Kind, Pending, Request, Status, Succeeded
from ussd_app.msisdn import Msisdn
from ussd_app.store import Store

DATA = Path(__file__).parent
AIRTIME, BUNDLES, INSIGHTS = (
    tomllib.loads((DATA / path).read_text())
    for path in ("deliveries/airtime_africastalking.toml", "deliveries/bundles_africastalking.toml",
                 "insights/africastalking.toml")
)  # fmt: skip
REFERENCE = UUID("6f1d2c3b-4a59-4e68-8d77-0a1b2c3d4e5f")
AMA, ESI = Msisdn("+256770000001"), Msisdn("+256770000002")
BUNDLE = {"product": "Data", "quantity": "50", "unit": "MB", "validity": "Day"}
ACCOUNT = {"username": "akello", "api_key": "atsk_test"}


class Sdk:
    """Makes the clients, whose far side is an adapter of the test's."""

    def __init__(self, redis: Redis, clock: FakeClock) -> None:
        self._parts = httpx.AsyncClient(), redis, clock
        self._store: Store = Store("postgresql+psycopg://nobody@127.0.0.1:1/nothing", Clock())

    def delivery(self, module: Any, adapter: Recorded, **given: str) -> Delivery:  # noqa: ANN401 - a module is what it declares
        """Airtime or bundles."""
        made = module.Delivery(load(module.Settings, **ACCOUNT | given), *self._parts, self._store)
        made._calls.session.mount("https://", adapter)
        assert isinstance(made, airtime_africastalking.Delivery | bundles_africastalking.Delivery)
        return made

    def at(self, what: str, url: str) -> "Client":
        """Any of them, at an address."""
        if what == "insight":
            return insights.Insight(load(insights.Settings, **ACCOUNT, base_url=url), *self._parts)
        if what == "airtime":
            account = load(airtime_africastalking.Settings, **ACCOUNT, base_url=url)
            return airtime_africastalking.Delivery(account, *self._parts, self._store)
        shop = load(bundles_africastalking.Settings, **ACCOUNT, base_url=url)
        return bundles_africastalking.Delivery(shop, *self._parts, self._store)

    def insight(self, adapter: Recorded, **given: str) -> insights.Insight:
        """SIM swaps."""
        made = insights.Insight(load(insights.Settings, **ACCOUNT | given), *self._parts)
        made._calls.session.mount("https://", adapter)
        return made


Client = airtime_africastalking.Delivery | bundles_africastalking.Delivery | insights.Insight


@pytest.fixture
def sdk(redis: Redis, clock: FakeClock) -> Sdk:
    """The clients to be."""
    return Sdk(redis, clock)


def airtime(external_id: str | None = "ATQid_77") -> Request:
    """What the rows of airtime are about."""
    amount = Money.of("5000", "UGX")
    return Request(REFERENCE, Kind.DELIVERY, AMA, amount, "10000417", "Ref 10000417", "", external_id=external_id)


def bundle(external_id: str | None = "ATPid_77", **changed: str) -> Request:
    """What the rows of bundles are about; a member changed to nothing is left out."""
    item = {name: value for name, value in (BUNDLE | changed).items() if value}
    amount = Money.of("1500", "UGX")
    return Request(
        REFERENCE, Kind.DELIVERY, AMA, amount, "10000417", "Ref 10000417", "", item=item, external_id=external_id
    )


def ask(client: Client) -> Awaitable[Status | Mapping[str, Msisdn]]:
    """One call that is worth something."""
    match client:
        case insights.Insight():
            return client.ask([AMA])
        case airtime_africastalking.Delivery():
            return client.submit(airtime())
    return client.submit(bundle())


def answer(row: dict[str, Any], status: int) -> Recorded:
    """The far side of a row."""
    return Recorded({"status": status} | row)


async def outcome(call: Awaitable[Status | Mapping[str, Msisdn]]) -> str | Mapping[str, Msisdn]:
    """What a call came to, in the words of the rows; the ids of questions as they are."""
    try:
        result = await call
        return result if isinstance(result, Mapping) else said(result)
    except Rejected as error:
        return f"rejected {error.reason}"
    except Throttled as error:
        return f"throttled {error.after:g}{', outage' if error.outage else ''}"
    except Unknown as error:
        return f"unknown{', outage' if error.outage else ''}"


def said(status: Status) -> str:
    """A status, in the words of the rows."""
    match status:
        case Pending(raw, external_id):
            return f"pending {raw} {external_id or ''}".strip()
        case Succeeded(receipt, amount):
            return f"succeeded {receipt} {amount}"
        case Failed(reason):
            return f"failed {reason}"


def names(row: dict[str, Any]) -> str:
    """A row's name, for pytest."""
    return str(row["name"])


@pytest.mark.parametrize("row", AIRTIME["submit"], ids=names)
async def test_airtime_reply(row: dict[str, Any], sdk: Sdk) -> None:
    """Every literal reply to a top-up means what the wire document says."""
    assert await outcome(sdk.delivery(airtime_africastalking, answer(row, 201)).submit(airtime())) == row["expected"]


@pytest.mark.parametrize("row", BUNDLES["submit"], ids=names)
async def test_bundle_reply(row: dict[str, Any], sdk: Sdk) -> None:
    """Every literal reply to a request for a bundle means what the wire document says."""
    assert await outcome(sdk.delivery(bundles_africastalking, answer(row, 201)).submit(bundle())) == row["expected"]


@pytest.mark.parametrize("row", AIRTIME["check"], ids=names)
async def test_airtime_look_up(row: dict[str, Any], sdk: Sdk) -> None:
    """Final is only what the look-up calls so, of our own top-up."""
    assert await outcome(sdk.delivery(airtime_africastalking, answer(row, 200)).check(airtime())) == row["expected"]


async def test_an_amount_nobody_told_is_said_to_be_none(sdk: Sdk) -> None:
    """The log names the top-up whose amount is the one that was asked for."""
    row = {"status": 200, "body": '{"status":"Success","data":{"status":"Success","transactionId":"ATQid_77"}}'}
    with capture_logs() as logs:
        await sdk.delivery(airtime_africastalking, Recorded(row)).check(airtime())
    said = [line.get("payment") for line in logs if line["event"] == "amount not told, taken as asked for"]
    assert said == [str(REFERENCE)]


@pytest.mark.parametrize("row", BUNDLES["check"], ids=names)
async def test_bundle_look_up(row: dict[str, Any], sdk: Sdk) -> None:
    """Final is only what the look-up calls so, of our own bundle."""
    assert await outcome(sdk.delivery(bundles_africastalking, answer(row, 200)).check(bundle())) == row["expected"]


@pytest.mark.parametrize("row", AIRTIME["callback"] + BUNDLES["callback"], ids=names)
async def test_callback(row: dict[str, Any], sdk: Sdk) -> None:
    """A callback is a note by their id, and by our reference where a bundle brings it back; nothing proves it."""
    for module in (airtime_africastalking, bundles_africastalking):
        note = sdk.delivery(module, Recorded({})).parse_callback("", row["body"].encode())
        assert (said(note.status), note.external_id) == (row["expected"], row.get("external_id"))
        assert str(note.reference or "") == row.get("reference", "")


@pytest.mark.parametrize(
    ("wire", "module", "request_"),
    [(AIRTIME["request"], airtime_africastalking, airtime()), (BUNDLES["request"], bundles_africastalking, bundle())],
    ids=["airtime", "bundles"],
)
async def test_what_leaves_us(wire: dict[str, Any], module: Any, request_: Request, sdk: Sdk) -> None:  # noqa: ANN401 - a module
    """The SDK's requests are the documented ones, to the hosts of live and sandbox accounts."""
    far = Recorded({"status": 401, "body": ""})
    delivery = sdk.delivery(module, far)
    await outcome(delivery.submit(request_))
    await outcome(delivery.check(request_))
    await outcome(sdk.delivery(module, far, username="sandbox").submit(request_))
    sent, asked, sandboxed = far.asked
    body = sent.body.decode() if isinstance(sent.body, bytes) else sent.body
    assert (sent.method, sent.url, body) == ("POST", wire["url"], wire["body"])
    assert wire["headers"].items() <= {name.lower(): value for name, value in sent.headers.items()}.items()
    assert (asked.method, asked.url) == ("GET", wire["find_url"])
    assert sandboxed.url == wire["sandbox_url"]


async def test_each_top_up_has_its_own_key(sdk: Sdk) -> None:
    """The key of one is never sent for another, and the look-up carries none (trap 1 of section 2.10)."""
    far = Recorded({"status": 401, "body": ""})
    delivery, other = sdk.delivery(airtime_africastalking, far), UUID(int=7, version=4)
    await outcome(delivery.submit(airtime()))
    await outcome(delivery.check(airtime()))
    await outcome(delivery.submit(Request(other, Kind.DELIVERY, AMA, Money.of("5000", "UGX"), "1", "1", "")))
    assert [asked.headers.get("Idempotency-Key") for asked in far.asked] == [str(REFERENCE), None, str(other)]


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (requests.ConnectTimeout(), "throttled 2, outage"),
        (requests.ReadTimeout(), "unknown, outage"),
        (requests.ConnectionError("Connection aborted."), "unknown, outage"),
        (requests.exceptions.ChunkedEncodingError("cut"), "unknown, outage"),
    ],
)
async def test_broken_call(broken: Exception, expected: str, sdk: Sdk) -> None:
    """Only a call that surely never left was not taken."""
    assert await outcome(sdk.delivery(airtime_africastalking, Recorded(broken)).submit(airtime())) == expected
    assert await outcome(sdk.delivery(bundles_africastalking, Recorded(broken)).submit(bundle())) == expected


async def test_a_certificate_that_is_none(sdk: Sdk) -> None:
    """Their server is not the one it claims to be: nothing was told it."""
    error = SSLCertVerificationError(1, "certificate verify failed")
    broken = requests.exceptions.SSLError(MaxRetryError(HTTPConnectionPool("localhost"), "/", SSLError(error)))
    assert await outcome(sdk.delivery(airtime_africastalking, Recorded(broken)).submit(airtime())) == (
        "throttled 2, outage"
    )


@pytest.mark.parametrize("what", ["airtime", "bundles", "insight"])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, "unknown, outage"),
        (b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\n{", "unknown, outage"),
        (b"HTTP/1.1 201 Created\r\n\r\n" + b" " * (257 * 1024), "unknown, outage"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "unknown, outage"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: 7\r\n\r\n", "throttled 7, outage"),
        (b"HTTP/1.1 429 Slow\r\nContent-Length: 0\r\n\r\n", "throttled 2"),
    ],
    ids=["hung up", "cut", "endless", "500", "503", "429"],
)
async def test_on_a_line_of_its_own(what: str, given: bytes | None, expected: str, sdk: Sdk) -> None:
    """The SDK over a real connection: what failed us is told from what refused us."""
    with listening(given) as (url, heard):
        client = sdk.at(what, url)
        assert await outcome(ask(client)) == expected
        client._calls.session.close()
    assert heard


@pytest.mark.parametrize("what", ["airtime", "bundles", "insight"])
async def test_where_nobody_listens(what: str, sdk: Sdk) -> None:
    """It surely never left, and their service is down."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert await outcome(ask(sdk.at(what, f"http://127.0.0.1:{port}"))) == "throttled 2, outage"


async def test_without_their_id_nothing_can_be_asked(sdk: Sdk) -> None:
    """A request whose answer never came is unknown, without a call."""
    far = Recorded({"status": 200, "body": "{}"})
    assert await outcome(sdk.delivery(airtime_africastalking, far).check(airtime(None))) == "unknown"
    assert await outcome(sdk.delivery(bundles_africastalking, far).check(bundle(None))) == "unknown"
    assert far.asked == []


@pytest.mark.parametrize(
    "changed",
    [
        {"product": ""},
        {"quantity": "much"},
        {"quantity": "0"},
        {"quantity": "NaN"},
        {"unit": "KB"},
        {"validity": "Hour"},
    ],
)
async def test_an_item_that_is_no_bundle_is_not_asked_for(changed: dict[str, str], sdk: Sdk) -> None:
    """What the SDK would refuse with exceptions of its own is refused before."""
    far = Recorded({"status": 200, "body": "{}"})
    assert await outcome(sdk.delivery(bundles_africastalking, far).submit(bundle(**changed))) == "rejected bad_request"
    assert far.asked == []


async def test_half_a_gigabyte(sdk: Sdk) -> None:
    """A quantity may be no whole number."""
    far = Recorded({"status": 401, "body": ""})
    await outcome(sdk.delivery(bundles_africastalking, far).submit(bundle(quantity="1.5", unit="GB")))
    assert '"quantity": 1.5, "unit": "GB"' in str(far.asked[0].body)


@pytest.mark.parametrize("row", INSIGHTS["ask"], ids=names)
async def test_insight_reply(row: dict[str, Any], sdk: Sdk) -> None:
    """The ids of what was queued are kept with their numbers."""
    expected = row["ids"] if "ids" in row else row["expected"]
    assert await outcome(sdk.insight(answer(row, 200)).ask([AMA, ESI])) == expected


async def test_insight_request(sdk: Sdk) -> None:
    """The SDK's request is the documented one, to the hosts of live and sandbox accounts."""
    far, wire = Recorded({"status": 200, "body": '{"responses":[]}'}), INSIGHTS["request"]
    await sdk.insight(far).ask([AMA, ESI])
    await sdk.insight(far, username="sandbox").ask([AMA, ESI])
    sent, sandboxed = far.asked
    assert (sent.method, sent.url, sent.body) == ("POST", wire["url"], wire["body"])
    assert wire["headers"].items() <= {name.lower(): value for name, value in sent.headers.items()}.items()
    assert sandboxed.url == wire["sandbox_url"]


@pytest.mark.parametrize("row", INSIGHTS["callback"], ids=names)
async def test_insight_callback(row: dict[str, Any], sdk: Sdk) -> None:
    """An answer that contradicts itself is none."""
    found = sdk.insight(Recorded({})).parse_callback(row["body"].encode())
    if "swapped_on" not in row:
        assert found is None
    else:
        swapped_on = row["swapped_on"] if isinstance(row["swapped_on"], date) else None
        assert found == SimAnswer("ATSwpid_1", swapped_on)
