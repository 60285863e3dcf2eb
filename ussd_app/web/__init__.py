"""The addresses outsiders call, and what each of them may cost us.

A hop goes aggregators.<x>.parse -> sessions.begin -> conversation.turn -> sessions.commit -> aggregators.<x>.render.
Callbacks and reports are stored as they came; what they mean is found out by the worker.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Lifespan, Receive, Scope, Send

from ussd_app import log, metrics
from ussd_app.aggregators import Aggregator
from ussd_app.config import Settings, SettingsError, allowed
from ussd_app.web import bodies
from ussd_app.web.doors import Door, address
from ussd_app.web.front import HEALTH, HOP_SECONDS, Front, is_open
from ussd_app.web.hops import Hops, fault

READY_SECONDS = 1.0  # for one store to answer
STORE_SECONDS = 5.0  # for a callback to be stored; the provider repeats what is answered 503

# Who may read the metrics: this machine and private networks.
PRIVATE = ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")

# What may follow a callback's secret: a kind, a reference and which of several callbacks about it this is.
CALLBACK_PATH = re.compile(r"[\w.-]{1,64}(/[\w.-]{1,64}){0,2}", re.ASCII)

# (provider, kind and reference, content type, body) -> stored, with its job, in one commit.
Sink = Callable[[str, str, str, bytes], Awaitable[None]]

logger = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the addresses are made of; app.py builds it."""

    aggregators: Mapping[str, Aggregator]
    hops: Hops
    callbacks: Mapping[str, Door]
    keep_callback: Sink
    reports: Mapping[str, Door]
    keep_report: Sink
    checks: Mapping[str, Callable[[], Awaitable[object]]]  # store -> whether it answers
    now: Callable[[], datetime]
    metrics_networks: tuple[str, ...] = PRIVATE
    hop_seconds: float = HOP_SECONDS


def build(parts: Parts, routes: Sequence[BaseRoute] = (), lifespan: Lifespan[Starlette] | None = None) -> Starlette:
    """The web application; ``routes`` are what others add (sandbox, console)."""
    web = Web(parts)
    return Served(
        Front(parts.aggregators, parts.hops, parts.hop_seconds),
        routes=[
            Route(HEALTH, web.ussd_health),
            Route("/callbacks/{provider}/{secret}", web.callback, methods=["POST", "PUT"]),
            Route("/callbacks/{provider}/{secret}/{path:path}", web.callback, methods=["POST", "PUT"]),
            Route("/sms/{sender}/{secret}/{kind}", web.report, methods=["POST"]),
            Route("/health", web.health),
            Route("/ready", web.ready),
            Route("/metrics", web.metrics),
            *routes,
        ],
        lifespan=lifespan,
    )


class Served(Starlette):
    """Starlette, and before it the way in for hops, which costs a third of what its routes and requests do."""

    def __init__(self, front: Front, routes: Sequence[BaseRoute], lifespan: Lifespan[Starlette] | None) -> None:
        super().__init__(routes=routes, lifespan=lifespan)
        self.front = front

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A hop, or anything else."""
        if scope["type"] == "http" and Front.serves(scope["method"], scope["path"]):
            await self.front.serve(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def refuse_open(settings: Settings, aggregators: Iterable[Aggregator]) -> None:
    """Raise SettingsError where a public address would take hops from anyone (design.md law 24)."""
    if settings.loopback or settings.allow_open_ussd:
        return
    for aggregator in aggregators:
        if is_open(aggregator):
            prefix = aggregator.settings.model_config.get("env_prefix", "")
            raise SettingsError(
                f"{prefix}USSD_SECRET is not set, so anyone could post hops to PUBLIC_URL {settings.public_url}: "
                f"set it or {prefix}USSD_ALLOWED_IPS, or ALLOW_OPEN_USSD=1"
            )


class Web:
    """One method per address."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._storing: set[asyncio.Task[bool]] = set()

    async def callback(self, request: Request) -> Response:
        """An operator's or a delivery's callback: stored, then answered 200."""
        path = request.path_params.get("path", "")
        if path and not CALLBACK_PATH.fullmatch(path):
            raise HTTPException(404)
        provider = request.path_params["provider"]
        door = self.parts.callbacks.get(provider)
        body = await self._keep(request, door, provider, path, self.parts.keep_callback)
        if door is None or door.acknowledge is None:
            return PlainTextResponse("")
        return Response(door.acknowledge(path, body), media_type="application/json")

    async def report(self, request: Request) -> Response:
        """A delivery report or an inbound SMS: stored, then answered 200."""
        kind = request.path_params["kind"]
        if kind not in {"reports", "inbound"}:
            raise HTTPException(404)
        sender = request.path_params["sender"]
        await self._keep(request, self.parts.reports.get(sender), sender, kind, self.parts.keep_report)
        return PlainTextResponse("")

    async def ussd_health(self, _request: Request) -> Response:
        """Which aggregators are served, and which of them at the shared address."""
        return JSONResponse(
            {
                "status": "ok",
                "aggregators": list(self.parts.aggregators),
                "callback": [each.name for each in self.parts.aggregators.values() if is_open(each)],
            }
        )

    async def health(self, _request: Request) -> Response:
        """That this process answers; it asks nobody else."""
        return JSONResponse({"status": "ok"})

    async def ready(self, _request: Request) -> Response:
        """Store by store, ``ok`` or ``away``; 503 while one is away."""
        checks = self.parts.checks
        states = dict(zip(checks, await asyncio.gather(*map(_state, checks.values())), strict=True))
        return JSONResponse(states, 503 if "away" in states.values() else 200)

    async def metrics(self, request: Request) -> Response:
        """For Prometheus, from private networks."""
        if not allowed(address(request.scope), self.parts.metrics_networks):
            raise HTTPException(403)
        content, content_type = metrics.page()
        return Response(content, media_type=content_type)

    async def _keep(self, request: Request, door: Door | None, name: str, path: str, sink: Sink) -> bytes:
        if door is None:
            raise HTTPException(404)
        try:
            door.admit(request, path)
            deadline = asyncio.get_running_loop().time() + self.parts.hop_seconds
            body = await bodies.read_by(request.receive, bodies.CALLBACK_BYTES_MAX, deadline)
            door.verify(request, body, self.parts.now())
        except HTTPException as refused:
            # A 404 is a stranger's guess; whoever knows the address and is refused may be the provider itself.
            if refused.status_code == HTTPStatus.FORBIDDEN:
                logger.warning("callback refused", provider=name, address=address(request.scope), why=refused.detail)
            raise
        storing = asyncio.create_task(_store(sink, name, path, request.headers.get("content-type", ""), body))
        # A task of its own: a database that hangs would not let go of us even when cancelled.
        done, _ = await asyncio.wait({storing}, timeout=STORE_SECONDS)
        if not done:
            logger.error("callback not stored", provider=name, **fault(TimeoutError()))
            self._storing.add(storing)
            storing.add_done_callback(self._storing.discard)
            storing.cancel()
        if not done or not storing.result():
            raise HTTPException(503, "not stored")  # whatever it was, the provider must send it again
        return body


async def _store(sink: Sink, name: str, path: str, content_type: str, body: bytes) -> bool:
    try:
        await sink(name, path, content_type, body)
    except Exception as error:  # noqa: BLE001 - the log says what it was, without its words
        logger.error("callback not stored", provider=name, **fault(error))  # noqa: TRY400 - fault() hides its words
        return False
    return True


async def _state(check: Callable[[], Awaitable[object]]) -> str:
    try:
        async with asyncio.timeout(READY_SECONDS):
            await check()
    except Exception:  # noqa: BLE001 - however it fails, the store is away
        return "away"
    return "ok"
