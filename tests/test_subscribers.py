"""People and their PINs, with several web processes asking at once."""

import asyncio
import multiprocessing

import pytest
from conftest import FakeClock
from desk import AMA, KOFI, Outbox
from sqlalchemy import select, update

from ussd_app.clock import Clock
from ussd_app.msisdn import Msisdn
from ussd_app.store import Store
from ussd_app.subscribers import (
    Level,
    NoPin,
    PinLocked,
    PinOk,
    PinSet,
    PinWeak,
    PinWrong,
    Subscribers,
    level_of,
)
from ussd_app.tables import audit, subscribers

KEYS = (b"k" * 32,)


@pytest.fixture
def outbox() -> Outbox:
    """Where SMS would go."""
    return Outbox()


@pytest.fixture
async def people(store: Store, clock: FakeClock, outbox: Outbox) -> Subscribers:
    """Ama is registered."""
    people = Subscribers(store, outbox, clock, KEYS)  # type: ignore[arg-type]  # an outbox for Messages
    await people.register(AMA, "Ama", "en")
    return people


async def test_registering_again_changes_nothing(people: Subscribers) -> None:
    """The first name stays; what was typed is cleaned to one line."""
    assert (await people.register(AMA, "Thief", "fr")).name == "Ama"
    kofi = await people.register(KOFI, " Kofi\n\u202e{{ 7*7 }} and far too long a name ", "sw")
    assert kofi.name == "Kofi {{ 7*7 }} a"  # a brace costs two septets
    assert await people.find(Msisdn("+233240000009")) is None


async def test_a_new_name_is_kept_and_the_old_one_on_record(people: Subscribers) -> None:
    """Cleaned like the first; the same name again is no change, and who is not registered gets none."""
    assert await people.set_name(AMA, " Ama\nSerwaa ") == "Ama Serwaa"
    assert await people.set_name(AMA, "Ama Serwaa") == "Ama Serwaa"
    await people.set_name(KOFI, "Kofi")
    found = await people.find(AMA)
    assert found
    assert (found.name, await people.find(KOFI)) == ("Ama Serwaa", None)
    async with people.store.look() as connection:
        query = select(audit.c.msisdn, audit.c.detail).where(audit.c.event == "name_changed")
        assert [tuple(row) for row in await connection.execute(query)] == [(AMA, {"before": "Ama"})]


async def test_a_pin_secures_a_person(people: Subscribers) -> None:
    """Who set one is known better; who never registered, no better than by their number."""
    async with people.store.look() as connection:
        assert [await level_of(connection, who) for who in (AMA, KOFI)] == [Level.REGISTERED] * 2
    await people.set_pin(AMA, "4821", checked=False)
    async with people.store.look() as connection:
        assert [await level_of(connection, who) for who in (AMA, KOFI)] == [Level.SECURED, Level.REGISTERED]
    assert (await people.register(AMA, "Ama", "en")).level is Level.SECURED


async def test_a_pin_is_set_once_and_changed_only_with_the_old_one(people: Subscribers, outbox: Outbox) -> None:
    """And its owner is told."""
    assert await people.check_pin(AMA, "4821") == NoPin()
    assert await people.set_pin(AMA, "4821", checked=False) == PinSet()
    assert await people.set_pin(AMA, "9365", checked=False) == PinWrong(3)
    assert await people.check_pin(AMA, "4821") == PinOk()
    assert await people.set_pin(AMA, "9365", checked=True) == PinSet()
    assert await people.check_pin(AMA, "9365") == PinOk()
    assert set(outbox.templates) == {"pin_changed"}


@pytest.mark.parametrize("pin", ["0000", "1234", "4321", "9012", "1212", "1985", "2001", "0001", "2400"])
async def test_weak_pins_are_refused(people: Subscribers, pin: str) -> None:
    """Rows, repeats, years and the number's own digits."""
    assert await people.set_pin(AMA, pin, checked=False) == PinWeak()


async def test_three_wrong_tries_lock_for_half_an_hour(people: Subscribers, clock: FakeClock, outbox: Outbox) -> None:
    """Even the right PIN is not looked at; afterwards there are three tries again."""
    await people.set_pin(AMA, "4821", checked=False)
    tried = [await people.check_pin(AMA, "9999") for _ in range(3)]
    assert tried == [PinWrong(2), PinWrong(1), PinLocked(30)]
    assert await people.check_pin(AMA, "4821") == PinLocked(30)
    assert await people.set_pin(AMA, "9365", checked=True) == PinLocked(30)
    clock.advance(29 * 60)
    assert await people.check_pin(AMA, "4821") == PinLocked(1)
    clock.advance(60)
    assert await people.check_pin(AMA, "9999") == PinWrong(2)
    assert await people.check_pin(AMA, "4821") == PinOk()
    assert await people.check_pin(AMA, "9999") == PinWrong(2)
    assert outbox.templates == ["pin_changed", "pin_locked"]


def _guess(url: str, pins: list[str], results: "multiprocessing.Queue[list[str]]") -> None:
    async def every() -> list[str]:
        store = Store(url, Clock())
        people = Subscribers(store, Outbox(), Clock(), KEYS)  # type: ignore[arg-type]  # an outbox for Messages
        found = await asyncio.gather(*(people.check_pin(AMA, pin) for pin in pins))
        await store.close()
        return [type(one).__name__ for one in found]

    results.put(asyncio.run(every()))


async def test_a_hundred_parallel_guesses_from_two_processes_get_three_tries(
    people: Subscribers, database: str
) -> None:
    """The counter is committed before any hash is compared."""
    await people.set_pin(AMA, "4821", checked=False)
    spawn = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[list[str]] = spawn.Queue()
    guesses = [f"{n}{n + 3}7{n}"[:4] for n in range(10, 60)]
    workers = [spawn.Process(target=_guess, args=(database, guesses, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    found = [name for _ in workers for name in await asyncio.to_thread(results.get, timeout=60)]
    for worker in workers:
        worker.join()
    assert len(found) == 100
    assert "PinOk" not in found
    async with people.store.look() as connection:
        looked_at = (await connection.execute(select(audit.c.id).where(audit.c.event == "pin_wrong"))).all()
    assert len(looked_at) == 3


async def test_hashes_hold_no_pin_and_survive_a_new_key(people: Subscribers, store: Store, clock: FakeClock) -> None:
    """Argon2 of an HMAC: without the key the table is of no use."""
    await people.set_pin(AMA, "4821", checked=False)
    rotated = Subscribers(store, Outbox(), clock, (b"n" * 32, *KEYS))  # type: ignore[arg-type]  # an outbox for Messages
    stolen = Subscribers(store, Outbox(), clock, (b"n" * 32,))  # type: ignore[arg-type]  # the same
    assert await rotated.check_pin(AMA, "4821") == PinOk()
    assert isinstance(await stolen.check_pin(AMA, "4821"), PinWrong)
    async with store.work() as connection:
        stored = (await connection.execute(select(subscribers.c.pin_hash))).scalar_one()
        await connection.execute(update(subscribers).values(pin_tries=0))
    assert stored.startswith("$argon2id$")
    assert "4821" not in stored
