"""Access tokens of every provider: kept in Redis for all processes, refreshed ahead of expiry by one of them at a time.

With Redis away each process keeps its own.
"""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeGuard
from uuid import uuid4

from redis.asyncio import Redis
from redis.exceptions import RedisError

from ussd_app import log, metrics
from ussd_app.clock import Clock
from ussd_app.errors import ProviderError

AHEAD_SECONDS = 600.0  # before expiry (wire/momo.md section 1.3) ...
USABLE_SHARE = 0.8  # ... or at this share of a life too short for that
CLAIM_SECONDS = 15.0  # longer than any HTTP call: a process that died refreshing holds the others back no longer
WAIT_SECONDS = 0.1
REDIS_SECONDS = 0.5

# Gives a claim back, unless it ran out and is somebody else's by now.
RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"

logger = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Token:
    """What a provider issued; ``life`` is in seconds from now."""

    value: str
    life: float

    def __repr__(self) -> str:
        return "Token(***)"


Fetch = Callable[[], Awaitable[Token]]


@dataclass(frozen=True, slots=True)
class _Held:
    """A token in the cache; times are seconds since 1970."""

    value: str
    refresh_at: float
    expires_at: float

    def __repr__(self) -> str:
        return "_Held(***)"


class Tokens:
    """One cache for every provider and account; without a Redis it serves its own process alone."""

    def __init__(self, redis: Redis | None, clock: Clock) -> None:
        self._redis = redis
        self._clock = clock
        self._local: dict[str, _Held] = {}
        self._flights: dict[tuple[str, str | None], asyncio.Task[_Held]] = {}

    async def get(self, provider: str, account: str, fetch: Fetch, *, force_refresh: str | None = None) -> str:
        """The token of one account (no secret: it is part of the key), from ``fetch`` where none is fresh.

        ``force_refresh`` is a token just answered with 401: any other one is taken, so that a hundred callers refused
        together refresh once. Raises what ``fetch`` raises, to all who wait for it, unless the old token still lives.
        """
        name = f"token:{{{provider}:{account}}}"
        held = self._local.get(name)
        if self._fresh(held, force_refresh):
            return held.value
        flight = self._flights.get((name, force_refresh))
        if flight is None:
            flight = asyncio.create_task(self._refresh(provider, name, fetch, force_refresh))
            self._flights[name, force_refresh] = flight
            flight.add_done_callback(partial(self._landed, (name, force_refresh)))
        elif self._alive(held, force_refresh):
            return held.value
        # Shielded: a caller whose time is up must not take the token from the others.
        return (await asyncio.shield(flight)).value

    async def _refresh(self, provider: str, name: str, fetch: Fetch, refused: str | None) -> _Held:
        claim = uuid4().hex
        try:
            held = await self._from_others(name, claim, refused)
            return held or await self._fetched(provider, name, fetch)
        except ProviderError as error:
            held = self._local.get(name)
            if not self._alive(held, refused):
                raise
            logger.warning("token not refreshed, the old one still lives", provider=provider, error=str(error))
            return held
        finally:
            await self._ask(lambda redis: redis.eval(RELEASE, 1, f"{name}:claim", claim))

    async def _from_others(self, name: str, claim: str, refused: str | None) -> _Held | None:
        """What another process has fetched or is fetching; None where it falls to us, which ``claim`` then says."""
        lease = round(CLAIM_SECONDS * 1000)
        for _ in range(round(CLAIM_SECONDS / WAIT_SECONDS)):
            ours = await self._ask(lambda redis: redis.set(f"{name}:claim", claim, nx=True, px=lease), away=True)
            # Claimed first and looked at second: what was stored between the two would else be fetched twice.
            if stored := _parsed(await self._ask(lambda redis: redis.get(name))):
                self._local[name] = stored
            held = self._local.get(name)
            if self._fresh(held, refused):
                return held
            if ours:
                return None
            if self._alive(held, refused):
                return held
            await self._clock.sleep(WAIT_SECONDS)
        return None

    async def _fetched(self, provider: str, name: str, fetch: Fetch) -> _Held:
        token = await fetch()
        metrics.TOKEN_REFRESHES.labels(provider=provider).inc()
        now = self._clock.now().timestamp()
        usable = max(token.life - AHEAD_SECONDS, token.life * USABLE_SHARE)
        held = self._local[name] = _Held(token.value, now + usable, now + token.life)
        kept, life = json.dumps(asdict(held)), max(1, round(token.life * 1000))
        await self._ask(lambda redis: redis.set(name, kept, px=life))
        return held

    def _fresh(self, held: _Held | None, refused: str | None) -> TypeGuard[_Held]:
        return held is not None and held.value != refused and self._clock.now().timestamp() < held.refresh_at

    def _alive(self, held: _Held | None, refused: str | None) -> TypeGuard[_Held]:
        return held is not None and held.value != refused and self._clock.now().timestamp() < held.expires_at

    async def _ask(self, command: Callable[[Redis], Any], *, away: object = None) -> Any:  # noqa: ANN401 - Redis' own
        """What Redis answers, or ``away`` where there is none or it does not within its time."""
        if self._redis is None:
            return away
        try:
            async with asyncio.timeout(REDIS_SECONDS):
                return await command(self._redis)
        except (RedisError, OSError, TimeoutError) as error:
            logger.warning("Redis away, tokens kept in this process", error=type(error).__name__)
            return away

    def _landed(self, key: tuple[str, str | None], flight: asyncio.Task[_Held]) -> None:
        del self._flights[key]
        if not flight.cancelled():
            flight.exception()  # seen: where every caller has gone there is nobody to tell


def account(*credentials: str) -> str:
    """What names an account in the cache by all it is known by, and tells nothing of it.

    The secret is part of it: with another one the token of the former would pass for a proof that it is right.
    """
    return hashlib.sha256(" ".join(credentials).encode()).hexdigest()[:16]


def _parsed(stored: str | bytes | None) -> _Held | None:
    """A token as another process stored it; None where it is none we can read."""
    try:
        members = json.loads(stored or "null")
        return _Held(str(members["value"]), float(members["refresh_at"]), float(members["expires_at"]))
    except (ValueError, TypeError, KeyError):
        return None
