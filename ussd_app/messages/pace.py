"""How fast a sender may go: SMS parts in any one second, counted in Redis for every process."""

import asyncio
from typing import Any

from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.storage.redis.redispy import RedispyBridge
from limits.aio.strategies import MovingWindowRateLimiter
from redis.exceptions import RedisError

from ussd_app import log
from ussd_app.clock import Clock
from ussd_app.redis_client import Client

REDIS_SECONDS = 0.5

logger = log.get(__name__)


class Pace:
    """A moving window of one second for each sender. With Redis away a sender falls to one part a second."""

    def __init__(self, redis: Client, clock: Clock) -> None:
        self._window = MovingWindowRateLimiter(_Storage(redis))
        self._clock = clock
        self._free_at: dict[str, float] = {}  # monotonic seconds before which a sender takes nothing
        self._alone: set[str] = set()  # senders that go without Redis

    async def take(self, sender: str, parts: int, per_second: int) -> bool:
        """Take a text's parts out of this second; False where there is no room yet.

        A text of more parts than a second holds takes the whole second: it cannot be split.
        """
        now = self._clock.monotonic()
        if now < self._free_at.get(sender, now):
            return False
        try:
            async with asyncio.timeout(REDIS_SECONDS):
                limit = RateLimitItemPerSecond(per_second)
                taken = await self._window.hit(limit, sender, cost=min(parts, per_second))
        except (RedisError, OSError, TimeoutError):
            return self._take_alone(sender, parts, now)
        self._alone.discard(sender)
        return taken

    def rest(self, sender: str, seconds: float) -> None:
        """Let a sender take nothing for a while."""
        until = self._clock.monotonic() + seconds
        self._free_at[sender] = max(until, self._free_at.get(sender, until))

    def _take_alone(self, sender: str, parts: int, now: float) -> bool:
        if sender in self._alone:
            self._free_at[sender] = now + parts
            return True
        logger.warning("Redis away, one SMS part a second", sender=sender)
        self._alone.add(sender)
        self._free_at[sender] = now + 1  # what Redis has counted in this second is not known here
        return False


class _Storage(RedisStorage):
    """The library's storage, on the client we have (of one node, sentinels or a cluster)."""

    bridge: RedispyBridge

    def __init__(self, redis: Client) -> None:
        self._redis: Any = redis  # the library describes clients more narrowly than redis-py does itself
        super().__init__("redis://", implementation="redispy", key_prefix="limit")

    def configure_bridge(self) -> None:
        self.bridge.connection_getter = lambda _readonly: self._redis
