"""Menus: what check refuses, one fault at a time, and what loading gives."""

import asyncio
import shutil
from contextlib import suppress
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from types import SimpleNamespace

import menu_actions
import pytest
import structlog
from menu_actions import resolve

from ussd_app.actions import Call, Pin
from ussd_app.menus import Fault, Limits, MenuFaults, Menus, check, draw, load, missing, signature, watch
from ussd_app.menus.source import positions
from ussd_app.menus.watch import checked
from ussd_app.money import Money

BROKEN = Path(__file__).parent / "broken_menus"
GOOD = BROKEN / "good"
CASES = sorted(BROKEN.glob("*.txt"))


def _doubled() -> object:
    other = make_dataclass("Next", [], frozen=True)

    async def doubled(call: Call) -> object:
        raise NotImplementedError  # the checker reads signatures and runs nothing

    doubled.__annotations__["return"] = menu_actions.Next | other
    return doubled


def broken(case: Path, directory: Path) -> str:
    """Lay out the good menus with a case's one fault in them; returns the message it expects."""
    expected, *rest = case.read_text().splitlines(keepends=True)
    shutil.copytree(GOOD, directory)
    name, removed, added = "", "", ""
    for line in [*rest, "# end\n"]:
        if not line.startswith("# "):
            removed += line[1:] if line.startswith("-") else ""
            added += line[1:] if line.startswith("+") else ""
            continue
        if name:
            _edit(directory / name, removed, added)
        name, removed, added = line.removeprefix("# edit: ").strip(), "", ""
    if not any(line.startswith("# edit: locale/") for line in rest):
        shutil.rmtree(directory / "locale")  # changed English would be a fault of the translation too
    return expected.removeprefix("# expect: ").strip()


def _edit(path: Path, removed: str, added: str) -> None:
    text = path.read_text() if path.exists() else ""
    assert removed in text, f"{path.name} holds no {removed!r}"
    path.write_text(text.replace(removed, added, 1) if removed else text + added)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_a_broken_menu_is_refused_for_its_one_fault(case: Path, tmp_path: Path) -> None:
    """Each file of broken_menus/ changes the good menus in one way, and check says exactly that."""
    expected = broken(case, tmp_path / "menus")
    assert [str(fault) for fault in check(tmp_path / "menus", actions=resolve)] == [expected]


def test_good_menus_have_no_fault() -> None:
    """What every broken menu departs from is right, in both languages, bundles included."""
    assert check(GOOD, actions=resolve) == []


def test_the_menus_we_ship_have_no_fault() -> None:
    """menus/ holds for the limits of the smallest aggregator, in every language."""
    assert check(Path(__file__).parents[1] / "menus") == []


def test_all_faults_are_told_at_once_in_order(tmp_path: Path) -> None:
    """An editor sees every fault of every file in one go, sorted by file and line."""
    shutil.copytree(GOOD, tmp_path / "menus")
    for name, removed, added in (
        ("send.toml", 'end = "Stopped."', 'end = "Stopped {{ total }}."'),
        ("send.toml", '"To whom?"', '"To {{ whom }}?"'),
        ("main.toml", '"You have joined."', '"{% if x %}{% endif %}"'),
    ):
        _edit(tmp_path / "menus" / name, removed, added)
    shutil.rmtree(tmp_path / "menus" / "locale")
    places = [(fault.file, fault.line) for fault in check(tmp_path / "menus", actions=resolve)]
    assert places == [("main.toml", 16), ("send.toml", 6), ("send.toml", 56)]


def test_smaller_limits_find_more(good: Menus) -> None:
    """The limits are those of the smallest aggregator in use; they stay with the menus for the drawing of hints."""
    assert good.limits == Limits(screen_septets=160, opening_septets=140)
    found = check(GOOD, Limits(screen_septets=60, opening_septets=60), actions=resolve)
    assert any("of 60 septets in fr" in fault.message for fault in found)


@pytest.fixture(scope="module")
def good() -> Menus:
    """The good menus, loaded."""
    return load(GOOD, actions=resolve)


def test_an_unlisted_flow_takes_no_room_at_home(tmp_path: Path) -> None:
    """Nine flows do not fit the home screen; eight and one that is only dialled do."""
    broken(BROKEN / "too_many_flows.txt", tmp_path / "menus")
    _edit(tmp_path / "menus" / "flow_7.toml", 'code = "10"', 'code = "10"\nlisted = false')
    assert check(tmp_path / "menus", actions=resolve) == []


def test_a_title_may_show_what_comes_with_its_condition(tmp_path: Path) -> None:
    """Beside its `when` everything is known that is set with it; the diagram, which knows nobody, names the file."""
    shutil.copytree(GOOD, tmp_path / "menus", ignore=shutil.ignore_patterns("locale"))
    for removed, added in (
        ('"Send money"', '"Join {{ inviter | name }}"'),
        ('resume = "ask"', 'when   = "invited"'),
    ):
        _edit(tmp_path / "menus" / "send.toml", removed, added)
    menus = load(tmp_path / "menus", actions=resolve)
    assert menus.home_needs == {"caller_name", "invited", "inviter"}
    assert 'subgraph flow_send["3 send"]' in draw(menus)


def test_bundles_are_content(good: Menus) -> None:
    """Each has its line in a list, and what its delivery is asked for."""
    week, wifi = good.bundles.values()
    assert (week.id, week.operator, week.label) == ("mtn_1gb_week", "MTN", "1GB Week GHS 10.00")
    assert week.price == Money(1000, "GHS")
    assert week.item == {"product": "Data", "validity": "Week", "quantity": "1", "unit": "GB"}
    assert (wifi.delivery, wifi.item) == ("voucher_sms", {"product": "wifi-day", "validity": "Day"})


# What loading gives


def test_broken_menus_do_not_load(tmp_path: Path) -> None:
    """Loading raises every fault, as check prints them."""
    broken(BROKEN / "missing_screen.txt", tmp_path / "menus")
    with pytest.raises(MenuFaults, match=r"send\.toml:25: there is no screen `amuont`"):
        load(tmp_path / "menus", actions=resolve)


def test_one_machine_moves_every_dialogue(good: Menus) -> None:
    """A dialogue is moved by firing an event on it; the machine never holds it."""
    dialogue = SimpleNamespace(state="main.open")
    for trigger, state in (
        ("on_known", "main.home"),
        ("key_3", "send.whom"),
        ("key_2", "send.friend"),
        ("empty", "send.recipient"),
        ("answer", "send.amount"),
        ("answer", "send.quote"),
        ("on_quoted", "send.approve"),
        ("key_2", "send.stopped"),
    ):
        good.machine.events[trigger].trigger(dialogue)
        assert dialogue.state == state
    assert good.machine.models == []


def test_menus_know_their_flows_and_digest(good: Menus, tmp_path: Path) -> None:
    """Codes open flows, entries are their first screens, and the digest changes with any word."""
    assert {code: flow.entry for code, flow in good.codes.items()} == {"3": "send.whom"}
    assert good.sms["money_sent"].variables == {"amount", "recipient", "at", "reference"}
    shutil.copytree(GOOD, tmp_path / "menus")
    assert load(tmp_path / "menus", actions=resolve).digest == good.digest
    _edit(tmp_path / "menus" / "send.toml", 'code   = "3"', 'code   = "4"')
    assert load(tmp_path / "menus", actions=resolve).digest != good.digest


def test_the_diagram_shows_every_way(good: Menus) -> None:
    """The drawing is the machine's own wiring, and the same every time."""
    drawn = draw(good)
    assert drawn == draw(load(GOOD, actions=resolve))
    assert '  main__home -->|"3"| send__whom' in drawn
    assert '  send__place -->|"placed"| send__sent' in drawn
    arrows = [line for line in drawn.splitlines() if "-->" in line]
    assert len(arrows) == len(
        {(t.source, t.dest) for e in good.machine.events.values() for ts in e.transitions.values() for t in ts}
    )


def test_what_a_language_misses_is_listed_in_order(tmp_path: Path) -> None:
    """A translator gets every text that is still English, with its id and its place."""
    broken(BROKEN / "translation_fuzzy.txt", tmp_path / "menus")
    assert [text.id for text in missing(tmp_path / "menus", "fr", actions=resolve)] == ["send.stopped"]
    everything = missing(tmp_path / "menus", "sw", actions=resolve)
    assert [(text.file, text.line) for text in everything] == sorted((text.file, text.line) for text in everything)
    assert len(everything) == 45


# Actions


def test_actions_are_found_by_name_alone() -> None:
    """``module.function`` of ussd_app/actions/, and only what is marked as an action."""
    found = signature.resolve("send_money.place")
    assert found
    assert found.collects
    assert "placed" in signature.places(found)
    assert signature.resolve("send_money._caller") is None
    assert signature.resolve("nowhere.place") is None


async def _nothing(call: Call) -> None:
    """Return nothing at all."""


async def _unknown_type(call: "Cal") -> menu_actions.Next:  # type: ignore[name-defined]  # noqa: F821 - the fault
    """Take what cannot be read."""
    raise NotImplementedError  # the checker reads signatures and runs nothing


@dataclass(frozen=True)
class Secret:
    """An outcome that would keep a PIN."""

    pin: Pin


async def _secret(call: Call) -> Secret:
    """Give a PIN away."""
    raise NotImplementedError  # the checker reads signatures and runs nothing


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (_nothing, "must return frozen dataclasses, not NoneType"),
        (_unknown_type, "has types that cannot be read"),
        (_secret, "`pin` of Secret is of no type a variable can have"),
        (_doubled(), "returns two outcomes called next"),
    ],
)
def test_a_function_that_is_no_action_is_refused(function: object, problem: str) -> None:
    """Whatever the loader cannot read, it names."""
    with pytest.raises(signature.BadAction, match=problem):
        signature.read("send.bad", function)


# Files


def test_every_key_has_its_line() -> None:
    """One scan finds headers, dotted keys and what arrays and inline tables hold; no text is mistaken for one."""
    lines = [
        'a = """',
        "[no]",
        "b = 1",
        '"""',
        "[s]",
        'on.x = "y" # [z]',
        '"on".\'2\' = "q"',
        "o = [",
        '  { t = "]", n = 1 },',
        '  { t = "{" },',
        "]",
        "[[l]]",
        "k = 1",
        "[[l]]",
        "k = 2",
    ]
    text = "\n".join(lines)
    found = positions(text)
    assert found["a",] == 1
    assert found["s", "on", "x"] == 6
    assert found["s", "on", "2"] == 7
    assert found["s", "o", "0", "n"] == 9
    assert found["s", "o", "1", "t"] == 10
    assert found["l", "1", "k"] == 15
    assert ("no",) not in found
    assert ("b",) not in found


@pytest.mark.parametrize("name", ["main.toml", "locale/fr.po"])
def test_a_file_that_is_no_text_is_one_fault(name: str, tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are told with their line."""
    shutil.copytree(GOOD, tmp_path / "menus")
    path = tmp_path / "menus" / name
    path.write_bytes(path.read_bytes().replace(b"\n", b"\n\xff", 1))
    assert Fault(name, 2, "not UTF-8") in check(tmp_path / "menus", actions=resolve)


def test_nobody_begins_without_a_home(tmp_path: Path) -> None:
    """main.toml must be there."""
    (tmp_path / "menus").mkdir()
    assert [str(fault) for fault in check(tmp_path / "menus", actions=resolve)] == [
        "main.toml:1: there is no such file, and everybody begins in it"
    ]


async def test_menus_change_while_the_demo_runs(tmp_path: Path) -> None:
    """A saved file is checked and handed over."""
    shutil.copytree(GOOD, tmp_path / "menus", ignore=shutil.ignore_patterns("locale"))
    seen: asyncio.Queue[Menus] = asyncio.Queue()
    watching = asyncio.create_task(watch(tmp_path / "menus", seen.put_nowait, actions=resolve))
    menus = None
    async with asyncio.timeout(20):
        while menus is None:  # saved again until the watch has begun
            _edit(tmp_path / "menus" / "send.toml", "whom?", "whom??")
            with suppress(TimeoutError):
                menus = await asyncio.wait_for(seen.get(), 0.5)
    watching.cancel()
    assert menus.texts.render("send.whom", "en", {}).startswith("To whom??")


def test_menus_that_do_not_check_are_not_swapped_in(tmp_path: Path) -> None:
    """The old menus stay, and the log says why, fault by fault."""
    broken(BROKEN / "missing_screen.txt", tmp_path / "menus")
    with structlog.testing.capture_logs() as said:
        assert checked(lambda: load(tmp_path / "menus", actions=resolve)) is None
    assert said[0]["faults"] == ["send.toml:25: there is no screen `amuont`"]
