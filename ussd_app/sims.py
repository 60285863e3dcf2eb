"""The SIM-swap guard: whose SIM has been exchanged lately, by the imsi of their own dials or by asking who knows.

An imsi is kept as a keyed hash, bound to its number, and never shown. Whoever swaps a SIM to empty a group's account
shows one the number never had: for a day such a person lets no money out (groups/ ask ``trust``).
"""

import hmac
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from uuid import uuid4

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert

from ussd_app.alarms import Alarms
from ussd_app.clock import Clock
from ussd_app.errors import ProviderError, Rejected
from ussd_app.insights import Insight, SimAnswer
from ussd_app.jobs import Jobs
from ussd_app.msisdn import Msisdn
from ussd_app.store import Look, Store, Work
from ussd_app.tables import audit, sim_checks, subscribers

IMSI = re.compile("[0-9]{14,15}", re.ASCII)  # what is masked or cut short says nothing (3GPP TS 23.003, 2.2)
FRESH = timedelta(hours=24)  # an answer older than this is no longer believed
WORTH_ASKING = timedelta(hours=1)  # after which nobody waits for the answer any more
NEWS = timedelta(hours=1)  # between two notes that a SIM is still the same
SIGHT = timedelta(hours=2)  # how long such a note is worth anything
NOBODY = ""  # of an answer that has overtaken its question
DAY_AT_MOST = timedelta(days=1, hours=1)  # until a day is over all over Africa, from its beginning in UTC

Trust = Literal["trusted", "changed", "unknown"]


class Sims:
    """Remembers SIMs, and asks about them; ``keys`` newest first, ``insight`` None where nobody can be asked."""

    def __init__(
        self, store: Store, jobs: Jobs, insight: Insight | None, clock: Clock, keys: tuple[bytes, ...]
    ) -> None:
        self.store = store
        self.jobs = jobs
        self.insight = insight
        self._alarms = Alarms(None, clock)
        self.clock = clock
        self.keys = keys

    def is_news(self, msisdn: Msisdn, known: str | None, seen_at: datetime | None, imsi: str | None) -> bool:
        """Whether ``seen`` has anything to write: another SIM than ``known``, or the same after NEWS at least."""
        if not imsi or not IMSI.fullmatch(imsi):
            return False
        stale = seen_at is None or seen_at <= self.clock.now() - NEWS
        return stale or known != _hash(self.keys[0], msisdn, imsi)

    async def seen(self, msisdn: Msisdn, imsi: str) -> bool:
        """Remember the SIM a registered person dials with; True, once, where it is another than before."""
        hashes = [_hash(key, msisdn, imsi) for key in self.keys]
        own, now = subscribers.c.msisdn == msisdn, self.clock.now()
        async with self.store.work() as connection:
            query = select(subscribers.c.sim_hash).where(own).with_for_update()
            known = (await connection.execute(query)).scalar_one_or_none()
            values: dict[str, object] = {"sim_hash": hashes[0], "sim_seen_at": now}
            if known not in hashes:
                values["sim_since"] = now
            changed = known is not None and known not in hashes
            if changed:
                values["sim_changed_at"] = now
                row = {"at": now, "msisdn": msisdn, "event": "sim_changed", "detail": {}}
                await connection.execute(audit.insert().values(row))
            await connection.execute(update(subscribers).where(own).values(values))
        return changed

    async def ask(self, connection: Work, msisdns: Iterable[Msisdn]) -> None:
        """Have it asked when these numbers' SIMs were swapped; the answers count from when they come."""
        if self.insight is None:
            return
        for msisdn in sorted(set(msisdns)):
            ours = str(uuid4())  # until the provider gives the question an id of its own
            values = {"request_id": ours, "msisdn": msisdn, "asked_at": self.clock.now()}
            await connection.execute(sim_checks.insert().values(values))
            await self.jobs.defer(connection, "sims.ask", check=ours)

    async def inquire(self, check: str) -> None:
        """Job: put one question. One put twice is paid for twice and no more."""
        async with self.store.look() as connection:
            query = select(sim_checks).where(sim_checks.c.request_id == check)
            row = (await connection.execute(query)).one_or_none()
        if row is None or self.insight is None or row.asked_at < self.clock.now() - WORTH_ASKING:
            return
        try:
            queued = await self.insight.ask([Msisdn(row.msisdn)])
        except ProviderError as error:
            await self._alarms.hear(f"insights_{self.insight.name}", "ask", error)
            if not isinstance(error, Rejected):
                raise
            queued = {}
        async with self.store.work() as connection:
            await connection.execute(delete(sim_checks).where(sim_checks.c.request_id == check))
            for request_id, msisdn in queued.items():
                asked = {"msisdn": msisdn, "asked_at": row.asked_at}
                question = insert(sim_checks).values(request_id=request_id, **asked)
                early = sim_checks.c.msisdn == NOBODY
                await connection.execute(
                    question.on_conflict_do_update(index_elements=["request_id"], set_=asked, where=early)
                )

    async def keep_answer(self, answer: SimAnswer) -> Msisdn | None:
        """Keep what a callback tells, the first time it does; it may come before the id of its question is known.

        The number, where that says that its SIM was swapped within a day: others are to be told.
        """
        now = self.clock.now()
        told = {"answered_at": now, "swapped_on": answer.swapped_on}
        given = insert(sim_checks).values(request_id=answer.request_id, msisdn=NOBODY, asked_at=now, **told)
        first = sim_checks.c.answered_at.is_(None)
        kept = given.on_conflict_do_update(index_elements=["request_id"], set_=told, where=first)
        async with self.store.work() as connection:
            msisdn = (await connection.execute(kept.returning(sim_checks.c.msisdn))).scalar_one_or_none()
        return Msisdn(msisdn) if msisdn and _is_since(answer.swapped_on, now - FRESH) else None


async def trust(connection: Look, msisdn: Msisdn, at: datetime, hours: int = 24) -> Trust:
    """What is known of a person's SIM: the same for these ``hours`` at least, changed within them, or nothing.

    What we saw ourselves counts only while it is fresh: a thief would dial through an aggregator that shows no imsi.
    """
    since = at - timedelta(hours=hours)
    s = subscribers.c
    query = select(s.sim_since, s.sim_seen_at, s.sim_changed_at).where(s.msisdn == msisdn)
    person = (await connection.execute(query)).one_or_none()
    if person and person.sim_changed_at and person.sim_changed_at > since:
        return "changed"
    answered = (
        select(sim_checks.c.swapped_on)
        .where(sim_checks.c.msisdn == msisdn, sim_checks.c.answered_at > at - FRESH)
        .order_by(sim_checks.c.answered_at.desc())
        .limit(1)
    )
    check = (await connection.execute(answered)).one_or_none()
    if check and _is_since(check.swapped_on, since):
        return "changed"
    if check:
        return "trusted"
    fresh = person and person.sim_seen_at and person.sim_seen_at > at - SIGHT
    return "trusted" if fresh and person and person.sim_since <= since else "unknown"


def _is_since(swapped_on: date | None, since: datetime) -> bool:
    """Whether a swap of that day may be younger than ``since``: a day counts until it is certainly over."""
    return swapped_on is not None and datetime.combine(swapped_on, time(), UTC) > since - DAY_AT_MOST


def _hash(key: bytes, msisdn: Msisdn, imsi: str) -> str:
    return hmac.digest(key, f"{msisdn} {imsi}".encode(), "sha256").hex()
