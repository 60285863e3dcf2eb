"""Circuit breakers, one for each provider and call: who fails five times in a row is left alone for a minute.

Then one call is let through, by one process: success closes the breaker, failure opens it for another minute. What
counts as failure is a ProviderError with ``outage``; any answer is a success, whatever it says and however long it
took. What a person must see to goes to the alarms. purgatory holds the rules of the three states. What they remember
is kept here, in Redis for all processes; with Redis away each process keeps its own, and goes on calling.
"""

import json
from asyncio import timeout
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, ParamSpec, TypeVar
from uuid import uuid4

from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.messages import Message
from purgatory.domain.model import CLOSED, HALF_OPENED, OPENED, Context, OpenedState
from purgatory.service._async.repository import AsyncAbstractRepository
from purgatory.service._async.unit_of_work import AsyncInMemoryUnitOfWork
from redis.exceptions import RedisError

from ussd_app import log, metrics
from ussd_app.alarms import Alarms
from ussd_app.clock import Clock
from ussd_app.errors import ProviderError, Throttled
from ussd_app.movement import Kind
from ussd_app.redis_client import Client

FAILURES = 5
REST_SECONDS = 60.0
TRIAL_SECONDS = 20.0  # longer than any HTTP call: a process that died trying holds the others back no longer
QUESTION_SECONDS = 20.0  # at most one question in this long asks whether a provider is back
KEPT_MS = 3_600_000  # a breaker nobody calls through is forgotten, closed
REDIS_SECONDS = 0.5
CALLS = (*Kind, "check", "name_of", "is_active", "balance")

# Stores ARGV[2] where ARGV[1] still stands, and answers 1; else what stands. Empty is no key.
SWAP = """
local held = redis.call('get', KEYS[1]) or ''
if held ~= ARGV[1] then return held end
if ARGV[2] == '' then redis.call('del', KEYS[1]) else redis.call('set', KEYS[1], ARGV[2], 'px', ARGV[3]) end
return 1
"""

Given = ParamSpec("Given")
Answer = TypeVar("Answer")

logger = log.get(__name__)


class Resting(Throttled):
    """The breaker is open: the call has not left."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """One breaker; times are seconds since 1970, of our own clock."""

    failures: int = 0  # in a row
    opened_at: float | None = None
    trial: str = ""  # whose
    trial_until: float = 0.0

    def rest(self, now: float) -> float:
        """Seconds for which nobody else is let through."""
        return 0.0 if self.opened_at is None else max(self.opened_at + REST_SECONDS, self.trial_until) - now


class Breakers:
    """One for every provider and call; without a Redis they serve their own process alone."""

    def __init__(self, redis: Client | None, clock: Clock) -> None:
        self._kept = _Repository(redis, clock)
        self._alarms = Alarms(redis, clock)
        work = AsyncInMemoryUnitOfWork()
        work.contexts = self._kept
        self._factory = AsyncCircuitBreakerFactory(FAILURES, REST_SECONDS, uow=work)

    async def call(
        self,
        provider: str,
        what: str,
        function: Callable[Given, Awaitable[Answer]],
        *args: Given.args,
        **kwargs: Given.kwargs,
    ) -> Answer:
        """What the provider answers; raises Resting, without a call, where its breaker is open."""
        circuit = f"{provider}:{what}"
        context = (await self._factory.get_breaker(circuit)).context
        try:
            context.handle_new_request()
        except OpenedState as error:
            after = max(1.0, self._kept.rest(circuit))
            raise Resting(after, f"{provider} {what} is resting") from error
        answered = False
        try:
            answer = await function(*args, **kwargs)
            answered = True
        except ProviderError as error:
            answered = not error.outage
            if error.outage:
                context.handle_exception(error)
            await self._alarms.hear(provider, what, error)
            raise
        else:
            return answer
        finally:
            if answered:
                context.handle_end_request()
            await self._keep(circuit, context, answered=answered)

    async def resting(self, provider: str, what: str) -> float:
        """Seconds until an open breaker lets a call through, at least one; 0 where it is closed."""
        circuit = f"{provider}:{what}"
        kept = await self._kept.look(circuit)
        return 0.0 if kept.opened_at is None else max(1.0, self._kept.rest(circuit))

    async def held(self, provider: str, what: str) -> float:
        """Seconds for which no call is let through; 0 where the next one is, if only as a trial."""
        circuit = f"{provider}:{what}"
        await self._kept.look(circuit)
        return max(0.0, self._kept.rest(circuit))

    async def may_ask(self, provider: str) -> bool:
        """Whether it falls to this process, now, to find out if a provider is back."""
        return await self._kept.claim(f"{provider}:question", QUESTION_SECONDS)

    async def bring_forward(self, provider: str, what: str) -> None:
        """Let the next call through as the trial, however long the breaker was to rest."""
        await self._kept.bring_forward(f"{provider}:{what}")

    async def _keep(self, circuit: str, context: Context, *, answered: bool) -> None:
        if context.state == HALF_OPENED and not context.messages:  # cancelled: it has told nothing
            await self._kept.give_back(circuit)
        while context.messages:
            await self._factory.messagebus.handle(context.messages.pop(0), self._factory.uow)
        if answered:  # its context began before failures that others have seen meanwhile
            await self._kept.forget(circuit)


class _Repository(AsyncAbstractRepository):
    """What purgatory's states remember. Every change is a compare-and-swap, so that of two processes one makes it.

    The hour of opening is our clock's, never the library's, which reads time.time() by itself.
    """

    def __init__(self, redis: Client | None, clock: Clock) -> None:
        self.messages: list[Message] = []
        self._redis = redis
        self._clock = clock
        self._process = uuid4().hex
        self._seen: dict[str, bytes] = {}  # what Redis last held; the only copy where it is away

    async def get(self, name: str) -> Context:
        """The breaker as this call meets it: half-opened only for the one that makes the trial."""
        now = self._now
        before, kept = await self._change(name, lambda kept: self._claimed(kept, now))
        if kept.opened_at is None:
            return Context(name, FAILURES, REST_SECONDS, CLOSED, kept.failures)
        return Context(name, FAILURES, REST_SECONDS, HALF_OPENED if kept != before else OPENED)

    async def register(self, context: Context) -> None:
        """Nothing to do: what is not kept is closed."""

    async def inc_failures(self, name: str, failure_count: int) -> None:  # noqa: ARG002 - one process has seen so many
        """One more failure in a row; the fifth, whoever saw the others, opens."""
        now = self._now

        def counted(kept: _Kept) -> _Kept:
            failures = kept.failures + 1
            opened_at = now if failures >= FAILURES else None
            return replace(kept, failures=failures, opened_at=opened_at) if kept.opened_at is None else kept

        await self._change(name, counted)

    async def update_state(self, name: str, state: str, opened_at: float | None) -> None:  # noqa: ARG002 - not our clock
        """The end of a trial; other changes of state are none of the library's."""
        now = self._now

        def ended(kept: _Kept) -> _Kept:
            if kept.trial != self._process:
                return kept
            return _Kept() if state == CLOSED else _Kept(kept.failures, opened_at=now)

        await self._change(name, ended)

    async def reset_failure(self, name: str) -> None:
        """No failure in a row; an open breaker stays open."""
        await self._change(name, lambda kept: _Kept() if kept.opened_at is None else kept)

    async def forget(self, name: str) -> None:
        """The same, where there is something to reset as far as this process knows."""
        if self._seen.get(name):
            await self.reset_failure(name)

    async def look(self, name: str) -> _Kept:
        """What is kept."""
        return _parsed(await self._read(name))

    def rest(self, name: str) -> float:
        """Seconds it still rests, as it was last seen."""
        return _parsed(self._seen.get(name, b"")).rest(self._now)

    async def claim(self, name: str, seconds: float) -> bool:
        """Whether nobody else has claimed this for so long."""
        now = self._now
        taken = _Kept(trial=self._process, trial_until=now + seconds)
        before, after = await self._change(name, lambda kept: kept if now < kept.trial_until else taken)
        return before != after

    async def give_back(self, name: str) -> None:
        """End a trial that has told nothing."""
        await self._change(
            name, lambda kept: replace(kept, trial="", trial_until=0.0) if kept.trial == self._process else kept
        )

    async def bring_forward(self, name: str) -> None:
        """Have it rested, unless it is closed or being tried."""
        now = self._now

        def rested(kept: _Kept) -> _Kept:
            waits = kept.opened_at is not None and kept.trial_until <= now
            return replace(kept, opened_at=now - REST_SECONDS) if waits else kept

        await self._change(name, rested)

    def _claimed(self, kept: _Kept, now: float) -> _Kept:
        if kept.opened_at is None or kept.rest(now) > 0:
            return kept
        return replace(kept, trial=self._process, trial_until=now + TRIAL_SECONDS)

    async def _change(self, name: str, step: Callable[[_Kept], _Kept]) -> tuple[_Kept, _Kept]:
        """Take a step from what is kept, whoever takes another meanwhile; what was kept before it, and after."""
        held = await self._read(name)
        while True:
            before = _parsed(held)
            after = step(before)
            if before == after:
                return before, after
            told = b"" if after == _Kept() else json.dumps(asdict(after)).encode()
            stands = await self._swap(name, held, told)
            if stands is None:
                _tell(name, before, after)
                return before, after
            held = stands

    async def _read(self, name: str) -> bytes:
        found = await self._ask(lambda redis: redis.get(_key(name)), away=self._seen.get(name))
        return self._saw(name, found)

    async def _swap(self, name: str, held: bytes, told: bytes) -> bytes | None:
        """None where it is done, else what stands instead."""
        answer = await self._ask(lambda redis: redis.eval(SWAP, 1, _key(name), held, told, KEPT_MS), away=1)
        if answer == 1:
            self._saw(name, told)
            return None
        return self._saw(name, answer)

    def _saw(self, name: str, found: bytes | str | None) -> bytes:
        held = found.encode() if isinstance(found, str) else found or b""
        if held:
            self._seen[name] = held
        else:
            self._seen.pop(name, None)
        return held

    async def _ask(self, command: Callable[[Client], Any], *, away: object) -> Any:  # noqa: ANN401 - Redis' own
        """What Redis answers, or ``away`` where there is none or it does not within its time."""
        if self._redis is None:
            return away
        try:
            async with timeout(REDIS_SECONDS):
                return await command(self._redis)
        except (RedisError, OSError, TimeoutError) as error:
            logger.warning("Redis away, breakers kept in this process", error=type(error).__name__)
            return away

    @property
    def _now(self) -> float:
        return self._clock.now().timestamp()


def _tell(name: str, before: _Kept, after: _Kept) -> None:
    """Have people know that a breaker has opened or closed."""
    provider, _, what = name.partition(":")
    if before.opened_at is None and after.opened_at is not None:
        metrics.BREAKER_OPENINGS.labels(provider, what).inc()
        metrics.BREAKER_OPEN.labels(provider, what).set(1)
        logger.error("alert", what="breaker opened", provider=provider, call=what)
    elif before.opened_at is not None and after.opened_at is None:
        metrics.BREAKER_OPEN.labels(provider, what).set(0)
        logger.warning("breaker closed", provider=provider, call=what)


def _key(name: str) -> str:
    return f"breaker:{{{name}}}"


def _parsed(held: bytes) -> _Kept:
    """A breaker as another process kept it; closed where it is none we can read."""
    try:
        members = json.loads(held or b"{}")
        opened_at = members.get("opened_at")
        return _Kept(
            int(members.get("failures", 0)),
            None if opened_at is None else float(opened_at),
            str(members.get("trial", "")),
            float(members.get("trial_until", 0)),
        )
    except (ValueError, TypeError, AttributeError):
        return _Kept()
