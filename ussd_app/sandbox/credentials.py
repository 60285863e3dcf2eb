"""What callers prove themselves with: access tokens of the sandbox's making, Basic and Bearer headers."""

import secrets
from base64 import b64decode
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from starlette.requests import Request

from ussd_app.clock import Clock

Owner = TypeVar("Owner")

# The sandbox accepts every key, token secret and password but those that say they are wrong.
WRONG = "wrong"


class Tokens(Generic[Owner]):
    """Access tokens that expire by the clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._issued: dict[str, tuple[Owner, datetime]] = {}

    def issue(self, owner: Owner, seconds: float) -> str:
        """A new token; those that have expired are forgotten."""
        now = self._clock.now()
        self._issued = {token: (who, end) for token, (who, end) in self._issued.items() if end > now}
        token = secrets.token_urlsafe(24)
        self._issued[token] = owner, now + timedelta(seconds=seconds)
        return token

    def owner(self, token: str) -> Owner | None:
        """Whose token it is; None where it is unknown or has expired."""
        owner, end = self._issued.get(token, (None, self._clock.now()))
        return owner if end > self._clock.now() else None

    def withdraw(self, token: str) -> None:
        """Make a token worthless before its time."""
        self._issued.pop(token, None)


def bearer(request: Request) -> str:
    """The token of a Bearer header; empty where there is none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else ""


def basic(request: Request) -> tuple[str, str]:
    """User and password of a Basic header; empty where there is none or it cannot be read."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        user, _, password = b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return user, password
