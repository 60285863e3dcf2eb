"""The other end of Daraja's client in its tests: what it answers and was asked, and the movement the rows are about."""

import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2 as httpx
import pytest
from conftest import FakeClock
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from redis.asyncio import Redis

from ussd_app.config import load
from ussd_app.errors import Rejected, Throttled, Unknown
from ussd_app.http import BODY_BYTES_MAX
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.operators import Failed, Kind, Pending, Request, Status, Succeeded
from ussd_app.operators.daraja import Operator, Settings

ROWS = tomllib.loads((Path(__file__).parent / "operators" / "daraja.toml").read_text(encoding="utf-8"))
REFERENCE = UUID("6f1d2c3b-4a59-4e68-8d77-0a1b2c3d4e5f")
CALLBACKS = "https://pay.example.org/callbacks/daraja/s"
PAYER = Msisdn("+254700000001")
AMOUNT = Money.of(1500, "KES")
CHECKOUT = "ws_CO_050120260930004171700000001"
GIVEN = {
    "consumer_key": "the-consumer-key", "consumer_secret": "the-consumer-secret", "shortcode": "600111",
    "passkey": "not-a-real-passkey", "initiator": "testapi", "initiator_password": "the-initiator-password",
}  # fmt: skip
SECRETS = (
    "the-consumer-key",
    "the-consumer-secret",
    "not-a-real-passkey",
    "the-initiator-password",
    "aBcD1234eFgH5678",
)
TOKEN = '{"access_token":"aBcD1234eFgH5678","expires_in":"3599"}'
TAKEN = {"status": 200, "body": '{"ResponseCode":"0","ResponseDescription":"Success"}'}
BROKEN: dict[str, type[httpx.TransportError]] = {
    "connect": httpx.ConnectError, "connect_timeout": httpx.ConnectTimeout, "pool": httpx.PoolTimeout,
    "read_timeout": httpx.ReadTimeout, "write": httpx.WriteError, "cut": httpx.RemoteProtocolError,
}  # fmt: skip

Operators = Callable[..., Operator]


@cache
def pair() -> tuple[RSAPrivateKey, str]:
    """A key and the certificate of it, as the portal gives one."""
    key, name = generate_private_key(65537, 2048), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "example.org")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1)
    dated = builder.not_valid_before(datetime(2020, 1, 1, tzinfo=UTC)).not_valid_after(datetime(2040, 1, 1, tzinfo=UTC))
    return key, dated.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()


class Daraja:
    """The other end: answers tokens by itself and everything else from a list, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[dict[str, Any]] = []
        self.token_answers: list[dict[str, Any]] = []
        self.asked: list[httpx.Request] = []
        self.tokens_asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """One exchange."""
        if request.url.path == "/oauth/v1/generate":
            self.tokens_asked.append(request)
            return response(self.token_answers.pop(0) if self.token_answers else {"status": 200, "body": TOKEN})
        self.asked.append(request)
        return response(self.answers.pop(0))


@pytest.fixture
def theirs() -> Daraja:
    """The other end."""
    return Daraja()


@pytest.fixture
async def operator(theirs: Daraja, redis: Redis, clock: FakeClock) -> AsyncIterator[Operators]:
    """Makes the client with any settings."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(theirs), trust_env=False) as http:

        def make(**more: Any) -> Operator:  # noqa: ANN401 - any setting
            return Operator(load(Settings, **{**GIVEN, "certificate": pair()[1], **more}), http, redis, clock)

        yield make


def asking(
    kind: str = "collection", amount: Money = AMOUNT, note: str = "Ref 10000417", receipt: str = "",
    external_id: str | None = None,
) -> Request:  # fmt: skip
    """The movement the rows are about; a ``reversal`` is a refund whose collection has a receipt."""
    receipt = "UA50DEMO417" if kind == "reversal" else receipt
    moved = Kind.REFUND if kind == "reversal" else Kind(kind)
    url = f"{CALLBACKS}/{moved}/{REFERENCE}"
    return Request(
        REFERENCE, moved, PAYER, amount, "10000417", note, url, receipt=receipt, external_id=external_id
    )  # fmt: skip


async def outcome(call: Awaitable[Status | None]) -> str:
    """What a call came to, in the words of the rows."""
    try:
        result = await call
    except Rejected as error:
        return f"rejected {error.reason}"
    except Throttled as error:
        return f"throttled {error.after:g}"
    except Unknown as error:
        return "unknown outage" if error.outage else "unknown"
    return said(result) if result else ""


def said(status: Status) -> str:
    """A status, in the words of the rows."""
    match status:
        case Pending(raw, None):
            return f"pending {raw}".strip()
        case Pending(_, external_id):
            return f"pending of {external_id}"
        case Succeeded(receipt, amount):
            return " ".join(filter(None, ("succeeded", receipt, amount.plain.removesuffix(".00"))))
        case Failed(reason):
            return f"failed {reason}"


def names(row: dict[str, Any]) -> str:
    """A row's name, for pytest."""
    return str(row["name"])


def response(answer: dict[str, Any]) -> httpx.Response:
    """One answer of the rows; raises what breaks the connection."""
    if broken := answer.get("broken"):
        raise BROKEN[broken](broken)
    body = bytes.fromhex(answer["hex"]) if "hex" in answer else answer.get("body", "").encode() * answer.get("times", 1)
    assert len(body) < 2 * BODY_BYTES_MAX
    return httpx.Response(answer["status"], headers=answer.get("headers"), stream=httpx.ByteStream(body))
