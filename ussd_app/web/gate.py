"""Who may begin when more people dial than this process can serve: by the waiting that is measured, not by a number.

A hop that continues a dialogue goes at once. Dials go in a few at a time, in the order they came; one that would wait
too long hears so before anything is begun for it. How long the wait will be follows from how fast dials lately went
through, on this machine and with these stores.
"""

import asyncio
from collections import deque

from ussd_app import log, metrics
from ussd_app.clock import Clock

WAIT_SECONDS = 2.0  # that a dial may wait; one that would wait longer is refused at once
DIALS_MAX = 12  # inside at once: of the 20 connections to Postgres the others are for who is in the middle of something
PACED = 32  # over so many dials their pace is averaged
BEAT_SECONDS = 0.1  # between two looks at who waits, and at how late the event loop is
TURNS = 4  # that one hop takes through the event loop: read, begun, committed, answered
QUIET_SECONDS = 5.0  # without a refusal, and the crowd is over

logger = log.get(__name__)


class Gate:
    """One process's. What enters must leave."""

    def __init__(self, clock: Clock, dials_max: int = DIALS_MAX) -> None:
        self._clock = clock
        self._dials_max = dials_max
        self._inside = 0
        self._queue: deque[tuple[float, asyncio.Future[bool]]] = deque()
        self._left: deque[float] = deque(maxlen=PACED + 1)  # when the last ones left, behind when the queue began
        self._pace = 0.0  # seconds between two dials that leave while others wait
        self._due: float | None = None  # when the next beat is; None while nobody is inside
        self._lags = (0.0, 0.0)  # how late the last two were, in seconds
        self._refused_at: float | None = None
        self._refused = 0  # since the crowd began

    def enter(self) -> "bool | asyncio.Future[bool]":
        """Whether a dial may begin; a future where it is to wait for that."""
        if self._due is None:
            self._await_beat(self._clock.monotonic())
        if self._inside < self._dials_max and not self._queue:
            self._inside += 1
            return True
        now = self._clock.monotonic()
        if not self._queue:
            self._left.clear()
            self._left.append(now)
        if self.wait_seconds(now) > WAIT_SECONDS:
            self._refuse("dial", now)
            return False
        place = asyncio.get_running_loop().create_future()
        self._queue.append((now, place))
        return place

    def leave(self) -> None:
        """One dial is answered, or given up: the next may begin."""
        self._inside -= 1
        if self._queue:
            self._left.append(self._clock.monotonic())
            # Those inside share the processor and leave together: of fewer than that no pace can be told.
            if len(self._left) > min(self._dials_max, PACED):
                self._pace = (self._left[-1] - self._left[0]) / (len(self._left) - 1)
        while self._queue and self._inside < self._dials_max:
            _, place = self._queue.popleft()
            if not place.done():  # whoever waited may have gone away
                self._inside += 1
                place.set_result(True)

    def wait_seconds(self, now: float) -> float:
        """What the next dial would have to wait: measured pace, who is before it, and how late the loop is."""
        standstill = now - self._left[-1] if self._queue else 0.0
        return max(self._pace * (len(self._queue) + 1), standstill) + min(self._lags)

    def passes(self) -> bool:
        """Whether a hop that continues a dialogue may: not where the loop itself would have it wait too long."""
        if self._due is None:
            self._await_beat(self._clock.monotonic())
        if min(self._lags) * TURNS <= WAIT_SECONDS:
            return True
        self._refuse("continuing", self._clock.monotonic())
        return False

    def beat(self) -> None:
        """One look, which the event loop has every tenth of a second while anybody is here."""
        now = self._clock.monotonic()
        self._lags = (self._lags[1], max(now - (self._due or now), 0.0))
        while self._queue and self._queue[0][0] + WAIT_SECONDS <= now:
            _, place = self._queue.popleft()
            if not place.done():
                place.set_result(False)
                self._refuse("dial", now)
        if self._refused_at is not None and now - self._refused_at > QUIET_SECONDS:
            logger.warning("the crowd is over", refused=self._refused)
            self._refused_at, self._refused = None, 0
        if self._inside or self._queue or self._refused_at is not None or any(self._lags):
            self._await_beat(now)
        else:
            self._due = None

    def _await_beat(self, now: float) -> None:
        self._due = now + BEAT_SECONDS
        asyncio.get_running_loop().call_later(BEAT_SECONDS, self.beat)

    def _refuse(self, what: str, now: float) -> None:
        metrics.REFUSED.labels(what).inc()
        if self._refused_at is None:
            logger.warning(
                "a crowd: hops are refused",
                what=what,
                wait_seconds=round(self.wait_seconds(now), 2),
                waiting=len(self._queue),
                inside=self._inside,
                lag_seconds=round(min(self._lags), 2),
            )
        self._refused_at = now
        self._refused += 1
