"""Airtel Money's client against literal bytes, and against whatever else a network may send."""

import base64
import json
import random
import string
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2 as httpx
import phonenumbers
import pytest
import structlog
from conftest import FakeClock
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from ussd_app.clock import Clock
from ussd_app.config import SettingsError, load
from ussd_app.errors import Rejected, Throttled, Unknown
from ussd_app.http import BODY_BYTES_MAX, Answer
from ussd_app.money import Money
from ussd_app.movement import Signing
from ussd_app.msisdn import CURRENCIES, Msisdn
from ussd_app.operators import Failed, Kind, Pending, Request, Status, Succeeded
from ussd_app.operators import Operator as AnyOperator
from ussd_app.operators.airtel import COUNTRIES, UAT, Operator, Settings
from ussd_app.providers.airtel import CODES, MEANINGS, STATUSES, read_back, written

ROWS = tomllib.loads((Path(__file__).parent / "operators" / "airtel.toml").read_text(encoding="utf-8"))
REFERENCE = UUID("6f1d2c3b-4a59-4e68-8d77-0a1b2c3d4e5f")
REFUNDED = UUID("0c5a8b7e-1f2d-4c3b-9a48-57665544ffee")
ID = "6KTD7DKSNOKOLS2ZW4MXCEDZZ"
RECEIPT = "MP260105.0930.A00417"
PAYER = Msisdn("+256700000001")
AMOUNT = Money.of(1500, "UGX")
SECRETS = {"client_secret": "the-client-secret", "pin": "2468", "callback_hash_key": "demo-private-key"}
OWNER = rsa.generate_private_key(public_exponent=65537, key_size=2048)  # Airtel's
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)  # ... and the one it changes to
OAEP = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), label=None)  # noqa: S303 - as the client does
SCHEMES: dict[str, padding.AsymmetricPadding] = {"pkcs1": padding.PKCS1v15(), "oaep": OAEP}
BROKEN: dict[str, type[httpx.TransportError]] = {
    "connect": httpx.ConnectError, "connect_timeout": httpx.ConnectTimeout, "pool": httpx.PoolTimeout,
    "read_timeout": httpx.ReadTimeout, "write": httpx.WriteError, "cut": httpx.RemoteProtocolError,
}  # fmt: skip
# A key of 512 bits, which cannot hold what opens a signature.
SHORT = (
    "MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBALIPlbfeNDXSonxDg5u78mbXirv8S+QV"
    "1zlP4/hTzaND2D1smlxZHv467APxbQBYuoGCJYLkmnuDnefwHZZSH9UCAwEAAQ=="
)
TOKEN = '{"token_type":"bearer","access_token":"dG9rZW4","expires_in":"180"}'

Operators = Callable[..., Operator]


def der(owner: rsa.RSAPrivateKey) -> str:
    """A public key as Airtel shows it."""
    spki = owner.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(spki).decode()


def shown(key: str, until: str = "2041-01-31 00:00:00", code: str = "DP02010001001") -> dict[str, Any]:
    """The answer that shows a public key."""
    data = {"key_id": "77", "key": key, "valid_upto": until}
    return {"status": 200, "body": json.dumps({"data": data, "status": {"response_code": code, "success": True}})}


def coded(code: str, data: object = None) -> dict[str, Any]:
    """An answer with a response code."""
    return {"status": 200, "body": json.dumps({"data": data, "status": {"response_code": code, "success": True}})}


TAKEN, PAID = coded("DP00800001006"), ROWS["check"][0]["answers"][0]


class Airtel:
    """The other end: answers for tokens and keys by itself and all else from a list, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[dict[str, Any]] = []
        self.token_answers: list[dict[str, Any]] = []
        self.key_answers: list[dict[str, Any]] = []
        self.asked: list[httpx.Request] = []
        self.tokens_asked: list[httpx.Request] = []
        self.keys_asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """One exchange."""
        if request.url.path == "/auth/oauth2/token":
            self.tokens_asked.append(request)
            return _response(self.token_answers.pop(0) if self.token_answers else {"status": 200, "body": TOKEN})
        if request.url.path == "/v1/rsa/encryption-keys":
            self.keys_asked.append(request)
            return _response(self.key_answers.pop(0) if self.key_answers else shown(der(OWNER)))
        self.asked.append(request)
        return _response(self.answers.pop(0))


@pytest.fixture
def airtel() -> Airtel:
    """The other end."""
    return Airtel()


@pytest.fixture
async def operator(airtel: Airtel, clock: Clock) -> AsyncIterator[Operators]:
    """Makes the client with any settings."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(airtel), trust_env=False) as http:

        def make(**given: Any) -> Operator:  # noqa: ANN401 - any setting
            return Operator(
                load(Settings, **{"client_id": "ours", "country": "UG", **SECRETS, **given}), http, None, clock
            )

        yield make


def asking(kind: Kind | str = Kind.COLLECTION, **given: Any) -> Request:  # noqa: ANN401 - any member
    """The movement the rows are about."""
    refund = {"refunds": REFUNDED, "receipt": RECEIPT} if kind == Kind.REFUND else {}
    members: dict[str, Any] = {"msisdn": PAYER, "amount": AMOUNT, "label": "10000417", **refund, **given}
    return Request(REFERENCE, Kind(kind), note="Invoice 417", callback_url="", **members)


async def outcome(call: Awaitable[object]) -> str:
    """What a call came to, in the words of the rows."""
    try:
        result = await call
    except Rejected as error:
        return f"rejected {error.reason}"
    except Throttled as error:
        return f"throttled {error.after:g}{' outage' * error.outage}"
    except Unknown as error:
        return f"unknown{' outage' * error.outage}"
    return said(result) if isinstance(result, Status) else str(result)


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


def opened(sealed: str, scheme: str = "pkcs1", owner: rsa.RSAPrivateKey = OWNER) -> bytes:
    """What was sealed for Airtel."""
    return owner.decrypt(base64.b64decode(sealed, validate=True), SCHEMES[scheme])


@pytest.mark.parametrize("row", ROWS["request"], ids=names)
async def test_what_leaves_us_is_what_airtel_documents(
    row: dict[str, Any], airtel: Airtel, operator: Operators
) -> None:
    """Method, path, headers and body of each kind of movement, byte for byte where Airtel reads them."""
    kind, country = row["kind"], row.get("country", "UG")
    amount = Money.of(row.get("amount", 1500), row.get("currency", "UGX"))
    original = {"status": 200, "body": PAID["body"].replace(ID, written(REFUNDED))}
    airtel.answers = [original, TAKEN] if kind == "refund" else [TAKEN]
    given = {"msisdn": Msisdn(row.get("msisdn", PAYER)), "amount": amount, "label": row.get("label", "10000417")}
    await outcome(operator(country=country, version=row.get("version", "v1")).submit(asking(kind, **given)))
    sent = airtel.asked[-1]
    body = json.loads(sent.content)
    if row.get("pin"):
        assert opened(body.pop("pin")) == b"2468"
    assert (sent.method, str(sent.url)) == (row["method"], UAT + row["path"])
    assert json.dumps(body, separators=(",", ":")) == row["body"]
    assert sent.headers["authorization"] == "Bearer dG9rZW4"
    assert (sent.headers["x-country"], sent.headers["x-currency"]) == (country, CURRENCIES[country])
    assert (sent.headers["content-type"], sent.headers["accept"]) == ("application/json", "*/*")
    assert not {"x-signature", "x-key"} & set(sent.headers)


async def test_a_token_is_asked_for_once_and_again_before_it_ends(
    airtel: Airtel, operator: Operators, clock: FakeClock
) -> None:
    """The credentials stand in the body; of 180 seconds the last 15 at least are not used (section 2.1)."""
    airtel.answers = [TAKEN] * 4
    client = operator()
    for seconds in (0, 140, 25, 120):  # 0, 140, 165 = 21 into the second token's life, 141
        clock.advance(seconds)
        await client.submit(asking())
    assert len(airtel.tokens_asked) == 2
    asked = airtel.tokens_asked[0]
    assert (asked.method, str(asked.url)) == ("POST", f"{UAT}/auth/oauth2/token")
    assert json.loads(asked.content) == {
        "client_id": "ours", "client_secret": "the-client-secret", "grant_type": "client_credentials",
    }  # fmt: skip
    assert "authorization" not in asked.headers


@pytest.mark.parametrize(
    ("answer", "expect"),
    [
        ({"status": 401, "body": '{"error":"invalid_client","error_description":"no"}'}, "rejected not_authorised"),
        ({"status": 400, "body": '{"error":"invalid_client","error_description":"no"}'}, "rejected not_authorised"),
        ({"status": 403, "body": "<html></html>"}, "rejected not_authorised"),
        ({"status": 404}, "throttled 2"),
        ({"status": 302, "headers": {"Location": "https://portal.example.org/"}}, "throttled 2"),
        ({"status": 429, "headers": {"Retry-After": "9"}}, "throttled 9"),
        ({"status": 500, "body": '{"error":"weather"}'}, "throttled 2 outage"),
        ({"status": 503}, "throttled 2 outage"),
        ({"status": 200}, "throttled 2 outage"),
        ({"status": 200, "body": "<html></html>"}, "throttled 2 outage"),
        ({"status": 200, "body": '{"access_token":""}'}, "throttled 2 outage"),
        ({"status": 200, "body": '{"access_token":"a\\r\\nX-Evil: 1"}'}, "throttled 2 outage"),
        ({"status": 200, "body": '{"access_token":["a"]}'}, "throttled 2 outage"),
        ({"broken": "read_timeout"}, "throttled 2 outage"),
        ({"broken": "connect"}, "throttled 2 outage"),
        ({"status": 200, "body": '{"access_token":"t","expires_in":180}'}, "pending DP00800001006"),
        ({"status": 200, "body": '{"access_token":"t","expires_in":"soon"}'}, "pending DP00800001006"),
        ({"status": 200, "body": '{"access_token":"t"}'}, "pending DP00800001006"),
    ],
)
async def test_without_a_token_nothing_was_asked_for(
    answer: dict[str, Any], expect: str, airtel: Airtel, operator: Operators
) -> None:
    """Whatever goes wrong with the token, the movement did not leave: it is never unknown."""
    airtel.token_answers, airtel.answers = [answer], [TAKEN]
    assert await outcome(operator().submit(asking())) == expect
    assert len(airtel.asked) == expect.startswith("pending")


async def test_a_refused_token_is_replaced_once_for_all(airtel: Airtel, operator: Operators) -> None:
    """After a 401 the same bytes go out with a fresh token, and the next call uses it straight away."""
    airtel.token_answers = [
        {"status": 200, "body": TOKEN},
        {"status": 200, "body": TOKEN.replace("dG9rZW4", "ZnJlc2g")},
    ]
    airtel.answers = [{"status": 401}, TAKEN, TAKEN]
    client = operator()
    await client.submit(asking())
    await client.submit(asking())
    assert [sent.headers["authorization"] for sent in airtel.asked] == ["Bearer dG9rZW4"] + ["Bearer ZnJlc2g"] * 2
    assert airtel.asked[0].content == airtel.asked[1].content
    assert len(airtel.tokens_asked) == 2


@pytest.mark.parametrize("row", ROWS["submit"], ids=names)
async def test_a_submission_is_judged_by_its_answer(row: dict[str, Any], airtel: Airtel, operator: Operators) -> None:
    """Each answer has one exact class; the id is the same however often it is sent."""
    airtel.answers = list(row["answers"])
    assert await outcome(operator().submit(asking(row.get("kind", "collection")))) == row["expect"]
    assert airtel.answers == []
    assert {json.loads(sent.content)["transaction"]["id"] for sent in airtel.asked} == {ID}


@pytest.mark.parametrize("row", ROWS["refund"], ids=names)
async def test_a_refund_is_asked_for_where_its_collection_is_paid(
    row: dict[str, Any], airtel: Airtel, operator: Operators
) -> None:
    """It is enquired about first, and given back once; what is not sent is never unknown (section 2.3)."""
    airtel.answers = list(row["answers"])
    assert await outcome(operator().submit(asking("refund"))) == row["expect"]
    assert airtel.answers == []
    enquired, *posted = airtel.asked
    assert (enquired.method, enquired.url.path) == ("GET", f"/standard/v1/payments/{written(REFUNDED)}")
    assert [(sent.method, sent.url.path) for sent in posted] == [("POST", "/standard/v1/payments/refund")] * row[
        "posts"
    ]


@pytest.mark.parametrize(("ours", "told", "sent"), [("MP1", "MP2", "MP1"), ("", "MP2", "MP2"), ("", "", None)])
async def test_a_refund_goes_by_the_receipt(
    ours: str, told: str, sent: str | None, airtel: Airtel, operator: Operators
) -> None:
    """The one we were given; without it the enquiry's; without any it is not asked for."""
    original = PAID["body"].replace(ID, written(REFUNDED)).replace(RECEIPT, told)
    done = coded("DP00800001001", {"transaction": {"status": "SUCCESS"}})
    airtel.answers = [{"status": 200, "body": original}, done]
    expect = "pending SUCCESS" if sent else "throttled 2"
    assert await outcome(operator().submit(asking("refund", receipt=ours))) == expect
    posted = [json.loads(each.content) for each in airtel.asked[1:]]
    assert posted == ([{"transaction": {"airtel_money_id": sent}}] if sent else [])


@pytest.mark.parametrize("row", ROWS["check"], ids=names)
async def test_a_status_is_believed_only_as_listed(row: dict[str, Any], airtel: Airtel, operator: Operators) -> None:
    """Each answer to an enquiry has one exact class; its end is one where word and code agree (section 2.4)."""
    airtel.answers = list(row["answers"])
    kind = Kind(row.get("kind", "collection"))
    assert await outcome(operator().check(asking(kind))) == row["expect"]
    assert airtel.answers == []
    path = "standard/v1/disbursements" if kind is Kind.DISBURSEMENT else "standard/v1/payments"
    named = written(REFUNDED) if kind is Kind.REFUND else ID
    assert {(sent.method, str(sent.url)) for sent in airtel.asked} == {("GET", f"{UAT}/{path}/{named}")}


async def test_enquiries_of_version_2(airtel: Airtel, operator: Operators) -> None:
    """Collections have one enquiry for all versions; disbursements name their type."""
    airtel.answers = [coded("DP00800001006"), coded("DP00900001006")]
    client = operator(version="v2", base_url="https://openapi.airtel.africa/")
    for kind in (Kind.COLLECTION, Kind.DISBURSEMENT):
        await client.check(asking(kind))
    assert [str(sent.url) for sent in airtel.asked] == [
        f"https://openapi.airtel.africa/standard/v1/payments/{ID}",
        f"https://openapi.airtel.africa/standard/v2/disbursements/{ID}?transactionType=B2C",
    ]


async def test_a_success_is_reported_in_the_money_asked_for(airtel: Airtel, operator: Operators) -> None:
    """Airtel does not say how much moved."""
    airtel.answers = [PAID, ROWS["check"][-1]["answers"][0]]
    assert await operator().check(asking()) == Succeeded(RECEIPT, AMOUNT)


@pytest.mark.parametrize(
    ("given", "expect"),
    [
        ({"msisdn": Msisdn("+254730000001")}, "rejected party_not_found"),
        ({"amount": Money.of(1500, "KES")}, "rejected bad_request"),
    ],
)
@pytest.mark.parametrize("kind", [Kind.COLLECTION, Kind.DISBURSEMENT, Kind.REFUND])
async def test_another_country_is_not_asked(
    kind: Kind, given: dict[str, Any], expect: str, airtel: Airtel, operator: Operators
) -> None:
    """A number without its country's code would be somebody else's here, and an amount another amount."""
    assert await outcome(operator().submit(asking(kind, **given))) == expect
    assert airtel.tokens_asked == airtel.asked == []


async def test_without_a_pin_nobody_is_paid(airtel: Airtel, operator: Operators) -> None:
    """But collections go on."""
    airtel.answers = [TAKEN]
    client = operator(pin=None)
    assert await outcome(client.submit(asking("disbursement"))) == "rejected not_authorised"
    assert await outcome(client.submit(asking())) == "pending DP00800001006"
    assert airtel.keys_asked == []


@pytest.mark.parametrize("scheme", ["pkcs1", "oaep"])
@pytest.mark.parametrize("own", [False, True], ids=["asked for", "set"])
async def test_only_airtel_reads_the_pin(scheme: str, own: bool, airtel: Airtel, operator: Operators) -> None:  # noqa: FBT001 - a parameter of a test
    """Under either padding, with the key that is set or else the one it shows."""
    given = {"pin_public_key": der(OTHER)} if own else {}
    airtel.answers = [coded("DP00900001006")] * 2
    client = operator(pin_padding=scheme, **given)
    for _ in range(2):
        await client.submit(asking("disbursement"))
    pins = [json.loads(sent.content)["pin"] for sent in airtel.asked]
    assert [opened(pin, scheme, OTHER if own else OWNER) for pin in pins] == [b"2468"] * 2
    assert pins[0] != pins[1]
    assert len(airtel.keys_asked) == (not own)


@pytest.mark.parametrize("kind", [Kind.COLLECTION, Kind.DISBURSEMENT, Kind.REFUND])
async def test_a_signature_is_of_the_bytes_that_are_sent(kind: Kind, airtel: Airtel, operator: Operators) -> None:
    """AES-256-CBC under a key and vector of this call alone, which only Airtel reads (section 2.2)."""
    original = {"status": 200, "body": PAID["body"].replace(ID, written(REFUNDED))}
    airtel.answers = ([original] if kind is Kind.REFUND else []) + [coded("DP00800001006")]
    airtel.answers *= 2
    client = operator(version="v2", signing=True)
    for _ in range(2):
        await outcome(client.submit(asking(kind)))
    posted = [sent for sent in airtel.asked if sent.method == "POST"]
    assert len(posted) == 2
    for sent in posted:
        secret, vector = (base64.b64decode(part) for part in opened(sent.headers["x-key"]).split(b":"))
        cipher = Cipher(algorithms.AES256(secret), modes.CBC(vector)).decryptor()
        plain = cipher.update(base64.b64decode(sent.headers["x-signature"])) + cipher.finalize()
        assert plain[: -plain[-1]] == sent.content
    assert len({opened(sent.headers["x-key"]) for sent in posted}) == 2
    assert len(airtel.keys_asked) == 1
    assert not [sent for sent in airtel.asked if sent.method == "GET" and "x-key" in sent.headers]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (Kind.COLLECTION, "DP00800001026"),
        (Kind.DISBURSEMENT, "DP00900001016"),
        (Kind.DISBURSEMENT, "ROUTER116"),
    ],
)
async def test_a_changed_key_is_asked_for_once(kind: Kind, code: str, airtel: Airtel, operator: Operators) -> None:
    """A refused signature goes out again under the new key, and is refused where the key is the same."""
    refused = coded(code)
    airtel.key_answers = [shown(der(OWNER)), shown(der(OTHER)), shown(der(OTHER))]
    airtel.answers = [refused, coded("DP00800001006" if kind is Kind.COLLECTION else "DP00900001006"), refused]
    client = operator(version="v2", signing=True)
    assert (await outcome(client.submit(asking(kind)))).startswith("pending")
    first, second = airtel.asked
    assert opened(first.headers["x-key"])
    assert opened(second.headers["x-key"], owner=OTHER)
    assert json.loads(first.content)["transaction"] == json.loads(second.content)["transaction"]
    assert await outcome(client.submit(asking(kind))) == "rejected not_authorised"
    assert (len(airtel.asked), len(airtel.keys_asked)) == (3, 3)


async def test_a_key_is_kept_for_as_long_as_it_says(airtel: Airtel, operator: Operators, clock: FakeClock) -> None:
    """Until ``valid_upto``, and for an hour where that cannot be read."""
    airtel.key_answers = [shown(der(OWNER), "2031-03-04 10:00:00"), shown(der(OWNER), "soon"), shown(der(OWNER))]
    client = operator()
    asked = []
    for seconds in (0, 7199, 1, 3599, 1):
        clock.advance(seconds)
        airtel.answers = [coded("DP00900001006")]
        await client.submit(asking("disbursement"))
        asked.append(len(airtel.keys_asked))
    assert asked == [1, 1, 2, 2, 3]


@pytest.mark.parametrize(
    ("answer", "expect"),
    [
        (shown(der(OWNER), code="DP02010001000"), "throttled 2"),
        (shown("no key"), "throttled 2 outage"),
        (shown(""), "throttled 2 outage"),
        (shown(SHORT), "throttled 2 outage"),
        (coded("DP02010001001"), "throttled 2 outage"),
        (coded("DP02010001001", {"key": [1]}), "throttled 2 outage"),
        ({"status": 200, "body": "<html></html>"}, "throttled 2 outage"),
        ({"status": 500}, "throttled 2 outage"),
        ({"status": 404}, "throttled 2"),
        ({"status": 429, "headers": {"Retry-After": "9"}}, "throttled 9"),
        ({"status": 403}, "rejected not_authorised"),
        ({"broken": "read_timeout"}, "throttled 2 outage"),
    ],
)
async def test_without_a_key_nothing_was_asked_for(
    answer: dict[str, Any], expect: str, airtel: Airtel, operator: Operators
) -> None:
    """It is never unknown whether money moved."""
    airtel.key_answers = [answer]
    assert await outcome(operator().submit(asking("disbursement"))) == expect
    assert airtel.asked == []


@pytest.mark.parametrize("row", ROWS["callback"], ids=names)
async def test_a_callback_is_noted(row: dict[str, Any], operator: Operators) -> None:
    """The reference comes from the body; nothing it says is an end, since it names no code."""
    note = operator().parse_callback("", row["body"].encode())
    assert (str(note.reference or ""), said(note.status)) == (row["reference"], row["expect"])


@pytest.mark.parametrize("row", ROWS["hash"], ids=names)
async def test_a_hash_fits_or_is_refused_where_it_is_demanded(row: dict[str, Any], operator: Operators) -> None:
    """In either way of making it, over the members as they came (section 2.5)."""
    client, body = operator(enforce_hash=True), row["body"].encode()
    assert isinstance(client, Signing)
    assert client.authentic({}, body) == row["fits"]
    assert operator().authentic({}, body)
    assert not operator(enforce_hash=True, callback_hash_key="another").authentic({}, body)


async def test_a_name_is_one_clean_line_or_nothing(airtel: Airtel, operator: Operators) -> None:
    """Both names joined; None for every trouble, since a screen can do without."""
    airtel.answers = [
        coded("DP02200000001", {"first_name": "Ama\n1. Confirm", "last_name": "Mensah \U0001f600"}),
        coded("DP02200000001", {"first_name": None, "last_name": ["x"]}),
        coded("DP02200000001"),
        coded("DP02200000000", {"first_name": "Ama"}),
        {"broken": "read_timeout"},
        {"status": 200, "body": "<html></html>"},
    ]
    client = operator()
    found = [await client.name_of(PAYER) for _ in range(6)]
    assert found == ["Ama 1. Confirm Mensah ?", None, None, None, None, None]
    assert str(airtel.asked[0].url) == f"{UAT}/standard/v1/users/700000001"
    assert await client.name_of(Msisdn("+254730000001")) is None
    assert len(airtel.asked) == 6


async def test_a_name_is_not_waited_for(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """When Airtel hangs, the screen goes out without a name."""

    async def hang(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/token"):
            return httpx.Response(200, text=TOKEN)
        await Clock().sleep(60)
        raise AssertionError

    monkeypatch.setattr("ussd_app.operators.airtel.NAME_SECONDS", 0.05)
    async with httpx.AsyncClient(transport=httpx.MockTransport(hang), trust_env=False) as http:
        client = Operator(load(Settings, client_id="ours", country="UG", **SECRETS), http, None, clock)
        assert await client.name_of(PAYER) is None


@pytest.mark.parametrize(
    ("answer", "active"),
    [
        (coded("DP02200000001", {"is_barred": False, "registration": {"status": "SUBS"}}), "True"),
        (coded("DP02200000001", {"is_barred": True, "registration": {"status": "SUBS"}}), "False"),
        (coded("DP02200000001", {"is_barred": False, "registration": {"status": "n"}}), "False"),
        (coded("DP02200000001", {"is_barred": False, "registration": {"status": " "}}), "False"),
        (coded("DP02200000001", {"is_barred": "false", "registration": {"status": "SUBS"}}), "unknown"),
        (coded("DP02200000001", {"is_barred": False, "registration": None}), "unknown"),
        (coded("DP02200000001", {"is_barred": False}), "unknown"),
        (coded("DP02200000001"), "unknown"),
        (coded("DP02200000000"), "False"),
        (coded("DP02200000002", {"is_barred": False, "registration": {"status": "SUBS"}}), "unknown"),
        (coded("ROUTER007"), "rejected bad_request"),
        (coded("ESB000045"), "unknown"),
        ({"status": 404}, "unknown"),
        ({"status": 404, "body": coded("DP02200000000")["body"]}, "unknown"),
        ({"status": 200, "body": "<html></html>"}, "unknown outage"),
        ({"status": 500}, "unknown outage"),
        ({"status": 429}, "throttled 2"),
    ],
)
async def test_a_wallet_is_active_when_it_is_registered_and_not_barred(
    answer: dict[str, Any], active: str, airtel: Airtel, operator: Operators
) -> None:
    """Only a plain yes or no counts; a number of another country is not asked about."""
    airtel.answers = [answer]
    assert await outcome(operator().is_active(PAYER)) == active
    assert not await operator().is_active(Msisdn("+254730000001"))
    assert len(airtel.asked) == 1


@pytest.mark.parametrize(
    ("balance", "currency", "expect"),
    [
        ("1,234,500.00", "UGX", "UGX 1,234,500"),
        ("1234500", "UGX", "UGX 1,234,500"),
        (1234500.0, "UGX", "UGX 1,234,500"),
        ("0", "UGX", "UGX 0"),
        ("1,234,500.50", "UGX", "unknown"),
        ("1,23", "UGX", "unknown"),
        ("12,345,67", "UGX", "unknown"),
        ("-1,234", "UGX", "unknown"),
        ("1,234", "KES", "unknown"),
        ("", "UGX", "unknown"),
        (None, "UGX", "unknown"),
        (True, "UGX", "unknown"),
        (["1"], "UGX", "unknown"),
    ],
)
async def test_a_balance_is_read_with_its_separators(
    balance: object, currency: str, expect: str, airtel: Airtel, operator: Operators
) -> None:
    """Another currency, or no number, is no balance."""
    airtel.answers = [coded("DP02100000001", {"balance": balance, "currency": currency, "account_status": "Active"})]
    assert await outcome(operator().balance(Kind.DISBURSEMENT, "UGX")) == expect
    assert str(airtel.asked[0].url) == f"{UAT}/standard/v1/users/balance"
    airtel.answers = [coded("DP02100000001", {"balance": balance, "currency": currency})]
    assert await outcome(operator().balance(Kind.COLLECTION, "KES")) == "unknown"


async def test_a_currency_of_airtels_own_is_written_and_read(airtel: Airtel, operator: Operators) -> None:
    """In Gabon the franc is called CFA (wire/operators.md section 1)."""
    airtel.answers = [TAKEN, coded("DP02100000001", {"balance": "5,000.00", "currency": "CFA"})]
    client = operator(country="GA", currency="CFA")
    await client.submit(asking(msisdn=Msisdn("+24174000001"), amount=Money.of(500, "XAF")))
    body = json.loads(airtel.asked[0].content)
    assert airtel.asked[0].headers["x-currency"] == body["subscriber"]["currency"] == "CFA"
    assert body["transaction"]["currency"] == "CFA"
    assert await client.balance(Kind.COLLECTION, "XAF") == Money.of(5000, "XAF")


@pytest.mark.parametrize(("leading_zero", "sent"), [(True, "055000001"), (False, "55000001")])
async def test_a_zero_that_is_part_of_the_number_is_a_setting(
    leading_zero: bool,  # noqa: FBT001 - a parameter of a test
    sent: str,
    airtel: Airtel,
    operator: Operators,
) -> None:
    """In Congo (wire/operators.md section 6)."""
    airtel.answers = [TAKEN]
    client = operator(country="CG", leading_zero=leading_zero)
    await client.submit(asking(msisdn=Msisdn("+242055000001"), amount=Money.of(500, "XAF")))
    assert json.loads(airtel.asked[0].content)["subscriber"]["msisdn"] == sent


async def told(client: Operator, kind: Kind, code: str, word: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What an enquiry comes to that is answered with this code and word, for tests of thousands of them."""
    answer = coded(code, {"transaction": {"id": ID, "status": word}})

    async def get(_what: str, _path: str) -> Answer:
        return Answer(200, {}, answer["body"].encode())

    monkeypatch.setattr(client, "_get", get)
    return await outcome(client.check(asking(kind)))


async def test_no_word_but_the_listed_ones_is_final(operator: Operators, monkeypatch: pytest.MonkeyPatch) -> None:
    """5,000 random words beside codes of success and failure, and listed ones in any other spelling, end nothing."""
    client, dice = operator(), random.Random(1010)  # noqa: S311 - a seed, not a secret
    letters = string.ascii_letters + "_ -0é€"
    words = ["".join(dice.choices(letters, k=dice.randint(0, 12))) for _ in range(2_000)]
    while len(words) < 5_000:
        word = "".join(dice.choice([letter, letter.lower()]) for letter in dice.choice(["TS", "TF", "TE"]))
        words.append(dice.choice(["", " ", "\u200b", "."]) + word + dice.choice(["", " ", "S", "\n", "\u0301", "\0"]))
    for word in words:
        if word not in STATUSES:
            for end in ("001", "008"):
                assert await told(client, Kind.COLLECTION, f"DP00800001{end}", word, monkeypatch) == "unknown", word


@pytest.mark.parametrize(
    ("kind", "family", "never"),
    [(Kind.COLLECTION, "DP00800001", {"006"}), (Kind.DISBURSEMENT, "DP00900001", {"006", "011", "017"})],
)
async def test_no_code_but_the_listed_ones_is_final(
    kind: Kind, family: str, never: set[str], operator: Operators, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every other code of three digits leaves a success and a failure unknown."""
    client, listed = operator(), {end for meaning, ends in CODES[family].items() if meaning for end in ends.split()}
    ended = set()
    for end in (f"{number:03d}" for number in range(1000)):
        found = [await told(client, kind, family + end, word, monkeypatch) for word in ("TS", "TF")]
        ended |= {end} if found != ["unknown"] * 2 else set()
    assert ended == listed - never


def test_every_code_has_one_meaning() -> None:
    """No code is listed twice."""
    assert len(MEANINGS) == sum(len(ends.split()) for meanings in CODES.values() for ends in meanings.values())


def test_a_reference_is_an_id_and_back() -> None:
    """25 digits and capitals, for the smallest, the largest and any other."""
    references = [UUID(int=0), UUID(int=1), UUID(int=(1 << 128) - 1), *(uuid4() for _ in range(200))]
    ids = [written(reference) for reference in references]
    assert all(len(named) == 25 and named.isascii() and named.isalnum() and named.upper() == named for named in ids)
    assert [read_back(named) for named in ids] == references
    assert len(set(ids)) == len(references)


RECORDED = [row["body"].encode() for row in ROWS["callback"]] + [
    answer["body"].encode() for row in ROWS["check"] for answer in row["answers"] if len(answer.get("body", "")) > 10
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


# The operator remembers nothing of a callback, so one is enough for all examples.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(body=st.binary() | st.sampled_from(RECORDED), data=st.data())
async def test_no_callback_upsets_the_parser(body: bytes, data: st.DataObject, operator: Operators) -> None:
    """Random bytes and damaged recordings give a note, in text that fits a row."""
    at = data.draw(st.integers(0, len(body)))
    damaged = body[:at] + data.draw(st.binary(max_size=3)) + body[at + data.draw(st.integers(0, 3)) :]
    _holds(operator(enforce_hash=True), damaged)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(transaction=JSON | st.dictionaries(st.sampled_from(["id", "status_code", "airtel_money_id"]), JSON), hashed=JSON)
async def test_no_object_upsets_the_parser(transaction: object, hashed: object, operator: Operators) -> None:
    """The right members with the wrong values."""
    _holds(operator(enforce_hash=True), json.dumps({"transaction": transaction, "hash": hashed}).encode())


async def test_no_answer_upsets_the_client(airtel: Airtel, operator: Operators) -> None:
    """Random answers: one of the three errors or a status, and nothing final unless it is listed."""
    client, dice = operator(), random.Random(29)  # noqa: S311 - a seed, not a secret
    bodies = [*RECORDED, b"", b"null", b"<html>"]
    for _ in range(500):
        body = bytearray(dice.choice(bodies))
        for _ in range(dice.randint(0, 2)):
            body.insert(dice.randint(0, len(body)), dice.randrange(256))
        answer = {"status": dice.choice([200, 200, 202, 301, 400, 401, 403, 404, 500, 503]), "hex": body.hex()}
        for kind in (Kind.COLLECTION, Kind.DISBURSEMENT):
            airtel.answers = [answer] * 2
            if "succeeded" in await outcome(client.submit(asking(kind))):
                assert kind is Kind.DISBURSEMENT
                assert b"DP00900001001" in body
            airtel.answers = [answer] * 2
            if (await outcome(client.check(asking(kind)))).startswith(("succeeded", "failed")):
                assert answer["status"] == 200


@pytest.mark.parametrize("country", sorted(COUNTRIES))
def test_the_networks_are_called_as_phonenumbers_calls_them(country: str) -> None:
    """An upgrade that renames a carrier is noticed here, not by a payer (wire/operators.md section 5)."""
    from phonenumbers.carrierdata import CARRIER_DATA  # noqa: PLC0415 - thousands of ranges that only this test reads

    code = str(phonenumbers.country_code_for_region(country))
    known = {carried.get("en") for prefix, carried in CARRIER_DATA.items() if prefix.startswith(code)}
    assert COUNTRIES[country] in known


async def test_it_is_an_operator_with_the_settings_it_was_given(operator: Operators) -> None:
    """Its own country alone, one float or two, steps per currency; a refund has no id to be repeated under."""
    ours: AnyOperator = operator(country="KE", one_wallet=False, steps={"UGX": 50})
    assert (ours.name, ours.brand, ours.one_float, dict(ours.countries)) == (
        "airtel",
        "Airtel",
        False,
        {"KE": "Airtel"},
    )
    assert (ours.step("KES"), ours.step("UGX")) == (100, 50)
    assert ours.deduplicates == {Kind.COLLECTION, Kind.DISBURSEMENT}
    assert ours.refunds_from is Kind.COLLECTION
    whole = {"KE": 100, "TZ": 100, "MG": 100, "UG": 1, "ZM": 1}
    assert {country: operator(country=country).step(CURRENCIES[country]) for country in whole} == whole


@pytest.mark.parametrize("missing", ["client_id", "client_secret", "country"])
def test_a_missing_setting_is_one_line(missing: str) -> None:
    """It names the variable and where its value comes from."""
    given = {"client_id": "x", "client_secret": "x", "country": "UG"}
    del given[missing]
    with pytest.raises(SettingsError, match=rf"^AIRTEL_{missing.upper()} is not set \(.+\)$"):
        load(Settings, **given)


@pytest.mark.parametrize(
    ("given", "said_of_it"),
    [
        ({"country": "GH"}, "AIRTEL_COUNTRY must be one of CD, "),
        ({"base_url": "ftp://airtel.example.org"}, "AIRTEL_BASE_URL must be an http or https address"),
        ({"base_url": "https://"}, "AIRTEL_BASE_URL must be an http or https address"),
        ({"version": "v3"}, "AIRTEL_VERSION "),
        ({"signing": True}, "AIRTEL_SIGNING needs AIRTEL_VERSION=v2"),
        ({"pin": "1" * 17}, "AIRTEL_PIN "),
        ({"pin_padding": "none"}, "AIRTEL_PIN_PADDING "),
        ({"pin_public_key": "no key"}, "AIRTEL_PIN_PUBLIC_KEY is no public key"),
        ({"pin_public_key": SHORT}, "AIRTEL_PIN_PUBLIC_KEY "),
        ({"enforce_hash": True, "callback_hash_key": None}, "AIRTEL_ENFORCE_HASH needs AIRTEL_CALLBACK_HASH_KEY"),
        ({"currency": "cfa"}, "AIRTEL_CURRENCY "),
    ],
)
def test_a_wrong_setting_stops_the_start(given: dict[str, Any], said_of_it: str) -> None:
    """In one line that names it, not at a payment."""
    with pytest.raises(SettingsError, match=f"^{said_of_it}"):
        load(Settings, **{"client_id": "ours", "country": "UG", **SECRETS, **given})


async def test_nothing_secret_is_kept_or_logged(
    airtel: Airtel, operator: Operators, redis: Redis, clock: Clock
) -> None:
    """No secret, PIN or token in any line or in what prints the settings, and no short number whole."""
    with structlog.testing.capture_logs() as lines:
        airtel.answers = [ROWS["submit"][0]["answers"][0], coded("DP02200000000"), {"status": 500}]
        client = operator(country="NE")
        niger: dict[str, Any] = {"msisdn": Msisdn("+22796000001"), "amount": Money.of(500, "XOF")}
        await outcome(client.submit(asking("disbursement", **niger)))
        await outcome(client.is_active(Msisdn("+22796000001")))
        await outcome(client.submit(asking(**niger)))
    written_down = f"{lines} {client.settings!r} {vars(client)!r}"
    assert len(lines) >= 5
    assert not [secret for secret in (*SECRETS.values(), "dG9rZW4", "96000001") if secret in written_down]
    async with httpx.AsyncClient(transport=httpx.MockTransport(airtel), trust_env=False) as http:
        await Operator(client.settings, http, redis, clock).token()
    assert "the-client-secret" not in str(await redis.keys())


def _holds(client: Operator, body: bytes) -> None:
    assert client.authentic({}, body) in {True, False}
    status = client.parse_callback("", body).status
    assert isinstance(status, Pending)
    assert len(status.raw) <= 256
    assert status.raw.isprintable()


def _response(answer: dict[str, Any]) -> httpx.Response:
    if broken := answer.get("broken"):
        raise BROKEN[broken](broken)
    body = bytes.fromhex(answer["hex"]) if "hex" in answer else answer.get("body", "").encode() * answer.get("times", 1)
    assert len(body) < 2 * BODY_BYTES_MAX
    return httpx.Response(answer["status"], headers=answer.get("headers"), stream=httpx.ByteStream(body))
