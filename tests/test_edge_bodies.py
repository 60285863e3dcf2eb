"""What strangers post: ambiguous, endless, compressed, nested and mistyped bodies at every address."""

import asyncio
import gzip
import json
import random
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest
from edge import CODE, count
from test_journeys import application  # noqa: F401 - a fixture

from ussd_app.app import Application

pytestmark = pytest.mark.usefixtures("redis")
JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
AT = {"sessionId": "a", "phoneNumber": "+233240000001", "networkCode": "62001", "serviceCode": CODE, "text": ""}
MADAPI = {
    "sessionId": "m", "messageType": "0", "msisdn": "233240000001", "serviceCode": "920", "ussdString": CODE,
}  # fmt: skip
DEEP = b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}"
BOMB = gzip.compress(b"0" * 50_000_000)
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1e400, float("nan"), 10**400, "", " ", "\u0000", "\ud800", "\ufeff", "\u202e1", "null",
    "\uff11", "a\nb", "x" * 9_000, [], ["1"], {}, {"a": 1}, "*", "#", "**", "*" * 5_000, "1*" * 4_000, "{{ 7*7 }}",
    "%s", "../..", "'; DROP TABLE orders; --", "1. Confirm",
)  # fmt: skip


@pytest.fixture(autouse=True)
def insight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody tells us of SIM swaps too, at an address of theirs."""
    monkeypatch.setenv("SIM_CHECKS", "africastalking")


@pytest.fixture
async def http(application: Application) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application."""
    async with httpx.AsyncClient(base_url=application.settings.public_url, trust_env=False, timeout=20) as http:
        yield http


def _mail(application: Application) -> list[str]:
    """Every address that stores what it is sent."""
    return [
        *(f"{address}/collection" for address in application.callback_urls.values()),
        *application.report_urls.values(),
        *(address.replace("/reports", "/inbound") for address in application.report_urls.values()),
    ]


async def test_hop_with_any_value_in_any_field_is_no_server_error(http: httpx.AsyncClient) -> None:
    """A well-formed reply or a 4xx in one line, for each field of each format and each value in it."""
    for name in MADAPI | {"language": "", "imsi": "", "cellId": "", "network": "", "aggregator": ""}:
        for value in VALUES:
            body = json.dumps(MADAPI | {name: value})
            answer = await http.post("/ussd/callback", content=body.encode(), headers=JSON)
            assert answer.status_code in {200, 400, 413}, (name, value, answer.text)
            assert answer.status_code == 200 or "\n" not in answer.text
    for name in AT:
        for value in VALUES:
            text = str(value).encode(errors="replace").decode()
            answer = await http.post("/ussd/callback", data=AT | {name: text})
            assert answer.status_code in {200, 400, 413}, (name, value, answer.text)


async def test_hop_without_any_of_its_fields_is_no_server_error(http: httpx.AsyncClient) -> None:
    """Each field missing, and each alone."""
    for fields in (AT, MADAPI):
        for name in fields:
            for body in ({key: value for key, value in fields.items() if key != name}, {name: fields[name]}):
                form, told = (body, None) if fields is AT else (None, body)
                answer = await http.post("/ussd/callback", data=form, json=told)
                assert answer.status_code in {200, 400, 415}, (body, answer.text)


async def test_entries_of_every_kind_are_answered(http: httpx.AsyncClient) -> None:
    """wire/ussd.md section 9.4, and what imitates our own lines, at the first screens."""
    typed = ["*", "**", "#", "0", "", "  1 ", "+233240000001", "a&b=c", "Éà", "9" * 500, "1. Confirm", "\u202eevil"]
    for number, entry in enumerate(typed):
        raw = ""
        for step in (None, "1", entry, entry, "3", entry, "0240000002", entry):
            raw = "" if step is None else f"{raw}*{step}" if raw else step
            fields = AT | {"sessionId": f"t{number}", "phoneNumber": f"+2332400003{number:02d}", "text": raw}
            answer = await http.post("/ussd/callback", data=fields)
            assert answer.status_code == 200
            assert answer.text[:4] in {"CON ", "END "}
            assert "did not work" not in answer.text, (entry, step)


@pytest.mark.parametrize("headers", [JSON, FORM, {"content-type": "multipart/form-data; boundary=b"}])
async def test_compressed_bodies_are_not_unpacked(http: httpx.AsyncClient, headers: dict[str, str]) -> None:
    """A gzip bomb is bytes over the limit, or bytes that are no JSON; it is never inflated."""
    packed = headers | {"content-encoding": "gzip"}
    assert len(BOMB) > 16 * 1024
    assert (await http.post("/ussd/callback", content=BOMB, headers=packed)).status_code == 413
    small = gzip.compress(b"0" * 5_000_000)
    assert (await http.post("/ussd/callback", content=small, headers=packed)).status_code in {400, 415}


async def test_mail_is_stored_whatever_it_is(http: httpx.AsyncClient, application: Application) -> None:
    """Callbacks and reports that nobody can read are kept as they came and answered 200; nothing else happens."""
    dice = random.Random(7)  # noqa: S311 - the same bodies every time
    refused = []
    bodies = [
        b"", b"\x00", b"null", b"[]", b"{", DEEP, b"[" * 30_000, gzip.compress(b"{}"), b"\xff\xfe\x00", b"NaN",
        b'{"status":"SUCCESSFUL","amount":NaN,"currency":"GHS"}',
        b'{"status":"SUCCESSFUL","amount":1e999,"currency":"XXX"}',
        b'{"status":"SUCCESSFUL","amount":"99999999999999.999999","currency":"ZZZ"}',
        b'{"status":"FAILED","status":"SUCCESSFUL"}', b'{"status":{"a":1},"reason":[[]]}',
        b'{"status":"FAILED","reason":7}',
        b'{"status":"\\ud800","id":"\\u0000"}', b"id=%00&status=Success", b"id=a&status=%00",
        b"status=Success&id=" + dice.randbytes(30_000).hex().encode(),
        b'{"deliveryStatus":"DELIVRD","clientCorrelator":"\\u0000"}',
        b'{"deliveryStatus":"DELIVRD","transactionId":"\\ud800"}',
        b'{"deliveryStatus":"DELIVRD","transactionId":"' + dice.randbytes(30_000).hex().encode() + b'"}',
        *(dice.randbytes(dice.randrange(1, 300)) for _ in range(40)),
    ]  # fmt: skip
    for address in _mail(application):
        for body in bodies:
            for headers in (JSON, FORM, {b"content-type": b"\x80/\xe9"}, {}):
                answer = await http.post(urlsplit(address).path, content=body, headers=headers)
                if (answer.status_code, answer.content) != (200, b""):
                    refused.append((address.rpartition("/")[2], answer.status_code, body[:80]))
    assert not refused
    # What tells of a SIM is kept only where it can be read.
    told = [address for address in application.callback_urls if not address.startswith("insights_")]
    assert len(told) == len(application.callback_urls) - 1
    assert await count(application, "callbacks") == len(bodies) * 4 * len(told)
    assert await count(application, "sim_checks") == 0
    assert await count(application, "reports") == len(bodies) * 8 * len(application.report_urls)
    assert await count(application, "messages") == 0


async def test_limits_are_exact_and_leave_nothing(http: httpx.AsyncClient, application: Application) -> None:
    """16 KB for a hop, 64 KB for mail, declared or chunked."""

    async def chunks(size: int) -> AsyncIterator[bytes]:
        for start in range(0, size, 1000):
            yield b"x" * min(1000, size - start)

    for content in (b"x" * 16_385, chunks(16_385)):
        assert (await http.post("/ussd/callback", content=content, headers=FORM)).status_code == 413
    exact = "sessionId=a&phoneNumber=%2B233240000001&serviceCode=1&text=1&x="
    full = (exact + "y" * (16_384 - len(exact))).encode()
    assert (await http.post("/ussd/callback", content=full, headers=FORM)).status_code == 200
    for address in _mail(application):
        path = urlsplit(address).path
        assert (await http.post(path, content=b"x" * 65_537)).status_code == 413
        assert (await http.post(path, content=chunks(65_537))).status_code == 413
    assert await count(application, "callbacks") == 0
    assert await count(application, "reports") == 0


async def test_body_that_dribbles_in_is_given_up_in_time(application: Application) -> None:
    """A byte a second for ever is 408 within the hop's budget, and others are served meanwhile."""
    port = urlsplit(application.settings.public_url).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /ussd/callback HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n"
    )
    answer = asyncio.create_task(reader.readline())  # what it goes on writing nobody reads, so a reset may follow
    async with asyncio.timeout(8):
        while not answer.done():
            writer.write(b" ")
            await asyncio.wait({answer}, timeout=1)
    writer.close()
    assert answer.result().startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 404), ("/ussd", 404), ("/ussd/", 404), ("/ussd/callback/", 404), ("/ussd/console", 404),
        ("/ussd/__init__", 404), ("/ussd/mtn/%00", 404), ("/ussd/%E9", 404), ("/callbacks", 404),
        ("/callbacks/mtn_momo", 404), ("/callbacks/mtn/x", 404), ("/callbacks/../mtn_momo/x", 404),
        ("/sms/mtn/x/y", 404),
        ("/sms/console/x/reports", 404), ("/" + "a" * 20_000, 404), ("/docs", 404), ("/openapi.json", 404),
        ("/.env", 404), ("/health", 405), ("/metrics", 405), ("/ready", 405),
    ],
)  # fmt: skip
async def test_addresses_that_are_none_say_so(http: httpx.AsyncClient, path: str, status: int) -> None:
    """In one line that repeats nothing of the request."""
    answer = await http.post(path, content=b"{}")
    assert answer.status_code == status
    assert answer.text in {"Not Found", "Method Not Allowed"}
