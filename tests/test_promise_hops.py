"""What a hop that fails promises, and what the next dial does about it."""

from dataclasses import replace

from conftest import FakeClock
from world import AT, HOP, WORDS, FakeConversation, FakeKeeper, FakeSessions, World

from ussd_app.msisdn import Msisdn
from ussd_app.promises import Promise
from ussd_app.ussd import Effects, Reply

LEFT = Promise("r.3", "r", Msisdn("+233240000001"), "fr", FakeClock().now())


async def test_a_promise_is_made_and_left_in_the_dialogue() -> None:
    """What the hop has told of itself is what will be looked up, in the words the person reads."""

    async def place_and_break_down_in_french(effects: Effects) -> None:
        effects.run, effects.key, effects.language = "r", "r.3", "fr"
        effects.may_have_effect = True
        raise RuntimeError

    world = World(conversation=FakeConversation(place_and_break_down_in_french))
    response = await world.post("/ussd/africastalking", data=AT)
    assert response.text == f"END {WORDS['we_will_sms']}"
    assert world.keeper.made == [LEFT]
    assert isinstance(world.sessions, FakeSessions)
    assert world.sessions.committed == [({"promise": LEFT.dump()}, Reply(WORDS["we_will_sms"], close=True))]


async def test_a_dial_keeps_what_was_promised_before_it_shows_anything() -> None:
    """While it cannot be kept the dial fails and the promise stays in the dialogue; then it is kept, and home shown."""
    left = replace(HOP, first=True, redial=True, input="", dialogue={"promise": LEFT.dump()})
    world = World(sessions=FakeSessions(begins=left), keeper=FakeKeeper(fails=OSError()))
    assert (await world.post("/ussd/africastalking", data=AT)).text == f"END {WORDS['failed']}"
    assert isinstance(world.sessions, FakeSessions)
    assert world.sessions.committed == [({"promise": LEFT.dump()}, Reply(WORDS["failed"], close=True))]
    world.keeper.fails = None
    assert (await world.post("/ussd/africastalking", data=AT)).text.startswith("CON ")
    assert world.keeper.kept == [LEFT]
