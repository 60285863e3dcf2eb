"""The keeper: one task of each web process, which keeps what its hops have promised and what dead processes left."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from redis.exceptions import RedisError

from ussd_app import log
from ussd_app.promises import Promise, Promises

PAUSE_SECONDS = (0.5, 5.0)  # between two tries: first, and at most; the last one also between two looks into Redis
LAST_SECONDS = 2.0  # for those still open when the process ends
FAILURES_MAX = 3  # in one look into Redis, before the rest waits for the next
OPEN_MAX = 50_000  # promises of one process

logger = log.get(__name__)


class Keeper:
    """Holds the promises of this process until they are kept."""

    def __init__(self, promises: Promises) -> None:
        self.promises = promises
        self._open: dict[str, Promise] = {}
        self._unnoted: set[str] = set()  # of them, those that are not in Redis
        self._made = asyncio.Event()

    async def make(self, promise: Promise) -> None:
        """Promise: it is kept as soon as may be, by this process or, once it stands in Redis, by any other."""
        if len(self._open) >= OPEN_MAX:
            logger.error("alert", what=f"{OPEN_MAX} promises are open; one more rests in Redis alone")
        else:
            self._open[promise.key] = promise
            self._unnoted.add(promise.key)
            self._made.set()
        await self._note(promise)

    async def keep(self, promise: Promise) -> None:
        """Keep one now; raises what Promises.keep does."""
        await self.promises.keep(promise)
        self._open.pop(promise.key, None)
        self._unnoted.discard(promise.key)
        with suppress(RedisError):  # one that stays there is kept once more, which changes nothing
            await self.promises.forget(promise.key)

    @asynccontextmanager
    async def keeping(self) -> AsyncIterator[None]:
        """Keep promises to the end of the block, and once more those that are open then."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task}, timeout=LAST_SECONDS)
            if self._open:
                last = asyncio.create_task(self._keep_open())
                await asyncio.wait({last}, timeout=LAST_SECONDS)
                last.cancel()
            if self._open:
                logger.error("alert", what="promises left to others", open=len(self._open), lost=len(self._unnoted))

    async def take_up(self) -> bool:
        """Keep what was left in Redis; False where a store is away."""
        failures = 0
        try:
            left = await self.promises.noted()
        except RedisError as error:
            logger.warning("promises not taken up", error=type(error).__name__)
            return False
        for promise in left:
            if not await self._try(promise):
                failures += 1
            if failures >= FAILURES_MAX:
                break
        return not failures

    async def _run(self) -> None:
        pause, longest = PAUSE_SECONDS
        while True:
            if not self._open:
                await self.take_up()
                with suppress(TimeoutError):
                    async with asyncio.timeout(longest):
                        await self._made.wait()
            self._made.clear()
            if await self._keep_open():
                pause = PAUSE_SECONDS[0]
            else:
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)

    async def _keep_open(self) -> bool:
        """Try each; the first that fails goes behind the others, so that it holds them up but once."""
        for promise in list(self._open.values()):
            if not await self._try(promise):
                if self._open.pop(promise.key, None):
                    self._open[promise.key] = promise
                await self._note_all()
                return False
        return True

    async def _try(self, promise: Promise) -> bool:
        try:
            await self.keep(promise)
        except Exception as error:  # noqa: BLE001 - however it fails, it is tried again
            logger.warning("promise not kept yet", error=type(error).__name__)
            return False
        return True

    async def _note_all(self) -> None:
        """Redis may be back before Postgres is."""
        for key in list(self._unnoted):
            promise = self._open.get(key)
            if promise and not await self._note(promise):
                return

    async def _note(self, promise: Promise) -> bool:
        try:
            await self.promises.note(promise)
        except RedisError as error:
            logger.warning("promise not in Redis", error=type(error).__name__)
            return False
        self._unnoted.discard(promise.key)
        return True
