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
from uuid import UUID

from sqlalchemy import func, select, update

from ussd_app import log, metrics
from ussd_app.clock import Clock
from ussd_app.errors import Reason, Throttled, Unknown
from ussd_app.jobs import SMS, Jobs
from ussd_app.senders import RANKS, Accepted, Refused, Report, Sender, State
from ussd_app.store import Row, Store, Work
from ussd_app.tables import message_attempts, messages, reports


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


class Outcomes:
    """Settles attempts, each in one commit with the job that carries on."""

    def __init__(self, store: Store, jobs: Jobs, senders: Mapping[str, Sender], clock: Clock) -> None:
        self._store = store
        self._jobs = jobs
        self._senders = senders
        self._clock = clock

    async def settle(self, correlator: UUID, result: Result) -> None:
        """Commit what a call gave, then whatever was reported before it answered; does nothing the second time."""
        async with self._store.work() as connection:
            find = select(message_attempts).where(message_attempts.c.correlator == correlator)
            if isinstance(result, Accepted) and result.external_id:
                sender = (await connection.execute(find)).mappings().one()["sender"]
                await _one_at_a_time(connection, sender, result.external_id)
            attempt = (await connection.execute(find.with_for_update())).mappings().one()
            # A call given up on may still say that it was taken.
            if attempt["state"] != SENDING and not (isinstance(result, Accepted) and attempt["state"] == INDETERMINATE):
                return
            await self._record(connection, attempt, result)
            message = await _locked(connection, attempt["message_id"])
            await self._move(connection, message, self._after(message, attempt, result))
            await self._match_earlier(connection, attempt, result)

    async def settle_stale(self) -> None:
        """Attempts whose process died in the call may have been taken: they count as Unknown."""
        begun = select(message_attempts.c.correlator).where(
            message_attempts.c.state == SENDING, message_attempts.c.started_at < self._clock.now() - STALE
        )
        async with self._store.look() as connection:
            stale = (await connection.execute(begun)).scalars().all()
        for correlator in stale:
            await self.settle(correlator, Unknown("the process died during the call"))

    async def match(self, connection: Work, sender: str, report_id: int, report: Report) -> None:
        """Apply a stored report to its message; one that is nobody's, or comes before the reply, is kept for later."""
        attempt = await _reported(connection, sender, report)
        if attempt is None or attempt["state"] == SENDING:
            return
        message = await _locked(connection, attempt["message_id"])
        if report.msisdn and report.msisdn.lstrip("+") != message["msisdn"].lstrip("+"):
            logger.warning("report names another number", sender=sender, message=str(message["id"]))
            return
        now = self._clock.now()
        await connection.execute(update(reports).where(reports.c.id == report_id).values(matched_at=now))
        mine = message_attempts.c.correlator == attempt["correlator"]
        await connection.execute(update(message_attempts).where(mine).values(reported_at=now))
        await self._move(connection, message, _after_report(message, report, now))

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

    async def _record(self, connection: Work, attempt: Row, result: Result) -> None:
        values: dict[str, object] = {}
        match result:
            case Accepted(external_id=external_id):
                values |= {"state": "accepted", "external_id": external_id}
            case Refused(reason=reason, detail=detail):
                values |= {"state": "refused", "reason": reason, "detail": detail}
            case Throttled(detail=detail):
                values |= {"state": "throttled", "detail": detail}
            case Unknown(detail=detail):
                values |= {"state": INDETERMINATE, "detail": detail}
        if not isinstance(result, Unknown):
            values["answered_at"] = self._clock.now()
        mine = message_attempts.c.correlator == attempt["correlator"]
        await connection.execute(update(message_attempts).where(mine).values(**values))
        metrics.SMS.labels(attempt["sender"], values["state"]).inc()
        logger.info("sms attempt", message=str(attempt["message_id"]), sender=attempt["sender"],
                    number=attempt["number"], outcome=values["state"], reason=values.get("reason"))  # fmt: skip

    async def _match_earlier(self, connection: Work, attempt: Row, result: Result) -> None:
        """Apply the reports that came before the attempt's outcome was known."""
        sender = self._senders.get(attempt["sender"])
        if sender is None:
            return
        named = reports.c.correlator == str(attempt["correlator"])
        if isinstance(result, Accepted) and result.external_id:
            named |= reports.c.external_id == result.external_id
        kept = select(reports).where(reports.c.sender == sender.name, reports.c.matched_at.is_(None), named)
        for row in (await connection.execute(kept.order_by(reports.c.id))).mappings().all():
            if report := sender.parse_report(row["content_type"], row["body"]):
                await self.match(connection, sender.name, row["id"], report)

    async def _move(self, connection: Work, message: Row, move: Move | None) -> None:
        if move is None:
            return
        values: dict[str, object] = {"state": move.state}
        if move.due_at:
            sender = move.sender or message["sender"]
            values |= {"due_at": move.due_at, "sender": sender}
            if move.due_at <= self._clock.now() and message["priority"] <= URGENT:
                await self.wake(connection, sender)
        await connection.execute(update(messages).where(messages.c.id == message["id"]).values(**values))
        if move.alert:
            logger.error("alert", what=move.alert, message=str(message["id"]), template=message["template"],
                         sender=message["sender"], msisdn=message["msisdn"])  # fmt: skip


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


async def _reported(connection: Work, sender: str, report: Report) -> Row | None:
    """The attempt a report speaks of, locked; by our own id where it carries one."""
    if correlator := _uuid(report.correlator):
        named = message_attempts.c.correlator == correlator
    elif report.external_id:
        await _one_at_a_time(connection, sender, report.external_id)
        named = message_attempts.c.external_id == report.external_id
    else:
        return None
    find = select(message_attempts).where(message_attempts.c.sender == sender, named).with_for_update()
    return (await connection.execute(find)).mappings().first()


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text)
    except (ValueError, TypeError):
        return None


async def _locked(connection: Work, message: UUID) -> Row:
    find = select(messages).where(messages.c.id == message).with_for_update()
    return (await connection.execute(find)).mappings().one()


async def _one_at_a_time(connection: Work, sender: str, external_id: str) -> None:
    """Let a reply and a report of one id pass one after the other: side by side neither would see the other."""
    key = func.hashtextextended(f"{sender}:{external_id}", 0)
    await connection.execute(select(func.pg_advisory_xact_lock(key)))
