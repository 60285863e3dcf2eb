"""Time and the named points of the code, handed in so that a test can move the one and stop at the other."""

import asyncio
import time
from datetime import UTC, datetime


class Clock:
    """The machine's own time, in UTC."""

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never run backwards, for measuring and deadlines inside one process."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait without holding up anyone else."""
        await asyncio.sleep(seconds)

    def point(self, name: str) -> None:
        """Mark a place where a process may die; does nothing here, a kill test's clock ends the process at ``name``."""
