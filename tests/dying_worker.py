"""A worker with short intervals that kills itself with SIGKILL at a named point: `dying_worker.py POINT PASSES`."""

import asyncio
import os
import signal
import sys
from datetime import timedelta

from ussd_app import log, worker
from ussd_app.app import Application
from ussd_app.clock import Clock
from ussd_app.config import Settings, load
from ussd_app.payments.schedule import PATIENCE, Schedule

OFTEN = Schedule(check_ages=(1, 2, 3, 5, 10, 20, 30), every=((PATIENCE, timedelta(seconds=10)),))


class DyingClock(Clock):
    """Ends the process at a point, after so many passes."""

    def __init__(self, point: str, passes: int) -> None:
        self.at = point
        self.passes = passes

    def point(self, name: str) -> None:
        """Die here, without a word to anyone."""
        if name == self.at:
            self.passes -= 1
            if self.passes < 0:
                os.kill(os.getpid(), signal.SIGKILL)


async def main() -> None:
    """Work until killed or told to stop."""
    settings = load(Settings)
    log.configure(settings.log_level)
    clock = DyingClock(sys.argv[1], int(sys.argv[2])) if len(sys.argv) > 1 else Clock()
    async with Application(settings, clock, schedule=OFTEN, tend="* * * * * *") as application:
        await worker.run(application.jobs)


if __name__ == "__main__":
    asyncio.run(main())
