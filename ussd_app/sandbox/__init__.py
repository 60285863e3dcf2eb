"""A country in a box: handsets, wallets, operators and senders, each behind its real wire format.

Clients of the real services work against it by changing the base URL alone: ``/sandbox/mtn_momo``, ``/sandbox/mtn``,
``/sandbox/africastalking``. A company's half of the sandbox is one module here, of its client's name or of that name's
last part (``airtime_africastalking``), and its ``Service`` is found by that name alone. State is in memory and ends
with the process, or with ``POST /sandbox/reset``.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Protocol, Self

import httpx2 as httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, Router
from starlette.types import Receive, Scope, Send

from ussd_app.clock import Clock
from ussd_app.config import UNITS, Settings, SettingsError, load
from ussd_app.msisdn import CURRENCIES
from ussd_app.sandbox.control import Control
from ussd_app.sandbox.country import Country, CountrySwitches
from ussd_app.sandbox.switches import Switches

OPENING_CEDIS = 1000  # what a wallet of the country begins with is worth
BODY_BYTES_MAX = 64 * 1024


class Service(Protocol):
    """What the sandbox asks of ``Service(country)`` in each provider's module."""

    name: str
    switches: Switches
    points: tuple[str, ...]  # where faults may strike

    def routes(self) -> list[Route]:
        """Its addresses, as the real service has them after its base URL."""
        ...


class Sandbox:
    """The country of ``settings``, with the configured providers that have a half here.

    ``app`` is to be mounted at ``/sandbox``; as an async context manager it owns what still happens in the background.
    ``callback_urls`` are where a provider calls back if no request said where, by the name of our client of it, such as
    ``airtime_africastalking``; a sender's are those of its delivery reports.
    """

    def __init__(
        self, settings: Settings, clock: Clock, http: httpx.AsyncClient, callback_urls: Mapping[str, str] | None = None
    ) -> None:
        permit(settings)
        self._settings = settings
        self._clock = clock
        self._http = http
        self._callback_urls = callback_urls or {}
        self.country, self._inner = self._build()

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, after all that should have happened before it."""
        self.country.background.run_due()
        await self._inner(scope, receive, send)

    async def settled(self) -> None:
        """Return when all that is due by the clock has been done: expiries, callbacks, reports."""
        await self.country.background.settled()

    async def reset(self, _request: Request | None = None) -> Response:
        """Begin again with a new country: handsets, books, faults, switches, users and tokens."""
        await self.country.background.close()
        self.country, self._inner = self._build()
        return Response(status_code=204)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.country.background.close()

    def _build(self) -> tuple[Country, Starlette]:
        switches = load(CountrySwitches)
        country = Country(self._settings.country, switches, self._clock, self._http, self._callback_urls)
        services = _services(country, self._settings)
        control = Control(
            country,
            {"country": switches, **{service.name: service.switches for service in services}},
            tuple(point for service in services for point in service.points),
        )
        mounts = [Mount(f"/{service.name}", Router(service.routes(), redirect_slashes=False)) for service in services]
        app = Starlette(
            routes=[*mounts, *control.routes(), Route("/reset", self.reset, methods=["POST"])],
            max_body_size=BODY_BYTES_MAX,
        )
        return country, app


def permit(settings: Settings) -> None:
    """Raise SettingsError where other machines could reach the sandbox and nobody allowed that (design.md law 24)."""
    if not settings.loopback and not settings.allow_sandbox:
        raise SettingsError(
            f"PUBLIC_URL is {settings.public_url}, which others can reach: set ALLOW_SANDBOX=1 to run the sandbox there"
        )


def environment(settings: Settings) -> dict[str, str]:
    """The variables that make the clients come here, with credentials the sandbox accepts and empty wallets of ours."""
    wallet = OPENING_CEDIS * UNITS.get(CURRENCIES[settings.country], 1)
    # No float of ours, so that its books and our ledger begin equal.
    variables = {"SANDBOX_OPENING_FLOAT": "0", "SANDBOX_OPENING_BALANCE": str(wallet)}
    for name, module in _halves(settings):
        variables |= module.environment(f"{settings.public_url}/sandbox/{name}", settings.country)
    return variables


def _services(country: Country, settings: Settings) -> list[Service]:
    return [module.Service(country) for _, module in _halves(settings)]


def _halves(settings: Settings) -> Iterator[tuple[str, Any]]:
    """The configured providers' halves; a provider that has none, such as the console, is not played."""
    others = (settings.sim_checks,) if settings.sim_checks else ()
    halves = map(_half, (*settings.operators, *settings.senders, *settings.deliveries, *others))
    for name in dict.fromkeys(half for half in halves if half):
        yield name, import_module(f"{__name__}.{name}")


def _half(provider: str) -> str | None:
    """The module that plays a provider: of its own name, else of its company's, which stands last in its name."""
    names = provider, provider.rpartition("_")[2]
    return next((name for name in names if name.isidentifier() and find_spec(f"{__name__}.{name}")), None)
