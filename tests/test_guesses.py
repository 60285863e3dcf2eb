from conftest import FakeClock
from desk import AMA, KOFI

from ussd_app.guesses import WRONG, Guesses
from ussd_app.store import Store


async def test_whoever_guesses_is_soon_told_nothing(store: Store, clock: FakeClock) -> None:
    """Ten wrong codes in an hour, each number for itself; an hour after the first another may be tried."""
    guesses = Guesses(store, clock)
    for _ in range(WRONG):
        assert await guesses.may_try(AMA)
        await guesses.wrong(AMA)
        clock.advance(60)
    assert not await guesses.may_try(AMA)
    assert await guesses.may_try(KOFI)
    clock.advance(3600 - WRONG * 60)
    assert await guesses.may_try(AMA)
