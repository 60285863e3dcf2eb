"""What one dialogue promises from screen to screen, on menus made for the purpose (shop.py)."""

import asyncio
import re
from dataclasses import replace
from pathlib import Path

import pytest
from phone import AMA, KOFI, Phone
from shop import AMOUNT, COLOUR, CONFIRM, FOOT, GIFT, HOME, ITEMS, SEEN, SHOP, THINGS, written
from transitions import Machine

from ussd_app.menus import Do, Menus


@pytest.fixture
def shop(tmp_path: Path) -> Menus:
    """The menus above."""
    SEEN.clear()
    return written(tmp_path)


@pytest.fixture
def phone(shop: Menus) -> Phone:
    """A phone that may dial them."""
    return Phone(shop)


async def test_home_lists_the_flows_under_their_codes(phone: Phone) -> None:
    """Home shows its own lines, then each flow under the digits that open it."""
    assert await phone.dial() == HOME
    assert await phone.press("3") == AMOUNT


async def test_a_line_is_for_those_who_fulfil_its_condition(phone: Phone) -> None:
    """An option whose `when` is not true is neither shown nor taken, and its number stays free."""
    phone.msisdn = None
    assert await phone.dial() == HOME.replace("\n9 For you", "")
    assert (await phone.press("9")).startswith("CON Wrong choice.\nHome")
    phone.msisdn = AMA
    await phone.dial()
    assert await phone.press("9") == "END Very important"


async def test_an_option_sets_what_later_screens_show(phone: Phone) -> None:
    """An option's `set` is an answer like any other."""
    await phone.dial()
    assert await phone.press("3", "1", "2") == "CON GHS 1.00 blue\n1 Buy\n2 No" + FOOT


async def test_an_unlisted_flow_has_a_key_and_no_line(tmp_path: Path) -> None:
    """Typed at home or dialled it works; the home screen does not show it."""
    phone = Phone(written(tmp_path, things=THINGS.replace('"4"', '"4"\nlisted = false')))
    assert await phone.dial() == HOME.replace("\n4 Things", "")
    assert (await phone.press("4")).startswith("CON Which")
    assert await phone.dial("4", "2") == "CON 1: Thing number 1\n1 Another\n2 Nothing" + FOOT


async def test_a_title_shows_what_comes_with_its_condition(tmp_path: Path) -> None:
    """Only those for whom the flow is listed see it, with what home knows of them; its key works for everybody."""
    title = 'title = "Shop in {{ language }}"\nwhen = "vip"'
    flow = SHOP.replace('title  = "Shop"', title).replace('"ask"\n\n', '"restart"\n\n', 1)
    phone = Phone(written(tmp_path, shop=flow))
    assert await phone.dial() == HOME.replace("Shop", "Shop in fr")
    assert await phone.press("3", "00") == HOME.replace("Shop", "Shop in fr")
    phone.msisdn = KOFI
    assert await phone.dial() == "CON Home\n4 Things\n5 Secret"
    assert not (await phone.press("3")).startswith("CON Wrong choice")


async def test_back_walks_through_what_was_answered(phone: Phone) -> None:
    """0 shows the screen before, and home where there is none before."""
    await phone.dial()
    assert await phone.press("3", "1", "1") == CONFIRM
    assert await phone.press("0") == COLOUR
    assert await phone.press("0") == AMOUNT
    assert await phone.press("0") == HOME
    assert (await phone.press("0")).startswith("CON Wrong choice.")


async def test_home_is_one_key_from_everywhere(phone: Phone) -> None:
    """00 shows home, without asking anyone again who is calling, and forgets the answers."""
    await phone.dial()
    await phone.press("3", "1", "1")
    assert await phone.press("00") == HOME
    assert phone.dialogue is not None
    assert "history" not in phone.dialogue
    assert phone.dialogue["answers"] == {"vip": True}  # all that home asks for
    assert await phone.press("3", "0") == HOME


async def test_going_back_repeats_no_action(phone: Phone) -> None:
    """Only screens that were answered are gone back to, never the code between them."""
    await phone.dial()
    await phone.press("5", "2580", "hello")
    assert await phone.press("0") == "CON Say something" + FOOT
    assert await phone.press("0") == "CON PIN, or 2" + FOOT
    assert len(SEEN) == 1


async def test_nothing_leads_back_behind_an_order(phone: Phone) -> None:
    """A refusal leaves the way back as it was; what was placed ends the dialogue."""
    await phone.dial()
    await phone.press("3", "2", "1", "1")
    assert await phone.press("0") == CONFIRM.replace("1.00", "2.00")
    await phone.press("0", "0", "1", "1")
    assert await phone.press("1") == "END Bought 48215037"
    assert phone.dialogue is None


async def test_a_wrong_answer_shows_why_above_the_same_screen(phone: Phone) -> None:
    """The reason is worded by the type of the answer; a right answer starts the count anew."""
    await phone.dial()
    assert await phone.press("3", "x") == "CON Not an amount.\nHow much" + FOOT
    assert await phone.press("x") == "CON Not an amount.\nHow much" + FOOT
    assert await phone.press("1") == COLOUR
    assert await phone.press("7", "7") == "CON Wrong choice.\nColour\n1 Red\n2 Blue" + FOOT
    assert await phone.press("1") == CONFIRM


async def test_three_wrong_answers_end_the_dialogue(phone: Phone) -> None:
    """The third in a row is the last."""
    await phone.dial()
    assert await phone.press("3", "x", "0.001", "-5") == "END Three wrong answers. Please dial again."


@pytest.mark.parametrize("nothing_typed", ["", "   "])
async def test_no_entry_is_no_wrong_answer(phone: Phone, nothing_typed: str) -> None:
    """Whoever sends nothing, or an input that does not follow from the last, sees the present screen again."""
    await phone.dial()
    await phone.press("3", "x", "x")
    for _ in range(4):
        assert await phone.press(nothing_typed) == AMOUNT
        assert await phone.diverge() == AMOUNT
    assert (await phone.press("x")).startswith("END Three wrong")


async def test_more_is_an_answer_where_there_is_no_list(phone: Phone) -> None:
    """98 is an amount like any other."""
    await phone.dial()
    assert await phone.press("3", "98", "1") == CONFIRM.replace("1.00", "98.00")


async def test_a_list_only_known_now_has_pages(phone: Phone) -> None:
    """Numbers are read against the page on the screen, and 98 goes on after its last line."""
    await phone.dial()
    first = await phone.press("4")
    assert first.startswith("CON Which\n1 Thing number 0\n2 Thing number 1\n")
    assert first.endswith("\n98 More" + FOOT)
    last = first
    while "98 More" in last:
        last = await phone.press("98")
    assert last.endswith(f"Thing number {ITEMS - 1}" + FOOT)
    assert (await phone.press("9")).startswith("CON Wrong choice.\nWhich")
    assert await phone.press("0") == first
    assert await phone.press("98", "1") != await phone.press("0", "1")
    assert await phone.press("00", "4", "2") == "CON 1: Thing number 1\n1 Another\n2 Nothing" + FOOT


async def test_every_thing_of_a_list_can_be_reached(phone: Phone) -> None:
    """However the pages fall, no line is lost between two of them."""
    await phone.dial()
    shown = [await phone.press("4")]
    while "98 More" in shown[-1]:
        shown.append(await phone.press("98"))
    things = [line.split(" ", 1)[1] for screen in shown for line in screen.splitlines() if "Thing" in line]
    assert things == [f"Thing number {number}" for number in range(ITEMS)]


async def test_a_list_of_thousands_is_paged(phone: Phone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page is fetched behind the last line shown, is all that is stored, and 0 leads back to the first."""
    monkeypatch.setattr("shop.ITEMS", 2_000)
    await phone.dial()
    screen = first = await phone.press("4")
    shown = 0
    while "98 More" in screen:
        numbers = [int(number) for number in re.findall("Thing number ([0-9]+)", screen)]
        assert numbers == list(range(shown, shown + len(numbers)))
        shown += len(numbers)
        assert len(str(phone.dialogue)) < 600
        screen = await phone.press("98")
    assert f"Thing number {shown}\n" in screen
    assert "Thing number 1999" in screen
    assert await phone.press("0") == first
    assert await phone.press("98", "98", "0", "0") == HOME


async def test_a_page_that_is_gone_is_the_first_again(phone: Phone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the list has shrunk to what was shown, there is nothing behind it; where all is gone, it is empty."""
    await phone.dial()
    first = await phone.press("4")
    monkeypatch.setattr("shop.ITEMS", 2)
    screen = await phone.press("98")
    assert screen == "CON Which\n1 Thing number 0\n2 Thing number 1" + FOOT
    monkeypatch.setattr("shop.ITEMS", ITEMS)
    assert await phone.press("0", "4") == first
    monkeypatch.setattr("shop.ITEMS", 0)
    assert await phone.press("98") == "END Nothing there"


async def test_an_empty_list_leads_where_it_says(phone: Phone) -> None:
    """`empty` is taken without anybody pressing a key."""
    await phone.dial()
    assert await phone.press("4", "1", "2") == "END Nothing there"


async def test_a_pin_is_never_remembered(phone: Phone) -> None:
    """It reaches the code of its own hop, and no dialogue ever holds it."""
    await phone.dial()
    await phone.press("5", "2580")
    assert [pin for _, pin in SEEN] == ["2580"]
    assert "2580" not in str(phone.dialogue)
    await phone.press("x", "1")
    assert "2580" not in str(phone.dialogue)


async def test_a_fixed_key_means_something_else_than_an_answer(phone: Phone) -> None:
    """2 leaves where everything else is a PIN."""
    await phone.dial()
    assert await phone.press("5", "2") == "END Not today"


async def test_a_run_is_one_from_its_entry_to_its_end(phone: Phone) -> None:
    """Whatever one run of a flow places carries one id, the next run another."""
    await phone.dial()
    assert await phone.press("3", "2", "1", "1", "1", "1") == "END Bought 48215037"
    await phone.dial()
    await phone.press("3", "1", "1", "1")
    runs = [run for run, _ in SEEN]
    assert len(runs) == 3
    assert runs[0] == runs[1] != runs[2]


def told(phone: Phone) -> bool:
    """Whether the last hop has said that it may have had an effect."""
    return phone.effects.may_have_effect


async def test_effects_are_told_before_they_happen(phone: Phone) -> None:
    """Before an order nothing, after a refusal nothing, after an order or a break inside it: perhaps."""
    await phone.dial()
    await phone.press("3", "2", "1")
    assert not told(phone)
    await phone.press("1")
    assert not told(phone)
    await phone.press("3")
    with pytest.raises(ConnectionError):
        await phone.press("1")
    assert told(phone)
    assert await phone.press("0", "1", "1") == "END Bought 48215037"
    assert told(phone)
    assert (phone.effects.flow, phone.effects.language) == (
        "shop",
        "en",
    )  # French is what she reads, and these menus have none


async def test_an_effect_is_told_while_it_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever cuts a hop short sees it at once, also of an action that collects nothing, and nothing takes it back."""
    giving, given = asyncio.Event(), asyncio.Event()
    monkeypatch.setattr("shop.GIVING", (giving, given))
    phone = Phone(written(tmp_path, gift=GIFT))
    await phone.dial("6")
    hop = asyncio.create_task(phone.press("1"))
    await giving.wait()
    assert told(phone)
    given.set()
    assert await hop == "END Given"
    assert told(phone)


async def test_too_much_code_in_one_hop_is_stopped(shop: Menus) -> None:
    """Code that only leads to code cannot hold up a hop (the check refuses such menus; this is the second lock)."""
    loop = Do("main.greet", "main", 1, shop.screens["main.greet"].action, {"hello": "main.greet"})  # type: ignore[attr-defined]  # it is a Do
    machine = Machine(
        model=None,
        states=["main.greet"],
        transitions=[["on_hello", "main.greet", "main.greet"]],
        initial=None,
        auto_transitions=False,
    )
    with pytest.raises(RuntimeError, match="more than 8 actions"):
        await Phone(replace(shop, screens={"main.greet": loop}, machine=machine)).dial()
