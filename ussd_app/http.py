"""The one HTTP client: how calls leave the machine, and what a broken one may be believed to have done.

httpx2 is the maintained successor of httpx, by the same author and with the same API.
"""

import json
from dataclasses import dataclass
from typing import Any

import httpx2 as httpx

from ussd_app.errors import Throttled, Unknown

BODY_BYTES_MAX = 256 * 1024  # of an answer; a provider's are under 4 KB
RETRY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer: status, lower-cased headers and body bytes."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401 - what a stranger sent has no type yet
        """The body as JSON, or None where it is none or repeats a key (an ambiguous answer proves nothing)."""
        try:
            return json.loads(self.body, object_pairs_hook=_unique)
        except (ValueError, RecursionError):
            return None

    @property
    def retry_after(self) -> float:
        """Seconds the other side asked us to wait, within reason."""
        value = self.headers.get("retry-after", "")
        return min(float(value), 300.0) if value.isascii() and value.isdigit() else RETRY_SECONDS


def client(timeout_seconds: float = 10.0, connections: int = 100) -> httpx.AsyncClient:
    """A client that follows no redirect and retries nothing."""
    return httpx.AsyncClient(
        timeout=httpx.Timeout(timeout_seconds, connect=3.0, pool=3.0),
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        follow_redirects=False,
        trust_env=False,
    )


async def call(http: httpx.AsyncClient, method: str, url: str, **options: Any) -> Answer:  # noqa: ANN401 - httpx's own
    """One request; raises Throttled where it surely never left, Unknown where it may have been read."""
    try:
        async with http.stream(method, url, **options) as response:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > BODY_BYTES_MAX:
                    raise Unknown(f"answer over {BODY_BYTES_MAX} bytes", outage=True)
            return Answer(response.status_code, dict(response.headers), bytes(body))
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise Throttled(RETRY_SECONDS, f"not sent: {type(error).__name__}", outage=True) from error
    except httpx.HTTPError as error:
        raise Unknown(f"no whole answer: {type(error).__name__}", outage=True) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("repeated key")
    return members
