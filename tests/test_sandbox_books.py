"""Whatever is asked of it, the sandbox makes and loses no money."""

from collections import Counter
from random import Random

import pytest
from conftest import FakeClock
from sandbox import Momo, World, reference

from ussd_app.money import Money
from ussd_app.sandbox.books import OUTSIDE, Books, Movement, Status

PEOPLE = [f"23324000000{digit}" for digit in range(1, 6)]
ANSWERS = ["approve", "reject", "ignore"]


@pytest.mark.parametrize("seed", range(10))
async def test_books_balance_after_anything(clock: FakeClock, seed: int) -> None:
    """After 80 random requests, answers, faults and pauses: zero in sum, none below zero, balances as the entries."""
    draw, world = Random(seed), World(clock)  # noqa: S311 - a run that can be repeated
    momo = Momo(world)
    await world.control("PUT", "/books", {"mtn_momo": {"GHS": "500.00"}})
    await world.control("PUT", "/faults", [{"name": "late_success", "target": "*", "share": 0.2, "seed": seed}])
    for number in range(80):
        amount = f"{draw.randint(1, 60_000) / 100:.2f}"
        match draw.choice(["in", "in", "out", "back", "answer", "answer", "wait"]):
            case "in":
                await momo.pay_in(reference(number), draw.choice(PEOPLE), amount)
            case "out":
                await momo.pay_out(reference(number), draw.choice(PEOPLE), amount)
            case "back":
                await momo.give_back(reference(number), reference(draw.randrange(number + 1)), amount)
            case "answer":
                msisdn = draw.choice(PEOPLE)
                for prompt in (await world.control("GET", f"/handsets/{msisdn}"))["prompts"]:
                    await world.control(
                        "POST", f"/handsets/{msisdn}/prompts/{prompt['id']}", {"answer": draw.choice(ANSWERS)}
                    )
            case _:
                clock.advance(draw.randint(1, 200))
        await world.sandbox.settled()
    clock.advance(10_000)
    await world.sandbox.settled()
    books = world.sandbox.country.books
    recomputed: Counter[str] = Counter()
    for entry in books.entries:
        recomputed[entry.debit] -= entry.amount.minor
        recomputed[entry.credit] += entry.amount.minor
    assert sum(recomputed.values()) == 0
    for account, minor in recomputed.items():
        assert books.balance(account, "GHS").minor == minor
        assert minor >= 0 or account == OUTSIDE
    moved = Counter(entry.reference for entry in books.entries if entry.reference not in {"opening", "set"})
    done = {movement.reference for movement in books.movements if movement.status is Status.SUCCEEDED}
    assert moved == dict.fromkeys(done, 1)
    assert done
    assert all(movement.status is not Status.PENDING for movement in books.movements)


def test_a_movement_moves_once(clock: FakeClock) -> None:
    """Settling twice is a fault of the sandbox, not a second movement."""
    books = Books()
    books.put("merchant:mtn_momo", Money(1000, "GHS"))
    movement = Movement(
        "mtn_momo", "r", "disbursement", PEOPLE[0], Money(400, "GHS"), "merchant:mtn_momo", "person:1", clock.now()
    )
    assert books.settle(movement)
    with pytest.raises(ValueError, match="r has moved already"):
        books.settle(movement)
    assert books.balances("merchant:mtn_momo") == {"GHS": "6.00"}
