"""SMS: written in the commit of the event they tell of, handed over by pumps, followed by delivery reports.

``queue`` makes the row, ``queue_all`` those of a whole group at once, ``pump`` sends what is due at one sender,
``keep_report`` takes what a provider says of it later, ``wake`` sees to it that nothing is forgotten. The rules of
failing over stand in outcomes.py.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID, uuid4

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.dialects import postgresql

from ussd_app import gsm, log
from ussd_app.alarms import Alarms
from ussd_app.clock import Clock
from ussd_app.jobs import Jobs
from ussd_app.messages.outcomes import URGENT, WAITING, Outcomes, Priority
from ussd_app.messages.pace import Pace
from ussd_app.messages.pump import Pump
from ussd_app.msisdn import Msisdn
from ussd_app.redis_client import Client
from ussd_app.senders import Sender, State
from ussd_app.store import Statement, Store, Work, named
from ussd_app.tables import messages, reports

# After this long a message is worth nothing, or worse than nothing.
LIFE: Mapping[Priority, timedelta] = {
    Priority.CODE: timedelta(minutes=5),
    Priority.RECEIPT: timedelta(hours=1),
    Priority.NOTICE: timedelta(hours=6),
    Priority.REMINDER: timedelta(hours=12),
    Priority.BULK: timedelta(hours=12),
}

logger = log.get(__name__)


class Template(Protocol):
    """One text of menus/sms.toml."""

    @property
    def priority(self) -> str:
        """code, receipt, notice, reminder or bulk."""

    @property
    def text_id(self) -> str:
        """What its translations are found by."""


class Texts(Protocol):
    """Renders a text."""

    def render(self, text_id: str, language: str, variables: Mapping[str, Any]) -> str:
        """The words, in the alphabet of handsets."""


class Wording(Protocol):
    """What is asked of the menus: they know who uses them, not the reverse."""

    @property
    def sms(self) -> Mapping[str, Template]:
        """Templates by name."""

    @property
    def texts(self) -> Texts:
        """Every text in every language."""


@dataclass(frozen=True, slots=True)
class Sms:
    """One message to be: an event's ``key`` makes one, however often it is queued."""

    key: str
    msisdn: Msisdn
    template: str
    language: str
    variables: Mapping[str, Any]
    order_id: UUID | None = None
    due: datetime | None = None  # it waits until then; None: at once


ID_CHARS_MAX = 128  # of a report's ids; ours have 36


COLUMNS = (
    "id", "key", "msisdn", "template", "text", "parts", "priority", "sender", "state", "created_at", "due_at",
    "deadline", "order_id",
)  # fmt: skip
_ARRAYS = [bindparam(name, type_=postgresql.ARRAY(messages.c[name].type)) for name in COLUMNS]
_BATCH = func.unnest(*_ARRAYS).table_valued(*COLUMNS).render_derived(name="batch")
QUEUE = Statement(  # any number of rows
    postgresql.insert(messages)
    .from_select(COLUMNS, select(*_BATCH.c))
    .on_conflict_do_nothing(index_elements=["key"])
    .returning(messages.c.priority, messages.c.due_at)
)
REPORT = Statement(
    postgresql.insert(reports)
    .values(named(reports, "sender", "kind", "external_id", "correlator", "content_type", "body", "received_at"))
    .returning(reports.c.id)
)


class Messages:
    """The SMS queue. ``senders`` stand in order of priority."""

    def __init__(
        self,
        store: Store,
        jobs: Jobs,
        senders: Mapping[str, Sender],
        menus: Callable[[], Wording],
        clock: Clock,
        redis: Client,
    ) -> None:
        self._store = store
        self._senders = senders
        self._first = next(iter(senders))
        self._menus = menus
        self._clock = clock
        self._outcomes = Outcomes(store, jobs, senders, clock)
        self._pump = Pump(store, senders, self._outcomes, Pace(redis, clock), Alarms(redis, clock), clock)

    async def queue(
        self,
        connection: Work,
        *,
        key: str,
        msisdn: Msisdn,
        template: str,
        language: str,
        variables: Mapping[str, Any],
        order_id: UUID | None = None,
        due: datetime | None = None,
    ) -> None:
        """Write one message into the connection's open transaction; an event's ``key`` makes one, however often."""
        await self.queue_all(connection, (Sms(key, msisdn, template, language, variables, order_id, due),))

    async def queue_all(self, work: Work, batch: Iterable[Sms]) -> None:
        """Write any number of messages into the connection's open transaction, in few statements."""
        rows = [self._row(sms) for sms in batch]
        if not rows:
            return
        columns = {name: [row[name] for row in rows] for name in COLUMNS}
        written = await work.all(QUEUE, **columns)
        now = self._clock.now()
        if any(row["priority"] <= URGENT and row["due_at"] <= now for row in written):
            await self._outcomes.wake(work, self._first)

    async def pump(self, sender: str) -> None:
        """Send what is due at one sender."""
        await self._outcomes.settle_stale()
        await self._pump.run(sender)

    async def keep_report(self, sender: str, kind: str, content_type: str, body: bytes) -> None:
        """Store what a provider posted at ``reports`` or ``inbound`` as it came, and apply a delivery report.

        KeyError for a sender not in use.
        """
        parsed = self._senders[sender].parse_report(content_type, body) if kind == "reports" else None
        if parsed and not all(map(_is_storable, (parsed.external_id, parsed.correlator))):
            parsed = None  # no id of ours looks like that
        row = {
            "sender": sender, "kind": "report" if kind == "reports" else "inbound", "content_type": content_type,
            "body": body, "external_id": parsed and parsed.external_id, "correlator": parsed and parsed.correlator,
            "received_at": self._clock.now(),
        }  # fmt: skip
        async with self._store.work() as connection:
            stored: int = await connection.value(REPORT, **row)
            if parsed:
                await self._outcomes.match(connection, sender, stored, parsed)
            else:
                logger.info("no delivery report", sender=sender, kind=kind, bytes=len(body))

    async def wake(self) -> None:
        """Every few seconds: expire what is overdue, settle what a dead process began, wake pumps that have work."""
        await self._outcomes.settle_stale()
        now = self._clock.now()
        overdue = update(messages).where(messages.c.state == WAITING, messages.c.deadline <= now)
        orphaned = update(messages).where(messages.c.state == WAITING, messages.c.sender.not_in(self._senders))
        due = select(messages.c.sender).where(messages.c.state == WAITING, messages.c.due_at <= now).distinct()
        async with self._store.work() as connection:
            expired = await connection.execute(overdue.values(state=State.EXPIRED).returning(messages))
            for row in expired.mappings():
                tell = logger.error if row["priority"] <= URGENT else logger.info
                tell("alert", what="SMS expired unsent", message=str(row["id"]), template=row["template"],
                     msisdn=row["msisdn"])  # fmt: skip
            await connection.execute(orphaned.values(sender=self._first))
            for sender in (await connection.execute(due)).scalars().all():
                await self._outcomes.wake(connection, sender)

    def _row(self, sms: Sms) -> dict[str, Any]:
        menus, now = self._menus(), self._clock.now()
        template = menus.sms[sms.template]
        words = menus.texts.render(template.text_id, sms.language, sms.variables).rstrip()
        priority, due = Priority[template.priority.upper()], sms.due or now
        return {
            "id": uuid4(), "key": sms.key, "msisdn": str(sms.msisdn), "template": sms.template, "text": words,
            "parts": gsm.parts(words).count, "priority": priority, "sender": self._first, "state": WAITING,
            "created_at": now, "due_at": due, "deadline": due + LIFE[priority], "order_id": sms.order_id,
        }  # fmt: skip


def _is_storable(text: str | None) -> bool:
    """Whether it can be an id: Postgres takes no NUL and no half of a surrogate pair, and its indexes no long ones."""
    return text is None or (len(text) <= ID_CHARS_MAX and text.isprintable())
