"""How dialogues begin: on a redial, with pre-typed input, after a loss, in which language and for whom (shop.py)."""

from pathlib import Path

import polib
import pytest
from phone import Phone
from shop import AMOUNT, ASKING, COLOUR, CONFIRM, FOOT, HOME, MAIN, PAY, QUESTION, SEEN, SHOP, resolver, written

from ussd_app import menus
from ussd_app.menus import Limits, Menus
from ussd_app.menus.check import examine


@pytest.fixture
def shop(tmp_path: Path) -> Menus:
    """The menus above."""
    SEEN.clear()
    return written(tmp_path)


@pytest.fixture
def phone(shop: Menus) -> Phone:
    """A phone that may dial them."""
    return Phone(shop)


async def test_a_redial_asks_whether_to_go_on(phone: Phone) -> None:
    """`ask`: 1 goes on in the same run, 2 begins at home; anything else is asked again, three times."""
    await phone.dial()
    await phone.press("3", "1")
    assert phone.dialogue is not None
    run = phone.dialogue["run"]
    assert await phone.dial(redial=True) == QUESTION
    assert await phone.press("7") == "CON Wrong choice." + QUESTION.replace("CON ", "\n")
    assert await phone.press("1") == COLOUR
    assert phone.dialogue["run"] == run
    await phone.dial(redial=True)
    assert await phone.dial(redial=True) == QUESTION
    assert await phone.press("2") == HOME
    await phone.press("3", "1")
    await phone.dial(redial=True)
    assert (await phone.press("7", "8", "9")).startswith("END Three wrong")


async def test_a_silent_flow_goes_on_at_once(phone: Phone) -> None:
    """`silent`: the screen that was left, a list with the page that was shown."""
    await phone.dial()
    left = await phone.press("4", "98")
    assert await phone.dial(redial=True) == left
    assert (await phone.press("1")).startswith("CON ")


async def test_a_restarting_flow_begins_at_home(tmp_path: Path) -> None:
    """`restart`: what was left is forgotten."""
    phone = Phone(written(tmp_path, shop=SHOP.replace('"ask"\n\n', '"restart"\n\n')))
    await phone.dial()
    await phone.press("3", "1")
    assert await phone.dial(redial=True) == HOME


async def test_nothing_is_resumed_past_a_pin(phone: Phone) -> None:
    """Whoever picks up the phone must give the PIN again; another flow of the same session may be resumed."""
    await phone.dial()
    await phone.press("5", "2580")
    assert await phone.dial(redial=True) == HOME
    await phone.press("5", "2580", "00", "3", "1")
    assert await phone.dial(redial=True) == QUESTION


async def test_home_is_not_resumed_but_shown(phone: Phone) -> None:
    """A look at home leaves nothing to go on with."""
    await phone.dial()
    assert await phone.dial(redial=True) == HOME


async def test_what_is_dialled_comes_before_what_was_left(phone: Phone) -> None:
    """A shortcut says what is wanted now."""
    await phone.dial()
    await phone.press("3", "1")
    assert (await phone.dial("4", redial=True)).startswith("CON Which")


# Pre-typed input


@pytest.mark.parametrize(
    ("tokens", "screen"),
    [
        (("3",), AMOUNT),
        (("3", "1", "1"), CONFIRM),
        (("3", "1", "1", "1"), CONFIRM),
        (("3", "x", "1", "1"), AMOUNT),
        (("3", "1", "9", "1"), COLOUR),
        (("3", "0"), AMOUNT),
        (("3", "1", "00"), COLOUR),
        (("9",), HOME),
        (("777", "1"), HOME),
        (("5", "2580", "x"), "CON PIN, or 2" + FOOT),
        (("5", "2"), "CON PIN, or 2" + FOOT),
        (("4", "2", "2", "1"), "END Nothing there"),
    ],
)
async def test_pretyped_input_stops_before_what_only_a_person_may_say(
    phone: Phone, tokens: tuple[str, ...], screen: str
) -> None:
    """A flow's code, then answers: up to the first confirmation, PIN, wrong answer or end, and the rest is dropped."""
    assert await phone.dial(*tokens) == screen
    assert SEEN == []


async def test_an_ask_that_orders_at_once_is_a_confirmation(tmp_path: Path) -> None:
    """Pre-typed input never gives the last answer before money is asked for."""
    SEEN.clear()
    direct = SHOP.replace('next = "colour"', 'next = "order"', 1)
    direct = direct[: direct.index("[colour]")] + direct[direct.index("[order]") :]
    phone = Phone(written(tmp_path, shop=direct.replace('next = "confirm"', 'next = "order"')))
    assert await phone.dial("3", "1") == AMOUNT
    assert SEEN == []
    assert await phone.press("1") == "END Bought 48215037"


async def test_a_flow_that_asks_for_money_at_once_is_chosen_at_home(tmp_path: Path) -> None:
    """`1 Pay` needs no question, and no dial string: its first screen need not fit an opening one."""
    SEEN.clear()
    phone = Phone(written(tmp_path, pay=PAY))
    home = HOME.replace("\n3 Shop", "\n1 Pay\n3 Shop")
    assert await phone.dial("1") == home
    assert await phone.dial("1", "1") == home
    assert SEEN == []
    assert await phone.dial("3") == AMOUNT
    await phone.dial()
    assert (await phone.press("1")).startswith("END Now approve")
    assert len(SEEN) == 1


async def test_a_list_whose_emptiness_orders_is_no_way_to_dial(tmp_path: Path) -> None:
    """Code alone leads on from an empty list, so that nobody would have agreed."""
    SEEN.clear()
    flow = PAY.replace("[pay]", '[which]\nfrom = "test.nothing"\ntext = "W"\nnext = "paid"\nempty = "pay"\n\n[pay]', 1)
    phone = Phone(written(tmp_path, pay=flow.replace("{{ reference | code }}", "")))
    assert (await phone.dial("1")).startswith("CON Home")
    assert SEEN == []


# Pre-typed input of somebody who is asked something first


@pytest.mark.parametrize(
    ("tokens", "screen"),
    [
        (("3",), AMOUNT),
        (("3", "1", "1", "1"), CONFIRM),
        (("3", "x"), AMOUNT),
        (("777",), HOME),
        (("4", "2", "2", "1"), "END Nothing there"),
        (("5", "2580"), "CON PIN, or 2" + FOOT),
        (("3",) + ("1" * 90,) * 3, HOME),
    ],
)
async def test_who_is_asked_first_lands_where_they_dialled(
    tmp_path: Path, tokens: tuple[str, ...], screen: str
) -> None:
    """What was dialled waits for home, for wrong answers and for steps back, and stops where it always does."""
    SEEN.clear()
    phone = Phone(written(tmp_path, main=ASKING))
    assert await phone.dial(*tokens) == "CON Name"
    assert await phone.press("*") == "CON Please type words.\nName"
    assert await phone.press("Ama") == screen
    assert SEEN == []
    assert phone.dialogue is None or "ahead" not in phone.dialogue


async def test_what_was_dialled_is_forgotten_with_its_session(tmp_path: Path) -> None:
    """A redial says what it wants, and home, once seen, is home."""
    phone = Phone(written(tmp_path, main=ASKING))
    await phone.dial("3", "1")
    assert await phone.dial(redial=True) == "CON Name"
    assert await phone.press("Ama") == HOME
    await phone.dial("3", "1")
    await phone.press("Ama")
    assert await phone.press("00") == HOME


@pytest.mark.parametrize(
    ("tokens", "kept"),
    [
        (("5", "2580", "x"), ["5"]),
        (("3", "1", "2", "2580"), ["3", "1", "2", "2580"]),
        (("3", "1", "2", "2", "5", "2580"), ["3", "1", "2", "2"]),  # 2 No leads home, and from there anywhere
        (("777", "2580"), []),
        ((), []),
    ],
)
async def test_no_pin_is_stored_with_what_was_dialled(tmp_path: Path, tokens: tuple[str, ...], kept: list[str]) -> None:
    """From the first digits that could be a PIN, by any way through the menus, they are dropped (law 4)."""
    phone = Phone(written(tmp_path, main=ASKING))
    await phone.dial(*tokens)
    assert phone.dialogue is not None
    assert phone.dialogue.get("ahead", []) == kept


# What got lost or changed


async def test_a_session_nobody_remembers_begins_anew(phone: Phone) -> None:
    """A key of a lost session is not taken for an answer, and the person is told."""
    phone.cumulative = False
    assert await phone.lose("3") == HOME.replace("CON ", "CON Sorry, please start again.\n")


async def test_a_screen_that_is_gone_restarts_politely(phone: Phone, tmp_path: Path) -> None:
    """New menus without the screen somebody looks at: home, and a word."""
    await phone.dial()
    await phone.press("3", "1")
    phone.menus = written(tmp_path, shop=SHOP.replace("colour]", "shade]").replace('"colour"', '"shade"'))
    assert await phone.press("1") == HOME.replace("CON ", "CON Sorry, please start again.\n")


async def test_new_words_reach_people_in_the_middle_of_a_flow(phone: Phone, tmp_path: Path) -> None:
    """Where the screen is still there, the dialogue goes on under the new menus."""
    await phone.dial()
    await phone.press("3", "1")
    phone.menus = written(tmp_path, shop=SHOP.replace('"Red"', '"Crimson"'))
    assert await phone.press("7") == "CON Wrong choice.\nColour\n1 Crimson\n2 Blue" + FOOT
    assert phone.dialogue is not None
    assert phone.dialogue["menus"] == phone.menus.digest


async def test_a_screen_that_asks_for_more_than_is_known_restarts(phone: Phone, tmp_path: Path) -> None:
    """New words with a variable this dialogue never set are not shown half empty."""
    await phone.dial()
    await phone.press("3", "1")
    asked = SHOP.replace('text = "Colour"', 'text = "Colour for {{ name }}"').replace(
        "[amount]", '[name]\nask = "text"\ntext = "Name"\nnext = "amount"\n\n[amount]'
    )
    phone.menus = written(tmp_path, shop=asked)
    assert (await phone.press("1")).startswith("CON Sorry, please start again.\nHome")


async def test_a_dialogue_of_another_version_restarts(phone: Phone) -> None:
    """What cannot be read is not guessed at."""
    await phone.dial()
    phone.dialogue = {"state": "shop.amount", "invented": True}
    assert (await phone.press("1")).startswith("CON Sorry, please start again.\nHome")


# Who is calling


async def test_a_masked_number_may_look_and_no_more(phone: Phone) -> None:
    """Without a number there is nobody to charge or to tell: home is all there is."""
    phone.msisdn = None
    assert (await phone.dial()).startswith("CON Home")
    assert (await phone.press("3")).startswith("END Your network hides your number")
    assert (await phone.dial("3", "1", "1")).startswith("END Your network hides your number")


@pytest.mark.parametrize(
    ("aggregator_says", "title"),
    [(None, "Accueil"), ("es", "Accueil"), ("en", "Home"), ("EN", "Home"), ("en-GB", "Home"), ("fr_CI", "Accueil")],
)
async def test_the_language_is_the_aggregators_else_the_subscribers(
    shop: Menus, tmp_path: Path, aggregator_says: str | None, title: str
) -> None:
    """The subscriber reads French; an aggregator that says otherwise in a language of ours is believed."""
    assert shop.texts.languages == ("en",)
    draft = examine(tmp_path, Limits(), resolver)
    po = polib.POFile()
    po.metadata = {"Content-Type": "text/plain; charset=UTF-8"}
    for text_id, words in draft.english.items():
        said = "Accueil" if text_id == "main.home" else words
        po.append(polib.POEntry(msgctxt=text_id, msgid=words, msgstr=said, flags=["same"]))
    (tmp_path / "locale").mkdir()
    po.save(str(tmp_path / "locale/fr.po"))
    phone = Phone(menus.load(tmp_path, actions=resolver), language=aggregator_says)
    assert (await phone.dial()).startswith(f"CON {title}\n")


async def test_a_home_screen_that_is_gone_is_found_again(shop: Menus, tmp_path: Path) -> None:
    """Whoever is in the middle of a flow when home changes its name comes home all the same."""
    phone = Phone(shop)
    await phone.dial()
    await phone.press("3", "1")
    phone.menus = written(tmp_path, main=MAIN.replace("[home]", "[start]").replace('"home"', '"start"'))
    assert await phone.press("00") == HOME
