"""MTN MoMo's client against literal bytes, and against whatever else a network may send."""

import json
import random
import string
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2 as httpx
import phonenumbers
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from phonenumbers import carrier
from redis.asyncio import Redis

from ussd_app.clock import Clock
from ussd_app.config import SettingsError, load
from ussd_app.errors import Rejected, Throttled, Unknown
from ussd_app.http import BODY_BYTES_MAX
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.operators import Failed, Kind, Pending, Request, Status, Succeeded
from ussd_app.operators import Operator as AnyOperator
from ussd_app.operators.mtn_momo import NETWORKS, PRODUCTION, SANDBOX, Operator, Settings

ROWS = tomllib.loads((Path(__file__).parent / "operators" / "mtn_momo.toml").read_text(encoding="utf-8"))
REFERENCE = UUID("6f1d2c3b-4a59-4e68-8d77-0a1b2c3d4e5f")
PAYER = Msisdn("+233240000001")
FIFTY = Money.of("50.50", "GHS")
CREDENTIALS = {
    "collection_subscription_key": "c" * 32, "collection_api_user": "collector", "collection_api_key": "collector-key",
    "disbursement_subscription_key": "d" * 32, "disbursement_api_user": "payer", "disbursement_api_key": "payer-key",
}  # fmt: skip
TOKEN = '{"access_token":"eyJ0eXAi.aW52ZW50ZWQ.c2ln","token_type":"access_token","expires_in":3600}'
BROKEN: dict[str, type[httpx.TransportError]] = {
    "connect": httpx.ConnectError, "connect_timeout": httpx.ConnectTimeout, "pool": httpx.PoolTimeout,
    "read_timeout": httpx.ReadTimeout, "write": httpx.WriteError, "cut": httpx.RemoteProtocolError,
}  # fmt: skip

Operators = Callable[..., Operator]


class Mtn:
    """The other end: answers tokens by itself and everything else from a list, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[dict[str, Any]] = []
        self.token_answers: list[dict[str, Any]] = []
        self.asked: list[httpx.Request] = []
        self.tokens_asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """One exchange."""
        if request.url.path.endswith("/token/"):
            self.tokens_asked.append(request)
            return _response(self.token_answers.pop(0) if self.token_answers else {"status": 200, "body": TOKEN})
        self.asked.append(request)
        return _response(self.answers.pop(0))


@pytest.fixture
def mtn() -> Mtn:
    """The other end."""
    return Mtn()


@pytest.fixture
async def operator(mtn: Mtn, redis: Redis, clock: Clock) -> AsyncIterator[Operators]:
    """Makes the client with any settings."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(mtn), trust_env=False) as http:

        def make(**given: Any) -> Operator:  # noqa: ANN401 - any setting
            settings = load(Settings, **{"environment": "mtnghana", **CREDENTIALS, **given})
            return Operator(settings, http, redis, clock)

        yield make


def asking(
    kind: Kind = Kind.COLLECTION, amount: Money = FIFTY, note: str = "Invoice 417", callback: str = ""
) -> Request:
    """The movement the rows are about."""
    refunds = UUID("0c5a8b7e-1f2d-4c3b-9a48-57665544ffee") if kind is Kind.REFUND else None
    return Request(REFERENCE, kind, PAYER, amount, "10000417", note, callback, refunds)


async def outcome(call: Awaitable[Status | bool]) -> str:
    """What a call came to, in the words of the rows."""
    try:
        result = await call
        return str(result) if isinstance(result, bool) else said(result)
    except Rejected as error:
        return f"rejected {error.reason}"
    except Throttled as error:
        return f"throttled {error.after:g}"
    except Unknown:
        return "unknown"


def said(status: Status) -> str:
    """A status, in the words of the rows."""
    match status:
        case Pending(raw):
            return f"pending {raw}".strip()
        case Succeeded(receipt):
            return f"succeeded {receipt}".strip()
        case Failed(reason):
            return f"failed {reason}"


def names(row: dict[str, Any]) -> str:
    """A row's name, for pytest."""
    return str(row["name"])


@pytest.mark.parametrize("row", ROWS["request"], ids=names)
async def test_what_leaves_us_is_what_mtn_documents(row: dict[str, Any], mtn: Mtn, operator: Operators) -> None:
    """Method, path, headers and body of each kind of movement, byte for byte where MTN reads them."""
    mtn.answers = [{"status": 202}]
    kind, amount = Kind(row["kind"]), Money.of(row["amount"], row["currency"])
    environment = row.get("environment", "mtnghana")
    await operator(environment=environment).submit(asking(kind, amount, row["note"]))
    [sent] = mtn.asked
    product = row["path"].split("/")[1]
    assert (sent.method, sent.url.path) == (row["method"], row["path"])
    assert json.loads(sent.content) == json.loads(row["body"])
    assert sent.headers["authorization"] == "Bearer eyJ0eXAi.aW52ZW50ZWQ.c2ln"
    assert sent.headers["x-reference-id"] == str(REFERENCE)
    assert sent.headers["x-target-environment"] == environment
    assert sent.headers["ocp-apim-subscription-key"] == product[0] * 32
    assert sent.headers["content-type"] == "application/json"
    assert "x-callback-url" not in sent.headers


async def test_a_token_is_asked_for_with_an_empty_body_and_once_for_each_product(mtn: Mtn, operator: Operators) -> None:
    """Basic, `Content-Length: 0`, a slash at the end, and the product's own user and key (section 1.3)."""
    mtn.answers = [{"status": 202}] * 4
    client = operator()
    for kind in (Kind.COLLECTION, Kind.COLLECTION, Kind.DISBURSEMENT, Kind.REFUND):
        await client.submit(asking(kind))
    first, second = mtn.tokens_asked
    assert (first.method, first.url.path, second.url.path) == ("POST", "/collection/token/", "/disbursement/token/")
    assert (first.content, first.headers["content-length"]) == (b"", "0")
    assert first.headers["authorization"] == "Basic Y29sbGVjdG9yOmNvbGxlY3Rvci1rZXk="
    assert second.headers["authorization"] == "Basic cGF5ZXI6cGF5ZXIta2V5"
    assert first.headers["ocp-apim-subscription-key"] == "c" * 32


@pytest.mark.parametrize("row", ROWS["submit"], ids=names)
async def test_a_submission_is_judged_by_its_answer(row: dict[str, Any], mtn: Mtn, operator: Operators) -> None:
    """Each answer has one exact class; the reference is the same however often it is sent."""
    mtn.answers = list(row["answers"])
    assert await outcome(operator().submit(asking())) == row["expect"]
    assert mtn.answers == []
    assert {sent.headers["x-reference-id"] for sent in mtn.asked} == {str(REFERENCE)}


@pytest.mark.parametrize("code", ["PAYER_LIMIT_REACHED", "PAYER_NOT_FOUND", "SENDER_ACCOUNT_NOT_ACTIVE"])
@pytest.mark.parametrize("kind", [Kind.DISBURSEMENT, Kind.REFUND])
async def test_who_pays_a_payout_is_ourselves(kind: Kind, code: str, mtn: Mtn, operator: Operators) -> None:
    """What is said about the payer is no fault of whom it goes to, at once or in the end."""
    failed = {"status": "FAILED", "reason": code, "amount": "50.50", "currency": "GHS", "externalId": "10000417"}
    mtn.answers = [
        {"status": 400, "body": f'{{"code":"{code}","message":""}}'},
        {"status": 200, "body": json.dumps(failed)},
    ]
    assert await outcome(operator().submit(asking(kind))) == "rejected provider_config"
    assert await outcome(operator().check(asking(kind))) == "failed provider_config"


@pytest.mark.parametrize("row", ROWS["check"], ids=names)
async def test_a_status_is_believed_only_as_listed(row: dict[str, Any], mtn: Mtn, operator: Operators) -> None:
    """Each answer to a status query has one exact class; success is in the money that was asked for."""
    mtn.answers = list(row["answers"])
    client = operator(environment=row.get("environment", "mtnghana"))
    assert await outcome(client.check(asking())) == row["expect"]
    assert mtn.answers == []
    assert {str(sent.url) for sent in mtn.asked} == {
        f"{client.settings.base_url}/collection/v1_0/requesttopay/{REFERENCE}"
    }


async def test_a_success_is_reported_in_the_money_asked_for(mtn: Mtn, operator: Operators) -> None:
    """In the environment `sandbox`, too, where the wire says euros."""
    body = (
        '{"financialTransactionId":"7","externalId":"10000417","amount":"50.5","currency":"EUR","status":"SUCCESSFUL"}'
    )
    mtn.answers = [{"status": 200, "body": body}]
    assert await operator(environment="sandbox").check(asking()) == Succeeded("7", FIFTY)


async def test_each_kind_is_asked_about_where_it_was_made(mtn: Mtn, operator: Operators) -> None:
    """Transfers and refunds are queried under the disbursement product."""
    mtn.answers = [{"status": 200, "body": '{"status":"PENDING"}'}] * 2
    client = operator()
    for kind in (Kind.DISBURSEMENT, Kind.REFUND):
        await client.check(asking(kind))
    assert [sent.url.path for sent in mtn.asked] == [
        f"/disbursement/v1_0/transfer/{REFERENCE}",
        f"/disbursement/v1_0/refund/{REFERENCE}",
    ]


@pytest.mark.parametrize("row", ROWS["callback"], ids=names)
async def test_a_callback_is_noted(row: dict[str, Any], operator: Operators) -> None:
    """The reference comes from the path, the claim from the body."""
    note = operator().parse_callback(row["path"], row["body"].encode())
    assert (str(note.reference or ""), said(note.status)) == (row["reference"], row["expect"])


@pytest.mark.parametrize(
    ("answers", "expect"),
    [
        ([{"status": 401, "body": '{"error":"login_failed"}'}], "rejected not_authorised"),
        ([{"status": 500, "body": '{"error":"login_failed"}'}], "rejected not_authorised"),
        ([{"status": 401, "body": '{"statusCode":401,"message":"Access denied."}'}], "rejected not_authorised"),
        ([{"status": 500, "body": '{"error":"weather"}'}], "throttled 2"),
        ([{"status": 429, "headers": {"Retry-After": "9"}}], "throttled 9"),
        ([{"status": 503}], "throttled 2"),
        ([{"status": 404}], "throttled 2"),
        ([{"status": 302, "headers": {"Location": "https://portal.example.org/"}}], "throttled 2"),
        ([{"status": 200}], "throttled 2"),
        ([{"status": 200, "body": "<html></html>"}], "throttled 2"),
        ([{"status": 403, "body": "<html></html>"}], "throttled 2"),
        ([{"status": 404, "body": '{"statusCode":404,"message":"Resource not found"}'}], "rejected not_authorised"),
        ([{"status": 200, "body": '{"access_token":"","expires_in":3600}'}], "throttled 2"),
        ([{"status": 200, "body": '{"access_token":"a\\r\\nX-Evil: 1","expires_in":3600}'}], "throttled 2"),
        ([{"status": 200, "body": '{"access_token":["a"],"expires_in":3600}'}], "throttled 2"),
        ([{"broken": "read_timeout"}], "throttled 2"),
        ([{"broken": "connect"}], "throttled 2"),
        ([{"status": 200, "body": '{"access_token":"t"}'}], "pending"),
        ([{"status": 200, "body": '{"access_token":"t","expires_in":"soon"}'}], "pending"),
        ([{"status": 200, "body": '{"access_token":"t","expires_in":Infinity}'}], "pending"),
        ([{"status": 200, "body": '{"access_token":"t","expires_in":-1}'}], "pending"),
    ],
)
async def test_without_a_token_nothing_was_asked_for(
    answers: list[dict[str, Any]], expect: str, mtn: Mtn, operator: Operators
) -> None:
    """Whatever goes wrong with the token, the movement did not leave: it is never unknown."""
    mtn.token_answers, mtn.answers = answers, [{"status": 202}]
    assert await outcome(operator().submit(asking())) == expect
    assert len(mtn.asked) == (expect == "pending")


async def test_a_refused_token_is_replaced_once_for_all(mtn: Mtn, operator: Operators) -> None:
    """After a 401 a fresh token is fetched, and the next call uses it straight away."""
    fresh = {"status": 200, "body": TOKEN.replace("aW52ZW50ZWQ", "ZnJlc2g")}
    mtn.token_answers = [{"status": 200, "body": TOKEN}, fresh]
    mtn.answers = [{"status": 401}, {"status": 202}, {"status": 202}]
    client = operator()
    await client.submit(asking())
    await client.submit(asking())
    assert [sent.headers["authorization"][16:-5] for sent in mtn.asked] == ["aW52ZW50ZWQ", "ZnJlc2g", "ZnJlc2g"]
    assert len(mtn.tokens_asked) == 2


@pytest.mark.parametrize(
    ("base_url", "callback", "sent"),
    [
        ("", "https://pay.example.org/callbacks/r", "https://pay.example.org/callbacks/r"),
        ("", "http://pay.example.org/callbacks/r", None),
        ("https://proxy.momoapi.mtn.co.rw", "http://pay.example.org/callbacks/r", None),
        ("http://127.0.0.1:8000/sandbox/mtn_momo", "http://127.0.0.1:8000/r", "http://127.0.0.1:8000/r"),
        (SANDBOX, "http://pay.example.org/callbacks/r", "http://pay.example.org/callbacks/r"),
        (SANDBOX, "", None),
    ],
)
async def test_a_callback_address_is_named_where_mtn_takes_it(
    base_url: str,
    callback: str,
    sent: str | None,
    mtn: Mtn,
    operator: Operators,
) -> None:
    """Production takes https only, and an empty header nowhere (section 1.4)."""
    mtn.answers = [{"status": 202}]
    await operator(base_url=base_url).submit(asking(callback=callback))
    assert mtn.asked[0].headers.get("x-callback-url") == sent


async def test_a_note_is_cut_to_what_mtn_takes(mtn: Mtn, operator: Operators) -> None:
    """160 characters."""
    mtn.answers = [{"status": 202}]
    await operator().submit(asking(note="ab " * 100))
    body = json.loads(mtn.asked[0].content)
    assert body["payerMessage"] == body["payeeNote"] == ("ab " * 54)[:160].strip()


async def test_a_name_is_one_clean_line_or_nothing(mtn: Mtn, operator: Operators) -> None:
    """Both names joined; None for every trouble, since a screen can do without."""
    person = '{"given_name":"Ama\\n1. Confirm","family_name":"Mensah \\ud83d\\ude00","birthdate":"1990-01-01"}'
    mtn.answers = [
        {"status": 200, "body": person},
        {"status": 200, "body": '{"given_name":null,"family_name":["x"]}'},
        {"status": 404, "body": '{"code":"RESOURCE_NOT_FOUND","message":""}'},
        {"broken": "read_timeout"},
        {"status": 200, "body": "<html></html>"},
    ]
    client = operator()
    found = [await client.name_of(PAYER) for _ in range(5)]
    assert found == ["Ama 1. Confirm Mensah ?", None, None, None, None]
    assert mtn.asked[0].url.path == "/collection/v1_0/accountholder/msisdn/233240000001/basicuserinfo"


async def test_a_name_is_not_waited_for(redis: Redis, clock: Clock) -> None:
    """When MTN hangs, the screen goes out without a name."""

    async def hang(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/token/"):
            return httpx.Response(200, text=TOKEN)
        await Clock().sleep(60)
        raise AssertionError

    async with httpx.AsyncClient(transport=httpx.MockTransport(hang), trust_env=False) as http:
        client = Operator(load(Settings, **CREDENTIALS), http, redis, clock)
        assert await client.name_of(PAYER) is None


@pytest.mark.parametrize(
    ("answer", "active"),
    [
        ({"status": 200, "body": '{"result":true}'}, "True"),
        ({"status": 200, "body": '{"result":false}'}, "False"),
        ({"status": 404, "body": '{"code":"RESOURCE_NOT_FOUND","message":""}'}, "False"),
        ({"status": 404, "body": '{"statusCode":404,"message":"Resource not found"}'}, "rejected not_authorised"),
        ({"status": 404, "body": "<html></html>"}, "throttled 2"),
        ({"status": 200, "body": '{"result":"true"}'}, "unknown"),
        ({"status": 500, "body": '{"code":"INTERNAL_PROCESSING_ERROR"}'}, "unknown"),
        ({"status": 500, "body": '{"code":"NOT_ALLOWED"}'}, "rejected not_authorised"),
        ({"status": 503}, "throttled 2"),
    ],
)
async def test_a_wallet_is_active_when_mtn_says_so(
    answer: dict[str, Any], active: str, mtn: Mtn, operator: Operators
) -> None:
    """Only a plain yes or no from the service counts (section 1.9)."""
    mtn.answers = [answer]
    assert await outcome(operator().is_active(PAYER)) == active


async def test_a_balance_is_of_the_product_and_the_currency(mtn: Mtn, operator: Operators) -> None:
    """Each product is asked itself; another currency, or no number, is no balance."""
    mtn.answers = [
        {"status": 200, "body": '{"availableBalance":"250000","currency":"GHS"}'},
        {"status": 200, "body": '{"availableBalance":"250000.55","currency":"GHS"}'},
        {"status": 200, "body": '{"availableBalance":"250000","currency":"EUR"}'},
        {"status": 200, "body": '{"availableBalance":"","currency":"GHS"}'},
    ]
    client = operator()
    assert await client.balance(Kind.COLLECTION, "GHS") == Money.of(250000, "GHS")
    assert await client.balance(Kind.DISBURSEMENT, "GHS") == Money.of("250000.55", "GHS")
    assert [sent.url.path for sent in mtn.asked] == [
        "/collection/v1_0/account/balance",
        "/disbursement/v1_0/account/balance",
    ]
    for _ in range(2):
        with pytest.raises(Unknown):
            await client.balance(Kind.COLLECTION, "GHS")


async def test_no_word_but_the_listed_ones_is_final(operator: Operators) -> None:
    """5,000 random words, and the listed ones in any other spelling, are all pending."""
    client, dice = operator(), random.Random(1010)  # noqa: S311 - a seed, not a secret
    letters = string.ascii_uppercase + "_ -0é€"
    words = ["".join(dice.choices(letters, k=dice.randint(0, 20))) for _ in range(5_000)]
    words += ["successful", "SUCCESSFUL ", "SUCCESS", "SUCCEEDED", "Failed", "FAIL", "FAILURE", "COMPLETED", "PAID"]
    for word in words:
        body = json.dumps({"status": word, "amount": "50.50", "currency": "GHS", "reason": "EXPIRED"}).encode()
        assert isinstance(client.parse_callback(f"collection/{REFERENCE}", body).status, Pending), word


RECORDED = [row["body"].encode() for row in ROWS["callback"]] + [
    answer["body"].encode() for row in ROWS["check"] for answer in row["answers"] if len(answer.get("body", "")) > 10
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
MEMBERS = st.sampled_from(["status", "reason", "amount", "currency", "financialTransactionId", "externalId", "code"])
WORDS = st.sampled_from(["SUCCESSFUL", "FAILED", "EXPIRED", "50.50", "GHS", {"code": "EXPIRED"}, {"code": []}])


# The operator remembers nothing of a callback, so one is enough for all examples.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(body=st.binary() | st.sampled_from(RECORDED), data=st.data())
async def test_no_callback_upsets_the_parser(body: bytes, data: st.DataObject, operator: Operators) -> None:
    """Random bytes and damaged recordings give a note; success always says how much, in text that fits a row."""
    at = data.draw(st.integers(0, len(body)))
    damaged = body[:at] + data.draw(st.binary(max_size=3)) + body[at + data.draw(st.integers(0, 3)) :]
    _holds(operator(), damaged)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(members=st.dictionaries(MEMBERS, WORDS | JSON))
async def test_no_object_upsets_the_parser(members: dict[str, Any], operator: Operators) -> None:
    """The right members with the wrong values."""
    _holds(operator(), json.dumps(members).encode())


async def test_no_answer_upsets_the_client(mtn: Mtn, operator: Operators) -> None:
    """2,000 random answers: one of the three errors or a status, and nothing final unless it is listed."""
    client, dice = operator(), random.Random(29)  # noqa: S311 - a seed, not a secret
    bodies = [*RECORDED, b"", b"null", b'{"code":"RESOURCE_ALREADY_EXIST"}', b'{"code":"NOT_ALLOWED"}', b"<html>"]
    for _ in range(1_000):
        body = bytearray(dice.choice(bodies))
        for _ in range(dice.randint(0, 2)):
            body.insert(dice.randint(0, len(body)), dice.randrange(256))
        answer = {
            "status": dice.choice([200, 202, 204, 301, 400, 401, 403, 404, 409, 500, 502, 503]),
            "hex": body.hex(),
        }
        mtn.answers = [answer, answer]
        if await outcome(client.submit(asking())) == "pending":
            assert answer["status"] == 202 or b'"RESOURCE_ALREADY_EXIST"' in body
        mtn.answers = [answer, answer]
        if (await outcome(client.check(asking()))).startswith(("succeeded", "failed")):
            assert answer["status"] == 200


@pytest.mark.parametrize(("country", "network"), sorted(NETWORKS.values()))
def test_the_networks_are_called_as_phonenumbers_calls_them(country: str, network: str) -> None:
    """An upgrade that renames a carrier is noticed here, not by a payer (wire/operators.md section 5)."""
    from phonenumbers.carrierdata import CARRIER_DATA  # noqa: PLC0415 - thousands of ranges that only this test reads

    code = str(phonenumbers.country_code_for_region(country))
    known = {carried.get("en") for prefix, carried in CARRIER_DATA.items() if prefix.startswith(code)}
    assert network in known
    assert carrier.name_for_number(phonenumbers.parse(PAYER, None), "en") == "MTN"


async def test_an_environment_serves_its_own_country(operator: Operators) -> None:
    """MTN's sandbox, and an environment we do not know, may be tried with any."""
    assert dict(operator(environment="mtncameroon").countries) == {"CM": "MTN Cameroon"}
    assert (
        len(operator(environment="sandbox").countries)
        == len(operator(environment="mtnmoon").countries)
        == len(NETWORKS)
    )


async def test_it_is_an_operator_with_the_settings_it_was_given(operator: Operators) -> None:
    """One float or two, steps per currency, a host for each environment."""
    ours: AnyOperator = operator(one_wallet=False, steps={"GHS": 10})
    assert (ours.name, ours.one_float, ours.step("GHS"), ours.step("UGX")) == ("mtn_momo", False, 10, 1)
    assert ours.deduplicates == set(Kind)
    assert operator(environment="sandbox").settings.base_url == SANDBOX
    assert operator().settings.base_url == PRODUCTION


@pytest.mark.parametrize("missing", ["subscription_key", "api_user", "api_key"])
def test_a_missing_credential_is_one_line(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the variable and where its value comes from, and is not missed where each product has its own."""
    shared = {name: "x" for name in ("subscription_key", "api_user", "api_key") if name != missing}
    for name, value in {**shared, f"collection_{missing}": "y"}.items():
        monkeypatch.setenv(f"MTN_MOMO_{name}".upper(), value)
    with pytest.raises(SettingsError, match=rf"^MTN_MOMO_{missing.upper()} is not set \(.+\)$"):
        load(Settings)
    monkeypatch.setenv(f"MTN_MOMO_DISBURSEMENT_{missing}".upper(), "z")
    settings = load(Settings)
    assert [settings.credential(product, missing) for product in ("collection", "disbursement")] == ["y", "z"]
    assert "x" not in {settings.credential("collection", missing), settings.credential("disbursement", missing)}


def test_settings_do_not_print_their_secrets() -> None:
    """Keys are masked in whatever prints the settings."""
    assert "-key" not in repr(load(Settings, **CREDENTIALS, callback_secret="callback-key"))


@pytest.mark.parametrize("base_url", ["ftp://mtn.example.org", "mtn.example.org", "https://"])
def test_a_base_url_is_a_web_address(base_url: str) -> None:
    """Anything else stops the start, not a payment."""
    with pytest.raises(SettingsError, match="MTN_MOMO_BASE_URL must be an http or https address"):
        load(Settings, **CREDENTIALS, base_url=base_url)


def _holds(client: Operator, body: bytes) -> None:
    status = client.parse_callback(f"collection/{REFERENCE}", body).status
    match status:
        case Succeeded(receipt, amount):
            assert b"SUCCESSFUL" in body
            assert amount.minor >= 0
            assert len(receipt) <= 64
        case Pending(raw) | Failed(_, raw):
            assert len(raw) <= 256
            assert raw.isprintable()


def _response(answer: dict[str, Any]) -> httpx.Response:
    if broken := answer.get("broken"):
        raise BROKEN[broken](broken)
    body = bytes.fromhex(answer["hex"]) if "hex" in answer else answer.get("body", "").encode() * answer.get("times", 1)
    assert len(body) < 2 * BODY_BYTES_MAX
    return httpx.Response(answer["status"], headers=answer.get("headers"), stream=httpx.ByteStream(body))
