"""What hands waiting messages to one sender, the most urgent first, no faster than it allows.

The row is the queue. An attempt is committed before its call, so that a process that dies in between leaves a row that
says "perhaps", never one that says "not yet".
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import uuid4

from sqlalchemy import Text, Uuid, bindparam, func, insert, literal_column, select, update

from ussd_app import log, metrics
from ussd_app.alarms import Alarms
from ussd_app.clock import Clock
from ussd_app.errors import Throttled, Unknown
from ussd_app.messages.outcomes import SENDING, WAITING, Outcomes, Result
from ussd_app.messages.pace import Pace
from ussd_app.msisdn import Msisdn
from ussd_app.senders import Outgoing, Sender
from ussd_app.store import Row, Statement, Store, Work, named
from ussd_app.tables import message_attempts, messages
from ussd_app.tables.base import Moment

RUN_SECONDS = 5.0  # of one job: a worker that is told to stop waits for it
SEND_SECONDS = 10.0  # for one call, all its repeats included; less than outcomes.STALE
PAUSE_SECONDS = 0.05  # while the sender's second is full
REST_SECONDS_MAX = 5.0  # of the whole sender, after it said that we are too fast
LOWEST_EVERY = 20  # one message in so many is of the lowest waiting class, so that none starves

logger = log.get(__name__)


m = messages.c
SENDER, NOW = bindparam("sender", type_=Text), bindparam("now", type_=Moment)
_DUE = (
    select(messages)
    .where(m.state == literal_column(f"'{WAITING}'"), m.sender == SENDER)  # a literal, so that its index serves it
    .where(m.due_at <= NOW, m.deadline > NOW)
    .limit(1)
    .with_for_update(skip_locked=True)
)
MOST_URGENT = Statement(_DUE.order_by(m.priority, m.due_at, m.created_at))
LEAST_URGENT = Statement(_DUE.order_by(m.priority.desc(), m.due_at, m.created_at))
_EARLIER = message_attempts.alias()
_NUMBER = (
    select(func.count() + 1)
    .select_from(_EARLIER)
    .where(_EARLIER.c.message_id == bindparam("message_id", type_=Uuid), _EARLIER.c.sender == SENDER)
)
_BEGUN = insert(message_attempts).values(
    number=_NUMBER.scalar_subquery(), state=SENDING,
    **named(message_attempts, "correlator", "message_id", "sender", "started_at"),
)  # fmt: skip
CLAIM = Statement(
    update(messages)
    .where(m.id == bindparam("message_id", type_=Uuid))
    .values(state=SENDING)
    .add_cte(_BEGUN.cte("begun"))
)


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
        async with self._store.work() as work:
            row = await self._next_due(work, sender)
            if row is None:
                return None
            if not await self._pace.take(sender.name, row["parts"], sender.limits.parts_per_second):
                return _Full()
            outgoing = Outgoing(uuid4(), Msisdn(row["msisdn"]), row["text"], row["parts"])
            claimed = {"message_id": row["id"], "correlator": outgoing.correlator, "started_at": work.now}
            await work.run(CLAIM, sender=sender.name, **claimed)
        self._handed_over[sender.name] += 1
        return outgoing

    async def _next_due(self, work: Work, sender: Sender) -> Row | None:
        lowest_first = self._handed_over[sender.name] % LOWEST_EVERY == LOWEST_EVERY - 1
        return await work.one(LEAST_URGENT if lowest_first else MOST_URGENT, sender=sender.name, now=work.now)

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
