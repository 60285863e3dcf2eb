"""The people: who they are, which language they read, and the PIN that only they know."""

import hmac
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise

import anyio
from anyio import to_thread
from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from sqlalchemy import bindparam, select, update
from sqlalchemy.dialects.postgresql import insert

from ussd_app import gsm, idempotency
from ussd_app.clock import Clock
from ussd_app.messages import Messages
from ussd_app.msisdn import Msisdn
from ussd_app.store import Look, Row, Statement, Store, Work
from ussd_app.tables import audit, promises, subscribers

NAME_SEPTETS = 20
TRIES = 3
LOCK = timedelta(minutes=30)
SHOWN_FOR = timedelta(hours=24)  # after a promise was kept, home shows it to who has not seen it
HASHERS = 2  # at once: each takes tens of milliseconds and 19 MiB

# OWASP's second profile of argon2id; a PIN's real strength is its key and its three tries.
HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


class Level(StrEnum):
    """How well we know a person, and so how much they may move."""

    REGISTERED = "registered"
    SECURED = "secured"  # by a PIN that only they know


@dataclass(frozen=True, slots=True)
class Kept:
    """What came of a request whose answer was promised by SMS, which they have not seen on their screen yet."""

    outcome: str  # ordered, done or not_done
    asked_at: datetime
    reference: str  # the code of what was ordered; else empty


@dataclass(frozen=True, slots=True)
class Subscriber:
    """One registered person."""

    msisdn: Msisdn
    name: str
    language: str
    has_pin: bool
    sim_hash: str | None = field(default=None, repr=False)  # of the SIM last seen, as sims.py keeps it
    sim_seen_at: datetime | None = None
    kept: Kept | None = None

    @property
    def level(self) -> Level:
        """How well we know them."""
        return Level.SECURED if self.has_pin else Level.REGISTERED


@dataclass(frozen=True, slots=True)
class PinOk:
    """It is the PIN."""


@dataclass(frozen=True, slots=True)
class PinWrong:
    """It is not; this many tries are left."""

    tries_left: int


@dataclass(frozen=True, slots=True)
class PinLocked:
    """Too many wrong tries; no PIN is looked at for this many minutes."""

    minutes: int


@dataclass(frozen=True, slots=True)
class NoPin:
    """None has been set."""


@dataclass(frozen=True, slots=True)
class PinSet:
    """The new PIN is in force."""


@dataclass(frozen=True, slots=True)
class PinWeak:
    """One of the first a thief would try."""


# A person, and what came of the last of their promises that they have not been shown: for ``caller``, ``since`` when.
PERSON = (
    select(subscribers, promises.c.outcome, promises.c.asked_at, promises.c.reference)
    .outerjoin(
        promises,
        (promises.c.msisdn == subscribers.c.msisdn)
        & promises.c.shown_at.is_(None)
        & (promises.c.kept_at > bindparam("since", type_=promises.c.kept_at.type)),
    )
    .where(subscribers.c.msisdn == bindparam("caller", type_=subscribers.c.msisdn.type))
    .order_by(promises.c.kept_at.desc())
    .limit(1)
)
FIND = Statement(PERSON)
_MSISDN = bindparam("msisdn", type_=subscribers.c.msisdn.type)
HAS_PIN = Statement(select(subscribers.c.pin_hash.is_not(None)).where(subscribers.c.msisdn == _MSISDN))


class Subscribers:
    """Registers people and guards their PINs, safely under any number of web processes."""

    def __init__(self, store: Store, messages: Messages, clock: Clock, keys: tuple[bytes, ...]) -> None:
        self.store = store
        self.messages = messages
        self.clock = clock
        self.keys = keys  # newest first; a PIN set under an older one still holds
        self._threads = anyio.CapacityLimiter(HASHERS)

    async def find(self, msisdn: Msisdn) -> Subscriber | None:
        """Who this is, if registered."""
        async with self.store.look() as look:
            row = await look.one(FIND, caller=msisdn, since=self.clock.now() - SHOWN_FOR)
        return subscriber_of(row) if row else None

    async def shown(self, msisdn: Msisdn) -> None:
        """They see now what came of their last request, and need not be shown it again."""
        async with self.store.work() as connection:
            await connection.execute(
                update(promises)
                .where(promises.c.msisdn == msisdn, promises.c.shown_at.is_(None))
                .values(shown_at=self.clock.now())
            )

    async def register(self, msisdn: Msisdn, name: str, language: str) -> Subscriber:
        """Enter a person; one already there stays as they are."""
        kept = gsm.one_line(name, NAME_SEPTETS)
        values = {"msisdn": msisdn, "name": kept, "language": language, "registered_at": self.clock.now()}
        async with self.store.work() as connection:
            added = await connection.execute(
                insert(subscribers).values(values).on_conflict_do_nothing().returning(subscribers.c.msisdn)
            )
            if added.first():
                await self._audit(connection, msisdn, "registered")
            row = await self._row(connection, msisdn)
        return subscriber_of(row) if row else Subscriber(msisdn, kept, language, has_pin=False)

    async def set_language(self, msisdn: Msisdn, language: str) -> None:
        """From now on speak this language to them."""
        async with self.store.work() as connection:
            await connection.execute(
                update(subscribers).where(subscribers.c.msisdn == msisdn).values(language=language)
            )
            await self._audit(connection, msisdn, "language_changed")

    async def set_name(self, msisdn: Msisdn, name: str) -> str:
        """From now on call them this; the name as it is kept. What they were called stays on record."""
        kept = gsm.one_line(name, NAME_SEPTETS)
        async with self.store.work() as connection:
            row = await self._row(connection, msisdn, lock=True)
            if row and row["name"] != kept:
                await connection.execute(update(subscribers).where(subscribers.c.msisdn == msisdn).values(name=kept))
                await self._audit(connection, msisdn, "name_changed", before=row["name"])
        return kept

    async def check_pin(self, msisdn: Msisdn, pin: str) -> PinOk | PinWrong | PinLocked | NoPin:
        """Whether this is the person's PIN. A try is counted and committed before the hash is looked at."""
        counted = await self._count_try(msisdn)
        if not isinstance(counted, str):
            return counted
        right = await to_thread.run_sync(self._matches, counted, pin, limiter=self._threads)
        async with self.store.work() as connection:
            if right:
                await connection.execute(
                    update(subscribers).where(subscribers.c.msisdn == msisdn).values(pin_tries=0, pin_locked_until=None)
                )
                return PinOk()
            return await self._wrong(connection, msisdn)

    async def set_pin(self, msisdn: Msisdn, pin: str, *, checked: bool) -> PinSet | PinWeak | PinWrong | PinLocked:
        """Set the PIN, or change it where ``checked`` says that the old one has just been given rightly."""
        if _weak(pin, msisdn):
            return PinWeak()
        hashed = await to_thread.run_sync(HASHER.hash, self._mac(self.keys[0], pin), limiter=self._threads)
        now = self.clock.now()
        async with self.store.work() as connection:
            row = await self._row(connection, msisdn, lock=True)
            if row and row["pin_locked_until"] and row["pin_locked_until"] > now:
                return PinLocked(_minutes(row["pin_locked_until"] - now))
            if row is None or (row["pin_hash"] and not checked):
                return PinWrong(TRIES)
            await connection.execute(
                update(subscribers)
                .where(subscribers.c.msisdn == msisdn)
                .values(pin_hash=hashed, pin_tries=0, pin_locked_until=None)
            )
            await self._audit(connection, msisdn, "pin_set")
            await self._tell(connection, msisdn, "pin_changed")
        return PinSet()

    async def _count_try(self, msisdn: Msisdn) -> str | PinLocked | NoPin:
        """The hash to compare with, once this try has been counted."""
        now = self.clock.now()
        async with self.store.work() as connection:
            row = await self._row(connection, msisdn, lock=True)
            if row is None or row["pin_hash"] is None:
                return NoPin()
            until = row["pin_locked_until"]
            if until and until > now:
                return PinLocked(_minutes(until - now))
            tries = 1 if until else row["pin_tries"] + 1  # a lock that is over starts afresh
            # The third try locks at once; only a right PIN opens again. So no number of parallel guesses gets a fourth.
            await connection.execute(
                update(subscribers)
                .where(subscribers.c.msisdn == msisdn)
                .values(pin_tries=tries, pin_locked_until=now + LOCK if tries >= TRIES else None)
            )
            return str(row["pin_hash"])

    async def _wrong(self, connection: Work, msisdn: Msisdn) -> PinWrong | PinLocked:
        row = await self._row(connection, msisdn)
        await self._audit(connection, msisdn, "pin_wrong")
        if row is None or row["pin_locked_until"] is None:
            return PinWrong(TRIES - (row["pin_tries"] if row else 0))
        await self._tell(connection, msisdn, "pin_locked")
        return PinLocked(_minutes(LOCK))

    async def _tell(self, connection: Work, msisdn: Msisdn, template: str) -> None:
        row = await self._row(connection, msisdn)
        now = self.clock.now()
        await self.messages.queue(
            connection,
            key=f"{template}:{msisdn.digits}:{now:%Y%m%d%H%M}",
            msisdn=msisdn,
            template=template,
            language=row["language"] if row else "en",
            variables={"at": now},
        )

    async def _audit(self, connection: Work, msisdn: Msisdn, event: str, **detail: str) -> None:
        await idempotency.use(connection, self.clock.now())
        values = {"at": self.clock.now(), "msisdn": msisdn, "event": event, "detail": detail}
        await connection.execute(audit.insert().values(values))

    async def _row(self, connection: Work, msisdn: Msisdn, *, lock: bool = False) -> Row | None:
        query = select(subscribers).where(subscribers.c.msisdn == msisdn)
        if lock:
            query = query.with_for_update()
        return (await connection.execute(query)).mappings().one_or_none()

    def _matches(self, hashed: str, pin: str) -> bool:
        return any(_verifies(hashed, self._mac(key, pin)) for key in self.keys)

    def _mac(self, key: bytes, pin: str) -> bytes:
        """Argon2 alone would let a stolen table be searched: there are only a million PINs."""
        return hmac.digest(key, pin.encode(), "sha256")


async def level_of(look: Look, msisdn: Msisdn) -> Level:
    """How well we know a person; somebody who never registered is known no better than by their number."""
    return Level.SECURED if await look.value(HAS_PIN, msisdn=msisdn) else Level.REGISTERED


def _verifies(hashed: str, mac: bytes) -> bool:
    try:
        return HASHER.verify(hashed, mac)
    except VerificationError:
        return False


def _minutes(left: timedelta) -> int:
    """Whole minutes, the last one begun counted as one."""
    return -(-left // timedelta(minutes=1))


def _weak(pin: str, msisdn: Msisdn) -> bool:
    steps = {(int(after) - int(before)) % 10 for before, after in pairwise(pin)}
    straight = len(steps) == 1 and steps <= {0, 1, 9}
    half = len(pin) // 2
    year = len(pin) == 4 and 1900 <= int(pin) <= 2035  # noqa: PLR2004 - years people are born in, or like
    return straight or pin[:half] == pin[half:] or year or pin in msisdn


def subscriber_of(row: Row) -> Subscriber:
    """A row of PERSON."""
    kept = Kept(row["outcome"], row["asked_at"], row["reference"] or "") if row.get("outcome") else None
    return Subscriber(
        Msisdn(row["msisdn"]),
        row["name"],
        row["language"],
        has_pin=row["pin_hash"] is not None,
        sim_hash=row["sim_hash"],
        sim_seen_at=row["sim_seen_at"],
        kept=kept,
    )
