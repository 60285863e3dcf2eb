"""The way in for hops: from an ASGI scope to a response, with nothing of a framework between.

Whatever hangs inside, and however it clings, the phone is answered in time: a hop runs in a task of its own, which is
left behind where it does not end.
"""

import asyncio
from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from ussd_app.aggregators import Aggregator, Callback, Response
from ussd_app.config import allowed
from ussd_app.web import bodies
from ussd_app.web.doors import address, same
from ussd_app.web.hops import Hops, Visit

HOP_SECONDS = 5.0  # from the request's head; no network waits longer than 10 s
PREFIX, HEALTH = "/ussd/", "/ussd/health"
SHARED = "callback"  # in place of an aggregator's name: whichever recognises its format

Headers = list[tuple[bytes, bytes]]


class Front:
    """Serves ``POST|GET /ussd/<aggregator>[/<secret>][/events]`` and ``POST /ussd/callback``."""

    def __init__(self, aggregators: Mapping[str, Aggregator], hops: Hops, hop_seconds: float = HOP_SECONDS) -> None:
        self._aggregators = aggregators
        self._hops = hops
        self._hop_seconds = hop_seconds
        self._open = [each for each in aggregators.values() if is_open(each)]
        self._left: set[asyncio.Task[Response]] = set()  # hops that were answered without being over

    @staticmethod
    def serves(method: str, path: str) -> bool:
        """Whether this is a hop's address; the one that tells who is served is not."""
        return path.startswith(PREFIX) and (path != HEALTH or method not in {"GET", "HEAD"})

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, at the latest a second after its time is up."""
        headers: Mapping[str, str] | None = None
        try:
            response = await self._response(scope, receive)
        except HTTPException as refused:
            response, headers = Response.text(refused.detail, refused.status_code), refused.headers
        sent: Headers = [(b"content-length", b"%d" % len(response.body)), (b"content-type", response.media.encode())]
        if headers:
            sent += [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": response.status, "headers": sent})
        await send({"type": "http.response.body", "body": response.body})

    async def _response(self, scope: Scope, receive: Receive) -> Response:
        aggregator = self._addressed(scope)
        loop = asyncio.get_running_loop()
        visit = Visit()
        task = loop.create_task(self._hop(scope, receive, aggregator, visit))
        over = loop.create_future()

        def wake(_task: object = None) -> None:
            if not over.done():
                over.set_result(None)

        task.add_done_callback(wake)
        # Not wait_for, nor timeout: what is stuck would not let go of us even when cancelled, and the handset waits.
        alarm = loop.call_later(self._hop_seconds, wake)
        await over
        alarm.cancel()
        failure: BaseException | None
        if task.done():
            failure = asyncio.CancelledError() if task.cancelled() else task.exception()
            if failure is None:
                return task.result()
        else:
            failure = TimeoutError() if visit.turn else bodies.too_slow()
            self._leave(task)
        return await self._hops.rescue(visit, failure)

    async def _hop(self, scope: Scope, receive: Receive, aggregator: Aggregator | None, visit: Visit) -> Response:
        if scope["method"] == "GET":
            callback = bodies.query(scope["query_string"])
        else:
            body = await bodies.read(receive, bodies.USSD_BYTES_MAX)
            callback = await bodies.decode(_content_type(scope), body)
        if aggregator is None:
            aggregator = self._recognised(callback)
        elif callback.format not in aggregator.formats:
            raise HTTPException(415, f"{aggregator.name} does not speak this format")
        return await self._hops.answer(visit, aggregator, callback)

    def _addressed(self, scope: Scope) -> Aggregator | None:
        """The aggregator named in the path, None at the shared address; 404, 405, and 403 for a stranger."""
        method = scope["method"]
        path = scope["path"].removeprefix(scope.get("root_path", "")).removeprefix(PREFIX)
        name, _, secret = path.partition("/")
        if method not in {"GET", "POST"}:
            raise HTTPException(405, headers={"allow": "GET, POST"})
        if path == SHARED and method == "POST":
            return None
        aggregator = self._aggregators.get(name)
        if aggregator is None:
            raise HTTPException(404)
        _admit(scope, aggregator, secret)
        if method == "GET" and "query" not in aggregator.formats:
            raise HTTPException(405, headers={"allow": "POST"})
        return aggregator

    def _recognised(self, callback: Callback) -> Aggregator:
        """Whichever aggregator that is open to all speaks this format."""
        for aggregator in self._open:
            if aggregator.recognises(callback):
                return aggregator
        for aggregator in self._aggregators.values():
            if aggregator.recognises(callback):
                raise HTTPException(403, f"{aggregator.name} is served at its own address only")
        raise HTTPException(415, "no aggregator in use speaks this format")

    def _leave(self, task: asyncio.Task[Response]) -> None:
        """End a hop that was answered for, whenever it lets itself be ended."""
        self._left.add(task)
        task.add_done_callback(self._forget)
        task.cancel()

    def _forget(self, task: asyncio.Task[Response]) -> None:
        """Looking at its exception keeps asyncio from printing it."""
        self._left.discard(task)
        if not task.cancelled():
            task.exception()


def is_open(aggregator: Aggregator) -> bool:
    """Whether anyone may post its hops: it has neither a secret nor an allow-list."""
    return aggregator.settings.ussd_secret is None and not aggregator.settings.ussd_allowed_ips


def _admit(scope: Scope, aggregator: Aggregator, given: str) -> None:
    """Raise 403 for a wrong secret or a foreign address, 404 for a segment too many; ``events`` may end any address."""
    secret = aggregator.settings.ussd_secret
    given = f"/{given}".removesuffix("/events").removeprefix("/")
    if secret is None and given:
        raise HTTPException(404)
    if secret is not None and not same(given, secret.get_secret_value()):
        raise HTTPException(403)
    networks = aggregator.settings.ussd_allowed_ips
    if networks and not allowed(address(scope), networks):
        raise HTTPException(403)


def _content_type(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"content-type":
            return str(value.decode("latin-1"))
    return ""
