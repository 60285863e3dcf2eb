"""The sandbox's side of HTTP: endpoints that fail as the plan says, and notices sent to whoever listens."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2 as httpx
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send

from ussd_app import log
from ussd_app.clock import Clock
from ussd_app.errors import Throttled, Unknown
from ussd_app.http import Answer, call
from ussd_app.sandbox.background import Background
from ussd_app.sandbox.faults import Faults, Name

Endpoint = Callable[[Request], Awaitable[Response]]
Broken = Callable[[int], Response]  # a provider's own words for 500, 503 and 429, and its gateway's for 404

FAILURES: dict[Name, int] = {"500": 500, "503": 503, "429": 429, "gateway_404": 404}
FIREWALL = (
    "<html><head><title>Request blocked</title></head><body>Request unsuccessful. Incident ID: 0-000000000417"
    "</body></html>"
)
# How each kind of notice goes wrong: lost, late, doubled.
NOTICES: dict[str, tuple[Name, Name, Name]] = {
    "callback": ("lost_callback", "late_callback", "doubled_callback"),
    "report": ("lost_report", "late_report", "doubled_report"),
}


class Refused(Exception):
    """Ends a request with an answer, from wherever the fault was found."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


class Cut(Response):
    """An answer that breaks off after its headers: the server closes the connection, the caller cannot know more."""

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Promise a body that never comes."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": [(b"content-length", b"1")]})


class Wire:
    """Requests in and notices out, with the faults of the plan in both."""

    def __init__(self, faults: Faults, clock: Clock, background: Background, http: httpx.AsyncClient) -> None:
        self._faults = faults
        self._clock = clock
        self._background = background
        self._http = http

    def serve(self, point: str, endpoint: Endpoint, broken: Broken) -> Endpoint:
        """An endpoint that answers Refused with its response, and meets the faults planned for ``point``."""

        async def answer(request: Request) -> Response:
            early = await self._before(point, broken)
            if early:
                return early
            try:
                response = await endpoint(request)
            except Refused as refused:
                return refused.response
            return await self._after(point, response, broken)

        return answer

    async def notify(self, point: str, what: str, method: str, url: str, **options: Any) -> None:  # noqa: ANN401 - httpx's own
        """Send one ``callback`` or ``report``; nobody repeats what is lost, as with the real ones."""
        lost, late, doubled = NOTICES[what]
        if self._faults.take(point, lost):
            return
        repeated = self._faults.take(point, doubled)
        copies = repeated.copies if repeated else 1

        async def send() -> None:
            await asyncio.gather(*(self._send(point, method, url, options) for _ in range(copies)))

        if fault := self._faults.take(point, late):
            self._background.later(fault.delay, send)
        else:
            await send()

    async def ask(self, point: str, method: str, url: str, **options: Any) -> Answer | None:  # noqa: ANN401 - the same
        """Send one question, such as whether a payment is welcome; None where no answer came."""
        return await self._send(point, method, url, options)

    async def _before(self, point: str, broken: Broken) -> Response | None:
        if fault := self._faults.take(point, "slow"):
            await self._clock.sleep(fault.delay)
        if fault := self._faults.take(point, "lost_request"):
            await self._clock.sleep(fault.delay)
            return Cut()
        if fault := self._faults.take(point, "firewall"):
            return HTMLResponse(FIREWALL, fault.status_or(403))
        if fault := self._faults.take(point, "answer"):
            return Response(fault.body, fault.status, media_type=fault.content_type)
        return next((broken(status) for name, status in FAILURES.items() if self._faults.take(point, name)), None)

    async def _after(self, point: str, response: Response, broken: Broken) -> Response:
        if fault := self._faults.take(point, "accepted_then_timeout"):
            await self._clock.sleep(fault.delay)
            return Cut(status_code=response.status_code)
        if self._faults.take(point, "accepted_then_500"):
            return broken(500)
        if fault := self._faults.take(point, "accepted_then_answer"):
            return Response(fault.body, fault.status, media_type=fault.content_type)
        if self._faults.take(point, "invalid_json"):
            return Response('{"status":', 200, media_type="application/json")
        if self._faults.take(point, "html_200"):
            return HTMLResponse("<html><body>Service</body></html>")
        return response

    async def _send(self, point: str, method: str, url: str, options: dict[str, Any]) -> Answer | None:
        try:
            answer = await call(self._http, method, url, **options)
        except (Throttled, Unknown) as error:
            log.get(__name__).info("sandbox.notice_lost", point=point, error=str(error))
            return None
        log.get(__name__).debug("sandbox.notice", point=point, status=answer.status)
        return answer
