"""uvicorn's protocol with limits for those who take a socket and do not use it, and a short way for hops.

A hop whose whole request is here needs no ASGI: it goes to the front at once, and its response leaves in one write.

A connection lives only so long without a whole request, whether it says nothing, half a head or a body byte by byte.
What is answered before its body is there is closed with the answer. Where sockets run out, whoever has kept one
waiting longest gives it up.
"""

import resource
from asyncio import AbstractEventLoop, Transport
from functools import partial
from typing import cast

from starlette.types import Scope
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from ussd_app import log, metrics
from ussd_app.aggregators import Response
from ussd_app.web.front import Front, Outcome, spoken

WHOLE_SECONDS = 12.0  # from the connection, or from the first byte of a further request, to the request's last byte
LOOK_SECONDS = 1.0  # between two looks at who waits
TOLD_SECONDS = 60.0  # between two lines about sockets that ran out
DESCRIPTORS_WANTED = 65_536
SPARE = 128  # descriptors for stores, providers, logs and menus
SHORT_WAY = frozenset({"GET", "POST"})
FAULT = Response.text("Internal Server Error", 500)

logger = log.get(__name__)


class Sockets:
    """The connections of this process that wait for the rest of a request, and how many there may be of all kinds."""

    def __init__(self) -> None:
        self.most = DESCRIPTORS_WANTED
        self._since: dict[Patient, float] = {}  # whoever has waited longest comes first
        self._looking = False
        self._told_at = float("-inf")

    def count(self) -> None:
        """Allow this process as many descriptors as it may have, and say how many connections that makes."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft == resource.RLIM_INFINITY:
            soft = DESCRIPTORS_WANTED
        wanted = DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(DESCRIPTORS_WANTED, hard)
        if soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
        self.most = max(soft - SPARE, soft // 2)
        logger.info("sockets", descriptors=soft, connections=self.most)

    def wait_for(self, connection: "Patient", loop: AbstractEventLoop) -> None:
        """From now on, unless it is waited for already."""
        self._since.setdefault(connection, loop.time())
        if not self._looking:
            self._looking = True
            loop.call_later(LOOK_SECONDS, self._look, loop)

    def forget(self, connection: "Patient") -> None:
        """It is waited for no longer."""
        self._since.pop(connection, None)

    def make_room(self, newest: "Patient", loop: AbstractEventLoop) -> None:
        """Sockets have run out: whoever has kept one waiting longest gives it up, or else the newest."""
        self._close(next(iter(self._since), newest))
        metrics.SOCKETS_SHED.inc()
        if loop.time() - self._told_at > TOLD_SECONDS:
            self._told_at = loop.time()
            logger.error("alert", what="sockets have run out", connections=self.most, waiting=len(self._since))

    def _look(self, loop: AbstractEventLoop) -> None:
        """Close what has waited too long."""
        overdue = loop.time() - WHOLE_SECONDS
        for connection, since in list(self._since.items()):
            if since > overdue:
                break
            self._close(connection)
        self._looking = bool(self._since)
        if self._looking:
            loop.call_later(LOOK_SECONDS, self._look, loop)

    def _close(self, connection: "Patient") -> None:
        self._since.pop(connection, None)
        connection.transport.abort()


SOCKETS = Sockets()  # uvicorn makes the protocols, and hands them nothing of ours


class _Gathered:
    """The transport as a response sees it: what is written in one tick of the loop, head and body, leaves together."""

    __slots__ = ("_loop", "_transport", "_written")

    def __init__(self, transport: Transport, loop: AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._written: list[bytes] = []

    def write(self, data: bytes) -> None:
        """At the latest when this tick is over."""
        if not self._written:
            self._loop.call_soon(self._flush)
        self._written.append(data)

    def close(self) -> None:
        """When all is written."""
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """As the transport says."""
        return self._transport.is_closing()

    def _flush(self) -> None:
        if self._written:
            data, self._written = b"".join(self._written), []
            self._transport.write(data)


class Patient(HttpToolsProtocol):
    """One connection."""

    _gathered: _Gathered
    _front: Front | None = None  # of the application behind uvicorn's middleware
    _feeding = False  # the parser is at work
    _held: tuple[RequestResponseCycle, ASGI3Application] | None = None  # a hop whose body may be here in a moment
    _whole = True  # the last byte of the request under way is here, or none is under way
    _keep_alive = True  # what the request under way asked for

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait."""
        super().connection_made(transport)
        self._gathered = _Gathered(transport, self.loop)
        self._front = _front_of(self.config.loaded_app)
        metrics.SOCKETS.inc()
        if len(self.connections) > SOCKETS.most:
            SOCKETS.make_room(self, self.loop)
        SOCKETS.wait_for(self, self.loop)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        SOCKETS.forget(self)
        metrics.SOCKETS.dec()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some of a request, or all of it."""
        self._whole, self._feeding = False, True
        super().data_received(data)
        self._feeding = False
        if self._held:
            (cycle, app), self._held = self._held, None
            self._start_hop(cycle, app)
        if not self._whole:
            SOCKETS.wait_for(self, self.loop)

    def on_message_begin(self) -> None:
        """A request begins, maybe right behind another."""
        self._whole = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """What is answered from here on, before the last byte of the body is here, is the connection's last answer."""
        super().on_headers_complete()
        if self.cycle:
            self.cycle.transport = self._gathered  # type: ignore[assignment]  # all of a transport that it asks for
            self._keep_alive = self.cycle.keep_alive
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """The whole request is here."""
        self._whole = True
        SOCKETS.forget(self)
        if self.cycle and not self.cycle.response_complete:
            self.cycle.keep_alive = self._keep_alive
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Begin with a request; with a hop only when the parser has been fed, since its body is likely to be here."""
        method, path = cycle.scope["method"], cycle.scope["path"]
        if self._feeding and self._front and method in SHORT_WAY and self._front.serves(method, path):
            self._held = cycle, app
        else:
            super()._start_asgi_task(cycle, app)

    def _start_hop(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """The short way where the request is whole and plain; ASGI for all others."""
        front, scope = self._front, cast("Scope", cycle.scope)
        if self.transport.is_closing():
            return
        if front is None or cycle.more_body or self.flow.write_paused or front.asks_for_address(scope):
            super()._start_asgi_task(cycle, app)
        else:
            front.start(scope, bytes(cycle.body), partial(self._tell, cycle))

    def _tell(self, cycle: RequestResponseCycle, outcome: Outcome) -> None:
        """The response, as the cycle would have sent it."""
        try:
            response, headers = spoken(outcome)
        except BaseException as fault:
            self.logger.exception("Exception in ASGI application\n", exc_info=fault)
            response, headers = FAULT, [(b"connection", b"close"), (b"content-length", b"%d" % len(FAULT.body))]
        cycle.response_started = cycle.response_complete = True
        if cycle.disconnected or self.transport.is_closing():
            return
        if (b"connection", b"close") in headers:
            cycle.keep_alive = False
        elif not cycle.keep_alive:
            headers.append((b"connection", b"close"))
        lines = [b"%b: %b\r\n" % header for header in (*self.server_state.default_headers, *headers)]
        self.transport.write(b"".join((STATUS_LINE[response.status], *lines, b"\r\n", response.body)))
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    def shutdown(self) -> None:
        """The server ends: so does the connection, with the answer under way."""
        self._keep_alive = False
        super().shutdown()


def _front_of(app: object) -> Front | None:
    """The way in for hops of the application that uvicorn has wrapped, if it has one."""
    while app is not None:
        front = getattr(app, "front", None)
        if isinstance(front, Front):
            return front
        app = getattr(app, "app", None)
    return None
