"""The time of journeys: what is due by the application's clock is due in the database."""

from datetime import UTC, datetime, timedelta

import procrastinate
from later import START, LaterClock, keep, move
from redis.asyncio import Redis
from sqlalchemy import text

from ussd_app.jobs import Jobs
from ussd_app.store import Store

DAY = timedelta(days=1)


async def waits(store: Store) -> timedelta:
    """How long the job in the database has still to wait."""
    async with store.look() as connection:
        at = (await connection.execute(text("SELECT scheduled_at FROM procrastinate_jobs"))).scalar_one()
    assert isinstance(at, datetime)
    return at - datetime.now(UTC)


async def test_time_passes_for_clock_jobs_and_dialogues(store: Store, redis: Redis) -> None:
    """Whether a job was written before or after the time was moved, and whatever its hour."""
    clock, second = LaterClock(), timedelta(seconds=5)
    await keep(store, clock)
    assert timedelta() <= clock.now() - START < second
    jobs = Jobs(procrastinate.App(connector=procrastinate.PsycopgConnector()))
    await redis.set("ussd:dialogue", "x", ex=300)
    await redis.set("token:mtn", "x", ex=7200)
    await redis.set("kept", "x")
    for _ in range(2):
        async with store.work() as connection:
            await connection.execute(text("DELETE FROM procrastinate_jobs"))
            await jobs.defer(connection, "any", at=clock.now() + 2 * DAY)
        assert abs(await waits(store) - 2 * DAY) < second
        await move(store, redis, clock, DAY)
        assert abs(await waits(store) - DAY) < second
        await move(store, redis, clock, timedelta(minutes=6))
    assert timedelta() <= clock.now() - START - 2 * DAY - timedelta(minutes=12) < second
    assert await redis.keys() == [b"kept"]


async def test_a_young_key_only_grows_older(store: Store, redis: Redis) -> None:
    """A token outlives an hour it was given two for."""
    clock = LaterClock()
    await keep(store, clock)
    await redis.set("token:mtn", "x", ex=7200)
    await move(store, redis, clock, timedelta(hours=1))
    assert 3500 < await redis.ttl("token:mtn") <= 3600
