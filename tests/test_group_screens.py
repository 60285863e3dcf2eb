"""What a phone shows of savings groups at its worst: long names, hostile ones, large figures, a thousand told."""

import pytest
from border import PIN, Border, border, real
from groups import circle
from sqlalchemy import text
from test_daily_payout import desk

from ussd_app import gsm
from ussd_app.actions import Pin, groups, rules
from ussd_app.actions.requested import figures
from ussd_app.actions.requests import RequestMade
from ussd_app.groups.audience import NOTICES, everyone, witnesses
from ussd_app.groups.told import in_short
from ussd_app.menus import Menus
from ussd_app.money import Money

__all__ = ["border", "circle", "desk", "real"]


# What is shown


WIDE = "W" * 20


async def test_no_figure_of_a_list_is_cut(border: Border) -> None:
    """A name gives way to what is owed: "1,000,00" is another amount."""
    group = await border.circle.found(12, share="1000000")
    await border.circle.cycle(group, 12)
    for number in range(1, 13):
        await border.circle.change(group, number, name=WIDE)
    choices = await groups.unpaid(border.call(1), None, str(group.id))
    assert [choice.label for choice in choices.items[8:]] == [
        "#9 " + "W" * 16 + " 1000000.00",
        "#10 " + "W" * 15 + " 1000000.00",
    ]
    await border.circle.change(group, 1, name="^{}[]~|^{}")
    assert (await groups.unpaid(border.call(2), None, str(group.id))).items[0].label == "#1 ^{}[]~|^ 1000000.00"


def test_no_round_of_many_is_cut_into_another() -> None:
    """Of "10,11,12" nobody reads "10,11,1"."""
    assert [in_short(numbers) for numbers in ((5,), (5, 6, 7, 8), (10, 11, 12), (3, 8, 13, 18, 23))] == [
        "5", "5,6,7,8", "10,...", "3,8,...",
    ]  # fmt: skip
    assert in_short((100, 101, 102)) == "100,..."


def test_what_a_large_group_has_left_is_not_cut() -> None:
    """Whoever approves reads a figure that is right, or one that says it is more than can be shown."""
    assert [figures(Money.of(amount, "GHS")) for amount in ("12", "999999999.99", "1000000000")] == [
        "12.00", "999999999.99", ">999999999",
    ]  # fmt: skip


# SMS


def test_what_a_whole_group_is_told_delays_no_code_and_no_receipt(real: Menus) -> None:
    """A thousand members hear of a payout after whoever waits for a code or a receipt has theirs."""
    for line in (line for lines in NOTICES.values() for line in lines):
        if line.means in {everyone, witnesses}:
            assert real.sms[line.template].priority == "notice", line.template
    assert real.sms["payout_asked"].priority == "receipt"


# Hostile names


HOSTILE = ("1. Confirm", "{{7*7}}", "{% if 1 %}", "^{}[]~|\\^{", "\u202e1 yaP\u200b", "A\nB\n1 Evil", "%s%n{0}", WIDE)


@pytest.mark.parametrize("language", ["en", "fr", "sw", "tw"])
async def test_whatever_anybody_is_called_every_screen_fits_and_says_it(border: Border, language: str) -> None:
    """No name becomes a line, a template or a screen too long; the handset itself measures each screen it shows."""
    group = await border.circle.found(8, share="999999999")
    await border.circle.cycle(group, 8)
    await border.secured(4)
    names = [gsm.one_line(name, 20).rstrip() for name in HOSTILE]
    for number, called in enumerate(names, 1):
        await border.circle.change(group, number, name=called)
    for number in (2, 4, 8):
        async with border.circle.store.work() as connection:
            said = {"name": names[number - 1], "language": language}
            await connection.execute(text("UPDATE subscribers SET name = :name, language = :language"), said)
            await connection.execute(text("UPDATE groups SET name = :name"), {"name": said["name"]})
        thumb = border.thumb(number)
        screens = [await thumb.dial()]
        for keys in (
            "*2",
            "*2*2",
            "98",
            "1",
            "*2*3",
            "1",
            "98",
            "*2*5*2",
            "*2*5*7",
            "*2*4",
            "*2*5*3",
            "*2*5*6",
            "*2*1",
        ):
            dialled = keys.startswith("*")
            screens.append(await (thumb.dial(*keys[1:].split("*")) if dialled else thumb.press(keys)))
        shown = "\n".join(screens)
        assert "49" not in shown
        assert "\u202e" not in shown
        assert "\n1 Evil" not in shown
        assert not any(screen.startswith("END Sorry") for screen in screens)
    asked = await rules.ask(border.call(4), str(group.id), "short", "pay", Pin(PIN))
    assert isinstance(asked, RequestMade)
    assert "{" in await border.thumb(1).dial("7", asked.code)
