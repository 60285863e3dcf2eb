"""The way in for hops: from an ASGI scope to a response, with nothing of a framework between.

Whatever hangs inside, and however it clings, the phone is answered in time: a hop runs in a task of its own, which is
left behind where it does not end.
"""

import asyncio
from collections.abc import Callable, Mapping

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


# What becomes of a request: a response, a refusal (HTTPException), or a fault of ours.
Outcome = Response | BaseException
Tell = Callable[[Outcome], None]


class Front:
    """Serves ``POST|GET /ussd/<aggregator>[/<secret>][/events]`` and ``POST /ussd/callback``."""

    def __init__(self, aggregators: Mapping[str, Aggregator], hops: Hops, hop_seconds: float = HOP_SECONDS) -> None:
        self._aggregators = aggregators
        self._open = [each for each in aggregators.values() if is_open(each)]
        self.hops = hops
        self.hop_seconds = hop_seconds
        self.running: set[_Run] = set()  # so that nobody forgets them

    @staticmethod
    def serves(method: str, path: str) -> bool:
        """Whether this is a hop's address; the one that tells who is served is not."""
        return path.startswith(PREFIX) and (path != HEALTH or method not in {"GET", "HEAD"})

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, at the latest a second after its time is up."""
        told = asyncio.get_running_loop().create_future()

        def tell(outcome: Outcome) -> None:
            if not told.done():
                told.set_result(outcome)

        self.start(scope, receive, tell)
        response, headers = spoken(await told)
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})

    def start(self, scope: Scope, body: bytes | Receive, tell: Tell) -> None:
        """Begin with one request, whose body is here or is to be read, and tell once what becomes of it, in time."""
        try:
            aggregator = self._addressed(scope)
        except HTTPException as refused:
            tell(refused)
        else:
            self.running.add(_Run(self, scope, body, aggregator, tell))

    def asks_for_address(self, scope: Scope) -> bool:
        """Whether it matters where this request comes from, which a proxy's headers may have to tell."""
        aggregator = self._aggregators.get(scope["path"].removeprefix(PREFIX).partition("/")[0])
        return aggregator is not None and bool(aggregator.settings.ussd_allowed_ips)

    async def hop(self, scope: Scope, source: bytes | Receive, aggregator: Aggregator | None, visit: Visit) -> Response:
        """The response, where nothing fails and nothing hangs."""
        if scope["method"] == "GET":
            callback = bodies.query(scope["query_string"])
        else:
            callback = await bodies.decode(_content_type(scope), await _whole(source))
        if aggregator is None:
            aggregator = self._recognised(callback)
        elif callback.format not in aggregator.formats:
            raise HTTPException(415, f"{aggregator.name} does not speak this format")
        return await self.hops.answer(visit, aggregator, callback)

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


class _Run:
    """One hop on its way, and who answers for it where it fails or is late."""

    __slots__ = ("_alarm", "_front", "_over", "_rescue", "_task", "_tell", "_visit")

    def __init__(
        self, front: Front, scope: Scope, source: bytes | Receive, aggregator: Aggregator | None, tell: Tell
    ) -> None:
        loop = asyncio.get_running_loop()
        self._front = front
        self._tell = tell
        self._visit = Visit()
        self._over = False  # told, or being answered for
        self._rescue: asyncio.Task[Response] | None = None
        self._task = loop.create_task(front.hop(scope, source, aggregator, self._visit))
        self._task.add_done_callback(self._ended)
        # Not wait_for, nor timeout: what is stuck would not let go of us even when cancelled, and the handset waits.
        self._alarm = loop.call_later(front.hop_seconds, self._late)

    def _ended(self, task: asyncio.Task[Response]) -> None:
        failure = asyncio.CancelledError() if task.cancelled() else task.exception()
        if self._over:  # its end is of no interest; looking at its exception keeps asyncio from printing it
            self._forget()
            return
        self._over = True
        self._alarm.cancel()
        if failure is None:
            self._front.running.discard(self)
            self._tell(task.result())
        else:
            self._answer_for(failure)

    def _late(self) -> None:
        """Answer for a hop whose time is up, and end it whenever it lets itself be ended."""
        self._over = True
        self._answer_for(TimeoutError() if self._visit.turn else bodies.too_slow())
        self._task.cancel()

    def _answer_for(self, failure: BaseException) -> None:
        if isinstance(failure, HTTPException):
            self._forget()
            self._tell(failure)
            return
        self._rescue = asyncio.get_running_loop().create_task(self._front.hops.rescue(self._visit, failure))
        self._rescue.add_done_callback(self._rescued)

    def _rescued(self, task: asyncio.Task[Response]) -> None:
        self._forget()
        failure = asyncio.CancelledError() if task.cancelled() else task.exception()
        self._tell(failure or task.result())

    def _forget(self) -> None:
        if self._task.done() and (self._rescue is None or self._rescue.done()):
            self._front.running.discard(self)


def spoken(outcome: Outcome) -> tuple[Response, Headers]:
    """What goes back, with its headers; raises a fault of ours."""
    if isinstance(outcome, Response):
        return outcome, _headers(outcome)
    if not isinstance(outcome, HTTPException):
        raise outcome
    response = Response.text(outcome.detail, outcome.status_code)
    more = [(name.encode(), value.encode()) for name, value in (outcome.headers or {}).items()]
    return response, _headers(response) + more


def _headers(response: Response) -> Headers:
    return [(b"content-length", b"%d" % len(response.body)), (b"content-type", response.media.encode())]


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


async def _whole(source: bytes | Receive) -> bytes:
    if isinstance(source, bytes):
        return bodies.within(source, bodies.USSD_BYTES_MAX)
    return await bodies.read(source, bodies.USSD_BYTES_MAX)


def _content_type(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"content-type":
            return str(value.decode("latin-1"))
    return ""
