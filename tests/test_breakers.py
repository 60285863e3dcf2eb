"""Circuit breakers: what opens one, who makes the trial, what closes it, and what a lost Redis changes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from conftest import FakeClock
from fakeredis import FakeAsyncRedis
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ussd_app.breakers import Breakers, Resting
from ussd_app.errors import ProviderError, Reason, Rejected, Throttled, Unknown

TIMEOUT = Unknown("no whole answer: ReadTimeout", outage=True)
KEY = "breaker:{acme:collection}"


class Operator:
    """Answers, or fails as told, and counts; a closed gate holds every call back."""

    def __init__(self, trouble: Exception | None = TIMEOUT) -> None:
        self.trouble = trouble
        self.calls = 0
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, question: str = "") -> str:
        """One call."""
        self.calls += 1
        self.asked.set()
        await self.gate.wait()
        if self.trouble:
            raise self.trouble
        return f"yes {question}".rstrip()


@pytest.fixture(params=["redis", "cluster", "fake"])
def store(request: pytest.FixtureRequest) -> Redis:
    """A real Redis, a node of a real cluster, and the imitation: all three keep breakers alike."""
    client: Redis = FakeAsyncRedis() if request.param == "fake" else request.getfixturevalue(request.param)
    return client


@pytest.fixture
async def away(tmp_path: Path) -> AsyncIterator[Redis]:
    """A Redis that is not there."""
    async with Redis(unix_socket_path=str(tmp_path / "none.sock"), retry=Retry(NoBackoff(), 0)) as client:
        yield client


async def ask(breakers: Breakers, operator: Operator, what: str = "collection") -> str:
    """What comes of one call, in a word."""
    try:
        return await breakers.call("acme", what, operator)
    except Resting:
        return "resting"
    except ProviderError:
        return "failed"


async def asked(breakers: Breakers, operator: Operator, times: int) -> list[str]:
    """What comes of so many, one after the other."""
    return [await ask(breakers, operator) for _ in range(times)]


async def begun(breakers: Breakers, operator: Operator) -> asyncio.Task[str]:
    """A call that has reached the operator, which keeps it waiting."""
    operator.gate.clear()
    operator.asked.clear()
    call = asyncio.create_task(ask(breakers, operator))
    await operator.asked.wait()
    return call


def sample(name: str, call: str = "collection") -> float:
    """A metric of one breaker."""
    return REGISTRY.get_sample_value(name, {"provider": "acme", "call": call}) or 0.0


async def test_five_failures_in_a_row_open_it_for_every_process(store: Redis, clock: FakeClock) -> None:
    """Three seen by one and two by another: neither is let through any more, and a third one neither."""
    one, two, operator = Breakers(store, clock), Breakers(store, clock), Operator()
    opened = sample("breaker_openings_total")
    assert await asked(one, operator, 3) == ["failed"] * 3
    assert await asked(two, operator, 2) == ["failed"] * 2
    for breakers in (one, two, Breakers(store, clock)):
        assert await ask(breakers, operator) == "resting"
        assert await breakers.resting("acme", "collection") == 60
    assert operator.calls == 5
    assert sample("breaker_open") == 1
    assert sample("breaker_openings_total") == opened + 1
    assert await ask(one, Operator(None), "check") == "yes"  # another call of the same operator
    assert await one.resting("acme", "check") == 0


async def test_what_rests_says_for_how_long(redis: Redis, clock: FakeClock) -> None:
    """As a call that was not taken, and was no outage: it never left."""
    breakers = Breakers(redis, clock)
    await asked(breakers, Operator(), 5)
    clock.advance(20.5)
    with pytest.raises(Throttled, match="acme collection is resting") as caught:
        await breakers.call("acme", "collection", Operator(None))
    assert caught.value.after == 39.5
    assert not caught.value.outage


async def test_one_call_tries_after_a_minute_and_its_success_closes(store: Redis, clock: FakeClock) -> None:
    """Fifty come at once, of two processes: one is let through, the others wait for its end."""
    one, two, operator = Breakers(store, clock), Breakers(store, clock), Operator()
    await asked(one, operator, 5)
    clock.advance(59.9)
    assert await asked(two, operator, 2) == ["resting"] * 2
    clock.advance(0.1)
    operator.trouble = None
    operator.gate.clear()
    crowd = [asyncio.create_task(ask((one, two)[number % 2], operator)) for number in range(50)]
    ends = asyncio.as_completed(crowd)
    assert [await next(ends) for _ in range(49)] == ["resting"] * 49
    assert operator.calls == 6
    assert await one.resting("acme", "collection") >= 1  # until it is known to be closed
    operator.gate.set()
    assert await next(ends) == "yes"
    assert await asked(two, operator, 3) == ["yes"] * 3
    assert await one.resting("acme", "collection") == 0
    assert sample("breaker_open") == 0
    assert not await store.exists(KEY)  # nothing is kept of what is well


async def test_a_trial_that_fails_opens_it_for_another_minute(store: Redis, clock: FakeClock) -> None:
    """One failure is enough then; it counts as no further opening."""
    one, two, operator = Breakers(store, clock), Breakers(store, clock), Operator()
    await asked(one, operator, 5)
    opened = sample("breaker_openings_total")
    for _ in range(3):
        clock.advance(60)
        assert await ask(two, operator) == "failed"
        assert await asked(one, operator, 2) == ["resting"] * 2
        assert await two.resting("acme", "collection") == 60
    assert operator.calls == 8
    assert sample("breaker_openings_total") == opened


async def test_a_success_in_between_starts_the_count_again(store: Redis, clock: FakeClock) -> None:
    """Four failures, one success, four failures: closed."""
    breakers, operator = Breakers(store, clock), Operator()
    for _ in range(3):
        operator.trouble = TIMEOUT
        assert await asked(breakers, operator, 4) == ["failed"] * 4
        operator.trouble = None
        assert await ask(breakers, operator) == "yes"
    assert await breakers.resting("acme", "collection") == 0


async def test_failures_among_successes_at_the_same_time_are_not_in_a_row(store: Redis, clock: FakeClock) -> None:
    """Forty calls under way at once, every other of which fails: no five in a row."""
    breakers, answers = Breakers(store, clock), [Operator(None if number % 2 else TIMEOUT) for number in range(40)]
    crowd = [await begun(breakers, operator) for operator in answers]
    for operator, task in zip(answers, crowd, strict=True):
        operator.gate.set()
        await task
    assert await breakers.resting("acme", "collection") == 0


@pytest.mark.parametrize(
    "answer",
    [
        Rejected(Reason.INSUFFICIENT_FUNDS),
        Rejected(Reason.NOT_AUTHORISED),
        Rejected(Reason.DUPLICATE),
        Unknown("404: no such reference"),
        Throttled(5.0, "429"),
    ],
)
async def test_an_answer_is_an_answer(redis: Redis, clock: FakeClock, answer: ProviderError) -> None:
    """Whatever it says, it neither opens a breaker nor leaves one open."""
    breakers, operator = Breakers(redis, clock), Operator(answer)
    assert await asked(breakers, operator, 20) == ["failed"] * 20
    operator.trouble = TIMEOUT
    await asked(breakers, operator, 5)
    clock.advance(60)
    operator.trouble = answer
    assert await asked(breakers, operator, 10) == ["failed"] * 10
    assert operator.calls == 35


async def test_an_operator_that_is_slow_and_works_is_let_through(redis: Redis, clock: FakeClock) -> None:
    """Nine seconds an answer, and callers who do not wait for it: nothing opens."""
    breakers, operator = Breakers(redis, clock), Operator(None)
    for _ in range(8):
        hasty = await begun(breakers, operator)
        hasty.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hasty
    patient = [asyncio.create_task(ask(breakers, operator)) for _ in range(20)]
    clock.advance(9)
    operator.gate.set()
    assert set(await asyncio.gather(*patient)) == {"yes"}
    assert await breakers.resting("acme", "collection") == 0


async def test_a_trial_that_is_cancelled_is_left_to_the_next(redis: Redis, clock: FakeClock) -> None:
    """It has told nothing: another one tries, without a wait."""
    breakers, operator = Breakers(redis, clock), Operator()
    await asked(breakers, operator, 5)
    clock.advance(60)
    trial = await begun(breakers, operator)
    trial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trial
    operator.gate.set()
    operator.trouble = None
    assert await ask(breakers, operator) == "yes"
    assert await breakers.resting("acme", "collection") == 0


async def test_a_trial_whose_process_died_holds_the_others_back_for_20_s(redis: Redis, clock: FakeClock) -> None:
    """Then another one tries."""
    dead, alive, operator = Breakers(redis, clock), Breakers(redis, clock), Operator()
    await asked(dead, operator, 5)
    clock.advance(60)
    trial = await begun(dead, operator)
    clock.advance(19.9)
    assert await ask(alive, operator) == "resting"
    clock.advance(0.1)
    working = Operator(None)
    assert await ask(alive, working) == "yes"
    operator.gate.set()  # it was not dead: the late end of its trial changes nothing
    assert await trial == "failed"
    assert await ask(alive, working) == "yes"


async def test_a_failure_of_our_own_is_not_the_operators(redis: Redis, clock: FakeClock) -> None:
    """A fault in a client is raised as it is, and counts for nothing."""
    breakers = Breakers(redis, clock)
    for _ in range(6):
        with pytest.raises(KeyError):
            await breakers.call("acme", "collection", Operator(KeyError("ours")))
    assert await breakers.resting("acme", "collection") == 0


async def test_the_trial_can_be_brought_forward(store: Redis, clock: FakeClock) -> None:
    """By whoever heard that the operator is back; a closed breaker and one being tried stay as they are."""
    one, two, operator = Breakers(store, clock), Breakers(store, clock), Operator()
    await one.bring_forward("acme", "collection")
    assert not await store.exists(KEY)
    await asked(one, operator, 5)
    await two.bring_forward("acme", "collection")
    assert await two.resting("acme", "collection") == 1
    trial = await begun(one, operator)
    await two.bring_forward("acme", "collection")
    assert await ask(two, operator) == "resting"
    operator.gate.set()
    assert await trial == "failed"
    assert await ask(two, operator) == "resting"


async def test_one_process_in_20_s_may_ask_whether_an_operator_is_back(store: Redis, clock: FakeClock) -> None:
    """Of any number that would."""
    several = [Breakers(store, clock) for _ in range(5)]
    for _ in range(3):
        assert sum(await asyncio.gather(*(breakers.may_ask("acme") for breakers in several))) == 1
        clock.advance(19)
        assert not any(await asyncio.gather(*(breakers.may_ask("acme") for breakers in several)))
        clock.advance(1)
    assert await several[0].may_ask("another")


async def test_with_redis_away_each_process_keeps_its_own(away: Redis, clock: FakeClock) -> None:
    """Calls go on, and a breaker of this process opens, tries and closes by itself."""
    breakers, elsewhere, operator = Breakers(away, clock), Breakers(away, clock), Operator()
    assert await asked(breakers, operator, 6) == ["failed"] * 5 + ["resting"]
    assert await ask(elsewhere, Operator(None)) == "yes"
    clock.advance(60)
    assert await asyncio.gather(*(ask(breakers, operator) for _ in range(5))) == ["failed", *["resting"] * 4]
    clock.advance(60)
    operator.trouble = None
    assert await asked(breakers, operator, 3) == ["yes"] * 3


async def test_what_was_open_stays_so_while_redis_is_lost(
    redis: Redis, away: Redis, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What this process last saw goes on counting."""
    breakers, operator = Breakers(redis, clock), Operator()
    await asked(breakers, operator, 5)
    monkeypatch.setattr(redis, "connection_pool", away.connection_pool)
    assert await ask(breakers, operator) == "resting"
    clock.advance(60)
    assert await ask(breakers, Operator(None)) == "yes"


async def test_a_redis_that_hangs_is_one_that_is_away(clock: FakeClock, tmp_path: Path) -> None:
    """Every question to it has its time."""
    path, done = tmp_path / "mute.sock", asyncio.Event()

    async def mute(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    async with await asyncio.start_unix_server(mute, path), Redis(unix_socket_path=str(path)) as redis:
        assert await ask(Breakers(redis, clock), Operator(None)) == "yes"
        done.set()


@pytest.mark.parametrize("rubbish", ["", "x", "[]", "7", '{"failures": "many"}', '{"opened_at": [1]}', "\xff"])
async def test_what_nobody_can_read_is_closed(redis: Redis, clock: FakeClock, rubbish: str) -> None:
    """And written over at the first failure."""
    await redis.set(KEY, rubbish)
    breakers, operator = Breakers(redis, clock), Operator()
    assert await asked(breakers, operator, 6) == ["failed"] * 5 + ["resting"]


async def test_arguments_and_answer_pass_through(redis: Redis, clock: FakeClock) -> None:
    """The call is the caller's."""
    assert await Breakers(redis, clock).call("acme", "check", Operator(None), question="42") == "yes 42"
