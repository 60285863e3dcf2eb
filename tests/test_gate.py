"""Who may begin in a crowd, and who hears at once that we are busy."""

import asyncio

import pytest
from conftest import FakeClock
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from world import AT, EVENT, MADAPI, WORDS, Act, FakeConversation, FakeSessions, World

from ussd_app.clock import Clock
from ussd_app.ussd import Effects
from ussd_app.web.gate import PACED, QUIET_SECONDS, WAIT_SECONDS, Gate

DIAL = AT | {"text": ""}


def refused(what: str) -> float:
    """How many the metrics have counted."""
    return REGISTRY.get_sample_value("ussd_refused_total", {"what": what}) or 0


@pytest.fixture
def gate(clock: FakeClock) -> Gate:
    """Three may be inside."""
    return Gate(clock, 3)


def full(gate: Gate) -> None:
    """Nobody more may begin at once."""
    assert [gate.enter() for _ in range(3)] == [True] * 3


async def paced(gate: Gate, clock: FakeClock, seconds: float) -> None:
    """Let so many go through that the gate knows how long one takes."""
    full(gate)
    places = [gate.enter() for _ in range(2)]
    for _ in range(PACED):
        places.append(gate.enter())
        clock.advance(seconds)
        gate.leave()
    for _ in range(5):
        clock.advance(seconds)
        gate.leave()
    assert all([await place for place in places if isinstance(place, asyncio.Future)])


async def test_dials_begin_in_the_order_they_came(gate: Gate) -> None:
    """Three at once, each further one when another leaves; one who has gone away is passed over."""
    full(gate)
    places = [gate.enter() for _ in range(3)]
    assert not any(isinstance(place, bool) for place in places)
    waiting = [place for place in places if isinstance(place, asyncio.Future)]
    waiting[0].cancel()
    gate.leave()
    assert [place.done() for place in waiting] == [True, True, False]
    assert await waiting[1]
    gate.leave()
    assert await waiting[2]
    for _ in range(3):
        gate.leave()
    assert gate.enter() is True


@pytest.mark.parametrize(("seconds", "places"), [(0.01, 199), (0.1, 19), (0.5, 3)])
async def test_who_would_wait_too_long_hears_it_at_once(
    gate: Gate, clock: FakeClock, seconds: float, places: int
) -> None:
    """The slower dials lately went through, the fewer may wait: no number is set for any machine."""
    await paced(gate, clock, seconds)
    full(gate)
    taken = [gate.enter() for _ in range(300)]
    assert abs(sum(place is not False for place in taken) - places) <= 1
    assert taken[-1] is False


async def test_a_first_crowd_is_not_judged_by_its_first_dial(gate: Gate, clock: FakeClock) -> None:
    """Those inside share the processor and leave together, so the time of the first says nothing of the pace."""
    full(gate)
    waiting = [gate.enter() for _ in range(30)]
    clock.advance(0.3)
    for _ in range(3):
        gate.leave()
    assert gate.wait_seconds(clock.monotonic()) == pytest.approx(0.1 * 28)
    clock.advance(0.3)
    gate.leave()
    assert not any(place is False for place in waiting)


async def test_nobody_waits_longer_than_two_seconds(gate: Gate, clock: FakeClock) -> None:
    """Where nobody leaves, those who wait hear it in time, and who comes then at once."""
    full(gate)
    first = gate.enter()
    clock.advance(1)
    second = gate.enter()
    assert isinstance(first, asyncio.Future)
    assert isinstance(second, asyncio.Future)
    clock.advance(WAIT_SECONDS - 1)
    gate.beat()
    assert await first is False
    assert not second.done()
    clock.advance(0.1)
    assert gate.enter() is False


async def test_a_hop_that_continues_goes_before_all_dials(gate: Gate, clock: FakeClock) -> None:
    """It is refused only where the event loop itself is late, twice in a row."""
    full(gate)
    for _ in range(5):
        gate.enter()
    assert gate.passes()
    clock.advance(0.1 + 0.6)  # the beat that was due after a tenth of a second
    gate.beat()
    assert gate.passes()
    clock.advance(0.1 + 0.6)
    gate.beat()
    assert not gate.passes()
    clock.advance(0.1)
    gate.beat()
    assert gate.passes()


async def test_a_crowd_is_told_of_twice_and_counted(gate: Gate, clock: FakeClock) -> None:
    """One line when hops begin to be refused, one when that is over, whatever their number."""
    before = refused("dial")
    await paced(gate, clock, 0.5)
    with capture_logs() as lines:
        full(gate)
        for _ in range(100):
            gate.enter()
        for seconds in (WAIT_SECONDS, QUIET_SECONDS, 0.1):
            clock.advance(seconds)
            gate.beat()
    counted = int(refused("dial") - before)
    assert counted >= 97
    told = [(line["event"], line.get("waiting"), line.get("refused")) for line in lines]
    assert told[0][0] == "a crowd: hops are refused"
    assert told[1:] == [("the crowd is over", None, counted)]


# Through the web application


async def hang(_effects: Effects) -> None:
    """Never come back."""
    await asyncio.Event().wait()


def world(act: Act | None = None) -> World:
    """One in which one dial may be inside."""
    made = World(sessions=FakeSessions(), conversation=FakeConversation(act), clock=Clock(), hop_seconds=4.0)
    made.gate = Gate(made.clock, 1)
    return made


async def test_a_dial_that_must_wait_too_long_is_busy_before_it_begins() -> None:
    """The aggregator's own format, an END, true words, nothing begun; hops of a dialogue and notices are served."""
    crowd = world(hang)
    assert crowd.gate
    crowd.gate.enter()
    started = asyncio.get_running_loop().time()
    dials = [crowd.post("/ussd/africastalking", data=DIAL), crowd.post("/ussd/mtn", json=MADAPI | {"messageType": "0"})]
    answers = await asyncio.gather(*dials)
    assert 1.9 < asyncio.get_running_loop().time() - started < 3
    assert answers[0].text == f"END {WORDS['busy']}"
    assert answers[1].json()["data"]["inboundResponse"] == WORDS["busy"]
    assert answers[1].json()["data"]["userInputRequired"] is False
    conversation, sessions = crowd.conversation, crowd.sessions
    assert isinstance(conversation, FakeConversation)
    assert isinstance(sessions, FakeSessions)
    assert not sessions.committed
    conversation.act = None
    assert (await crowd.post("/ussd/africastalking", data=AT)).text == "CON Got 1\n1. Yes"
    assert (await crowd.post("/ussd/africastalking", data=EVENT)).status_code == 200
    crowd.gate.leave()
    assert (await crowd.post("/ussd/africastalking", data=DIAL)).text.startswith("CON ")


async def test_a_dial_that_hangs_gives_its_place_back() -> None:
    """Answered late or failed inside, what entered leaves."""
    crowd = world(hang)
    crowd.hop_seconds = 0.05
    for _ in range(3):
        assert (await crowd.post("/ussd/africastalking", data=DIAL)).text == f"END {WORDS['failed']}"


async def test_a_refused_hop_of_a_dialogue_is_told_nothing_untrue() -> None:
    """Something may have been charged earlier in it: it hears that this did not work, and nothing was begun."""
    crowd = world()
    gate = crowd.gate = Gate(FakeClock(), 1)
    clock = gate._clock
    assert isinstance(clock, FakeClock)
    gate.enter()
    for _ in range(2):
        clock.advance(0.8)
        gate.beat()
    assert (await crowd.post("/ussd/africastalking", data=AT)).text == f"END {WORDS['failed']}"
    assert isinstance(crowd.sessions, FakeSessions)
    assert not crowd.sessions.committed
