"""A time of an application's own: it begins at a set hour, runs as fast as ours, and is moved ahead by a journey."""

import asyncio
from datetime import UTC, datetime, timedelta

from redis.asyncio import Redis
from sqlalchemy import text

from ussd_app.clock import Clock
from ussd_app.store import Store

START = datetime(2031, 3, 4, 9, 0, tzinfo=UTC)  # a Tuesday morning: nobody's quiet hours

# Procrastinate goes by the database's time, and what is due by ours is due there that much sooner.
KEEP = (
    "CREATE TABLE later (ahead interval NOT NULL)",
    "INSERT INTO later VALUES (:ahead)",
    """
    CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.scheduled_at := NEW.scheduled_at - (SELECT ahead FROM later);
        RETURN NEW;
    END $$
    """,
    "CREATE TRIGGER later BEFORE INSERT ON procrastinate_jobs FOR EACH ROW EXECUTE FUNCTION later()",
)
MOVE = (
    "UPDATE later SET ahead = ahead + :by",
    "UPDATE procrastinate_jobs SET scheduled_at = scheduled_at - :by WHERE status = 'todo'",
)
# As Procrastinate does for a new job: its workers look at once, and not when they would have anyway.
WAKE = text("SELECT pg_notify('procrastinate_any_queue_v1', :said)").bindparams(said='{"type": "job_inserted"}')
# A sender's waiting jobs are no sign of work: one of them sends all that is due. Its messages are.
DUE = text("""
    SELECT count(*) FROM (
        SELECT id::text FROM procrastinate_jobs WHERE queue_name NOT IN ('tend', 'sms')
        AND (status = 'doing' OR (status = 'todo' AND coalesce(scheduled_at, now()) <= now()))
        UNION ALL
        SELECT id::text FROM messages WHERE state IN ('waiting', 'sending') AND due_at <= :now AND deadline > :now
    ) AS due
""")
LOOK_SECONDS, LOOKS = 0.03, 600


class LaterClock(Clock):
    """The machine's time and what it is ahead. Whoever measures or sleeps does so in ours."""

    def __init__(self) -> None:
        self.ahead = START - datetime.now(UTC)

    def now(self) -> datetime:
        """The present moment of the journey."""
        return super().now() + self.ahead


async def keep(store: Store, clock: LaterClock) -> None:
    """Have this database's jobs wait for the clock's time; once, before any is written."""
    async with store.work() as connection:
        for statement in KEEP:
            await connection.execute(text(statement), {"ahead": clock.ahead} if ":ahead" in statement else {})


async def move(store: Store, redis: Redis, clock: LaterClock, by: timedelta) -> None:
    """Let time pass: jobs come nearer, and what Redis keeps for a while grows older or is gone."""
    clock.ahead += by
    async with store.work() as connection:
        for statement in MOVE:
            await connection.execute(text(statement), {"by": by})
        await connection.execute(WAKE)
    async for key in redis.scan_iter():
        left = await redis.pttl(key)
        if left > 0:
            # One that is over is given to Redis to forget at once.
            await redis.pexpire(key, max(left - int(by / timedelta(milliseconds=1)), 0))


async def settle(store: Store, clock: LaterClock, looks: int = LOOKS) -> None:
    """Wait until all that is due has been done, and every SMS that is due has been sent; raises TimeoutError."""
    for _ in range(looks):
        async with store.look() as connection:
            if not (await connection.execute(DUE, {"now": clock.now()})).scalar_one():
                return
        await asyncio.sleep(LOOK_SECONDS)
    raise TimeoutError
