"""Every sender against the literal bytes of its provider."""

import json
import re
import socket
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2 as httpx
import pytest
import requests
from conftest import FakeClock
from redis.asyncio import Redis
from requests.adapters import BaseAdapter
from structlog.testing import capture_logs

from ussd_app import config
from ussd_app.errors import Reason, Throttled, Unknown
from ussd_app.msisdn import Msisdn
from ussd_app.senders import Accepted, Outcome, Outgoing, Refused, Sender, State, africastalking, console, mtn

OUTGOING = Outgoing(UUID("6b0f7d2e-0000-4000-8000-0000000000a1"), Msisdn("+256770000001"), "Code 481-902", 1)
TOKEN = b'{"access_token":"Zx0","token_type":"BearerToken","expires_in":"3599"}'
DATA = {name: tomllib.loads((Path(__file__).parent / f"senders/{name}.toml").read_text()) for name in (
    "africastalking", "mtn")}  # fmt: skip


def rows(sender: str, table: str) -> list[Any]:
    """The rows of one table as test cases under their names."""
    return [pytest.param(row, id=row["name"]) for row in DATA[sender][table]]


async def outcome(sender: Sender) -> Outcome | Throttled | Unknown:
    """What sending gives, raised or returned."""
    try:
        return await sender.send(OUTGOING)
    except (Throttled, Unknown) as error:
        return error


def agrees(found: Outcome | Throttled | Unknown, row: dict[str, str]) -> bool:
    """Whether an outcome is the one its row names."""
    match found:
        case Accepted(external_id=external_id, state=state):
            return (row["outcome"], row["state"], row.get("external_id")) == ("accepted", state, external_id)
        case Refused(reason=reason):
            return (row["outcome"], row.get("reason")) == ("refused", reason)
    return row["outcome"] == type(found).__name__.lower()


class Recorded(BaseAdapter):
    """The far side of the SDK: one literal answer, or an exception; keeps what it was asked."""

    def __init__(self, answer: dict[str, Any] | Exception) -> None:
        super().__init__()
        self.answer = answer
        self.asked: list[requests.PreparedRequest] = []

    def send(self, request: requests.PreparedRequest, *_options: object, **_more: object) -> requests.Response:
        """Answer as recorded."""
        self.asked.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        response = requests.Response()
        response.status_code = self.answer["status"]
        response.headers["Content-Type"] = self.answer.get("content_type", "application/json")
        response.raw = BytesIO(self.answer["body"].encode())
        return response

    def close(self) -> None:
        """Nothing is open."""


def at(clock: FakeClock, redis: Redis, adapter: BaseAdapter | None = None, **given: Any) -> africastalking.Sender:  # noqa: ANN401 - any setting
    """Africa's Talking, against recorded answers where an adapter is given."""
    given = {"username": "akello", "api_key": "atsk_test", "sender_id": "AKELLO"} | given
    sender = africastalking.Sender(config.load(africastalking.Settings, **given), httpx.AsyncClient(), redis, clock)
    if adapter:
        sender._session.mount("https://", adapter)
    return sender


def madapi(
    clock: FakeClock,
    redis: Redis,
    answer: Callable[[httpx.Request], httpx.Response],
    **given: Any,  # noqa: ANN401 - any setting
) -> mtn.Sender:
    """MTN, against a handler of its requests."""
    given = {"consumer_key": "consumer-key", "consumer_secret": "hush", "sms_service_code": "AKELLO"} | given
    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return mtn.Sender(config.load(mtn.Settings, **given), http, redis, clock)


def whole(connection: socket.socket) -> bytes:
    """One request, head and body, however many packets it came in."""
    with connection.makefile("rb") as stream:
        head = b"".join(iter(stream.readline, b"\r\n"))
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        return head + b"\r\n" + stream.read(int(length[1]) if length else 0)


@contextmanager
def listening(*answers: bytes | None) -> Iterator[tuple[str, list[bytes]]]:
    """A server on one connection that gives these bytes one after the other; for None it hangs up."""
    heard: list[bytes] = []

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            for answer in answers:
                heard.append(whole(connection))
                if answer is None:
                    return
                connection.sendall(answer)
            connection.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", heard
        thread.join(5)


@pytest.mark.parametrize("row", rows("africastalking", "send"))
async def test_africastalking_reply(row: dict[str, Any], clock: FakeClock, redis: Redis) -> None:
    """Every literal reply means what the wire document says."""
    found = await outcome(at(clock, redis, Recorded(row)))
    assert agrees(found, row)
    assert getattr(found, "outage", False) == row.get("outage", False)


async def test_africastalking_request(clock: FakeClock, redis: Redis) -> None:
    """The SDK's request is the documented one, to the live host."""
    wire, adapter = DATA["africastalking"]["request"], Recorded({"status": 401, "body": ""})
    await outcome(at(clock, redis, adapter))
    [asked] = adapter.asked
    assert (asked.method, asked.url) == (wire["method"], f"https://api.africastalking.com{wire['path']}")
    assert asked.body == wire["body"]
    assert wire["headers"].items() <= {name.lower(): value for name, value in asked.headers.items()}.items()


async def test_africastalking_sandbox_host(clock: FakeClock, redis: Redis) -> None:
    """The user name ``sandbox`` means the sandbox's host, and no sender id none on the wire."""
    adapter = Recorded({"status": 401, "body": ""})
    await outcome(at(clock, redis, adapter, username="sandbox", sender_id=None))
    assert adapter.asked[0].url == "https://api.sandbox.africastalking.com/version1/messaging"
    assert "from=" not in str(adapter.asked[0].body)


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (requests.ConnectTimeout(), Throttled),
        (requests.ReadTimeout(), Unknown),
        (requests.ConnectionError("Connection aborted."), Unknown),
        (requests.exceptions.ChunkedEncodingError(), Unknown),
        (requests.exceptions.SSLError(), Unknown),
    ],
)
async def test_africastalking_broken_call(
    broken: Exception, expected: type[Exception], clock: FakeClock, redis: Redis
) -> None:
    """Only a call that surely never left may be made again."""
    assert type(await outcome(at(clock, redis, Recorded(broken)))) is expected


async def test_africastalking_pools_connections(clock: FakeClock, redis: Redis) -> None:
    """Two calls, each with a service object of its own, share one connection to the configured base URL."""
    row = DATA["africastalking"]["send"][0]
    body = row["body"].encode()
    head = f"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with listening(head.encode() + body, head.encode() + body) as (url, heard):
        sender = at(clock, redis, base_url=f"{url}/sandbox/africastalking/")
        assert agrees(await outcome(sender), row)
        assert agrees(await outcome(sender), row)
        sender._session.close()
    assert len(heard) == 2
    assert all(request.startswith(b"POST /sandbox/africastalking/version1/messaging HTTP/1.1\r\n") for request in heard)


async def test_africastalking_hangs_up(clock: FakeClock, redis: Redis) -> None:
    """A connection cut after the request was read proves nothing."""
    with listening(None) as (url, heard):
        sender = at(clock, redis, base_url=url)
        assert isinstance(await outcome(sender), Unknown)
        sender._session.close()
    assert heard


async def test_africastalking_refuses_the_connection(clock: FakeClock, redis: Redis) -> None:
    """Where nobody listens the SMS surely never left."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert isinstance(await outcome(at(clock, redis, base_url=f"http://127.0.0.1:{port}")), Throttled)


async def test_africastalking_redirect_is_not_followed(clock: FakeClock, redis: Redis) -> None:
    """A redirect would carry the key to somebody else: it is a refusal."""
    answer = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    with listening(answer) as (url, _):
        sender = at(clock, redis, base_url=url)
        assert isinstance(await outcome(sender), Refused)
        sender._session.close()


async def test_africastalking_endless_answer(clock: FakeClock, redis: Redis) -> None:
    """An answer over the limit is given up."""
    huge = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n\r\n" + b" " * (257 * 1024)
    with listening(huge) as (url, _):
        sender = at(clock, redis, base_url=url)
        assert isinstance(await outcome(sender), Unknown)
        sender._session.close()


@pytest.mark.parametrize("name", ["africastalking", "mtn"])
async def test_report(name: str, clock: FakeClock, redis: Redis) -> None:
    """Every literal report means what the wire document says, and a stray body is none."""
    sender: Sender = (
        at(clock, redis) if name == "africastalking" else madapi(clock, redis, lambda _: httpx.Response(500))
    )
    for row in DATA[name]["report"]:
        report = sender.parse_report("", row["body"].encode())
        assert report is not None, row["name"]
        for field in ("external_id", "correlator", "state", "reason", "msisdn"):
            assert getattr(report, field) == row.get(field), (row["name"], field)
    for row in DATA[name]["stray"]:
        assert sender.parse_report("", row["body"].encode()) is None, row["name"]


@pytest.mark.parametrize("row", rows("mtn", "send"))
async def test_mtn_reply(row: dict[str, Any], clock: FakeClock, redis: Redis) -> None:
    """Every literal reply means what the wire document says."""

    def answer(request: httpx.Request) -> httpx.Response:
        if "oauth" in request.url.path:
            return httpx.Response(200, content=TOKEN)
        return httpx.Response(row["status"], content=row["body"].encode())

    assert agrees(await outcome(madapi(clock, redis, answer)), row)


async def test_mtn_request(clock: FakeClock, redis: Redis) -> None:
    """Token call and send are the documented ones; the token is asked for once."""
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, content=TOKEN if "oauth" in request.url.path else b'{"statusCode":"0000"}')

    sender = madapi(clock, redis, answer, sms_sender_address="AKELLO")
    await outcome(sender)
    await outcome(sender)
    token, first, _second = asked
    assert str(token.url) == "https://api.mtn.com/v1/oauth/access_token?grant_type=client_credentials"
    assert token.content == b"client_id=consumer-key&client_secret=hush"
    wire = DATA["mtn"]["request"]
    assert (first.method, first.url.path, json.loads(first.content)) == (wire["method"], wire["path"], wire["json"])
    assert wire["headers"].items() <= dict(first.headers).items()


@pytest.mark.parametrize(
    "refusal", [(401, b""), (200, b'{"statusCode":"4000","statusMessage":"Unauthorized"}')], ids=["401", "4000"]
)
async def test_mtn_refreshes_its_token_once(refusal: tuple[int, bytes], clock: FakeClock, redis: Redis) -> None:
    """Unauthorised with the old token, the same correlator goes out once more with a fresh one."""
    sent: list[tuple[str, str]] = []
    issued = iter(["old", "new", "never"])

    def answer(request: httpx.Request) -> httpx.Response:
        if "oauth" in request.url.path:
            return httpx.Response(200, json={"access_token": next(issued), "expires_in": "3599"})
        sent.append((request.headers["authorization"], json.loads(request.content)["clientCorrelatorId"]))
        if request.headers["authorization"] == "Bearer old":
            return httpx.Response(refusal[0], content=refusal[1])
        return httpx.Response(200, json={"statusCode": "0000", "transactionId": "9f31"})

    assert await outcome(madapi(clock, redis, answer)) == Accepted("9f31")
    assert sent == [("Bearer old", str(OUTGOING.correlator)), ("Bearer new", str(OUTGOING.correlator))]


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, b'{"error":"invalid_client"}', Refused(Reason.PROVIDER_CONFIG, "no token: HTTP 401")),
        (400, b'{"error":"unsupported_grant_type"}', Refused(Reason.PROVIDER_CONFIG, "no token: HTTP 400")),
        (503, b"", Throttled),
        (429, b"", Throttled),
    ],
)
async def test_mtn_without_a_token(
    status: int, body: bytes, expected: Refused | type[Exception], clock: FakeClock, redis: Redis
) -> None:
    """Without a token nothing was sent, so the outcome is never unknown."""
    found = await outcome(madapi(clock, redis, lambda _: httpx.Response(status, content=body)))
    assert found == expected or type(found) is expected


async def test_mtn_token_call_that_breaks_sent_nothing(clock: FakeClock, redis: Redis) -> None:
    """A token call that times out leaves the SMS certainly unsent."""

    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("", request=request)

    assert isinstance(await outcome(madapi(clock, redis, answer)), Throttled)


async def test_mtn_silence_after_the_request(clock: FakeClock, redis: Redis) -> None:
    """A send that times out may have been taken."""

    def answer(request: httpx.Request) -> httpx.Response:
        if "oauth" in request.url.path:
            return httpx.Response(200, content=TOKEN)
        raise httpx.ReadTimeout("", request=request)

    assert isinstance(await outcome(madapi(clock, redis, answer)), Unknown)


async def test_mtn_other_authentications(clock: FakeClock, redis: Redis) -> None:
    """Credentials go in the Basic header where that is set, and the key alone needs no token."""
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, content=TOKEN if "oauth" in request.url.path else b'{"statusCode":"0000"}')

    await outcome(madapi(clock, redis, answer, sms_authentication="key"))
    assert [request.url.path for request in asked] == ["/v3/sms/messages/sms/outbound"]
    assert "authorization" not in asked[0].headers
    await outcome(madapi(clock, redis, answer, sms_authentication="basic"))
    assert asked[1].headers["authorization"] == "Basic Y29uc3VtZXIta2V5Omh1c2g="
    assert asked[1].content == b""


def test_settings_are_named_as_people_set_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing setting is told by the variable's whole name; secrets never print."""
    with pytest.raises(config.SettingsError, match=r"^MTN_CONSUMER_KEY is not set"):
        config.load(mtn.Settings)
    with pytest.raises(config.SettingsError, match=r"^AT_USERNAME is not set"):
        config.load(africastalking.Settings)
    for name, value in {
        "MTN_CONSUMER_KEY": "k", "MTN_CONSUMER_SECRET": "hush", "MTN_SMS_SERVICE_CODE": "2020", "MTN_SMS_BASE_URL": "http://a.b",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    settings = config.load(mtn.Settings)
    assert (settings.sms_service_code, settings.sms_base_url) == ("2020", "http://a.b")
    assert "hush" not in repr(settings)


async def test_console_counts_only_on_this_machine(clock: FakeClock, redis: Redis) -> None:
    """A log line is an SMS for a developer; anywhere else it is an alert and a refusal, without the text."""
    for url, expected in (("http://127.0.0.1:8000", State.SENT), ("https://pay.example", None)):
        settings = config.load(console.Settings, public_url=url)
        with capture_logs() as lines:
            found = await console.Sender(settings, httpx.AsyncClient(), redis, clock).send(OUTGOING)
        if expected:
            assert found == Accepted(None, State.SENT)
            assert lines[0]["text"] == OUTGOING.text
        else:
            assert isinstance(found, Refused)
            assert found.reason is Reason.PROVIDER_CONFIG
            assert (lines[0]["event"], lines[0]["log_level"]) == ("alert", "error")
            assert OUTGOING.text not in str(lines)
