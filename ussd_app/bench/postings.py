"""Holds and posts on one operator's float, from many connections, each transfer in a commit of its own."""

import asyncio
import time
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import create_async_engine

from ussd_app import ledger
from ussd_app.bench.figures import Figure
from ussd_app.bench.stage import Stage
from ussd_app.ledger import Insufficient
from ussd_app.money import Money

CONNECTIONS = 16
RATE_MIN = 1_500
FLOAT, ONE = "float:bench", Money(1, "GHS")


async def measure(stage: Stage, seconds: float) -> Figure:
    """Money in: each connection holds one unit for an account of its own, then posts it."""
    # A transfer is one statement, and so a commit by itself.
    engine = create_async_engine(stage.database("postings"), pool_size=CONNECTIONS, isolation_level="AUTOCOMMIT")
    count, until = 0, time.perf_counter() + seconds

    async def post(number: int) -> None:
        nonlocal count
        async with engine.connect() as connection:
            while time.perf_counter() < until:
                at = datetime.now(UTC)
                held = await ledger.hold(connection, FLOAT, f"bench:{number}", ONE, order=None, reason="bench", at=at)
                if not isinstance(held, Insufficient):  # nor is it ever: a float has no floor
                    await ledger.post(connection, held, reason="bench", at=at)
                    count += 2

    await asyncio.gather(*map(post, range(CONNECTIONS)))
    await engine.dispose()
    rate = count / seconds
    measured = f"{rate:.0f} a second ({count} over {CONNECTIONS} connections)"
    return Figure("holds and posts on one float", measured, f">= {RATE_MIN}", rate < RATE_MIN)
