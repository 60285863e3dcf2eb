"""Who may call which address, what is read of a body, and what is stored."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn
from structlog.testing import capture_logs
from world import AT, EVENT, MADAPI, FakeSessions, Store, World, aggregator

from ussd_app import web
from ussd_app.aggregators import africastalking
from ussd_app.config import Settings, SettingsError, load
from ussd_app.web.doors import secret_of

OWN = secret_of("s3cret", "collection/6f0c-1")  # of the address of one payment
FORM = {"content-type": "application/x-www-form-urlencoded"}
JSON = {"content-type": "application/json"}

# Who may post a hop, and what


async def test_secret_admits_to_its_own_address_only() -> None:
    """With a secret set, only the address that ends in it serves, and the shared one does not."""
    world = World(aggregators=[aggregator("africastalking", ussd_secret="k3y"), aggregator("mtn")])
    answers = {
        path: (await world.post(path, data=AT)).status_code
        for path in ("/ussd/callback", "/ussd/africastalking", "/ussd/africastalking/no", "/ussd/africastalking/k3y")
    }
    assert list(answers.values()) == [403, 403, 403, 200]
    assert (await world.post("/ussd/africastalking/events", data=EVENT)).status_code == 403
    assert (await world.post("/ussd/africastalking/k3y/events", data=EVENT)).status_code == 200


async def test_allow_list_admits_its_networks_only() -> None:
    """With an allow-list, a foreign address gets 403 and nothing is begun."""
    sessions = FakeSessions()
    world = World(sessions=sessions, aggregators=[aggregator("mtn", ussd_allowed_ips="192.0.2.0/24")])
    assert (await world.post("/ussd/mtn", json=MADAPI)).status_code == 403
    assert (await world.post("/ussd/callback", json=MADAPI)).status_code == 403
    assert not sessions.committed
    world.address = "192.0.2.7"
    assert (await world.post("/ussd/mtn", json=MADAPI)).status_code == 200
    assert (await world.post("/ussd/callback", json=MADAPI)).status_code == 403


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/ussd/vodacom", 404),
        ("POST", "/ussd/mtn/guess", 404),
        ("POST", "/ussd/mtn/a/b/c", 404),
        ("GET", "/ussd/mtn", 405),
        ("GET", "/ussd/callback", 404),
        ("DELETE", "/ussd/mtn", 405),
    ],
)
async def test_addresses_that_are_none(method: str, path: str, status: int) -> None:
    """What is not served is said plainly."""
    assert (await World().call(method, path)).status_code == status


@pytest.mark.parametrize(
    ("headers", "body", "status", "says"),
    [
        (FORM, b"a=1&b=2", 415, "no aggregator in use speaks this format"),
        (JSON, b'{"a":1}', 415, "no aggregator in use speaks this format"),
        ({"content-type": "text/plain"}, b"hello", 415, "send JSON, or a form (urlencoded or multipart)"),
        ({}, b"hello", 415, "send JSON, or a form (urlencoded or multipart)"),
        (FORM, b"sessionId=1&sessionId=2&phoneNumber=3", 400, "'sessionId' is given twice"),
        (JSON, b'{"msisdn":"1","msisdn":"2"}', 400, "'msisdn' is given twice"),
        (JSON, b"{", 400, "no readable JSON"),
        (JSON, b"\xff\xfe\xfd", 400, "no readable JSON"),
        (JSON, b"", 400, "no readable JSON"),
        (JSON, b"[1]", 400, "no JSON object"),
        (JSON, b'{"a":' + b"[" * 10_000 + b"]" * 5_000 + b"}", 400, "no readable JSON"),
        (JSON, b"[" * 10_000, 400, "no readable JSON"),
        (FORM, b"&".join(b"f%d=1" % number for number in range(65)), 400, "more than 64 fields"),
        ({"content-type": "multipart/form-data"}, b"x", 400, "no readable multipart form of plain fields"),
        (
            {"content-type": "multipart/form-data; boundary=b; charset=undefined"},
            b'--b\r\nContent-Disposition: form-data; name="sessionId"\r\n\r\n1\r\n--b--\r\n',
            400,
            "no readable multipart form of plain fields",
        ),
        (
            {"content-type": "multipart/form-data; boundary=b"},
            b'--b\r\nContent-Disposition: form-data; name="a"; filename="a.txt"\r\n\r\n1\r\n--b--\r\n',
            400,
            "no readable multipart form of plain fields",
        ),
        (JSON, b'{"a":"' + b"x" * 16 * 1024 + b'"}', 413, "more than 16384 bytes"),
        (FORM, b"phoneNumber=%2B233240000001&serviceCode=1&text=", 400, "sessionId is missing"),
    ],
)
async def test_unreadable_request_is_refused_in_one_line(
    headers: dict[str, str], body: bytes, status: int, says: str
) -> None:
    """Nothing ambiguous, oversized or unknown reaches a dialogue."""
    sessions = FakeSessions()
    response = await World(sessions=sessions).post("/ussd/callback", headers=headers, content=body)
    assert (response.status_code, response.text) == (status, says)
    assert not sessions.committed


async def test_another_aggregators_format_is_refused_at_an_own_address() -> None:
    """JSON is no format of Africa's Talking."""
    response = await World().post("/ussd/africastalking", json=AT)
    assert (response.status_code, response.text) == (415, "africastalking does not speak this format")


class ByQuery(africastalking.Aggregator):
    """An aggregator that sends its fields in the query, as several do."""

    formats = frozenset({"query"})


async def test_hop_may_come_as_a_query() -> None:
    """GET serves an aggregator that speaks it; a field given twice is refused there too."""
    world = World(aggregators=[ByQuery(africastalking.Settings(), "920*55", "GH")])
    assert (await world.call("GET", "/ussd/africastalking", params=AT)).text == "CON Got 1\n1. Yes"
    doubled = await world.call("GET", "/ussd/africastalking?text=1&text=2")
    assert (doubled.status_code, doubled.text) == (400, "'text' is given twice")
    assert (await world.post("/ussd/africastalking", data=AT)).status_code == 415


def test_public_address_needs_a_secret() -> None:
    """An open callback on a public address refuses to start, naming the variable that would close it."""
    local, public = load(Settings), load(Settings, public_url="https://ussd.example.com")
    opened = load(Settings, public_url="https://ussd.example.com", allow_open_ussd=True)
    open_one, with_secret = aggregator("mtn"), aggregator("africastalking", ussd_secret="k3y")
    listed = aggregator("hubtel", ussd_allowed_ips="192.0.2.0/24")
    web.refuse_open(local, [open_one])
    web.refuse_open(opened, [open_one])
    web.refuse_open(public, [with_secret, listed])
    with pytest.raises(SettingsError, match=r"^MTN_USSD_SECRET is not set.*ALLOW_OPEN_USSD=1$"):
        web.refuse_open(public, [with_secret, open_one])


# Callbacks and reports


@pytest.mark.parametrize(
    ("method", "path", "kept"),
    [
        ("POST", "/callbacks/mtn_momo/s3cret", ("mtn_momo", "")),
        ("PUT", "/callbacks/mtn_momo/s3cret/collection", ("mtn_momo", "collection")),
        ("PUT", f"/callbacks/mtn_momo/{OWN}/collection/6f0c-1", ("mtn_momo", "collection/6f0c-1")),
        ("POST", f"/callbacks/mtn_momo/{OWN}/collection/6f0c-1/status", ("mtn_momo", "collection/6f0c-1/status")),
        ("POST", "/sms/mtn/s3cret/reports", ("mtn", "reports")),
        ("POST", "/sms/mtn/s3cret/inbound", ("mtn", "inbound")),
    ],
)
async def test_callback_is_stored_as_it_came(method: str, path: str, kept: tuple[str, str]) -> None:
    """Whoever knows the secret has his bytes stored, whatever they are, and is told so by an empty 200."""
    store = Store()
    response = await World(store=store).call(method, path, headers=JSON, content=b"\x00not json")
    assert (response.status_code, response.content) == (200, b"")
    assert store.kept == [(*kept, "application/json", b"\x00not json")]


@pytest.mark.parametrize(
    ("method", "path", "address", "status"),
    [
        ("POST", "/callbacks/mtn_momo/guess", "127.0.0.1", 404),
        ("POST", "/callbacks/mtn_momo/s3cre", "127.0.0.1", 404),
        ("POST", "/callbacks/mtn_momo/%C3%A9", "127.0.0.1", 404),
        ("POST", "/callbacks/telecel/s3cret", "127.0.0.1", 404),
        ("POST", "/callbacks/mtn_momo/s3cret", "198.51.100.1", 403),
        ("POST", "/callbacks/mtn_momo/guess", "198.51.100.1", 404),
        ("POST", f"/callbacks/mtn_momo/{OWN}/collection/6f0c-1/a/b", "127.0.0.1", 404),
        ("POST", "/callbacks/mtn_momo/s3cret/collection/6f0c-1", "127.0.0.1", 404),
        ("POST", f"/callbacks/mtn_momo/{OWN}/collection/6f0c-2", "127.0.0.1", 404),
        ("POST", f"/callbacks/mtn_momo/{OWN}", "127.0.0.1", 404),
        ("POST", f"/callbacks/mtn_momo/{OWN}/collection/6f0c-1", "198.51.100.1", 403),
        ("POST", "/callbacks/mtn_momo/s3cret/%00", "127.0.0.1", 404),
        ("GET", "/callbacks/mtn_momo/s3cret", "127.0.0.1", 405),
        ("POST", "/sms/mtn/guess/reports", "127.0.0.1", 404),
        ("POST", "/sms/mtn/s3cret/else", "127.0.0.1", 404),
        ("POST", "/sms/mtn/s3cret/reports", "198.51.100.1", 403),
    ],
)
async def test_callback_of_a_stranger_leaves_nothing_behind(method: str, path: str, address: str, status: int) -> None:
    """A wrong secret finds nothing there; a foreign address is refused, which the log tells without the secret."""
    store = Store()
    with capture_logs() as lines:
        response = await World(store=store, address=address).call(method, path, content=b"{}")
    assert response.status_code == status
    assert not store.kept
    assert [line["event"] for line in lines] == ["callback refused"] * (status == 403)
    assert "s3cret" not in str(lines)


async def test_callback_over_its_limit_is_refused() -> None:
    """64 KB are read, not one byte more."""
    store = Store()
    world = World(store=store)
    assert (await world.post("/callbacks/mtn_momo/s3cret", content=b"x" * 65_536)).status_code == 200
    assert (await world.post("/callbacks/mtn_momo/s3cret", content=b"x" * 65_537)).status_code == 413
    assert len(store.kept) == 1


async def test_callback_that_was_not_stored_is_sent_again() -> None:
    """While the database is away the provider is told so, and the log names neither path nor body."""
    with capture_logs() as lines:
        response = await World(store=Store(OSError("s3cret"))).post("/callbacks/mtn_momo/s3cret", content=b"body")
    assert (response.status_code, response.text) == (503, "not stored")
    assert [(line["event"], line["provider"], line["error"]) for line in lines] == [
        ("callback not stored", "mtn_momo", "OSError")
    ]
    assert "s3cret" not in str(lines)


# For machines


async def test_health_names_what_is_served() -> None:
    """Every aggregator in use, and those of the shared address."""
    world = World(aggregators=[aggregator("africastalking", ussd_secret="k3y"), aggregator("mtn")])
    served = (await world.call("GET", "/ussd/health")).json()
    assert served == {"status": "ok", "aggregators": ["africastalking", "mtn"], "callback": ["mtn"]}
    assert (await world.call("GET", "/health")).json() == {"status": "ok"}


async def test_ready_tells_store_by_store() -> None:
    """One store away makes it 503, and says which."""

    async def well() -> None:
        pass

    async def away() -> None:
        raise ConnectionError

    assert (await World(checks={"redis": well, "postgres": well}).call("GET", "/ready")).status_code == 200
    response = await World(checks={"redis": well, "postgres": away}).call("GET", "/ready")
    assert (response.status_code, response.json()) == (503, {"redis": "ok", "postgres": "away"})


async def test_metrics_are_for_private_networks() -> None:
    """Prometheus reads them from near by; a stranger does not."""
    response = await World().call("GET", "/metrics")
    assert "ussd_hop_seconds_bucket" in response.text
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert (await World(address="198.51.100.1").call("GET", "/metrics")).status_code == 403


def test_metrics_of_all_processes_are_added(tmp_path: Path) -> None:
    """With PROMETHEUS_MULTIPROC_DIR set, any process tells the sum."""
    script = "from ussd_app import metrics as m; m.SMS.labels('mtn', 'sent').inc(); print(m.page()[0].decode())"
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    pages = [
        subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert 'sms_total{outcome="sent",sender="mtn"} 2.0' in pages[-1].stdout


# Over a real socket


@asynccontextmanager
async def serving(world: World) -> AsyncIterator[int]:
    """The port of a real server."""
    server = uvicorn.Server(uvicorn.Config(world.app, port=0, log_level="warning", lifespan="off"))
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await running


@pytest.mark.parametrize("path", ["/ussd/callback", "/ussd/mtn", "/callbacks/mtn_momo/s3cret"])
async def test_slow_body_is_cut_off(path: str) -> None:
    """A body that does not arrive in time gets 408, and its connection is closed."""
    async with serving(World(hop_seconds=0.1)) as port, asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n"
        writer.write(head.encode() + b'{"se')
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer


async def test_broken_off_body_changes_nothing() -> None:
    """A caller who hangs up in the middle of a body leaves nothing behind, and the server goes on."""
    store = Store()
    world = World(store=store)
    async with serving(world) as port, asyncio.timeout(5):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /callbacks/mtn_momo/s3cret HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()
    assert not store.kept


async def test_endless_body_is_cut_off() -> None:
    """A chunked body without end gets 413 at its limit."""
    async with serving(World()) as port, asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /ussd/callback HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        writer.write(b"2000\r\n" + b"x" * 0x2000 + b"\r\n")
        writer.write(b"2001\r\n" + b"x" * 0x2001 + b"\r\n")
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 413 ")
