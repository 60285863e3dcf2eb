"""The composition root, the only place that builds things: settings -> stores, clients, services, web application."""

import asyncio
import gc
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cached_property, partial
from pathlib import Path
from random import Random, SystemRandom
from typing import Any, Self

import httpx2 as httpx
import procrastinate
from pydantic import SecretStr
from sqlalchemy import make_url, text
from sqlalchemy.exc import ArgumentError
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount

from ussd_app import embedded, http, log, menus, redis_client, web, worker
from ussd_app.actions import Services
from ussd_app.actions.arrival import arrive
from ussd_app.aggregators import Aggregator
from ussd_app.breakers import Breakers
from ussd_app.callbacks import Callbacks
from ussd_app.clock import Clock
from ussd_app.config import Calling, Settings, SettingsError, load, provider
from ussd_app.conversation import Conversation
from ussd_app.deliveries import Delivery
from ussd_app.groups import Groups, members
from ussd_app.guesses import Guesses
from ussd_app.insights import Insight
from ussd_app.jobs import Jobs
from ussd_app.menus.model import Limits, Menus
from ussd_app.messages import Messages
from ussd_app.movement import Acknowledged, Signing
from ussd_app.operators import Operator
from ussd_app.orders import Orders
from ussd_app.payments import Payments
from ussd_app.payments.schedule import Schedule
from ussd_app.promises import Promises
from ussd_app.promises.keeper import Keeper
from ussd_app.routes import Routes
from ussd_app.sandbox import Sandbox
from ussd_app.senders import Sender
from ussd_app.sessions import Sessions
from ussd_app.sims import Sims
from ussd_app.store import Store
from ussd_app.subscribers import Subscribers
from ussd_app.till import Tills
from ussd_app.web import Parts
from ussd_app.web.doors import Door, secret_of
from ussd_app.web.hops import Hops
from ussd_app.web.patience import SOCKETS

JOB_CONNECTIONS = 4
NAME = "ussd_app"  # by which Postgres knows our connections; Procrastinate's own are called "ussd_app jobs"
INSIGHTS = "insights_"  # before the name of a provider that tells of SIMs, in the address of its callbacks


def with_stores(settings: Settings) -> tuple[Settings, embedded.Stores | None]:
    """The settings with every store named and a secret key; what is not set is started, or made, in ``data_dir``."""
    stores = None
    given: dict[str, Any] = {}
    if settings.redis_url is None or settings.database_url is None:
        stores = embedded.start(settings.data_dir)
        given["redis_url"] = settings.redis_url or SecretStr(stores.redis_url)
        given["database_url"] = settings.database_url or SecretStr(stores.database_url)
    if not settings.secret_keys:
        if not settings.loopback:
            raise SettingsError("SECRET_KEYS is not set (any long random text; `openssl rand -hex 32` makes one)")
        given["secret_keys"] = (SecretStr(_kept_key(settings.data_dir / "secret_key")),)
    return settings.model_copy(update=given), stores


def menus_dir(settings: Settings | None = None) -> Path:
    """Where the menus are: as set, else in the working directory, else those that came with the package."""
    package = Path(__file__).parent
    usual = (Path("menus"), package / "content", package.parent / "menus")  # the last: a checkout
    found = settings.menus_dir if settings else None
    return found or next((each for each in usual if (each / "main.toml").exists()), usual[0])


class Application:
    """Everything one process needs, wired. An async context manager: it opens pools and closes all it has built."""

    def __init__(
        self, settings: Settings, clock: Clock | None = None, random: Random | None = None, *,
        read_menus: Callable[..., Menus] = menus.load, schedule: Schedule | None = None, tend: str = worker.TEND,
    ) -> None:  # fmt: skip
        """``settings`` name their stores: see with_stores."""
        if settings.redis_url is None or settings.database_url is None:
            raise SettingsError("REDIS_URL and DATABASE_URL are not set")
        self.settings = settings
        self.clock = clock or Clock()
        self.http = http.client()
        self.redis = _redis(settings.redis_url.get_secret_value())
        database = sqlalchemy_url(settings.database_url.get_secret_value())
        self.store = Store(database, self.clock, application_name=NAME)
        self.jobs = procrastinate.App(
            connector=procrastinate.PsycopgConnector(
                conninfo=database.replace("+psycopg", "", 1),
                min_size=1,
                max_size=JOB_CONNECTIONS,
                kwargs={"application_name": f"{NAME} jobs"},
            )
        )
        self.aggregators: Mapping[str, Aggregator] = {name: self._aggregator(name) for name in settings.aggregators}
        self.operators: Mapping[str, Operator] = {name: self._operator(name) for name in settings.operators}
        self.senders: Mapping[str, Sender] = {
            name: self._client("senders", name).Sender(*self._parts("senders", name)) for name in settings.senders
        }
        self.deliveries: Mapping[str, Delivery] = {name: self._delivery(name) for name in settings.deliveries}
        self.insight: Insight | None = self._insight(settings.sim_checks) if settings.sim_checks else None
        self.menus: Menus = read_menus(menus_dir(settings), limits=self.limits, zone=settings.zone)
        jobs, random = Jobs(self.jobs), random or SystemRandom()
        self.messages = Messages(self.store, jobs, self.senders, lambda: self.menus, self.clock, self.redis)
        self.payments = Payments(
            self.store, jobs, self.operators, self.deliveries, self.clock, self.callback_url,
            Breakers(self.redis, self.clock), random, schedule,
        )  # fmt: skip
        self.tills = Tills(self.payments, self.messages, settings)
        self.groups = Groups(self.store, jobs, self.messages, self.clock, settings, random)
        routes = Routes(self.store, self.operators, self.clock)
        self.orders = Orders(
            self.store, self.payments, self.messages, self.groups, self.clock, settings, random, routes
        )
        self.subscribers = Subscribers(self.store, self.messages, self.clock, settings.keys("pin"))
        self.sims = Sims(self.store, jobs, self.insight, self.clock, settings.keys("sim"))
        # It must get through where every pooled connection is held by a hop that hangs, and give up on a dead line.
        promising = Store(database, self.clock, keep=False, connect_timeout=5, tcp_user_timeout=10_000)
        self.keeper = Keeper(Promises(promising, self.redis, self.messages, self.clock, settings.code))
        worker.register(self.jobs, self.orders, self.sims, tend=tend)
        worker.register_till(self.jobs, self.tills)
        worker.register_promises(self.jobs, self.keeper, tend=tend)
        self._opened = AsyncExitStack()

    @property
    def limits(self) -> Limits:
        """What the smallest aggregator in use shows."""
        all_settings = [aggregator.settings for aggregator in self.aggregators.values()]
        return Limits(
            min(each.screen_septets for each in all_settings), min(each.opening_septets for each in all_settings)
        )

    @property
    def _callers(self) -> Mapping[str, str]:
        """Who calls back at /callbacks, by the name in the address, and the folder its file is in."""
        return {
            **dict.fromkeys(self.operators, "operators"),
            **dict.fromkeys(self.deliveries, "deliveries"),
            **({f"{INSIGHTS}{self.insight.name}": "insights"} if self.insight else {}),
        }

    @property
    def callback_urls(self) -> Mapping[str, str]:
        """Where each provider calls back, as it is registered with it."""
        return {name: self.callback_url(name) for name in self._callers}

    def callback_url(self, name: str, path: str = "") -> str:
        """Where a provider calls back about what the path names, such as ``collection/<reference>``."""
        door = self._doors[name]
        secret = secret_of(door.secret, path, door.key)
        return f"{self.settings.public_url}/callbacks/{name}/{secret}{f'/{path}' if path else ''}"

    @property
    def report_urls(self) -> Mapping[str, str]:
        """Where each sender posts its delivery reports."""
        public = self.settings.public_url
        return {name: f"{public}/sms/{name}/{self._door('senders', name).secret}/reports" for name in self.senders}

    @property
    def checks(self) -> Mapping[str, Callable[[], Awaitable[object]]]:
        """Store by store, a call that fails where it is away."""
        return {"redis": self._redis_answers, "postgres": self._postgres_answers}

    async def __aenter__(self) -> Self:
        await self._opened.enter_async_context(self.jobs.open_async())
        self._opened.push_async_callback(self.store.close)
        self._opened.push_async_callback(self.redis.aclose)
        self._opened.push_async_callback(self.http.aclose)
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._opened.aclose()

    def web(self) -> Starlette:
        """The web application; its lifespan opens and closes this one."""
        web.refuse_open(self.settings, self.aggregators.values())
        services = Services(
            self.settings, self.clock, self.orders, self.groups, self.subscribers, self.sims,
            Guesses(self.store, self.clock), self._languages,
            lambda: self.menus.bundles, partial(arrive, self.orders, self.groups),
        )  # fmt: skip
        conversation = Conversation(lambda: self.menus, services, lambda: secrets.token_urlsafe(12))
        sessions = Sessions(self.redis, self.clock, self.settings.key("session"), self.settings.code)
        parts = Parts(
            aggregators=self.aggregators,
            hops=Hops(sessions, conversation, self.clock, self.keeper),
            callbacks=self._doors,
            keep_callback=self._keep_callback,
            reports={name: self._door("senders", name) for name in self.senders},
            keep_report=self.messages.keep_report,
            checks=self.checks,
            now=self.clock.now,
        )
        sandbox = (
            Sandbox(self.settings, self.clock, self.http, {**self.callback_urls, **self.report_urls})
            if self.settings.sandbox
            else None
        )
        routes: list[BaseRoute] = [Mount("/sandbox", sandbox.app)] if sandbox else []

        @asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncIterator[None]:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(self)
                await stack.enter_async_context(self.keeper.keeping())
                if sandbox:
                    await stack.enter_async_context(sandbox)
                yield

        return web.build(parts, routes, lifespan)

    async def watch_menus(self) -> None:
        """Swap in menus that check while they are edited; keep the old ones and say why where they do not."""
        directory = menus_dir(self.settings)

        def swap(new: Menus) -> None:
            self.menus = new
            log.get(__name__).info("menus reloaded", digest=new.digest)

        await menus.watch(directory, swap, limits=self.limits, zone=self.settings.zone)

    async def _keep_callback(self, name: str, path: str, content_type: str, body: bytes) -> None:
        """What tells of a SIM goes to those who watch them, everything else to the payment it names."""
        if self.insight is None or name != f"{INSIGHTS}{self.insight.name}":
            await Callbacks(self.payments, self.tills).keep(name, path, content_type, body)
        elif answer := self.insight.parse_callback(body):
            swapped = await self.sims.keep_answer(answer)
            if swapped:
                await members.sim_changed(self.groups, swapped)

    def _languages(self) -> Mapping[str, str]:
        texts = self.menus.texts
        return {code: texts.render("words.language_name", code, {}) for code in texts.languages}

    def _aggregator(self, name: str) -> Aggregator:
        module = provider("aggregators", name)
        made: Aggregator = module.Aggregator(load(module.Settings), self.settings.code, self.settings.country)
        return made

    def _operator(self, name: str) -> Operator:
        made: Operator = self._client("operators", name).Operator(*self._parts("operators", name))
        if self.settings.country not in made.countries:
            there = ", ".join(made.countries)
            raise SettingsError(f"COUNTRY is {self.settings.country}, and {name} (OPERATORS) is set up for {there}")
        return made

    def _delivery(self, name: str) -> Delivery:
        # Our own secret keys may have been made at this start, and are in no environment to be read from.
        settings = load(provider("deliveries", name).Settings, secret_keys=self.settings.secret_keys)
        made: Delivery = provider("deliveries", name).Delivery(settings, self.http, self.redis, self.clock, self.store)
        return made

    def _insight(self, name: str) -> Insight:
        made: Insight = provider("insights", name).Insight(*self._parts("insights", name))
        return made

    def _client(self, folder: str, name: str) -> Any:  # noqa: ANN401 - a module is what it declares
        return provider(folder, name)

    def _parts(self, folder: str, name: str) -> tuple[Any, httpx.AsyncClient, Any, Clock]:
        return load(provider(folder, name).Settings), self.http, self.redis, self.clock

    def _door(self, folder: str, name: str) -> Door:
        """Who may call back: whoever knows the provider's own secret, else one made from ours."""
        settings = load(provider(folder, name.removeprefix(INSIGHTS)).Settings)
        calling = settings if isinstance(settings, Calling) else Calling.model_construct()
        client = self.payments.providers.get(name) if folder != "senders" else None
        return Door(
            calling.callback_secret.get_secret_value()
            if calling.callback_secret
            else self.settings.callback_secret(name),
            calling.allowed_ips,
            calling,
            client.authentic if isinstance(client, Signing) else None,
            client.acknowledge if isinstance(client, Acknowledged) else None,
            self.settings.key("callbacks"),
        )

    @cached_property
    def _doors(self) -> Mapping[str, Door]:
        return {name: self._door(folder, name) for name, folder in self._callers.items()}

    async def _redis_answers(self) -> None:
        await asyncio.wait_for(self.redis.ping(), 1)

    async def _postgres_answers(self) -> None:
        async with self.store.look() as connection:
            await connection.execute(text("SELECT 1"))


def sqlalchemy_url(url: str) -> str:
    """A Postgres URL in any usual spelling, for SQLAlchemy with psycopg."""
    scheme, separator, rest = url.partition("://")
    try:
        known = separator and scheme in {"postgres", "postgresql", "postgresql+psycopg"} and make_url(f"x://{rest}")
    except (ArgumentError, ValueError):
        known = None
    if not known:
        raise SettingsError("DATABASE_URL must look like postgresql://user:password@host:5432/name")
    return f"postgresql+psycopg://{rest}"


def _redis(url: str) -> redis_client.Client:
    try:
        return redis_client.connect(url)
    except (ValueError, IndexError, StopIteration):
        raise SettingsError("REDIS_URL must look like redis://:password@host:6379/0 (see .env.example)") from None


def _kept_key(path: Path) -> str:
    """A secret key made at the first start and kept beside the data it protects."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32))
    return path.read_text().strip()


def create(settings: Settings | None = None) -> Starlette:
    """The web application of a whole process; uvicorn's worker processes call it, and read their own settings."""
    if settings is None:
        settings, _ = with_stores(load(Settings))
    log.configure(settings.log_level)
    application = Application(settings).web()
    SOCKETS.count()
    # What has been built lives as long as the process: no later collection need look at it.
    gc.collect()
    gc.freeze()
    return application
