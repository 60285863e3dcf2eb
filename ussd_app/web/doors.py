"""Who may post to a provider's addresses: whoever knows the secret, comes from its networks and, where it signs, signs.

A registered address has the provider's own secret; the address of one payment has one of its own, made with a key that
stands in no address, so that whoever learns one learns no other.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Scope

from ussd_app.config import Calling, allowed

STAMP = re.compile(r"[0-9]{1,12}")  # seconds since 1970
SCHEME = re.compile(r"^(sha256|v1)=", re.IGNORECASE)  # which some write before the signature

# Whether a callback of these headers and this body may be the provider's own.
Authentic = Callable[[Mapping[str, str], bytes], bool]


@dataclass(frozen=True, slots=True)
class Door:
    """One provider's: what it is known by, and what it wants to read after 200."""

    secret: str = field(repr=False)
    networks: tuple[str, ...] = ()
    settings: Calling = field(default_factory=Calling.model_construct, repr=False)
    authentic: Authentic | None = None  # by a signature of the provider's own making
    acknowledge: Callable[[str, bytes], str] | None = None
    key: bytes = field(default=b"", repr=False)  # of ours, for the secrets of payments' own addresses

    def admit(self, request: Request, path: str) -> None:
        """Raise 404 for a wrong secret (design.md law 10), 403 for a foreign address."""
        if not same(request.path_params["secret"], secret_of(self.secret, path, self.key)):
            raise HTTPException(404)
        if not allowed(address(request.scope), self.networks):
            raise HTTPException(403)

    def verify(self, request: Request, body: bytes, now: datetime) -> None:
        """Raise 403 where a signature is demanded and does not fit, or is older than the replay window."""
        if self.authentic and not self.authentic(request.headers, body):
            raise HTTPException(403, "not signed by its sender")
        if self.settings.callback_signing_key:
            self._verify(self.settings.callback_signing_key.get_secret_value().encode(), request, body, now)

    def _verify(self, key: bytes, request: Request, body: bytes, now: datetime) -> None:
        signed, header = body, self.settings.callback_timestamp_header
        if header:
            stamp = request.headers.get(header, "")
            if not STAMP.fullmatch(stamp) or abs(int(stamp) - now.timestamp()) > self.settings.callback_replay_seconds:
                raise HTTPException(403, "not signed within the replay window")
            signed = f"{stamp}.".encode() + body
        given = SCHEME.sub("", request.headers.get(self.settings.callback_signature_header, ""))
        if not hmac.compare_digest(_bytes(given), hmac.digest(key, signed, "sha256")):
            raise HTTPException(403, "not signed by its sender")


def secret_of(provider: str, path: str, key: bytes = b"") -> str:
    """The secret of the address with this path: a provider's own, or that of the payment its two segments name.

    The latter is made with ``key``, since a provider's own stands in portals, and in whatever is written about them.
    """
    own = "/".join(path.split("/")[:2])
    return hmac.new(key + provider.encode(), own.encode(), "sha256").hexdigest()[:32] if "/" in own else provider


def same(given: str, secret: str) -> bool:
    """Whether two secrets are one, in a time that tells nothing."""
    return hmac.compare_digest(given.encode(), secret.encode())


def address(scope: Scope) -> str:
    """The caller's IP address; uvicorn takes it from a proxy's header only where it is told to trust that proxy."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def _bytes(signature: str) -> bytes:
    """A signature in hexadecimal or base64, the two ways they are written; empty where it is neither."""
    try:
        return bytes.fromhex(signature)
    except ValueError:
        pass
    try:
        return base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return b""
