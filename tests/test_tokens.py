"""The token cache: one refresh for everybody, ahead of expiry, whatever dies meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest
from conftest import FakeClock
from fakeredis import FakeAsyncRedis
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ussd_app.errors import Reason, Rejected, Throttled
from ussd_app.providers import tokens as module
from ussd_app.providers.tokens import Token, Tokens

KEY = "token:{acme:live:us}"


class Issuer:
    """A provider's token call: counts, takes a moment, and fails when told to."""

    def __init__(self, life: float = 3600.0) -> None:
        self.life = life
        self.trouble: Exception | None = None
        self.calls = count(1)
        self.issued: list[str] = []
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> Token:
        """Issue ``t1``, ``t2``, ..."""
        number = next(self.calls)
        self.asked.set()
        await self.gate.wait()
        if self.trouble:
            raise self.trouble
        self.issued.append(f"t{number}")
        return Token(f"t{number}", self.life)


@pytest.fixture(params=["redis", "cluster", "fake"])
def store(request: pytest.FixtureRequest) -> Redis:
    """A real Redis, a node of a real cluster, and the imitation: all three keep tokens alike."""
    client: Redis = FakeAsyncRedis() if request.param == "fake" else request.getfixturevalue(request.param)
    return client


@pytest.fixture
async def away(tmp_path: Path) -> AsyncIterator[Redis]:
    """A Redis that is not there."""
    async with Redis(unix_socket_path=str(tmp_path / "none.sock"), retry=Retry(NoBackoff(), 0)) as client:
        yield client


async def get(tokens: Tokens, issuer: Issuer, refused: str | None = None) -> str:
    """The token of the one account these tests are about."""
    return await tokens.get("acme", "live:us", issuer, force_refresh=refused)


async def test_a_hundred_callers_cause_one_fetch(store: Redis, clock: FakeClock) -> None:
    """In one process, all at once."""
    tokens, issuer = Tokens(store, clock), Issuer()
    assert set(await asyncio.gather(*(get(tokens, issuer) for _ in range(100)))) == {"t1"}
    assert issuer.issued == ["t1"]


async def test_several_processes_cause_one_fetch(store: Redis, clock: FakeClock) -> None:
    """While one fetches, the others wait for what it stores; nobody keeps the claim."""

    async def slept(seconds: float) -> None:
        clock.advance(seconds)
        issuer.gate.set()

    issuer = Issuer()
    issuer.gate.clear()
    clock.sleep = slept  # type: ignore[method-assign]  # the fetch goes on once somebody waits for it
    callers = [asyncio.create_task(get(Tokens(store, clock), issuer)) for _ in range(5)]
    assert await asyncio.gather(*callers) == ["t1"] * 5
    assert issuer.issued == ["t1"]
    assert clock.seconds > 0
    assert await store.exists(f"{KEY}:claim") == 0


async def test_a_restarted_process_finds_the_token(store: Redis, clock: FakeClock) -> None:
    """It lies under one key, and no longer than it lives."""
    issuer = Issuer(life=3600)
    await get(Tokens(store, clock), issuer)
    assert await get(Tokens(store, clock), issuer) == "t1"
    assert 3590 < await store.ttl(KEY) <= 3600


@pytest.mark.parametrize(("life", "refreshed_at"), [(3600, 3000), (86_400, 85_800), (900, 720), (60, 48)])
async def test_a_token_is_refreshed_ahead(life: float, refreshed_at: float, redis: Redis, clock: FakeClock) -> None:
    """Ten minutes before it ends, or at four fifths of a life too short for that."""
    tokens, issuer = Tokens(redis, clock), Issuer(life)
    await get(tokens, issuer)
    clock.advance(refreshed_at - 1)
    assert await get(tokens, issuer) == "t1"
    clock.advance(1)
    assert await get(tokens, issuer) == "t2"


async def test_nobody_waits_for_a_refresh_ahead(redis: Redis, clock: FakeClock) -> None:
    """While one caller refreshes, the others go on with the token that still lives, in any process."""
    tokens, elsewhere, issuer = Tokens(redis, clock), Tokens(redis, clock), Issuer()
    await get(tokens, issuer)
    clock.advance(3100)
    issuer.gate.clear()
    issuer.asked.clear()
    refreshing = asyncio.create_task(get(tokens, issuer))
    await issuer.asked.wait()
    assert [await get(tokens, issuer), await get(elsewhere, issuer)] == ["t1", "t1"]
    issuer.gate.set()
    assert await refreshing == "t2"


async def test_a_failed_refresh_ahead_changes_nothing(redis: Redis, clock: FakeClock) -> None:
    """The old token serves until it ends; then the trouble is the caller's."""
    tokens, issuer = Tokens(redis, clock), Issuer()
    await get(tokens, issuer)
    issuer.trouble = Throttled(2, "busy")
    clock.advance(3100)
    assert await get(tokens, issuer) == "t1"
    clock.advance(500)
    with pytest.raises(Throttled):
        await get(tokens, issuer)
    issuer.trouble = None
    assert await get(tokens, issuer) == "t4"


async def test_all_who_wait_share_the_trouble(redis: Redis, clock: FakeClock) -> None:
    """Fifty callers of a provider that is down ask it once, not one after the other."""
    tokens, issuer = Tokens(redis, clock), Issuer()
    issuer.trouble = Rejected(Reason.NOT_AUTHORISED)
    outcomes = await asyncio.gather(*(get(tokens, issuer) for _ in range(50)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Rejected}
    assert next(issuer.calls) == 2
    assert await redis.exists(f"{KEY}:claim") == 0


async def test_a_hundred_refused_together_refresh_once(store: Redis, clock: FakeClock) -> None:
    """Whoever was refused with the old token takes the one that replaced it."""
    tokens, elsewhere, issuer = Tokens(store, clock), Tokens(store, clock), Issuer()
    assert [await get(tokens, issuer), await get(elsewhere, issuer)] == ["t1", "t1"]
    found = await asyncio.gather(*(get(tokens, issuer, "t1") for _ in range(100)))
    assert set(found) == {"t2"}
    assert await get(elsewhere, issuer, "t1") == "t2"
    assert issuer.issued == ["t1", "t2"]


async def test_a_refused_token_is_not_given_back(redis: Redis, clock: FakeClock) -> None:
    """Not even where no other can be had: the caller hears why."""
    tokens, issuer = Tokens(redis, clock), Issuer()
    await get(tokens, issuer)
    issuer.trouble = Throttled(2, "busy")
    with pytest.raises(Throttled):
        await get(tokens, issuer, "t1")


async def test_a_caller_who_gives_up_takes_nothing_from_the_others(redis: Redis, clock: FakeClock) -> None:
    """The one whose deadline passes is the one that started the fetch."""
    tokens, issuer = Tokens(redis, clock), Issuer()
    issuer.gate.clear()
    first, second = (asyncio.create_task(get(tokens, issuer)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    issuer.gate.set()
    assert await second == "t1"
    assert first.cancelled()


async def test_trouble_nobody_waits_for_is_no_error_of_the_loop(redis: Redis, clock: FakeClock) -> None:
    """A fetch that fails after its only caller has gone ends quietly."""
    tokens, issuer = Tokens(redis, clock), Issuer()
    issuer.trouble = Throttled(2, "busy")
    issuer.gate.clear()
    caller = asyncio.create_task(get(tokens, issuer))
    await asyncio.sleep(0)
    caller.cancel()
    [flight] = tokens._flights.values()
    issuer.gate.set()
    await asyncio.wait([flight])
    await asyncio.sleep(0)
    assert tokens._flights == {}


async def test_a_claim_left_by_a_dead_process_holds_nobody_for_ever(redis: Redis, clock: FakeClock) -> None:
    """It is waited for a quarter of a minute, then fetched all the same; the claim stays its owner's."""
    issuer = Issuer()
    await redis.set(f"{KEY}:claim", "of the dead")
    assert await get(Tokens(redis, clock), issuer) == "t1"
    assert clock.seconds == pytest.approx(module.CLAIM_SECONDS)
    assert await redis.get(f"{KEY}:claim") == b"of the dead"


async def test_a_claim_ends_by_itself(redis: Redis, clock: FakeClock) -> None:
    """Redis drops it after the longest a fetch may take."""
    issuer = Issuer()
    issuer.gate.clear()
    caller = asyncio.create_task(get(Tokens(redis, clock), issuer))
    await issuer.asked.wait()
    assert 0 < await redis.pttl(f"{KEY}:claim") <= module.CLAIM_SECONDS * 1000
    issuer.gate.set()
    await caller


async def test_with_redis_away_each_process_keeps_its_own(away: Redis, clock: FakeClock) -> None:
    """One fetch per process, refreshed and replaced as ever."""
    tokens, elsewhere, issuer = Tokens(away, clock), Tokens(away, clock), Issuer()
    assert set(await asyncio.gather(*(get(tokens, issuer) for _ in range(20)))) == {"t1"}
    assert await get(elsewhere, issuer) == "t2"
    assert await get(tokens, issuer, "t1") == "t3"
    clock.advance(3001)
    assert await get(tokens, issuer) == "t4"


async def test_a_redis_that_hangs_is_one_that_is_away(clock: FakeClock, tmp_path: Path) -> None:
    """Every question to it has its time."""
    path, done = tmp_path / "mute.sock", asyncio.Event()

    async def mute(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    async with await asyncio.start_unix_server(mute, path), Redis(unix_socket_path=str(path)) as redis:
        assert await get(Tokens(redis, clock), Issuer()) == "t1"
        done.set()


@pytest.mark.parametrize(
    "stored", ["", "null", "[]", '{"value":"x"}', '{"value":"x","refresh_at":[],"expires_at":1}', "\xff"]
)
async def test_what_is_no_token_is_not_used(stored: str, redis: Redis, clock: FakeClock) -> None:
    """Whatever lies under the key, a token is fetched and put in its place."""
    await redis.set(KEY, stored.encode("latin-1"))
    assert await get(Tokens(redis, clock), Issuer()) == "t1"
    assert await get(Tokens(redis, clock), Issuer()) == "t1"


async def test_refreshes_are_counted(redis: Redis, clock: FakeClock) -> None:
    """By provider; what comes out of the cache is none."""

    def counted() -> float:
        return REGISTRY.get_sample_value("token_refreshes_total", {"provider": "acme"}) or 0.0

    before, tokens, issuer = counted(), Tokens(redis, clock), Issuer()
    await get(tokens, issuer)
    await get(tokens, issuer)
    await get(tokens, issuer, "t1")
    assert counted() == before + 2


async def test_tokens_do_not_print(redis: Redis, clock: FakeClock) -> None:
    """Neither what was issued nor what is kept."""
    tokens = Tokens(redis, clock)
    await get(tokens, Issuer())
    assert "t1" not in f"{Token('t1', 1)} {tokens._local}"
