"""The doors callbacks come in by: secrets of their own, networks behind a proxy, signatures and their age."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.exceptions import HTTPException
from starlette.requests import Request

from ussd_app.config import Calling
from ussd_app.web.doors import Door, secret_of

NOW = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
BODY = b'{"status":"SUCCESSFUL"}'
KEY = b"demo-signing-key"
SECRET = "s3cret"


def posted(secret: str = SECRET, address: str = "192.0.2.7", headers: Mapping[str, str] | None = None) -> Request:
    """A request as Starlette hands it over."""
    raw = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    return Request({"type": "http", "path_params": {"secret": secret}, "client": (address, 1), "headers": raw})


def signing(**given: Any) -> Door:  # noqa: ANN401 - any setting
    """A door that demands signatures."""
    return Door("s3cret", settings=Calling.model_construct(callback_signing_key=SecretStr(KEY.decode()), **given))


def refusal(door: Door, request: Request, body: bytes = BODY) -> int:
    """The status a callback is refused with; 200 where it is not."""
    try:
        door.verify(request, body, NOW)
    except HTTPException as error:
        return error.status_code
    return 200


@pytest.mark.parametrize("path", ["", "confirmation", "validation", "collection"])
def test_a_registered_address_has_the_providers_secret(path: str) -> None:
    """It is typed into a portal once and stays."""
    Door("s3cret").admit(posted("s3cret"), path)


def test_every_payment_has_an_address_of_its_own() -> None:
    """Whoever learns one learns neither another, nor the registered one; what follows the reference is the same one."""
    own = secret_of("s3cret", "collection/a")
    assert secret_of("s3cret", "collection/a/timeout") == own
    others = {secret_of("s3cret", path) for path in ("collection/b", "disbursement/a", "collection/aa", "")}
    assert own not in others
    assert secret_of("s3cre", "collection/a") != own
    Door("s3cret").admit(posted(own), "collection/a/status")
    for secret, path in ((own, "collection/b"), (own, ""), ("s3cret", "collection/a"), ("", "collection/a")):
        with pytest.raises(HTTPException) as refused:
            Door("s3cret").admit(posted(secret), path)
        assert refused.value.status_code == 404


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("192.0.2.7", 200),
        ("192.0.3.7", 403),
        ("2001:db8::1", 200),
        ("2001:db9::1", 403),
        ("testclient", 403),
        ("", 403),
    ],
)
def test_only_listed_networks_are_let_in(address: str, status: int) -> None:
    """CIDR ranges of both families; what is no address is in none."""
    door = Door("s3cret", ("192.0.2.0/24", "2001:db8::/32"))
    if status == 200:
        door.admit(posted(address=address), "")
    else:
        with pytest.raises(HTTPException) as refused:
            door.admit(posted(address=address), "")
        assert refused.value.status_code == status


DIGEST = hmac.new(KEY, BODY, hashlib.sha256).digest()


@pytest.mark.parametrize(
    ("signature", "status"),
    [
        (DIGEST.hex(), 200), (DIGEST.hex().upper(), 200), (f"sha256={DIGEST.hex()}", 200), (f"v1={DIGEST.hex()}", 200),
        (base64.b64encode(DIGEST).decode(), 200), (f"sha256={base64.b64encode(DIGEST).decode()}", 200),
        ("", 403), (DIGEST.hex()[:-2], 403), ("0" * 64, 403), ("=" * 8, 403), ("sha256=", 403), ("\u00e9", 403),
    ],
)  # fmt: skip
def test_a_signed_callback_must_fit_its_body(signature: str, status: int) -> None:
    """Hexadecimal or base64, with or without the name of its scheme; the key's owner alone can make it."""
    assert refusal(signing(), posted(headers={"X-Signature": signature})) == status
    assert refusal(signing(), posted(headers={"X-Signature": signature}), BODY + b" ") == 403


def test_the_headers_are_settings() -> None:
    """Another header holds it, and the usual one is not looked at."""
    door = signing(callback_signature_header="Partner-Mac")
    assert refusal(door, posted(headers={"partner-mac": DIGEST.hex()})) == 200
    assert refusal(door, posted(headers={"x-signature": DIGEST.hex()})) == 403


@pytest.mark.parametrize(("age", "status"), [(0, 200), (299, 200), (-299, 200), (301, 403), (-301, 403), (86_400, 403)])
def test_a_signature_is_worth_its_replay_window(age: int, status: int) -> None:
    """The timestamp is signed with the body; an old one, or one from the future, is refused."""
    stamp = str(int(NOW.timestamp()) - age)
    mac = hmac.new(KEY, f"{stamp}.".encode() + BODY, hashlib.sha256).hexdigest()
    door = signing(callback_timestamp_header="X-Timestamp")
    assert refusal(door, posted(headers={"X-Signature": mac, "X-Timestamp": stamp})) == status
    later = str(int(stamp) + 1)
    assert refusal(door, posted(headers={"X-Signature": mac, "X-Timestamp": later})) == 403


@pytest.mark.parametrize("stamp", ["", "now", "-1", "1e9", "\u0661", "9" * 13, "1767605400.5"])
def test_what_is_no_timestamp_is_refused(stamp: str) -> None:
    """And never a server error."""
    mac = hmac.new(KEY, f"{stamp}.".encode() + BODY, hashlib.sha256).hexdigest()
    request = posted(headers={"X-Signature": mac, "X-Timestamp": stamp})
    assert refusal(signing(callback_timestamp_header="X-Timestamp"), request) == 403


def test_a_provider_that_signs_in_its_own_way_is_asked() -> None:
    """Its client knows how; False refuses."""
    asked: list[bytes] = []

    def authentic(_headers: Mapping[str, str], body: bytes) -> bool:
        asked.append(body)
        return body == BODY

    door = Door("s3cret", authentic=authentic)
    assert (refusal(door, posted()), refusal(door, posted(), b"{}")) == (200, 403)
    assert asked == [BODY, b"{}"]
