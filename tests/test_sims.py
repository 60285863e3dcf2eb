"""The SIM-swap guard: what a hop tells, what is asked and answered, and how long a change counts."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

import procrastinate
import pytest
from conftest import FakeClock
from desk import AMA, KOFI, Outbox
from sqlalchemy import select, text
from structlog.testing import capture_logs

from ussd_app.errors import PAGE, ProviderError, Reason, Rejected, Throttled, Unknown
from ussd_app.insights import SimAnswer
from ussd_app.jobs import Jobs
from ussd_app.msisdn import Msisdn
from ussd_app.sims import Sims, trust
from ussd_app.store import Store
from ussd_app.subscribers import Subscriber, Subscribers
from ussd_app.tables import audit, sim_checks, subscribers

OLD, NEW = "620010000000001", "620010000000002"
KEYS = (b"k" * 32,)
HOUR = 3600


@dataclass
class ScriptedInsight:
    """Gives every question an id, or says what it is told to."""

    name: str = "scripted"
    refuses: ProviderError | None = None
    asked: list[Msisdn] = field(default_factory=list)

    async def ask(self, msisdns: Sequence[Msisdn]) -> Mapping[str, Msisdn]:
        """An id made of the number."""
        self.asked.extend(msisdns)
        if self.refuses:
            raise self.refuses
        return {f"S-{msisdn.digits}": msisdn for msisdn in msisdns}

    def parse_callback(self, body: bytes) -> SimAnswer | None:
        """A day, for Ama."""
        return SimAnswer(f"S-{AMA.digits}", date.fromisoformat(body.decode()) if body else None)


@pytest.fixture
def insight() -> ScriptedInsight:
    """Whom we ask."""
    return ScriptedInsight()


@pytest.fixture
async def sims(store: Store, database: str, clock: FakeClock, insight: ScriptedInsight) -> AsyncIterator[Sims]:
    """A guard whose jobs are stored; Ama is registered."""
    await Subscribers(store, Outbox(), clock, KEYS).register(AMA, "Ama", "en")  # type: ignore[arg-type]  # an outbox for Messages
    connector = procrastinate.PsycopgConnector(conninfo=database.replace("+psycopg", ""), min_size=1, max_size=2)
    app = procrastinate.App(connector=connector)
    async with app.open_async():
        yield Sims(store, Jobs(app), insight, clock, KEYS)


async def person(store: Store) -> Subscriber:
    """Ama as a hop finds her."""
    people = Subscribers(store, Outbox(), FakeClock(), KEYS)  # type: ignore[arg-type]  # an outbox for Messages
    found = await people.find(AMA)
    assert found
    return found


async def trusted(sims: Sims, msisdn: Msisdn = AMA, hours: int = 24) -> str:
    """What is known now."""
    async with sims.store.look() as connection:
        return await trust(connection, msisdn, sims.clock.now(), hours)


async def checks(sims: Sims) -> list[str]:
    """The questions that stand in the table."""
    async with sims.store.look() as connection:
        return list((await connection.execute(select(sim_checks.c.request_id))).scalars())


def is_news(sims: Sims, ama: Subscriber, imsi: str) -> bool:
    """Whether a hop with this imsi has anything to write."""
    return sims.is_news(AMA, ama.sim_hash, ama.sim_seen_at, imsi)


async def test_the_usual_hop_costs_nothing_and_a_change_is_told_once(sims: Sims, clock: FakeClock) -> None:
    """The person's own row says whether there is anything to do; a SIM that comes back is a change too."""
    ama = await person(sims.store)
    assert is_news(sims, ama, OLD)
    assert not await sims.seen(AMA, OLD)
    ama = await person(sims.store)
    assert not is_news(sims, ama, OLD)
    assert ama.sim_hash
    assert OLD not in ama.sim_hash
    assert ama.sim_hash not in repr(ama)
    assert is_news(sims, ama, NEW)
    assert [await sims.seen(AMA, NEW), await sims.seen(AMA, NEW)] == [True, False]
    assert await trusted(sims) == "changed"
    clock.advance(24 * HOUR - 1)
    await sims.seen(AMA, NEW)
    assert [await trusted(sims), await trusted(sims, hours=12)] == ["changed", "trusted"]
    clock.advance(1)
    assert await trusted(sims) == "trusted"
    assert await sims.seen(AMA, OLD)
    async with sims.store.look() as connection:
        events = (await connection.execute(select(audit.c.event).order_by(audit.c.id))).scalars().all()
    assert list(events) == ["registered", "sim_changed", "sim_changed"]


async def test_a_sim_is_trusted_once_it_is_old_and_while_we_see_it(sims: Sims, clock: FakeClock) -> None:
    """The first sight proves nothing, and neither does one of last week: since then it may have been swapped."""
    assert await trusted(sims) == "unknown"
    await sims.seen(AMA, OLD)
    assert await trusted(sims) == "unknown"
    clock.advance(24 * HOUR)
    assert await trusted(sims) == "unknown"
    assert is_news(sims, await person(sims.store), OLD)
    assert not await sims.seen(AMA, OLD)
    assert await trusted(sims) == "trusted"
    clock.advance(2 * HOUR)
    assert await trusted(sims) == "unknown"


@pytest.mark.parametrize("imsi", [None, "", "62001XXXXXXXXXX", "62001", "\u0661" * 15])
async def test_an_imsi_that_is_none_tells_nothing(imsi: str | None) -> None:
    """Masked, cut short or missing: neither a first sight nor an alarm."""
    assert not Sims(None, None, None, FakeClock(), KEYS).is_news(AMA, None, None, imsi)  # type: ignore[arg-type]  # it is pure


async def test_whoever_is_not_registered_has_no_sim_to_remember(sims: Sims) -> None:
    """Nothing is stored, nobody is told."""
    assert not await sims.seen(KOFI, OLD)
    assert await trusted(sims, KOFI) == "unknown"


async def test_two_hops_at_once_see_one_change(sims: Sims, database: str, clock: FakeClock) -> None:
    """Exactly one is told to raise the alarm, whichever process it runs in."""
    await sims.seen(AMA, OLD)
    other = Store(database, clock)
    guards = [sims, Sims(other, sims.jobs, None, clock, KEYS)]
    told = await asyncio.gather(*(guards[number % 2].seen(AMA, NEW) for number in range(20)))
    await other.close()
    assert sum(told) == 1


async def test_a_new_key_raises_no_alarm(sims: Sims, clock: FakeClock) -> None:
    """A SIM known under an older key is written down under the newest; another one still is a change."""
    await sims.seen(AMA, OLD)
    rotated = Sims(sims.store, sims.jobs, None, clock, (b"n" * 32, *KEYS))
    before = (await person(sims.store)).sim_hash
    assert rotated.is_news(AMA, before, clock.now(), OLD)
    assert not await rotated.seen(AMA, OLD)
    after = (await person(sims.store)).sim_hash
    assert after != before
    assert not rotated.is_news(AMA, after, clock.now(), OLD)
    assert await rotated.seen(AMA, NEW)


async def asked(sims: Sims) -> list[str]:
    """Ask about Ama; the arguments of the jobs that wait."""
    async with sims.store.work() as connection:
        await sims.ask(connection, [AMA, AMA])
        query = text("SELECT args->>'check' FROM procrastinate_jobs WHERE task_name = 'sims.ask' ORDER BY id")
        return list((await connection.execute(query)).scalars())


async def test_a_question_is_put_by_a_job_and_answered_by_a_callback(
    sims: Sims, clock: FakeClock, insight: ScriptedInsight
) -> None:
    """The job's argument names no number; run twice it asks once; an answer is believed for a day."""
    (check,) = await asked(sims)
    assert insight.asked == []
    assert AMA.digits not in check
    await sims.inquire(check)
    await sims.inquire(check)
    assert insight.asked == [AMA]
    assert await checks(sims) == [f"S-{AMA.digits}"]
    assert await trusted(sims) == "unknown"
    await sims.keep_answer(SimAnswer(f"S-{AMA.digits}", None))
    assert await trusted(sims) == "trusted"
    await sims.keep_answer(SimAnswer(f"S-{AMA.digits}", clock.now().date()))  # a second answer changes nothing
    assert await trusted(sims) == "trusted"
    clock.advance(24 * HOUR)
    assert await trusted(sims) == "unknown"


@pytest.mark.parametrize(
    ("days_ago", "hours", "found"),
    [
        (0, 24, "changed"),
        (1, 24, "changed"),
        (2, 24, "trusted"),
        (-1, 24, "changed"),
        (0, 0, "changed"),
        (9, 240, "changed"),
    ],
)
async def test_a_day_counts_until_it_is_certainly_over(
    sims: Sims, clock: FakeClock, days_ago: int, hours: int, found: str
) -> None:
    """It is nine in the morning: yesterday's swap may be nine hours old, the day before's cannot be under 24."""
    clock.advance(HOUR)
    (check,) = await asked(sims)
    await sims.inquire(check)
    await sims.keep_answer(SimAnswer(f"S-{AMA.digits}", clock.now().date() - timedelta(days=days_ago)))
    assert await trusted(sims, hours=hours) == found


async def test_what_others_say_outweighs_what_we_saw(sims: Sims, clock: FakeClock) -> None:
    """A known imsi proves little where the operator says that the SIM was swapped today."""
    await sims.seen(AMA, OLD)
    (check,) = await asked(sims)
    await sims.inquire(check)
    told = SimAnswer(f"S-{AMA.digits}", clock.now().date())
    assert [await sims.keep_answer(told), await sims.keep_answer(told)] == [AMA, None]  # others are told once
    assert await trusted(sims) == "changed"


async def test_an_answer_may_overtake_its_question(sims: Sims) -> None:
    """The callback comes before we have read the id; one that nobody asked for concerns nobody."""
    (check,) = await asked(sims)
    await sims.keep_answer(SimAnswer(f"S-{AMA.digits}", None))
    await sims.keep_answer(SimAnswer("forged", None))
    assert await trusted(sims) == "unknown"
    await sims.inquire(check)
    assert await trusted(sims) == "trusted"


async def test_who_cannot_be_asked_stays_unknown(
    sims: Sims, clock: FakeClock, insight: ScriptedInsight, store: Store
) -> None:
    """A refusal is final, a lost answer is tried again for an hour, and without a provider nothing is asked."""
    (first,) = await asked(sims)
    insight.refuses = Rejected(Reason.BAD_RECIPIENT)
    await sims.inquire(first)
    assert await checks(sims) == []
    insight.refuses = Unknown("dropped")
    second = (await asked(sims))[-1]
    with pytest.raises(Unknown):
        await sims.inquire(second)
    clock.advance(HOUR + 1)
    await sims.inquire(second)
    assert len(insight.asked) == 2
    alone = Sims(store, sims.jobs, None, clock, KEYS)
    assert len(await asked(alone)) == 2
    assert await trusted(sims) == "unknown"


async def test_a_page_instead_of_an_answer_calls_a_person_once(sims: Sims, insight: ScriptedInsight) -> None:
    """It is asked again, as after any call that was not taken."""
    (check,) = await asked(sims)
    insight.refuses = Throttled(2, "HTTP 403, a page", outage=True, alert=PAGE)
    with capture_logs() as logs:
        for _ in range(3):
            with pytest.raises(Throttled):
                await sims.inquire(check)
    assert [line["what"] for line in logs if line["event"] == "alert"] == [PAGE]
    assert len(await checks(sims)) == 1


async def test_no_imsi_is_stored(sims: Sims) -> None:
    """What a thief of the table gets are keyed hashes, bound to their numbers."""
    await sims.seen(AMA, OLD)
    async with sims.store.look() as connection:
        stored = (await connection.execute(select(subscribers.c.sim_hash))).scalar_one()
    assert OLD not in stored
    now = sims.clock.now()
    assert not sims.is_news(AMA, stored, now, OLD)
    assert sims.is_news(KOFI, stored, now, OLD)
