"""Alerts about outside parties: what comes with every call that fails is told to a person once an hour, not each time.

Redis remembers for all processes; with Redis away each process tells for itself.
"""

from asyncio import timeout

from redis.exceptions import RedisError

from ussd_app import log
from ussd_app.clock import Clock
from ussd_app.errors import ProviderError
from ussd_app.redis_client import Client

EVERY_SECONDS = 3600
REDIS_SECONDS = 0.5

logger = log.get(__name__)


class Alarms:
    """Whom nobody has been told about in this hour; without a Redis for its own process alone."""

    def __init__(self, redis: Client | None, clock: Clock) -> None:
        self._redis = redis
        self._clock = clock
        self._told: dict[tuple[str, str], int] = {}  # the hour in which this process last told, or asked, of each

    async def hear(self, provider: str, call: str, error: ProviderError) -> None:
        """Tell a person of this hour's first error that wants one."""
        if error.alert and await self._is_first(provider, error.alert):
            logger.error("alert", what=error.alert, provider=provider, call=call, detail=str(error))

    async def _is_first(self, provider: str, alert: str) -> bool:
        hour = int(self._clock.now().timestamp()) // EVERY_SECONDS
        if self._told.get((provider, alert)) == hour:
            return False
        self._told[provider, alert] = hour
        if self._redis is None:
            return True
        try:
            async with timeout(REDIS_SECONDS):
                key = f"alarm:{{{provider}}}:{alert}:{hour}"
                return bool(await self._redis.set(key, 1, nx=True, ex=2 * EVERY_SECONDS))
        except (RedisError, OSError, TimeoutError) as error:
            logger.warning("Redis away, alerts counted in this process", error=type(error).__name__)
            return True
