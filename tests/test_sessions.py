"""Dialogues in Redis, on fakeredis, on a real server and on a cluster node alike."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import cast

import pytest
from conftest import FakeClock
from fakeredis import FakeAsyncRedis
from redis.asyncio import Redis

from ussd_app import redis_client
from ussd_app.clock import Clock
from ussd_app.msisdn import Msisdn
from ussd_app.sessions import COMMIT, Copy, Hop, Late, Sessions, SessionsAway
from ussd_app.ussd import Event, Reply, Turn

MSISDN = "+233240000001"
KEY = "ussd:{920*55:233240000001}"
SECRET = b"k" * 32
WINDOW_MS = 1_000
DIALOGUE = {"flow": "send_money", "screen": "amount"}
SCREEN = Reply("Enter amount")


@pytest.fixture(params=["fakeredis", "server", "cluster"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Redis]:
    """An empty Redis of each kind, through our own client where it has an address."""
    if request.param == "fakeredis":
        client: Redis = FakeAsyncRedis()
    elif request.param == "server":
        client = connected(request.getfixturevalue("redis_url"))
    else:
        client = connected(f"redis+cluster://127.0.0.1:{request.getfixturevalue('cluster_port')}")
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def sessions(client: Redis, clock: FakeClock) -> Sessions:
    """The dialogues of one service code, in a time that only the test moves."""
    return Sessions(client, clock, SECRET, "920*55")


def connected(url: str) -> Redis:
    """Our own client; that of a cluster has the same methods, but no common type."""
    return cast("Redis", redis_client.connect(url))


def whole(text: str, session: str = "s1", msisdn: str | None = MSISDN, aggregator: str = "at") -> Turn:
    """A hop with cumulative input."""
    return Turn(
        aggregator=aggregator,
        session_id=session,
        subscriber=msisdn or "a1b2c3",
        msisdn=Msisdn(msisdn) if msisdn else None,
        service_code="*920*55#",
        event=Event.REPLY if text else Event.BEGIN,
        text=text,
        cumulative=True,
    )


def newest(
    text: str,
    event: Event = Event.REPLY,
    session: str = "s1",
    *,
    hop_id: str = "",
    doubtful: bool = False,
    aggregator: str = "mtn",
) -> Turn:
    """A hop with the newest entry only."""
    return Turn(aggregator, session, MSISDN, Msisdn(MSISDN), "920", event, text, hop_id=hop_id, doubtful_end=doubtful)


async def begun(sessions: Sessions, turn: Turn) -> Hop:
    """The hop, which must go on."""
    hop = await sessions.begin(turn, WINDOW_MS)
    assert isinstance(hop, Hop)
    return hop


async def answered(sessions: Sessions, turn: Turn, reply: Reply = SCREEN) -> Hop:
    """The hop, gone on and answered."""
    hop = await begun(sessions, turn)
    assert await sessions.commit(hop, None if reply.close else DIALOGUE, reply)
    return hop


async def test_a_new_dialogue_begins_with_nothing(sessions: Sessions) -> None:
    """The first hop of an unseen handset is first, and nothing is left behind."""
    hop = await begun(sessions, whole(""))
    assert (hop.key, hop.session_id) == (KEY, "s1")
    assert (hop.first, hop.redial, hop.diverged, hop.pretyped, hop.input, hop.dialogue) == (
        True, False, False, (), "", None,
    )  # fmt: skip


async def test_the_dialogue_comes_back_with_the_next_hop(sessions: Sessions) -> None:
    """What one hop committed is what the next one gets, with a higher fence."""
    first = await answered(sessions, whole(""))
    hop = await begun(sessions, whole("1"))
    assert (hop.first, hop.redial, hop.input, hop.dialogue) == (False, False, "1", DIALOGUE)
    assert hop.fence == first.fence + 1


@pytest.mark.parametrize(
    ("before", "now", "entry"),
    [
        ("", "1", "1"),
        ("", "*", "*"),
        ("", "**", "**"),
        ("", "#", "#"),
        ("", "1*2", "1*2"),
        ("7*a*b", "7*a*b*c", "c"),
        ("7*a*b", "7*a*b*****", "****"),
        ("1", "1*", ""),
        ("1", "1*1", "1"),
        ("1", "1*#", "#"),
        ("1", "1*Ama Ntiriwaa é", "Ama Ntiriwaa é"),
        ("é", "é*2", "2"),
        ("1", "1*" + "x" * 500, "x" * 500),
        ("1", "1*" + "*" * 500, "*" * 500),
    ],
)
async def test_cumulative_input_is_read_by_difference(sessions: Sessions, before: str, now: str, entry: str) -> None:
    """The new entry is what follows the previous raw input, whatever stars it holds (wire/ussd.md section 2.2)."""
    await answered(sessions, whole(before))
    hop = await begun(sessions, whole(now))
    assert (hop.input, hop.diverged, hop.pretyped) == (entry, False, ())


@pytest.mark.parametrize(("before", "now"), [("1*2", "1"), ("1*2", "1*3"), ("1", "12"), ("1*2", "")])
async def test_diverged_input_is_not_acted_on_and_becomes_the_baseline(
    sessions: Sessions, before: str, now: str
) -> None:
    """Input that does not follow from the one before shows the current screen; the next one follows from it."""
    await answered(sessions, whole(before))
    hop = await answered(sessions, whole(now))
    assert (hop.diverged, hop.input, hop.first, hop.dialogue) == (True, "", False, DIALOGUE)
    follows = await begun(sessions, whole(f"{now}*9" if now else "9"))
    assert (follows.diverged, follows.input) == (False, "9")


@pytest.mark.parametrize("text", ["", "1", "1*1", "*", "**", "#", "x" * 500])
async def test_a_cumulative_copy_gets_the_same_words_however_late(
    sessions: Sessions, clock: FakeClock, text: str
) -> None:
    """The same raw input is a copy and changes nothing."""
    await answered(sessions, whole(text), Reply("Line 1\nÄ £5"))
    clock.advance(200)
    assert await sessions.begin(whole(text), WINDOW_MS) == Copy(Reply("Line 1\nÄ £5"))
    assert (await begun(sessions, whole(f"{text}*1"))).dialogue == DIALOGUE


@pytest.mark.parametrize("text", ["1", "*", "**", "#", "0", "", "+233240000001", "x" * 500])
async def test_the_newest_entry_is_the_input(sessions: Sessions, text: str) -> None:
    """Where only the newest entry is sent, it is the input as it stands."""
    await answered(sessions, newest("", Event.BEGIN))
    hop = await begun(sessions, newest(text))
    assert (hop.input, hop.first, hop.diverged) == (text, False, False)


async def test_the_same_key_twice_is_a_copy_only_within_the_repeat_window(sessions: Sessions, clock: FakeClock) -> None:
    """A newest entry repeated within the window gets the same words; after it, it is a second press."""
    await answered(sessions, newest("", Event.BEGIN))
    first = await answered(sessions, newest("1"))
    clock.advance(1.0)
    assert await sessions.begin(newest("1"), WINDOW_MS) == Copy(SCREEN)
    clock.advance(0.001)
    second = await begun(sessions, newest("1"))
    assert (second.input, second.fence) == ("1", first.fence + 1)


async def test_another_key_within_the_repeat_window_is_no_copy(sessions: Sessions) -> None:
    """Only the same entry can be a copy."""
    await answered(sessions, newest("", Event.BEGIN))
    await answered(sessions, newest("1"))
    assert (await begun(sessions, newest("2"))).input == "2"


async def test_a_first_hop_sent_twice_is_a_copy(sessions: Sessions, clock: FakeClock) -> None:
    """A begin of the same session is never read as a key (wire/ussd.md section 2.4)."""
    await answered(sessions, newest("1*2", Event.BEGIN))
    clock.advance(60)
    assert await sessions.begin(newest("1*2", Event.BEGIN), WINDOW_MS) == Copy(SCREEN)
    await answered(sessions, newest("5"))
    again = await begun(sessions, newest("1*2", Event.BEGIN))
    assert (again.diverged, again.first, again.input, again.pretyped) == (True, False, "", ())


async def test_numbered_hops_are_told_apart_exactly(sessions: Sessions, clock: FakeClock) -> None:
    """With a per-hop id the same key at once is a second press, and a copy is one however late."""
    await answered(sessions, newest("", Event.BEGIN, hop_id="1"))
    await answered(sessions, newest("1", hop_id="2"))
    assert (await answered(sessions, newest("1", hop_id="3"), Reply("three"))).input == "1"
    clock.advance(200)
    assert await sessions.begin(newest("1", hop_id="3"), WINDOW_MS) == Copy(Reply("three"))


async def test_a_numbered_hop_that_was_overtaken_is_late(sessions: Sessions) -> None:
    """A copy of an older numbered hop is never read as a new key."""
    for number in ("1", "2", "3"):
        await answered(sessions, newest("1", hop_id=number))
    for number in ("1", "2"):
        assert await sessions.begin(newest("1", hop_id=number), WINDOW_MS) == Late()


async def test_fifty_copies_at_once_are_one_step(client: Redis) -> None:
    """Of fifty identical hops one goes on, and forty-nine get its words, also right after another session's END."""
    sessions = Sessions(client, Clock(), SECRET, "920*55")
    await answered(sessions, whole("", "s0"), Reply("Done", close=True))
    for turn in (whole("1"), newest("5", Event.BEGIN, "s2"), newest("1", session="s2")):
        steps = 0

        async def hop(turn: Turn = turn) -> Reply:
            nonlocal steps
            outcome = await sessions.begin(turn, 0)
            if isinstance(outcome, Copy):
                return outcome.reply
            assert isinstance(outcome, Hop)
            steps += 1
            await asyncio.sleep(0.05)
            reply = Reply(f"step {steps} of {outcome.fence}")
            assert await sessions.commit(outcome, DIALOGUE, reply)
            return reply

        replies = await asyncio.gather(*(hop() for _ in range(50)))
        assert (steps, len(set(replies))) == (1, 1)


async def test_another_key_waits_for_its_turn(client: Redis) -> None:
    """A hop that arrives while the one before is being answered goes on from what that one leaves."""
    sessions = Sessions(client, Clock(), SECRET, "920*55")
    first = await begun(sessions, whole(""))
    second = asyncio.create_task(begun(sessions, whole("1")))
    await asyncio.sleep(0.05)
    assert not second.done()
    await sessions.commit(first, DIALOGUE, SCREEN)
    assert ((await second).input, (await second).dialogue) == ("1", DIALOGUE)


async def test_nobody_waits_longer_than_the_aggregator(sessions: Sessions, clock: FakeClock) -> None:
    """A hop whose turn does not come in 4.5 seconds is answered without one, and changes nothing."""
    first = await begun(sessions, whole(""))
    assert await sessions.begin(whole(""), WINDOW_MS) == Late()
    assert 4.5 <= clock.monotonic() < 5
    assert await sessions.commit(first, DIALOGUE, SCREEN)


async def test_after_the_end_the_session_gets_its_end_again(sessions: Sessions) -> None:
    """Whatever arrives under a closed session id gets the stored END."""
    bye = Reply("Done. We will SMS you.", close=True)
    await answered(sessions, whole("1"), bye)
    for turn in (whole("1"), whole("1*2"), whole("")):
        assert await sessions.begin(turn, WINDOW_MS) == Copy(bye)


async def test_a_closed_dialogue_is_not_resumed(sessions: Sessions) -> None:
    """The next dial after an END begins anew."""
    await answered(sessions, whole("1"), Reply("Done", close=True))
    hop = await answered(sessions, whole("", "s2"))
    assert (hop.first, hop.redial, hop.dialogue) == (True, False, None)
    assert (await begun(sessions, whole("1", "s2"))).input == "1"


async def test_a_redial_takes_the_lock_at_once(sessions: Sessions) -> None:
    """A new session id gets what was left behind, and the hop it overtook may not commit."""
    await answered(sessions, whole(""))
    overtaken = await begun(sessions, whole("1"))
    hop = await begun(sessions, whole("", "s2"))
    assert (hop.first, hop.redial, hop.dialogue, hop.fence) == (True, True, DIALOGUE, overtaken.fence + 1)
    assert not await sessions.commit(overtaken, {"flow": "other"}, Reply("late"))
    assert await sessions.commit(hop, DIALOGUE, Reply("resumed"))
    assert await sessions.begin(whole("", "s2"), WINDOW_MS) == Copy(Reply("resumed"))


async def test_a_superseded_session_changes_nothing(sessions: Sessions) -> None:
    """Hops and end notices of the sessions before are late, and the live one goes on."""
    for session in ("s1", "s2", "s3"):
        await answered(sessions, whole("", session))
    assert await sessions.begin(whole("1", "s1"), WINDOW_MS) == Late()
    assert await sessions.begin(whole("1", "s2"), WINDOW_MS) == Late()
    await sessions.end(newest("", Event.END, "s2", aggregator="at"))
    hop = await begun(sessions, whole("1", "s3"))
    assert (hop.input, hop.first) == ("1", False)


async def test_a_copy_that_waits_is_late_once_the_session_is_superseded(client: Redis) -> None:
    """Nobody waits for the reply of a session that a redial has overtaken."""
    sessions = Sessions(client, Clock(), SECRET, "920*55")
    await begun(sessions, whole(""))
    copy = asyncio.create_task(sessions.begin(whole(""), WINDOW_MS))
    await asyncio.sleep(0.05)
    await answered(sessions, whole("", "s2"))
    assert await copy == Late()


async def test_a_copy_does_not_outlive_what_it_copies(
    sessions: Sessions, client: Redis, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy whose hop was answered and overtaken, or whose dialogue was lost, while it waited is no new key."""
    await answered(sessions, newest("", Event.BEGIN))
    first = await begun(sessions, newest("1"))

    async def overtake(_seconds: float) -> None:
        await sessions.commit(first, DIALOGUE, SCREEN)
        await begun(sessions, newest("2"))

    monkeypatch.setattr(clock, "sleep", overtake)
    clock.advance(0.001)
    assert await sessions.begin(newest("1"), -1) == Late()

    async def lose(_seconds: float) -> None:
        await client.flushall()

    monkeypatch.setattr(clock, "sleep", lose)
    assert await sessions.begin(newest("2"), WINDOW_MS) == Late()
    assert not await client.exists(KEY)


async def test_a_redial_whose_process_died_is_still_the_first_hop(sessions: Sessions, clock: FakeClock) -> None:
    """What was never answered is no baseline: the next hop of that session is its first, with what was left behind."""
    await answered(sessions, whole("1"))
    await begun(sessions, whole("", "s2"))
    clock.advance(10)
    hop = await begun(sessions, whole("1*2", "s2"))
    assert (hop.first, hop.redial, hop.pretyped, hop.dialogue) == (True, True, ("1", "2"), DIALOGUE)


async def test_a_redial_through_another_aggregator_drops_what_was_left(sessions: Sessions) -> None:
    """A dialogue is resumed only through the aggregator that carried it."""
    await answered(sessions, whole(""))
    hop = await begun(sessions, newest("", Event.BEGIN, "s2"))
    assert (hop.first, hop.redial, hop.dialogue) == (True, False, None)
    assert await sessions.begin(whole("1"), WINDOW_MS) == Late()


async def test_an_unseen_session_in_mid_dialogue_is_pretyped_input(sessions: Sessions) -> None:
    """The whole raw input of an unseen session becomes the baseline, and its tokens are pre-typed (law 5)."""
    lost = await answered(sessions, whole("1*0240000002*50"))
    assert (lost.first, lost.input, lost.pretyped) == (True, "", ("1", "0240000002", "50"))
    assert (await begun(sessions, whole("1*0240000002*50*1"))).input == "1"


async def test_digits_dialled_behind_the_code_are_pretyped_input(sessions: Sessions) -> None:
    """What an aggregator found behind the code on begin are the tokens."""
    assert (await begun(sessions, newest("1*2", Event.BEGIN))).pretyped == ("1", "2")


async def test_a_lost_session_of_newest_entries_starts_over(sessions: Sessions) -> None:
    """A single key without its dialogue means nothing."""
    hop = await begun(sessions, newest("1"))
    assert (hop.first, hop.input, hop.pretyped) == (True, "", ())


async def test_a_doubtful_end_is_believed_only_on_a_session_we_know(sessions: Sessions, client: Redis) -> None:
    """An entry in an envelope that says end is an entry of a known session, and of an unseen one nothing at all."""
    assert await sessions.begin(newest("1", doubtful=True), WINDOW_MS) == Late()
    assert not await client.exists(KEY)
    await answered(sessions, newest("", Event.BEGIN))
    assert (await begun(sessions, newest("1", doubtful=True))).input == "1"


async def test_an_end_notice_of_an_unknown_session_leaves_nothing(sessions: Sessions, client: Redis) -> None:
    """Hearing of a session we never saw makes no key."""
    await sessions.end(newest("", Event.TIMEOUT))
    assert not await client.exists(KEY)


async def test_an_ended_session_may_be_resumed_but_not_continued(sessions: Sessions) -> None:
    """After the notice further hops are late, a copy still gets its words, and a redial gets the dialogue."""
    await answered(sessions, newest("", Event.BEGIN))
    for _ in range(2):
        await sessions.end(newest("", Event.END))
    assert await sessions.begin(newest("1"), WINDOW_MS) == Late()
    assert await sessions.begin(newest("", Event.BEGIN), WINDOW_MS) == Copy(SCREEN)
    hop = await answered(sessions, newest("", Event.BEGIN, "s2"))
    assert (hop.redial, hop.dialogue) == (True, DIALOGUE)
    assert (await begun(sessions, newest("1", session="s2"))).input == "1"


async def test_an_end_notice_of_a_finished_session_changes_nothing(sessions: Sessions) -> None:
    """The stored END stays what it was."""
    bye = Reply("Done", close=True)
    await answered(sessions, newest("", Event.BEGIN), bye)
    await sessions.end(newest("", Event.END))
    assert await sessions.begin(newest("1"), WINDOW_MS) == Copy(bye)


async def test_an_end_notice_does_not_stop_the_hop_being_answered(sessions: Sessions) -> None:
    """What was begun is committed, so that a redial finds it."""
    hop = await begun(sessions, newest("", Event.BEGIN))
    await sessions.end(newest("", Event.TIMEOUT))
    assert await sessions.commit(hop, DIALOGUE, SCREEN)
    assert (await begun(sessions, newest("", Event.BEGIN, "s2"))).dialogue == DIALOGUE


@pytest.mark.parametrize("text", ["1", "1*2"])
async def test_a_lock_outlives_its_process_for_ten_seconds(sessions: Sessions, clock: FakeClock, text: str) -> None:
    """When a process died in a hop, the same hop or the next goes on from what was committed before."""
    await answered(sessions, whole(""))
    dead = await begun(sessions, whole("1"))
    assert await sessions.begin(whole(text), WINDOW_MS) == Late()
    clock.advance(10 - clock.monotonic())
    hop = await begun(sessions, whole(text))
    assert (hop.input, hop.dialogue) == (text, DIALOGUE)
    assert not await sessions.commit(dead, {"flow": "other"}, Reply("late"))


async def test_a_clock_put_back_does_not_lock_a_handset_out(sessions: Sessions, clock: FakeClock) -> None:
    """A lock that seems to last longer than any of ours is none; neither does the repeat window grow."""
    await answered(sessions, newest("", Event.BEGIN))
    await answered(sessions, newest("1"))
    await begun(sessions, newest("2"))
    clock.advance(-3600)
    assert (await begun(sessions, newest("1"))).input == "1"


async def test_a_hop_begun_before_the_store_was_emptied_does_not_commit(
    sessions: Sessions, client: Redis, clock: FakeClock
) -> None:
    """No fence is ever given twice, not even after a FLUSHALL."""
    old = await begun(sessions, whole(""))
    await client.flushall()
    assert not await sessions.commit(old, DIALOGUE, SCREEN)
    clock.advance(0.001)
    await begun(sessions, whole("", "s2"))
    assert not await sessions.commit(old, DIALOGUE, SCREEN)


async def test_a_dialogue_lives_for_five_minutes_after_each_hop(sessions: Sessions, client: Redis) -> None:
    """Begin and commit each start the TTL anew."""
    hop = await begun(sessions, whole(""))
    assert 299_000 < await client.pttl(KEY) <= 300_000
    await client.pexpire(KEY, 10_000)
    await sessions.commit(hop, DIALOGUE, SCREEN)
    assert 299_000 < await client.pttl(KEY) <= 300_000


async def test_handsets_do_not_meet(sessions: Sessions) -> None:
    """Another handset under the same, guessed session id is another dialogue."""
    await answered(sessions, whole(""))
    hop = await begun(sessions, whole("1", msisdn="+233240000002"))
    assert (hop.first, hop.dialogue) == (True, None)


async def test_a_masked_subscriber_belongs_to_its_aggregator(sessions: Sessions) -> None:
    """An id that is no number is keyed with the aggregator's name."""
    await answered(sessions, whole("", msisdn=None))
    other = await begun(sessions, whole("", msisdn=None, aggregator="other"))
    assert (other.first, other.dialogue) == (True, None)
    assert (await begun(sessions, whole("1*1", msisdn=None))).input == "1*1"


@pytest.mark.parametrize("turn", [whole("1*2*4821"), newest("4821")])
async def test_nothing_typed_is_stored_or_printed(sessions: Sessions, client: Redis, turn: Turn) -> None:
    """Neither Redis nor the hop's repr shows a PIN, and two handsets' equal PINs look different."""
    await answered(sessions, whole("1*2") if turn.cumulative else newest("", Event.BEGIN))
    hop = await answered(sessions, turn)
    stored = repr(await client.hgetall(KEY))
    assert hop.mark in stored
    assert "4821" not in stored + repr(hop)
    other = await answered(sessions, replace(turn, msisdn=Msisdn("+233240000002"), session_id="s9"))
    assert other.mark != hop.mark


async def test_a_dialogue_over_4_kb_is_refused(sessions: Sessions) -> None:
    """4096 bytes of JSON are stored, one more is an error."""
    hop = await begun(sessions, whole(""))
    room = 4096 - len('{"a":""}')
    with pytest.raises(ValueError, match="4097 bytes"):
        await sessions.commit(hop, {"a": "x" * (room + 1)}, SCREEN)
    assert await sessions.commit(hop, {"a": "x" * room}, SCREEN)


async def test_words_no_encoding_knows_do_not_fail_the_hop(sessions: Sessions) -> None:
    """A lone surrogate from somebody's JSON neither breaks begin nor the reply that quotes it."""
    await answered(sessions, newest("", Event.BEGIN))
    hop = await begun(sessions, newest("a\ud800"))
    assert await sessions.commit(hop, {"name": "a\ud800"}, Reply("Hello a\ud800"))
    assert await sessions.begin(newest("a\ud800"), WINDOW_MS) == Copy(Reply("Hello a?"))


async def test_scripts_a_restarted_server_forgot_are_sent_again(sessions: Sessions, client: Redis) -> None:
    """NOSCRIPT is answered with the script itself."""
    await answered(sessions, whole(""))
    await client.script_flush()
    assert await client.script_exists(COMMIT.sha) != [True]
    assert (await answered(sessions, whole("1"))).input == "1"


async def test_two_hundred_phones_at_once_share_one_connection(redis_url: str) -> None:
    """A crowd needs neither two hundred connections nor a second try."""
    client = connected(redis_url)
    sessions = Sessions(client, Clock(), SECRET, "920*55")
    turns = [whole("", msisdn=f"+23324{number:07}") for number in range(200)]
    before = len(await client.client_list())
    hops = await asyncio.gather(*(answered(sessions, turn) for turn in turns))
    assert len({hop.key for hop in hops}) == 200
    assert len(await client.client_list()) <= before + 1
    await client.aclose()


async def test_a_lost_connection_is_replaced(redis_url: str) -> None:
    """After Redis hung up the next hop goes on."""
    client = connected(redis_url)
    sessions = Sessions(client, Clock(), SECRET, "920*55")
    await answered(sessions, whole("", "s7"))
    async with redis_client.connect(redis_url) as other:
        await other.client_kill_filter(_type="normal", skipme=True)
    assert (await answered(sessions, whole("1", "s7"))).input == "1"
    await client.aclose()


async def test_with_redis_away_everybody_hears_it_within_two_seconds(clock: FakeClock) -> None:
    """Nobody listening and nobody answering are both SessionsAway, for every hop under way."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for url in (
            "redis://127.0.0.1:1/0",
            f"redis://127.0.0.1:{port}/0",
            "unix:///nowhere",
            "redis+cluster://127.0.0.1:1",
        ):
            client = redis_client.connect(url)
            sessions = Sessions(client, clock, SECRET, "920*55")
            started = time.monotonic()
            asked = (sessions.begin(whole("", f"s{number}"), WINDOW_MS) for number in range(50))
            outcomes = await asyncio.gather(*asked, sessions.end(newest("", Event.END)), return_exceptions=True)
            assert time.monotonic() - started < 2
            assert {type(outcome) for outcome in outcomes} == {SessionsAway}
            await client.aclose()


async def test_a_typical_dialogue_takes_less_than_a_kilobyte(redis: Redis, clock: FakeClock) -> None:
    """Two answers and a price, on the screen that asks to confirm them: all that Redis keeps of it, as Redis counts."""
    dialogue = {
        "state": "send_money.confirm",
        "run": "0" * 32,
        "language": "en",
        "menus": "0" * 16,
        "answers": {
            "recipient": [MSISDN],
            "amount": [5000, "GHS"],
            "fee": [50, "GHS"],
            "total": [5050, "GHS"],
            "recipient_name": "KOFI MENSAH",
        },
        "history": ["recipient", "amount"],
        "home": "main.home",
        "known": {"name": "Ama", "language": "en"},
    }
    sessions = Sessions(redis, clock, SECRET, "920*55")
    hop = await begun(sessions, whole("3*0240000002*50", "ATUid_" + "0" * 32, aggregator="africastalking"))
    assert await sessions.commit(hop, dialogue, Reply("W" * 120))
    assert (await redis.memory_usage(KEY, samples=0) or 9999) < 1024
