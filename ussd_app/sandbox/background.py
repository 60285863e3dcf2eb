"""What happens later in the sandbox: prompts that expire, callbacks, delivery reports."""

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from ussd_app import log
from ussd_app.clock import Clock

Action = Callable[[], Awaitable[None] | None]

TICK_SECONDS_MIN = 0.01


@dataclass(order=True, slots=True)
class Appointment:
    """Something to be done at a moment of the clock's ``monotonic``; one whose action is taken away is skipped."""

    due: float
    number: int
    action: Action | None = field(compare=False)

    def cancel(self) -> None:
        """Have nothing done, if it is not being done yet."""
        self.action = None


class Background:
    """Appointments, and the tasks that keep them, with an owner who closes them.

    The clock is looked at rather than slept on, so that time a test moves is time that has passed.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._appointments: list[Appointment] = []
        self._number = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def later(self, seconds: float, action: Action) -> Appointment:
        """Act after ``seconds`` of the clock; 0 is as soon as the present task waits for something."""
        self._number += 1
        appointment = Appointment(self._clock.monotonic() + seconds, self._number, action)
        heapq.heappush(self._appointments, appointment)
        self.run_due()
        return appointment

    def run_due(self) -> None:
        """Start what is due by the clock."""
        while self._appointments and self._appointments[0].due <= self._clock.monotonic():
            action = heapq.heappop(self._appointments).action
            if action:
                task = asyncio.create_task(_act(action))
                self._tasks.add(task)
                task.add_done_callback(self._ended)
        if self._timer:
            self._timer.cancel()
        if self._appointments:
            wait = max(self._appointments[0].due - self._clock.monotonic(), TICK_SECONDS_MIN)
            self._timer = asyncio.get_running_loop().call_later(wait, self.run_due)

    @property
    def under_way(self) -> int:
        """How much is being done now."""
        return len(self._tasks)

    @property
    def coming(self) -> list[float]:
        """In how many seconds of the clock each thing is to be done that is still to come, the next one first."""
        return sorted(each.due - self._clock.monotonic() for each in self._appointments if each.action)

    async def settled(self) -> None:
        """Return when all that is due by the clock has been done, and all that came of it."""
        self.run_due()
        while self._tasks:
            await asyncio.wait(self._tasks)
            self.run_due()

    async def close(self) -> None:
        """Do nothing more; what is under way is cancelled."""
        self._appointments.clear()
        if self._timer:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.get(__name__).error("sandbox.task_failed", exc_info=error)


async def _act(action: Action) -> None:
    result = action()
    if result is not None:
        await result
