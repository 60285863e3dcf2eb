"""The other end of Airtel's client in its tests: what it answers and was asked, and the movement the rows are about."""

import base64
import json
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2 as httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import strategies as st

from ussd_app.clock import Clock
from ussd_app.config import load
from ussd_app.errors import Rejected, Throttled, Unknown
from ussd_app.http import BODY_BYTES_MAX
from ussd_app.money import Money
from ussd_app.movement import Claimed
from ussd_app.msisdn import Msisdn
from ussd_app.operators import Failed, Kind, Pending, Request, Status, Succeeded
from ussd_app.operators.airtel import Operator, Settings

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
OAEP = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), label=None)  # noqa: S303 - what Airtel opens a PIN with, which no collision concerns
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
            return response(self.token_answers.pop(0) if self.token_answers else {"status": 200, "body": TOKEN})
        if request.url.path == "/v1/rsa/encryption-keys":
            self.keys_asked.append(request)
            return response(self.key_answers.pop(0) if self.key_answers else shown(der(OWNER)))
        self.asked.append(request)
        return response(self.answers.pop(0))


@pytest.fixture
def airtel() -> Airtel:
    """The other end."""
    return Airtel()


@pytest.fixture
async def operator(airtel: Airtel, clock: Clock) -> AsyncIterator[Operators]:
    """Makes the client with any settings."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(airtel), trust_env=False) as http:

        def make(**given: object) -> Operator:
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
        case Claimed():
            return f"claimed {status.receipt}".strip()
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


async def told(client: Operator, airtel: Airtel, kind: Kind, code: str, word: str) -> str:
    """What an enquiry comes to that is answered with this code and word."""
    airtel.answers = [coded(code, {"transaction": {"airtel_money_id": RECEIPT, "id": ID, "status": word}})]
    return await outcome(client.check(asking(kind)))


RECORDED = [row["body"].encode() for row in ROWS["callback"]] + [
    answer["body"].encode() for row in ROWS["check"] for answer in row["answers"] if len(answer.get("body", "")) > 10
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def holds(client: Operator, body: bytes) -> None:
    """Neither the hash nor the body of a callback upsets the client."""
    assert client.authentic({}, body) in {True, False}
    status = client.parse_callback("", body).status
    assert isinstance(status, Pending | Failed)  # a callback is never a success by itself
    for word in (status.raw, status.external_id if isinstance(status, Pending) else None):
        assert len(word or "") <= 256
        assert (word or "").isprintable()


def response(answer: dict[str, Any]) -> httpx.Response:
    """A row's answer, or its broken connection."""
    if broken := answer.get("broken"):
        raise BROKEN[broken](broken)
    body = bytes.fromhex(answer["hex"]) if "hex" in answer else answer.get("body", "").encode() * answer.get("times", 1)
    assert len(body) < 2 * BODY_BYTES_MAX
    return httpx.Response(answer["status"], headers=answer.get("headers"), stream=httpx.ByteStream(body))
