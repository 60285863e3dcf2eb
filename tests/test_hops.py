"""One hop through the web application: in time and well-formed, whatever happens inside."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from world import AT, CON_END, EVENT, FLAT, HUBTEL, MADAPI, WORDS, Act, FakeConversation, FakeSessions, World

from ussd_app.clock import Clock
from ussd_app.redis_client import connect
from ussd_app.sessions import Copy, Late, Sessions, SessionsAway
from ussd_app.ussd import Effects, Reply

# A hop


FLAT_SCREEN = (
    '{"response":"Got 1\\n1. Yes","userInputRequired":true,"serviceCode":"920","messageType":1,'
    '"msisdn":"233240000001","sessionId":"s1"}'
)
HUBTEL_SCREEN = (
    '{"SessionId":"s1","Type":"response","Message":"Got 1\\n1. Yes","Label":"Got 1","DataType":"input",'
    '"FieldType":"text"}'
)


@pytest.mark.parametrize(
    ("name", "request_", "shown"),
    [
        ("africastalking", {"data": AT}, "CON Got 1\n1. Yes"),
        ("mtn", {"json": CON_END}, "CON Got 1\n1. Yes"),
        ("mtn", {"json": FLAT}, FLAT_SCREEN),
        ("hubtel", {"json": HUBTEL}, HUBTEL_SCREEN),
    ],
)
async def test_hop_is_answered_in_its_own_format(name: str, request_: dict[str, Any], shown: str) -> None:
    """The shared address and the aggregator's own give the same bytes."""
    for path in ("/ussd/callback", f"/ussd/{name}"):
        response = await World().post(path, **request_)
        assert (response.status_code, response.text) == (200, shown)


async def test_multipart_form_is_a_form() -> None:
    """Africa's Talking's fields may come as multipart."""
    response = await World().post("/ussd/callback", files={name: (None, value) for name, value in AT.items()})
    assert response.content == b"CON Got 1\n1. Yes"


async def test_answer_is_committed_before_it_is_shown() -> None:
    """What the conversation wants kept is kept, with the words shown."""
    sessions = FakeSessions()
    await World(sessions=sessions).post("/ussd/mtn", json=MADAPI)
    assert sessions.committed == [({"entries": 1}, Reply("Got 1\n1. Yes"))]


async def test_copy_gets_the_stored_words() -> None:
    """A copy is not taken to the conversation."""
    conversation = FakeConversation()
    sessions = FakeSessions(begins=Copy(Reply("As before", close=True)))
    response = await World(sessions=sessions, conversation=conversation).post("/ussd/africastalking", data=AT)
    assert response.content == b"END As before"
    assert not conversation.entries
    assert not sessions.committed


# What goes wrong inside


async def nothing(_effects: Effects) -> None:
    """Succeed."""


async def break_down(_effects: Effects) -> None:
    """Fail before anything was placed."""
    raise RuntimeError("PIN 4711 of +233240000001")


async def place_and_break_down(effects: Effects) -> None:
    """Fail when something may have been placed."""
    effects.may_have_effect = True
    raise RuntimeError("PIN 4711 of +233240000001")


async def place(effects: Effects) -> None:
    """Place something."""
    effects.may_have_effect = True


async def hang(_effects: Effects) -> None:
    """Never come back."""
    await asyncio.Event().wait()


async def place_and_hang(effects: Effects) -> None:
    """Place something and never come back."""
    effects.may_have_effect = True
    await asyncio.Event().wait()


async def cancel(_effects: Effects) -> None:
    """What a driver does whose connection was taken away."""
    raise asyncio.CancelledError


FAULTS: dict[str, tuple[dict[str, Any], Act, str]] = {
    "redis away at begin": ({"begins": SessionsAway()}, nothing, "busy"),
    "a bug in begin": ({"begins": RuntimeError()}, nothing, "failed"),
    "a late hop": ({"begins": Late()}, nothing, "ended"),
    "a bug in the conversation": ({}, break_down, "failed"),
    "a bug after something was placed": ({}, place_and_break_down, "we_will_sms"),
    "too slow": ({}, hang, "failed"),
    "too slow after something was placed": ({}, place_and_hang, "we_will_sms"),
    "cancelled from inside": ({}, cancel, "failed"),
    "redis away at commit": ({"commits": SessionsAway()}, nothing, "failed"),
    "redis away at commit after something was placed": ({"commits": SessionsAway()}, place, "we_will_sms"),
    "superseded meanwhile": ({"commits": False}, nothing, "ended"),
    "superseded after something was placed": ({"commits": False}, place, "we_will_sms"),
}
REQUESTS: dict[str, dict[str, Any]] = {
    "africastalking": {"data": AT},
    "mtn": {"json": FLAT},
    "hubtel": {"json": HUBTEL},
}
ENDS = {
    "africastalking": "END $",
    "mtn": (
        '{"response":"$","userInputRequired":false,"serviceCode":"920","messageType":2,'
        '"msisdn":"233240000001","sessionId":"s1"}'
    ),
    "hubtel": '{"SessionId":"s1","Type":"release","Message":"$","Label":"$","DataType":"display","FieldType":"text"}',
}


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("fault", FAULTS)
async def test_every_fault_ends_well_formed(fault: str, name: str) -> None:
    """Whatever happens inside, the handset gets a true sentence in that aggregator's own format, and a 200."""
    sessions, act, word = FAULTS[fault]
    world = World(sessions=FakeSessions(**sessions), conversation=FakeConversation(act), hop_seconds=0.05)
    response = await world.post(f"/ussd/{name}", **REQUESTS[name])
    assert response.status_code == 200
    assert response.text == ENDS[name].replace("$", WORDS[word])


async def test_failed_hop_keeps_its_last_words_and_the_dialogue_before_it() -> None:
    """A copy of a failed hop will get the same words, and a redial may go on where it began."""
    sessions = FakeSessions()
    await World(sessions=sessions, conversation=FakeConversation(break_down)).post("/ussd/africastalking", data=AT)
    assert sessions.committed == [({"before": 1}, Reply(WORDS["failed"], close=True))]


async def test_failed_hop_with_an_effect_leaves_nothing_to_resume() -> None:
    """What may have been placed is not offered again."""
    sessions = FakeSessions()
    conversation = FakeConversation(place_and_break_down)
    await World(sessions=sessions, conversation=conversation).post("/ussd/africastalking", data=AT)
    assert sessions.committed == [(None, Reply(WORDS["we_will_sms"], close=True))]


async def test_stuck_hop_that_cannot_be_cancelled_is_answered_in_time() -> None:
    """A driver that waits for a dead server even when cancelled does not hold up the answer."""
    freed = asyncio.Event()

    async def hold_on(_effects: Effects) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await freed.wait()

    world = World(conversation=FakeConversation(hold_on), hop_seconds=0.05)
    async with asyncio.timeout(2):
        response = await world.post("/ussd/africastalking", data=AT)
    freed.set()
    assert response.text == f"END {WORDS['failed']}"


async def test_last_words_stand_also_where_they_are_not_kept() -> None:
    """A second fault, in keeping the words of the first, changes nothing for the handset."""
    world = World(sessions=FakeSessions(commits=ValueError("a dialogue of 5000 bytes; 4096 are allowed")))
    with capture_logs() as lines:
        response = await world.post("/ussd/africastalking", data=AT)
    assert response.text == f"END {WORDS['failed']}"
    assert [line["event"] for line in lines] == ["hop failed", "last words not kept", "hop"]


async def test_end_of_a_hop_that_was_cut_short_is_not_printed(caplog: pytest.LogCaptureFixture) -> None:
    """What a hop raises after its answer is gone: asyncio would print the exception's words."""

    async def break_down_late(effects: Effects) -> None:
        try:
            await hang(effects)
        except asyncio.CancelledError:
            raise RuntimeError("PIN 4711") from None

    world = World(conversation=FakeConversation(break_down_late), hop_seconds=0.05)
    response = await world.post("/ussd/africastalking", data=AT)
    await asyncio.sleep(0)
    gc.collect()
    assert response.text == f"END {WORDS['failed']}"
    assert not caplog.records


# Notices


@pytest.mark.parametrize("ends", [None, SessionsAway(), RuntimeError()])
@pytest.mark.parametrize("path", ["/ussd/africastalking/events", "/ussd/africastalking", "/ussd/callback"])
async def test_end_notice_of_africastalking_is_heard(path: str, ends: Exception | None) -> None:
    """The notice reaches the sessions and is answered with an empty 200, also while Redis is away."""
    sessions = FakeSessions(ends=ends)
    response = await World(sessions=sessions).post(path, data=EVENT)
    assert (response.status_code, response.content) == (200, b"")
    assert ends or [turn.session_id for turn in sessions.ended] == ["s1"]
    assert not sessions.committed


@pytest.mark.parametrize("kind", [4, 5])
async def test_abort_of_mtn_is_heard(kind: int) -> None:
    """Abort and timeout are answered with an envelope that shows nothing and asks for nothing."""
    sessions = FakeSessions()
    response = await World(sessions=sessions).post("/ussd/mtn", json=MADAPI | {"messageType": kind})
    assert response.json()["data"] | {"inboundResponse": "", "userInputRequired": False} == response.json()["data"]
    assert len(sessions.ended) == 1


# What is said of a hop


async def test_one_line_and_one_count_for_each_hop() -> None:
    """The log names session, flow and outcome, masks the number and never holds what was typed or shown."""
    labels = {"aggregator": "africastalking", "flow": "send_money", "outcome": "continue"}
    before = REGISTRY.get_sample_value("ussd_hops_total", labels) or 0
    with capture_logs() as lines:
        await World().post("/ussd/africastalking", data=AT | {"text": "1*4711"})
    assert lines == [
        {
            "event": "hop",
            "log_level": "info",
            "module": "ussd_app.web.hops",
            "session_id": "s1",
            "msisdn": "23324****001",
            "ms": 0.0,
            **labels,
        }
    ]
    assert "4711" not in str(lines)
    assert "240000001" not in str(lines)
    assert REGISTRY.get_sample_value("ussd_hops_total", labels) == before + 1


async def test_fault_is_logged_without_its_words() -> None:
    """An exception may quote a PIN; its type and its place are enough to find it."""
    with capture_logs() as lines:
        await World(conversation=FakeConversation(break_down)).post("/ussd/africastalking", data=AT)
    assert [line["event"] for line in lines] == ["hop failed", "hop"]
    assert lines[0]["error"] == "RuntimeError"
    assert "test_hops.py:" in lines[0]["where"]
    assert "4711" not in str(lines)


# With real sessions


@asynccontextmanager
async def real_sessions(redis_url: str) -> AsyncIterator[World]:
    """A world whose dialogues are in Redis."""
    async with connect(redis_url) as redis:
        await redis.flushall()
        yield World(sessions=Sessions(redis, Clock(), b"k" * 32, "920*55"), clock=Clock())


def hop_of(name: str, typed: list[str]) -> dict[str, Any]:
    """The request of the hop that follows these entries."""
    newest = typed[-1] if typed else "*920*55#"
    kind = 1 if typed else 0
    return {
        "africastalking": {"data": AT | {"text": "*".join(typed)}},
        "mtn": {"json": MADAPI | {"messageType": kind, "ussdString": newest}},
        "hubtel": {
            "json": HUBTEL | {"Type": ("Initiation", "Response")[kind], "Message": newest, "Sequence": len(typed) + 1}
        },
    }[name]


@pytest.mark.parametrize("name", ["africastalking", "mtn", "hubtel"])
async def test_copies_change_nothing_and_get_the_same_bytes(redis_url: str, name: str) -> None:
    """Of one hop sent twice and of twenty at once, the conversation sees one; all get its bytes."""
    async with real_sessions(redis_url) as world:
        await world.post(f"/ussd/{name}", **hop_of(name, []))
        first = await world.post(f"/ussd/{name}", **hop_of(name, ["5"]))
        again = await world.post(f"/ussd/{name}", **hop_of(name, ["5"]))
        assert again.content == first.content
        crowd = await asyncio.gather(*(world.post(f"/ussd/{name}", **hop_of(name, ["5", "6"])) for _ in range(20)))
        assert len({response.content for response in crowd}) == 1
        assert isinstance(world.conversation, FakeConversation)
        assert world.conversation.entries == ["", "5", "6"]


@pytest.mark.parametrize("name", ["africastalking", "hubtel"])
async def test_same_choice_twice_is_two_hops(redis_url: str, name: str) -> None:
    """``1`` and then ``1`` again is told from a copy by the history or by the hop's number."""
    async with real_sessions(redis_url) as world:
        for typed in ([], ["1"], ["1", "1"]):
            await world.post(f"/ussd/{name}", **hop_of(name, typed))
        assert isinstance(world.conversation, FakeConversation)
        assert world.conversation.entries == ["", "1", "1"]


@pytest.mark.parametrize("name", ["africastalking", "mtn", "hubtel"])
@pytest.mark.parametrize("typed", ["*", "**", "#", "0", "", " 1 ", "+233240000001", "a&b=c", "épée", "9" * 500])
async def test_entry_arrives_as_it_was_typed(redis_url: str, name: str, typed: str) -> None:
    """What a person can type, stars and blanks and accents included, reaches the conversation unchanged."""
    async with real_sessions(redis_url) as world:
        await world.post(f"/ussd/{name}", **hop_of(name, []))
        await world.post(f"/ussd/{name}", **hop_of(name, ["5"]))
        response = await world.post(f"/ussd/{name}", **hop_of(name, ["5", typed]))
        assert response.status_code == 200
        assert isinstance(world.conversation, FakeConversation)
        assert world.conversation.entries == ["", "5", typed]


@pytest.mark.parametrize("name", ["africastalking", "mtn", "hubtel"])
async def test_reply_for_a_session_nobody_knows_begins(redis_url: str, name: str) -> None:
    """A lost session starts over; old keys are at most pre-typed input, never an answer."""
    async with real_sessions(redis_url) as world:
        response = await world.post(f"/ussd/{name}", **hop_of(name, ["5", "6"]))
        assert response.status_code == 200
        assert isinstance(world.conversation, FakeConversation)
        assert world.conversation.entries == [""]


async def test_redis_that_is_away_is_busy_at_once(tmp_path: Path) -> None:
    """With no Redis the handset is told so well within two seconds."""
    async with connect(f"unix://{tmp_path}/nobody.sock") as redis, asyncio.timeout(2):
        world = World(sessions=Sessions(redis, Clock(), b"k" * 32, "920*55"))
        response = await world.post("/ussd/africastalking", data=AT)
    assert response.text == f"END {WORDS['busy']}"
