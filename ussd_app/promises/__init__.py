"""What was promised with "We will SMS you. Do not pay again.", and how it is kept whatever happened.

A hop that is cut short leaves a promise under the idempotency key of its action. Keeping it is one commit: the key is
declared void, or found used (idempotency.py), so that the answer is final before it is told; what came of it is
written down for home to show, and the SMS is written beside it. Keeping one twice changes nothing.

Until Postgres answers, a promise rests in the process that made it, in Redis for any other to take up, and in the
dialogue of whoever was told, so that their next dial finds it kept. It is lost only where that process and Redis are
both gone before Postgres is back.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from sqlalchemy import delete, select, text
from sqlalchemy.dialects.postgresql import insert

from ussd_app import idempotency, log
from ussd_app.clock import Clock
from ussd_app.messages import Messages
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.redis_client import Client, Script, Scripts
from ussd_app.store import Look, Row, Store, Work
from ussd_app.tables import idempotency_keys, orders, promises

STUB = "promise"  # the one word of a dialogue that holds nothing but a promise
REDIS_SECONDS = 24 * 3600  # after the newest promise, those left in Redis are given up
KEPT_FOR = timedelta(days=30)  # idempotency keys, and what came of promises
TAKEN_UP_MAX = 100  # promises read from Redis at once
UNDER_WAY = ("open", "undoing")  # orders whose end is still to come; the end of any other has been told

NOTE = Script.of("redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) return redis.call('EXPIRE', KEYS[1], ARGV[3])")
SOME = Script.of("return redis.call('HSCAN', KEYS[1], 0, 'COUNT', ARGV[1])[2]")
FORGET = Script.of("return redis.call('HDEL', KEYS[1], ARGV[1])")
# A hop that still holds the key is waited for by trying again, not by holding a connection.
PATIENCE = text("SELECT set_config('lock_timeout', '2s', true), set_config('statement_timeout', '5s', true)")

logger = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Promise:
    """Somebody was told that they will have an SMS about what this key stands for."""

    key: str
    run: str  # of the flow: an order's own key
    msisdn: Msisdn
    language: str
    asked_at: datetime

    def dump(self) -> dict[str, str]:
        """As JSON."""
        return {
            "key": self.key, "run": self.run, "msisdn": str(self.msisdn), "language": self.language,
            "asked_at": self.asked_at.isoformat(),
        }  # fmt: skip

    @classmethod
    def load(cls, dumped: Mapping[str, str]) -> Self:
        """From what dump made; raises LookupError, TypeError or ValueError where another version made it otherwise."""
        at = datetime.fromisoformat(dumped["asked_at"])
        return cls(dumped["key"], dumped["run"], Msisdn(dumped["msisdn"]), dumped["language"], at)

    @classmethod
    def left_in(cls, dialogue: Mapping[str, Any] | None) -> Self | None:
        """The promise a dialogue ended with, if it did."""
        try:
            return cls.load((dialogue or {})[STUB])
        except (LookupError, TypeError, ValueError):
            return None


class Promises:
    """Keeps promises. ``engine`` is for nothing else: it answers also where a pool is full of hops that hang."""

    def __init__(self, store: Store, redis: Client, messages: Messages, clock: Clock, code: str) -> None:
        self._store = store
        self._scripts = Scripts(redis)
        self._messages = messages
        self._clock = clock
        self._hash = f"promises:{{{code}}}"

    async def note(self, promise: Promise) -> None:
        """Leave a promise in Redis, for any process to take up; raises redis-py's RedisError."""
        words = json.dumps(promise.dump(), separators=(",", ":"))
        await self._scripts.run(NOTE, self._hash, promise.key, words, REDIS_SECONDS)

    async def forget(self, key: str) -> None:
        """Take a promise that is kept out of Redis; raises redis-py's RedisError."""
        await self._scripts.run(FORGET, self._hash, key)

    async def noted(self) -> list[Promise]:
        """Some of those left in Redis; raises redis-py's RedisError."""
        found: list[bytes] = await self._scripts.run(SOME, self._hash, TAKEN_UP_MAX)
        read = map(_read, found[1 : 2 * TAKEN_UP_MAX : 2])
        return [promise for promise in read if promise]

    async def keep(self, promise: Promise) -> str:
        """Find out for good what came of it and write the SMS, in one commit: ordered, done or not_done.

        Raises whatever the database does while it is away, or while the hop it is about still holds the key.
        """
        async with self._store.work() as connection:
            await connection.execute(PATIENCE)
            now = self._clock.now()
            voided = await idempotency.void(connection, promise.key, now)
            order = await _order(connection, promise.run)
            outcome = "ordered" if order else "not_done" if voided else "done"
            row = {
                "key": promise.key, "msisdn": promise.msisdn, "outcome": outcome, "asked_at": promise.asked_at,
                "reference": order["code"] if order else None, "kept_at": now,
            }  # fmt: skip
            once = insert(promises).values(row).on_conflict_do_nothing().returning(promises.c.key)
            first = (await connection.execute(once)).first() is not None
            if first:
                await self._tell(connection, promise, outcome, order)
            self._clock.point("promise.in_commit")
        if first:
            logger.info("promise kept", outcome=outcome)
        return outcome

    async def sweep(self) -> None:
        """Delete keys and outcomes that are so old that no hop, no copy of one and no promise asks for them."""
        before = self._clock.now() - KEPT_FOR
        async with self._store.work() as connection:
            await connection.execute(delete(promises).where(promises.c.kept_at < before))
            await connection.execute(delete(idempotency_keys).where(idempotency_keys.c.at < before))

    async def _tell(self, connection: Work, promise: Promise, outcome: str, order: Row | None) -> None:
        variables: dict[str, Any] = {"at": promise.asked_at}
        if order:
            if order["state"] not in UNDER_WAY:
                return
            variables |= {"total": Money(order["amount"] + order["fee"], order["currency"]), "reference": order["code"]}
        await self._messages.queue(
            connection,
            key=f"promise:{promise.key}",
            msisdn=promise.msisdn,
            template=f"promise_{outcome}",
            language=promise.language,
            variables=variables,
            order_id=order["id"] if order else None,
        )


def _read(words: bytes) -> Promise | None:
    try:
        return Promise.left_in({STUB: json.loads(words)})
    except ValueError:
        return None


async def _order(connection: Look, run: str) -> Row | None:
    """What this run has placed."""
    o = orders.c
    query = select(o.id, o.code, o.state, o.amount, o.fee, o.currency).where(o.run == run)
    return (await connection.execute(query)).mappings().one_or_none()
