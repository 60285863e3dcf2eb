"""The one HTTP client: how calls leave the machine, and what a broken one may be believed to have done.

httpx2 is the maintained successor of httpx, by the same author and with the same API.
"""

import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx2 as httpx

from ussd_app.errors import PAGE, Throttled, Unknown

BODY_BYTES_MAX = 256 * 1024  # of an answer; a provider's are under 4 KB
RETRY_SECONDS = 2.0

# A page by its beginning, after what may stand before its first tag, or by any tag where its type says that it is one.
HEAD_BYTES = 4096
PAGE_BEGINS = re.compile(
    rb"(\xef\xbb\xbf)?\s*+(?:(?><\?xml[^>]*>|<!--.*?-->)\s*+)*+"
    rb"<(!doctype\s+html|html|head|body|title|meta|script|center|h1|p|div)\b",
    re.IGNORECASE | re.DOTALL,
)
TAG = re.compile(rb"</?[a-z!][^<>]*>", re.IGNORECASE)
# The words of firewalls, which stop a request before anybody has read it, whatever the status of their page.
FIREWALLS = re.compile(
    rb"incapsula|imperva|cloudflare ray id|attention required|request unsuccessful|requested url was rejected",
    re.IGNORECASE,
)


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

    @property
    def is_page(self) -> bool:
        """Whether this is an HTML page, which no service we call answers with; JSON is none, whatever its type says."""
        head = self.body[:HEAD_BYTES]
        declared = "html" in self.headers.get("content-type", "").lower()
        if not (PAGE_BEGINS.match(head) or (declared and TAG.search(head))):
            return False
        return self.json() is None


def client(timeout_seconds: float = 10.0, connections: int = 100) -> httpx.AsyncClient:
    """A client that follows no redirect and retries nothing."""
    return httpx.AsyncClient(
        timeout=httpx.Timeout(timeout_seconds, connect=3.0, pool=3.0),
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        follow_redirects=False,
        trust_env=False,
    )


async def call(http: httpx.AsyncClient, method: str, url: str, **options: Any) -> Answer:  # noqa: ANN401 - httpx's own
    """One request; raises Throttled where it surely was not read, Unknown where it may have been."""
    try:
        async with http.stream(method, url, **options) as response:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > BODY_BYTES_MAX:
                    raise Unknown(f"answer over {BODY_BYTES_MAX} bytes", outage=True)
            answer = Answer(response.status_code, dict(response.headers), bytes(body))
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise Throttled(RETRY_SECONDS, f"not sent: {type(error).__name__}", outage=True) from error
    except httpx.HTTPError as error:
        raise Unknown(f"no whole answer: {type(error).__name__}", outage=True) from error
    return spoken(answer)


def spoken(answer: Answer) -> Answer:
    """The answer, where it is somebody's word; a page is a firewall's or a proxy's, and nobody's.

    With 4xx, and wherever it is a firewall's own, it stood before the service, which has read nothing: Throttled. Any
    other may have taken the place of the service's answer: Unknown.
    """
    if not answer.is_page:
        return answer
    detail = f"HTTP {answer.status}, a page"
    refused = HTTPStatus.BAD_REQUEST <= answer.status < HTTPStatus.INTERNAL_SERVER_ERROR
    stopped = answer.status == HTTPStatus.OK and FIREWALLS.search(answer.body[:HEAD_BYTES])
    if stopped or (refused and answer.status != HTTPStatus.REQUEST_TIMEOUT):
        raise Throttled(answer.retry_after, detail, outage=True, alert=PAGE)
    raise Unknown(detail, outage=True, alert=PAGE)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("repeated key")
    return members
