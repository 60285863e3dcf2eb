"""What a thumb types, by the type a screen asks for; and what is kept of it between two hops."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from ussd_app.actions import Pin
from ussd_app.conversation import answers
from ussd_app.conversation.dialogue import Dialogue, Page, pack, unpack
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn


@pytest.mark.parametrize(
    ("kind", "typed", "value"),
    [
        ("msisdn", "024 000 0002", Msisdn("+233240000002")),
        ("msisdn", "233240000002", Msisdn("+233240000002")),
        ("amount", " 50 ", Money(5000, "GHS")),
        ("amount", "0.5", Money(50, "GHS")),
        ("pin", "2580", Pin("2580")),
        ("pin", "012345", Pin("012345")),
        ("text", "  Ama\tB\n", "Ama B"),
        ("text", "1. Confirm", "1. Confirm"),
        ("text", "W" * 500, "W" * 40),
        ("number", "012", 12),
        ("date", "31122026", date(2026, 12, 31)),
        ("date", "5/1/2027", date(2027, 1, 5)),
        ("date", "5.1.27", date(2027, 1, 5)),
        ("code", "4821 5037", "48215037"),
    ],
)
def test_right_answers(kind: str, typed: str, value: object) -> None:
    """They become values of their type."""
    read = answers.read(kind, typed, "GH")
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("kind", "typed"),
    [
        ("msisdn", "12"),
        ("msisdn", "0302000000"),  # a landline
        ("msisdn", "Kofi"),
        *(("amount", typed) for typed in ("0", "00", "-1", "1.234", "1e3", "1,000", "\u0665\u0660", "NaN", "")),
        *(("pin", typed) for typed in ("123", "1234567", "12a4", "\u0661\u0662\u0663\u0664", "")),
        *(("text", typed) for typed in ("", "***", " ")),
        *(("number", typed) for typed in ("0", "00", "-1", "1.5", "9" * 30, "x")),
        *(("date", typed) for typed in ("31022026", "32/1/2026", "2026", "x/y/z", "1/2", "")),
        *(("code", typed) for typed in ("12", "1234x", "9" * 40)),
    ],
)
def test_wrong_answers(kind: str, typed: str) -> None:
    """They are refused, whatever they look like."""
    with pytest.raises(ValueError):  # noqa: PT011 - every type has a message of its own, and nobody reads it
        answers.read(kind, typed, "GH")


@pytest.mark.parametrize(
    "value",
    [
        Msisdn("+233240000002"),
        Money(5050, "GHS"),
        date(2026, 3, 3),
        datetime(2026, 3, 3, 8, 0, tzinfo=UTC),
        "plain words",
        "",
        12,
        True,
        False,
    ],
)
def test_values_survive_between_two_hops(value: Any) -> None:  # noqa: ANN401 - any of them
    """Each comes back as what it was, type and all."""
    kept = unpack(pack(value))
    assert kept == value
    assert type(kept) is type(value)


def test_a_pin_cannot_be_kept() -> None:
    """Not even by mistake: nothing packs it."""
    with pytest.raises(TypeError):
        pack(Pin("2580"))


@pytest.mark.parametrize("packed", [None, 1.5, [], ["msisdn"], ["other", "x"], ["GHS", 1], {}])
def test_what_was_not_packed_is_refused(packed: object) -> None:
    """A dialogue of another version is not guessed at."""
    with pytest.raises(ValueError, match="not packed here"):
        unpack(packed)


def test_a_dialogue_is_small_and_comes_back_whole() -> None:
    """What is empty is not stored, and under 1 KB is typical."""
    full = Dialogue(
        "shop.colour", "0" * 32, "en", "f" * 16, {"amount": Money(100, "GHS")}, ["shop.amount"],
        Page([["1", "One"]], "1"), 1, True, True, "main.home", {"name": "Ama"}, ["3", "1"],
    )  # fmt: skip
    assert Dialogue.load(full.dump()) == full
    assert len(str(full.dump())) < 1024
    assert set(Dialogue("a.b", "r", "en", "d").dump()) == {"state", "run", "language", "menus"}


def test_only_the_last_screens_are_remembered() -> None:
    """The way back is bounded."""
    dialogue = Dialogue("a.b", "r", "en", "d")
    for number in range(100):
        dialogue.visited(f"a.s{number}")
    assert len(dialogue.history) == 12
    assert dialogue.leave({"a.s98"}) == "a.s98"
    assert dialogue.leave(set()) is None
