"""What becomes of a message after an attempt's outcome or a delivery report (wire/sms.md section 1).

    waiting --claim--> sending --accepted--> queued, sent --report--> delivered, failed, expired
       ^                  |---- not taken, and a try or a sender is left ----> waiting
       |                  |---- perhaps taken: a code at once, receipts after a while ----> waiting
       '-- its hour       '---- perhaps taken, reminders and bulk ----> unknown

Reports only ever move a message forward, so that a late, doubled or reordered one changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Text,
    Uuid,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    update,
)

from ussd_app import log, metrics
from ussd_app.clock import Clock
from ussd_app.errors import Reason, Throttled, Unknown
from ussd_app.jobs import SMS, Jobs
from ussd_app.senders import RANKS, Accepted, Refused, Report, Sender, State
from ussd_app.store import Row, Statement, Store, Work, labelled, named, part_of
from ussd_app.tables import message_attempts, messages, reports
from ussd_app.tables.base import Moment


class Priority(IntEnum):
    """Classes of messages, the most urgent first."""

    CODE = 0
    RECEIPT = 1
    NOTICE = 2
    REMINDER = 3
    BULK = 4


# Down to here a message wakes a pump in its own commit; the others wait for the periodic waking, so that ten thousand
# of bulk do not fill the job queue.
URGENT = Priority.NOTICE

WAITING, SENDING = "waiting", "sending"  # a message's states of ours, before any State
INDETERMINATE = "indeterminate"  # an attempt's

# The least urgent class a refusal is handed on for: going round it would fail again, or be wrong.
HANDED_ON: Mapping[Reason, int] = {
    Reason.BAD_RECIPIENT: -1,
    Reason.BAD_REQUEST: -1,
    Reason.POLICY_BLOCK: Priority.CODE,  # a code was asked for just now
    Reason.PARTY_NOT_ALLOWED: Priority.NOTICE,
}
ALARMING = frozenset({Reason.PROVIDER_CONFIG, Reason.PROVIDER_FUNDS, Reason.PARTY_NOT_ALLOWED, Reason.BAD_REQUEST})

RETRIES = 2  # of a call that was not taken, before another sender is asked
BACKOFF = timedelta(seconds=2)  # doubled for each retry
PATIENCE = timedelta(seconds=30)  # for one retry, while another sender is left
REPORT_WAIT = timedelta(seconds=30)  # for a report on a receipt that was perhaps taken
STALE = timedelta(seconds=30)  # longer than any call: who began it is dead

Result = Accepted | Refused | Throttled | Unknown

logger = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Move:
    """A message's next state; ``sender`` and ``due_at`` where it waits, ``alert`` where a person must look."""

    state: str
    sender: str | None = None
    due_at: datetime | None = None
    alert: str | None = None


CORRELATOR, EXTERNAL_ID = bindparam("correlator", type_=Uuid), bindparam("external_id", type_=Text)
SENDER_AT = message_attempts.c.sender == bindparam("at", type_=Text)
# An attempt and its message, both locked.
_ATTEMPT = (
    select(*labelled(message_attempts), *labelled(messages))
    .join(messages, messages.c.id == message_attempts.c.message_id)
    .with_for_update()
)
ATTEMPT = Statement(_ATTEMPT.where(message_attempts.c.correlator == CORRELATOR))
ATTEMPT_AT = Statement(_ATTEMPT.where(message_attempts.c.correlator == CORRELATOR, SENDER_AT))
ATTEMPT_NAMED = Statement(_ATTEMPT.where(message_attempts.c.external_id == EXTERNAL_ID, SENDER_AT))
BEGUN = Statement(
    select(message_attempts.c.correlator).where(
        message_attempts.c.state == literal_column("'sending'"),  # a literal, so that its index serves it
        message_attempts.c.started_at < bindparam("before", type_=Moment),
    )
)
EARLIER = Statement(
    select(reports)
    .where(reports.c.sender == bindparam("sender", type_=Text), reports.c.matched_at.is_(None))
    .where(
        or_(
            reports.c.correlator == bindparam("ours", type_=Text),
            reports.c.external_id == bindparam("theirs", type_=Text),
        )
    )
    .order_by(reports.c.id)
)
_MOVED = (
    update(messages)
    .where(messages.c.id == bindparam("message", type_=Uuid))
    .values(named(messages, "state", "sender", "due_at"))
)
_MINE = update(message_attempts).where(message_attempts.c.correlator == CORRELATOR)
_RECORDED = _MINE.values(
    state=bindparam("outcome", type_=Text), **named(message_attempts, "external_id", "reason", "detail", "answered_at")
)
SETTLE = Statement(_MOVED.add_cte(_RECORDED.cte("recorded")))
_NOW = bindparam("now", type_=Moment)
_MATCHED = update(reports).where(reports.c.id == bindparam("report", type_=BigInteger)).values(matched_at=_NOW)
MATCH = Statement(_MOVED.add_cte(_MATCHED.cte("matched"), _MINE.values(reported_at=_NOW).cte("reported")))


def _one_at_a_time(sender: ColumnElement[str]) -> Select[Any]:
    """Let a reply and a report of one id pass one after the other: side by side neither would see the other."""
    return select(func.pg_advisory_xact_lock(func.hashtextextended(sender + ":" + EXTERNAL_ID, 0)))


ONE_OF_SENDER_AT_A_TIME = Statement(_one_at_a_time(bindparam("sender", type_=Text)))
ONE_AT_A_TIME = Statement(_one_at_a_time(message_attempts.c.sender).where(message_attempts.c.correlator == CORRELATOR))


class Outcomes:
    """Settles attempts, each in one commit with the job that carries on."""

    def __init__(self, store: Store, jobs: Jobs, senders: Mapping[str, Sender], clock: Clock) -> None:
        self._store = store
        self._jobs = jobs
        self._senders = senders
        self._clock = clock

    async def settle(self, correlator: UUID, result: Result) -> None:
        """Commit what a call gave, then whatever was reported before it answered; does nothing the second time."""
        async with self._store.work() as work:
            if isinstance(result, Accepted) and result.external_id:
                await work.run(ONE_AT_A_TIME, correlator=correlator, external_id=result.external_id)
            attempt, message = _parts(await work.one(ATTEMPT, correlator=correlator))
            # A call given up on may still say that it was taken.
            if attempt["state"] != SENDING and not (isinstance(result, Accepted) and attempt["state"] == INDETERMINATE):
                return
            moved = await self._moved(work, message, self._after(message, attempt, result))
            await work.run(SETTLE, correlator=correlator, **self._recorded(attempt, result), **moved)
            await self._match_earlier(work, attempt, result)

    async def settle_stale(self) -> None:
        """Attempts whose process died in the call may have been taken: they count as Unknown."""
        async with self._store.look() as look:
            stale = await look.all(BEGUN, before=self._clock.now() - STALE)
        for attempt in stale:
            await self.settle(attempt["correlator"], Unknown("the process died during the call"))

    async def match(self, work: Work, sender: str, report_id: int, report: Report) -> None:
        """Apply a stored report to its message; one that is nobody's, or comes before the reply, is kept for later."""
        found = await _reported(work, sender, report)
        if found is None:
            return
        attempt, message = _parts(found)
        if attempt["state"] == SENDING:
            return
        if report.msisdn and report.msisdn.lstrip("+") != message["msisdn"].lstrip("+"):
            logger.warning("report names another number", sender=sender, message=str(message["id"]))
            return
        now = self._clock.now()
        moved = await self._moved(work, message, _after_report(message, report, now))
        await work.run(MATCH, correlator=attempt["correlator"], report=report_id, now=now, **moved)

    async def wake(self, connection: Work, sender: str) -> None:
        """Have a sender's pump run, in the connection's commit."""
        await self._jobs.defer(
            connection, "messages.pump", queue="sms", priority=SMS, lock=f"sms:{sender}", sender=sender
        )

    def following(self, sender: str) -> str | None:
        """The next in order of priority; the first where ``sender`` is none of ours."""
        names = list(self._senders)
        after = names[names.index(sender) + 1 :] if sender in names else names
        return after[0] if after else None

    def _after(self, message: Row, attempt: Row, result: Result) -> Move | None:
        if isinstance(result, Accepted):
            return Move(result.state) if _is_forward(message["state"], result.state) else None
        if message["state"] != SENDING:
            return None  # a report has moved it meanwhile
        return decide(message, attempt, result, self.following(attempt["sender"]), self._clock.now())

    def _recorded(self, attempt: Row, result: Result) -> dict[str, object]:
        """What a call gave, as columns of its attempt."""
        state, external_id, reason, detail = "", attempt["external_id"], attempt["reason"], attempt["detail"]
        match result:
            case Accepted(external_id=external_id):
                state = "accepted"
            case Refused(reason=reason, detail=detail):
                state = "refused"
            case Throttled(detail=detail):
                state = "throttled"
            case Unknown(detail=detail):
                state = INDETERMINATE
        answered_at = attempt["answered_at"] if isinstance(result, Unknown) else self._clock.now()
        metrics.SMS.labels(attempt["sender"], state).inc()
        logger.info("sms attempt", message=str(attempt["message_id"]), sender=attempt["sender"],
                    number=attempt["number"], outcome=state, reason=reason)  # fmt: skip
        return {
            "outcome": state, "external_id": external_id, "reason": reason, "detail": detail,
            "answered_at": answered_at,
        }  # fmt: skip

    async def _match_earlier(self, work: Work, attempt: Row, result: Result) -> None:
        """Apply the reports that came before the attempt's outcome was known."""
        sender = self._senders.get(attempt["sender"])
        if sender is None:
            return
        external_id = result.external_id if isinstance(result, Accepted) else None
        named = {"ours": str(attempt["correlator"]), "theirs": external_id or None}
        for row in await work.all(EARLIER, sender=sender.name, **named):
            if report := sender.parse_report(row["content_type"], row["body"]):
                await self.match(work, sender.name, row["id"], report)

    async def _moved(self, work: Work, message: Row, move: Move | None) -> dict[str, object]:
        """Where a message goes, as its columns; a sender that is to take it at once is woken."""
        move = move or Move(message["state"])
        sender, due_at = message["sender"], message["due_at"]
        if move.due_at:
            sender, due_at = move.sender or sender, move.due_at
            if due_at <= self._clock.now() and message["priority"] <= URGENT:
                await self.wake(work, sender)
        if move.alert:
            logger.error("alert", what=move.alert, message=str(message["id"]), template=message["template"],
                         sender=message["sender"], msisdn=message["msisdn"])  # fmt: skip
        return {"message": message["id"], "state": move.state, "sender": sender, "due_at": due_at}


def decide(
    message: Row,
    attempt: Row,
    result: Refused | Throttled | Unknown,
    following: str | None,
    now: datetime,
) -> Move:
    """What follows an attempt that was not accepted, by the class of the error and of the message."""
    match result:
        case Refused(reason=reason):
            return _after_refusal(message["priority"], reason, following, now)
        case Throttled(after=after):
            wait = max(timedelta(seconds=after), BACKOFF * 2 ** (attempt["number"] - 1))
            return _after_throttling(message, attempt, wait, following, now)
        case Unknown():
            return _after_silence(message["priority"], following, now)


def _after_refusal(priority: int, reason: Reason, following: str | None, now: datetime) -> Move:
    alert = f"SMS refused: {reason}" if reason in ALARMING else None
    if priority > HANDED_ON.get(reason, Priority.BULK):
        return Move(State.FAILED, alert=alert)
    if following is None:
        return Move(State.FAILED, alert="SMS not sent: no sender is left")
    return Move(WAITING, following, now, alert)


def _after_throttling(message: Row, attempt: Row, wait: timedelta, following: str | None, now: datetime) -> Move:
    too_late = now + wait >= message["deadline"]
    if following and (too_late or wait > PATIENCE or attempt["number"] > RETRIES):
        return Move(WAITING, following, now)
    if too_late:
        return Move(State.FAILED, alert="SMS not sent: no sender took it in time")
    return Move(WAITING, attempt["sender"], now + wait)


def _after_silence(priority: int, following: str | None, now: datetime) -> Move:
    if priority >= Priority.REMINDER:
        return Move(State.UNKNOWN)
    if following is None:
        return Move(State.UNKNOWN, alert="SMS perhaps not sent, and no sender is left")
    return Move(WAITING, following, now if priority == Priority.CODE else now + REPORT_WAIT)


def _after_report(message: Row, report: Report, now: datetime) -> Move | None:
    failed = report.state in {State.FAILED, State.EXPIRED}
    if message["state"] in {WAITING, SENDING} and report.state is State.UNKNOWN:
        return None
    if message["state"] == SENDING and failed:
        return None  # of an earlier attempt; another is under way
    if message["state"] == WAITING and failed and message["priority"] <= _handed_on(report):
        return Move(WAITING, due_at=now)  # it waited for just this report
    return Move(report.state) if _is_forward(message["state"], report.state) else None


def _handed_on(report: Report) -> int:
    return HANDED_ON.get(report.reason, Priority.BULK) if report.reason else Priority.BULK


def _is_forward(present: str, state: State) -> bool:
    return present in {WAITING, SENDING} or RANKS[state] > RANKS[State(present)]


async def _reported(work: Work, sender: str, report: Report) -> Row | None:
    """The attempt a report speaks of with its message, locked; by our own id where it carries one."""
    if correlator := _uuid(report.correlator):
        return await work.one(ATTEMPT_AT, correlator=correlator, at=sender)
    if report.external_id:
        await work.run(ONE_OF_SENDER_AT_A_TIME, sender=sender, external_id=report.external_id)
        return await work.one(ATTEMPT_NAMED, external_id=report.external_id, at=sender)
    return None


def _parts(found: Row | None) -> tuple[Row, Row]:
    """An attempt and its message."""
    if found is None:
        raise LookupError("no such attempt")
    return part_of(found, message_attempts), part_of(found, messages)


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text)
    except (ValueError, TypeError):
        return None
