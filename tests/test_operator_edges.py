"""Where strangers, treasurers and wrong settings meet the operators of a country."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import Callable, Iterator

import fakeredis
import httpx2 as httpx
import pytest
import structlog
import uvicorn
from conftest import FakeClock
from edge import count
from safaricom import GIVEN, TOKEN, pair
from test_doors import posted
from test_edge_settings import _not_listen, _serve, right  # noqa: F401 - a fixture
from test_journeys import application, load_menus, surroundings  # noqa: F401 - a fixture

from ussd_app import __main__ as command
from ussd_app.app import Application
from ussd_app.commands import doctor
from ussd_app.config import Settings, load, provider
from ussd_app.operators import daraja
from ussd_app.providers import rsa
from ussd_app.sandbox import environment
from ussd_app.web.doors import Door

Run = Callable[..., tuple[int, str, str]]


# --- who may call


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("::ffff:196.201.214.200", 200), ("::FFFF:c4c9:d6c8", 200), ("::ffff:196.201.214.201", 403),
        ("::196.201.214.200", 403), ("64:ff9b::196.201.214.200", 403), ("196.201.214.200:443", 403), ("unknown", 403),
    ],
)  # fmt: skip
def test_an_ipv4_caller_may_come_through_an_ipv6_socket(address: str, status: int) -> None:
    """Proxies and sockets of both families show it as ::ffff:196.201.214.200; nothing that only looks alike is it."""
    door = Door("s3cret", daraja.ADDRESSES)
    if status == 200:
        door.admit(posted(address=address), "confirmation")
    else:
        with pytest.raises(Exception, match=str(status)):
            door.admit(posted(address=address), "confirmation")


@pytest.mark.parametrize("proxies", ["*", "proxy", "10.0.0.0/99", "172.18.0.1;172.18.0.2", "10.0.0.1/8", ""])
def test_what_is_no_address_of_a_proxy_is_said(
    right: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    proxies: str,
) -> None:
    """A name would silently be trusted by nobody, and with ``*`` anybody's own header would pass every allow-list."""
    right.setattr(sys, "argv", ["ussd-app", "serve", "--trusted-proxies", proxies])
    assert _serve() == 2
    said = capsys.readouterr().err
    assert said.startswith("--trusted-proxies ")
    assert said.count("\n") == 1


def test_proxies_are_addresses_and_ranges(right: pytest.MonkeyPatch) -> None:
    """As documented."""
    started: list[object] = []

    def run(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        started.append(server.config.forwarded_allow_ips)
        _not_listen(server, sockets)

    right.setattr(uvicorn.Server, "run", run)
    for proxies in ("127.0.0.1", "172.18.0.1, 10.0.0.0/8", "::1,fd00::/8"):
        right.setattr(sys, "argv", ["ussd-app", "serve", "--trusted-proxies", proxies])
        assert _serve() == 0
    assert started == ["127.0.0.1", "172.18.0.1, 10.0.0.0/8", "::1,fd00::/8"]


# --- settings


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"AIRTEL_COUNTRY": "UG"}, "COUNTRY is KE"), ({"OPERATORS": "daraja,mtn_momo"}, "COUNTRY is KE"),
        ({"DARAJA_INITIATOR_PASSWORD": "\u20ac" * 100}, "DARAJA_CERTIFICATE"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_each_other_are_one_line(
    right: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: dict[str, str],
    says: str,
) -> None:
    """Said at the start, not by the first payment."""
    momo = {"MTN_MOMO_ENVIRONMENT": "mtnuganda"}
    for name, value in (environment(Settings(country="KE")) | {"COUNTRY": "KE"} | momo | given).items():
        right.setenv(name, value)
    assert _serve() == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert "\u20ac" not in said


@pytest.mark.parametrize("around", ["", " ", '"'])
def test_a_key_in_one_line_is_read(around: str) -> None:
    """Files of variables cannot hold lines: what ends one is written as a backslash and an n."""
    _, certificate = pair()
    line = f"{around}{certificate.replace(chr(10), chr(92) + 'n')}{around}"
    numbers = rsa.public_key(certificate).public_numbers()
    if around == '"':
        with pytest.raises(ValueError, match="is no public key"):
            rsa.public_key(line)
        return
    assert rsa.public_key(line).public_numbers() == numbers
    assert load(daraja.Settings, **GIVEN, certificate=line)


# --- commands


@pytest.fixture
def run(
    database: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """A command in Kenya, with the test's own stores: exit code, what it says and what it complains of."""
    for name, value in surroundings("KE", database, redis_url)[1].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(signal, "signal", lambda *_given: None)

    def ran(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ussd-app", *words])
        with pytest.raises(SystemExit) as ended:
            command.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    yield ran
    structlog.reset_defaults()


def test_floats_are_shown_before_any_operator_has_told_its_balance(run: Run) -> None:
    """All, or one; M-PESA tells of its own only once it has been asked."""
    assert run("float")[:2] == (0, "float:airtel: KES 0.00\nfloat:daraja: KES 0.00\n")
    assert run("float", "daraja")[:2] == (0, "float:daraja: KES 0.00\n")


def test_a_treasurer_mistyping_is_told_in_one_line(run: Run) -> None:
    """And nothing is booked."""
    for amount in ("1e30", "-1e30", "9" * 40, "1e999999999", "NaN", "-Infinity", "abc", "0.005", "0", "1000000000001"):
        code, out, err = run("float", "daraja", f"--put={amount}", "--note", "bank")
        assert (code, out, err.count("\n")) == (2, "", 1), (amount, err)
    assert run("float", "daraja")[1] == "float:daraja: KES 0.00\n"


@pytest.mark.parametrize("words", [("--collect", "12"), ("--send-sms", "nobody")])
def test_the_doctor_says_what_is_no_number(run: Run, words: tuple[str, str]) -> None:
    """In one line, before it asks anybody anything."""
    code, out, err = run("doctor", *words)
    assert (code, out) == (2, "")
    assert err == f"{words[0]} {words[1]} is no mobile number of KE\n"


def test_the_doctor_collects_through_the_numbers_own_operator(run: Run) -> None:
    """The others would refuse it, and the doctor call them ill; here nobody answers at all."""
    _, out, _ = run("doctor", "--collect", "0700000001")
    assert [line.partition(":")[0] for line in out.splitlines() if "collection of" in line] == ["WRONG daraja"]


@pytest.mark.parametrize("application", ["KE"], indirect=True)
async def test_the_doctor_does_not_call_an_unanswered_question_well(
    application: Application, capsys: pytest.CaptureFixture[str]
) -> None:
    """M-PESA takes a question of anybody's; that its initiator was wrong is told later."""
    asking = Application(application.settings, read_menus=load_menus)
    assert await doctor.run(asking, None, None, whole=False) == 0
    out = capsys.readouterr().out
    assert "ok    daraja collection: token and balance: asked, and told by a callback: see `ussd-app float`\n" in out
    assert "ok    airtel collection: token and balance: KES 0.00\n" in out


@pytest.mark.parametrize("name", ["airtel", "daraja", "mtn_momo"])
async def test_a_token_got_with_another_secret_is_not_taken(name: str, clock: FakeClock) -> None:
    """Else the doctor would call a wrong secret right for as long as the token of the right one lives."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url.path))
        return httpx.Response(200, text=TOKEN)

    settings = {
        "airtel": {"client_id": "ours", "client_secret": "one", "country": "KE"},
        "daraja": {**GIVEN, "certificate": pair()[1]},
        "mtn_momo": {"subscription_key": "k", "api_user": "u", "api_key": "one"},
    }[name]
    secret = {"airtel": "client_secret", "daraja": "consumer_secret", "mtn_momo": "api_key"}[name]
    module = provider("operators", name)
    async with fakeredis.FakeAsyncRedis() as redis, httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        for given in ({}, {}, {secret: "another"}):
            operator = module.Operator(load(module.Settings, **{**settings, **given}), http, redis, clock)
            source = operator._calls if name == "daraja" else operator
            await source.token(*(["collection"] if name == "mtn_momo" else []))
        kept = [key.decode() async for key in redis.scan_iter()]
    assert len(asked) == 2
    assert not [key for key in kept if "another" in key or "one" in key.split(":")]


# --- what strangers post


RICH = (
    b'{"Result":{"ResultCode":0,"ResultDesc":"\\u0000","ConversationID":"\\u0000","TransactionID":"X",'
    b'"ResultParameters":{"ResultParameter":{"Key":"AccountBalance","Value":"%s"}}}}'
)
BODIES = (
    b"", b"null", b"[]", b'"x"', b"{}", b"\xff\xfe", b"\x00", b"[" * 20_000, b'{"a":1,"a":2}', b"9" * 5_000,
    b'{"Body":null}', b'{"Body":{"stkCallback":null}}', b'{"Body":{"stkCallback":{}}}', b'{"Result":{}}',
    b'{"Body":{"stkCallback":{"ResultCode":0,"CallbackMetadata":{"Item":[{"Name":"Amount","Value":1e400}]}}}}',
    RICH % b"&".join([b"Working Account|KES|0|999999999999999|0|0"] * 500),
    b'{"TransID":"UA50DEMO417","TransAmount":"999999999999999","MSISDN":"\\u0000","BillRefNumber":["\\ud800"]}',
    b'{"TransID":"UA50DEMO418","TransAmount":"1.5","MSISDN":"\\ud800","BillRefNumber":"\\u0000\\ud800"}',
    b'{"TransID":"%s","TransAmount":"1"}' % (b"A" * 100), b'{"TransID":"a","TransAmount":true}',
    b'{"transaction":{"id":"ZZZZZZZZZZZZZZZZZZZZZZZZZ","status_code":"TS\\u0000\\ud800"},"hash":"\\ud800"}',
    b'{"status":"SUCCESSFUL","amount":"1e9","currency":"\\u0000"}', b"a=1&b=%00", b"<xml/>",
)  # fmt: skip
PATHS = (
    "", "confirmation", "validation", "collection", "deposit/x", "deposit/UA50DEMO417", "balance/collection",
    "balance/nonsense", "balance/collection/timeout", "collection/x", "refund/00000000-0000-0000-0000-000000000000",
    "disbursement/00000000-0000-0000-0000-000000000000/status", "collection/x/timeout", "a/b/c", "-/-/-", "..a/b",
)  # fmt: skip


@pytest.mark.usefixtures("redis")
@pytest.mark.parametrize("application", ["KE", pytest.param("UG", marks=pytest.mark.long)], indirect=True)
async def test_no_body_at_any_address_is_a_server_error(application: Application) -> None:
    """Even from somebody who knows the secret: kept and answered in the way the provider wants."""
    async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
        for name in application.callback_urls:
            for path in PATHS:
                url = application.callback_url(name, path)
                answers = await asyncio.gather(*(http.post(url, content=body) for body in BODIES))
                wrong = [body[:200] for body, answer in zip(BODIES, answers, strict=True) if answer.status_code != 200]
                assert not wrong, (name, path)
                if name == "daraja":
                    assert {json.dumps(answer.json()["ResultCode"]) for answer in answers} == {
                        '"0"' if path == "validation" else "0"
                    }


@pytest.mark.usefixtures("redis")
@pytest.mark.parametrize("application", ["KE"], indirect=True)
async def test_a_stranger_leaves_nothing_at_any_new_address(application: Application) -> None:
    """404 for a wrong secret, too many segments and odd ones; 405 to look; 413 for what is too long."""
    public = application.settings.public_url
    # What the worker asks on its own is answered meanwhile, in other bodies than a stranger's.
    kept = "callbacks WHERE body = '{}' OR length(body) > 65536"
    before = await count(application, kept)
    own = application.callback_url("daraja")
    elsewhere = application.callback_url("airtel", "confirmation")
    wrong = [
        *(f"{public}/callbacks/daraja/nope/{path}" for path in PATHS),
        f"{own}/deposit/x", f"{own}/balance/collection", f"{own}/a/b/c/d", f"{own}/confirmation/", f"{own}//",
        f"{own}/{'x' * 65}", f"{own}/confirmation%00", f"{own}/%E2%82%AC", f"{own}/a%2Fb", f"{own}%0A",
        elsewhere.replace("/airtel/", "/daraja/"), f"{public}/callbacks/nobody/x", f"{public}/callbacks/daraja",
        f"{application.callback_url('daraja', 'deposit/x')}y", f"{application.callback_url('daraja', 'deposit/x')}/a/b",
    ]  # fmt: skip
    async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
        for url in wrong:
            assert (await http.post(url, content=b"{}")).status_code == 404, url
        assert (await http.get(f"{own}/confirmation")).status_code == 405
        assert (await http.post(f"{own}/confirmation", content=b" " * 65_537)).status_code == 413
    assert await count(application, kept) == before
