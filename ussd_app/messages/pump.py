"""What hands waiting messages to one sender, the most urgent first, no faster than it allows.

The row is the queue. An attempt is committed before its call, so that a process that dies in between leaves a row that
says "perhaps", never one that says "not yet".
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import uuid4

from sqlalchemy import and_, func, insert, select, update

from ussd_app import log, metrics
from ussd_app.alarms import Alarms
from ussd_app.clock import Clock
from ussd_app.errors import Throttled, Unknown
from ussd_app.messages.outcomes import SENDING, WAITING, Outcomes, Result
from ussd_app.messages.pace import Pace
from ussd_app.msisdn import Msisdn
from ussd_app.senders import Outgoing, Sender
from ussd_app.store import Row, Store, Work
from ussd_app.tables import message_attempts, messages

RUN_SECONDS = 5.0  # of one job: a worker that is told to stop waits for it
SEND_SECONDS = 10.0  # for one call, all its repeats included; less than outcomes.STALE
PAUSE_SECONDS = 0.05  # while the sender's second is full
REST_SECONDS_MAX = 5.0  # of the whole sender, after it said that we are too fast
LOWEST_EVERY = 20  # one message in so many is of the lowest waiting class, so that none starves

logger = log.get(__name__)


@dataclass(frozen=True, slots=True)
class _Full:
    """Something waits, and the sender has no room for it in this second."""


class Pump:
    """Runs for one sender at a time; two for the same sender would only share its rows."""

    def __init__(
        self,
        store: Store,
        senders: Mapping[str, Sender],
        outcomes: Outcomes,
        pace: Pace,
        alarms: Alarms,
        clock: Clock,
    ) -> None:
        self._store = store
        self._senders = senders
        self._outcomes = outcomes
        self._pace = pace
        self._alarms = alarms
        self._clock = clock
        self._handed_over: Counter[str] = Counter()  # messages of each sender

    async def run(self, name: str) -> None:
        """Send what is due, until nothing is or the time is up; then another run is deferred."""
        sender = self._senders.get(name)
        if sender is None:
            return  # taken out of SENDERS: the periodic waking gives its rows to another
        until = self._clock.monotonic() + RUN_SECONDS
        places = asyncio.Semaphore(sender.limits.batch)
        async with asyncio.TaskGroup() as calls:
            while self._clock.monotonic() < until:
                await places.acquire()
                claimed = await self._claim(sender)
                if isinstance(claimed, Outgoing):
                    call = calls.create_task(self._hand_over(sender, claimed))
                    call.add_done_callback(lambda _: places.release())
                    continue
                places.release()
                if claimed is None:
                    return
                await self._clock.sleep(PAUSE_SECONDS)
        async with self._store.work() as connection:
            await self._outcomes.wake(connection, name)

    async def _claim(self, sender: Sender) -> Outgoing | _Full | None:
        """Commit an attempt at the next message due; None where none is."""
        async with self._store.work() as connection:
            row = await self._next_due(connection, sender)
            if row is None:
                return None
            if not await self._pace.take(sender.name, row["parts"], sender.limits.parts_per_second):
                return _Full()
            made = select(func.count()).where(
                message_attempts.c.message_id == row["id"], message_attempts.c.sender == sender.name
            )
            outgoing = Outgoing(uuid4(), Msisdn(row["msisdn"]), row["text"], row["parts"])
            await connection.execute(
                insert(message_attempts).values(
                    correlator=outgoing.correlator, message_id=row["id"], sender=sender.name, state=SENDING,
                    number=(await connection.execute(made)).scalar_one() + 1, started_at=self._clock.now(),
                )
            )  # fmt: skip
            await connection.execute(update(messages).where(messages.c.id == row["id"]).values(state=SENDING))
        self._handed_over[sender.name] += 1
        return outgoing

    async def _next_due(self, connection: Work, sender: Sender) -> Row | None:
        now = self._clock.now()
        lowest_first = self._handed_over[sender.name] % LOWEST_EVERY == LOWEST_EVERY - 1
        order = messages.c.priority.desc() if lowest_first else messages.c.priority
        due = (
            select(messages)
            .where(
                and_(messages.c.state == WAITING, messages.c.sender == sender.name),
                and_(messages.c.due_at <= now, messages.c.deadline > now),
            )
            .order_by(order, messages.c.due_at, messages.c.created_at)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        return (await connection.execute(due)).mappings().first()

    async def _hand_over(self, sender: Sender, outgoing: Outgoing) -> None:
        self._clock.point("sms.claimed")
        result = await self._call(sender, outgoing)
        self._clock.point("sms.answered")
        if isinstance(result, Throttled):
            self._pace.rest(sender.name, min(result.after, REST_SECONDS_MAX))
        await self._outcomes.settle(outgoing.correlator, result)

    async def _call(self, sender: Sender, outgoing: Outgoing) -> Result:
        try:
            with metrics.PROVIDER_SECONDS.labels(sender.name, "send_sms").time():
                async with asyncio.timeout(SEND_SECONDS):
                    return await sender.send(outgoing)
        except (Throttled, Unknown) as error:
            await self._alarms.hear(sender.name, "send_sms", error)
            return error
        except TimeoutError:
            return Unknown(f"no answer within {SEND_SECONDS:g} s")
        except Exception as error:  # whatever broke, the SMS may have left by then
            logger.exception("sender broke", sender=sender.name)
            return Unknown(f"sender broke: {type(error).__name__}")
