from conftest import FakeClock
from desk import AMA, KOFI
from sqlalchemy.ext.asyncio import AsyncEngine

from ussd_app.guesses import WRONG, Guesses


async def test_whoever_guesses_is_soon_told_nothing(engine: AsyncEngine, clock: FakeClock) -> None:
    """Ten wrong codes in an hour, each number for itself; an hour after the first another may be tried."""
    guesses = Guesses(engine, clock)
    for _ in range(WRONG):
        assert await guesses.may_try(AMA)
        await guesses.wrong(AMA)
        clock.advance(60)
    assert not await guesses.may_try(AMA)
    assert await guesses.may_try(KOFI)
    clock.advance(3600 - WRONG * 60)
    assert await guesses.may_try(AMA)
