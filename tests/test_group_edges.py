"""What a stranger, a thief or a link may do to a savings group from outside: nothing, and they learn nothing."""

import inspect
from collections.abc import Mapping
from datetime import date, timedelta
from importlib import import_module
from pkgutil import iter_modules
from typing import Any
from uuid import uuid4

from border import PIN, Border, Thumb, border, real
from groups import circle, phone
from rotating import cedis
from sqlalchemy import text
from test_daily import found as daily
from test_daily_payout import desk

from ussd_app import actions
from ussd_app.actions import Choices, Pin, membership, rules
from ussd_app.actions.requests import RequestMade
from ussd_app.groups import contributions, departures, invites
from ussd_app.groups.model import Group
from ussd_app.insights import SimAnswer
from ussd_app.menus.signature import resolve
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.sims import trust

__all__ = ["border", "circle", "desk", "real"]

NAMES = [f"{module.name}.{name}" for module in iter_modules(actions.__path__)
         for name, value in vars(import_module(f"ussd_app.actions.{module.name}")).items()
         if getattr(value, "__action__", False)]  # fmt: skip


async def code(border: Border, group: Group) -> str:
    """The group's open code."""
    made = await invites.renew_open_code(border.circle.groups, phone(1), group.id)
    assert isinstance(made, invites.Invite)
    return made.code


# What is dialled


async def test_a_dial_string_changes_nothing(border: Border) -> None:
    """A link on a web page dials for whoever touches it: it never joins, leaves, starts, invites or renames."""
    group = await border.circle.found(5)
    open_code = await code(border, group)
    await border.secured(9)
    strings = {
        1: [("2", "3", "1"), ("2", "3", "2580"), ("2", "2", "2"), ("2", "2", "1", "0240000099"),
            ("2", "1", "3", "4", "3"),
            ("2", "5", "7", "1"), ("2", "5", "7", PIN), ("2", "5", "6", "1"), ("2", "1", "1", "1", "50", PIN)],
        4: [("2", "5", "7", "1"), ("5", "2", "2"), ("5", "5", "Mallory"), ("5", "6", "1", "1"), ("2", "5", "6", "1")],
        9: [("6", open_code, "1"), ("22", "1", "X", "5", "1", PIN)],
    }  # fmt: skip
    before = await border.state()
    for number, dialled in strings.items():
        for tokens in dialled:
            shown = await border.thumb(number).dial(*tokens)
            assert shown.startswith("CON "), (tokens, shown)
            assert await border.state() == before, tokens
    savers = await daily(border.circle)
    await departures.leave(border.circle.groups, phone(4), group.id)
    before = await border.state()
    assert savers.kind == "daily"
    assert (await border.thumb(4).dial("2", "5", "3")).startswith("CON ")
    assert await border.state() == before


def test_an_action_that_commits_says_so_or_takes_a_pin() -> None:
    """Else a dial string would reach it."""
    for name in NAMES:
        action = resolve(name)
        assert action
        source = inspect.getsource(action.function)
        commits = "await commit(" in source or "may_have_effect = True" in source or "_vote(" in source
        guarded = action.collects or action.writes or Pin in action.parameters.values()
        assert guarded or not commits, name


# What takes a PIN


async def test_whoever_leaves_takes_what_is_theirs_with_a_pin_and_a_sim_of_old(border: Border) -> None:
    """A thief's new SIM gets nobody's advance, and the advance is not left behind where its owner never finds it."""
    group = await border.circle.found(6)
    await border.secured(4)
    await contributions.book_cash(border.circle.groups, uuid4().hex, phone(3), group.id, 4, cedis(50))
    async with border.circle.store.work() as connection:
        await connection.execute(text("UPDATE subscribers SET sim_changed_at = :at"), {"at": border.circle.clock.now()})
    before = await border.state()
    for given, why in ((Pin("0000"), "PinWrong"), (Pin(PIN), "SimChanged")):
        assert type(await membership.leave(border.call(4), str(group.id), given)).__name__ == why
        assert await border.state() == before
    border.circle.clock.advance(25 * 3600)
    await border.circle.change(group, 4, trusted_from=border.circle.clock.now() + timedelta(hours=1))
    assert type(await membership.leave(border.call(4), str(group.id), Pin(PIN))).__name__ == "Cooling"
    border.circle.clock.advance(3600)
    assert await membership.leave(border.call(4), str(group.id), Pin(PIN)) == membership.GroupLeft()
    assert "taken_back" in await border.circle.kinds(group)


async def test_what_binds_the_others_takes_a_pin(border: Border) -> None:
    """Whoever finds the chair's phone starts no cycle and gives nobody five shares."""
    group = await border.circle.found(5)
    await border.secured(1)
    before = await border.state()
    thumb = border.thumb(1)
    assert "PIN to start" in await thumb.dial("2", "3")
    assert (await thumb.press("4826")).startswith("CON Wrong PIN. Tries left: 2")
    assert "PIN to write down 5 shares" in await thumb.dial("2", "1", "2", "4", "5")
    assert (await thumb.press("4826")).startswith("CON Wrong PIN. Tries left: 1")
    assert "PIN to leave" in await thumb.dial("2", "5", "7")
    assert (await thumb.press("2")).startswith("CON ADEHYE")
    assert await border.state() == before
    assert (await thumb.press("3", PIN)).startswith("END ADEHYE has started")
    assert (await border.circle.group(group)).state == "running"


# Groups of others


REFUSED = {"NotMember", "NotYours", "NothingSaved", "NothingOwn", "UnknownEntry", "Gone"}
UNHARMED = {"FewSms", "EverySms"}  # said to whoever mutes a group that is none of theirs: nothing is written


def given(group: Group, hints: Mapping[str, type]) -> dict[str, Any]:
    """Answers to what an action asks, as a forged dialogue would hold them."""
    said = {
        "group_id": str(group.id),
        "deposit": str(group.id),
        "number": "2",
        "rule": "short",
        "value": "pay",
        "role": "chair",
        "which": "complete",
    }
    typed: dict[type, Any] = {str: "1", int: 2, Pin: Pin(PIN), Money: cedis(50), Msisdn: phone(77)}
    return {name: said.get(name, typed[hint]) for name, hint in hints.items()}


async def test_a_group_of_others_is_shown_to_nobody_and_does_what_nobody_says(border: Border) -> None:
    """Every action that takes a group: a stranger, who left or was removed, who is invited, another's treasurer."""
    theirs = [await border.circle.found(6), await border.circle.found(6, kind="daily", period="daily", approvals=0)]
    await border.circle.cycle(theirs[0], 6)
    other = await border.circle.found(3, called="OTHER")
    outside = (3, 4, 5, 8, 9)  # the treasurer of OTHER, who left, who was removed, who is invited, and a stranger
    for group in theirs:
        await border.circle.change(group, 3, msisdn=phone(33))
        await border.circle.change(group, 4, state="left")
        await border.circle.change(group, 5, state="suspended", role="treasurer")
        await invites.invite(border.circle.groups, phone(1), group.id, phone(8))
    for number in outside:
        await border.secured(number)
    assert other.name == "OTHER"
    before = await border.state()
    for name in NAMES:
        action = resolve(name)
        assert action
        if "group_id" not in action.parameters:
            continue
        for group in theirs:
            answers = given(group, action.parameters)
            for number in outside:
                if action.outcomes:
                    outcome = await action.function(border.call(number), **answers)
                    assert type(outcome).__name__ in REFUSED | (UNHARMED if "mute" in name else set()), (name, number)
                else:
                    assert await action.function(border.call(number), None, **answers) == Choices((), more=False), name
    assert await border.state() == before


async def test_a_code_of_others_says_what_a_wrong_one_says(border: Border) -> None:
    """Invitations, requests and receipts; and after ten that lead nowhere a right one says it too."""
    group = await border.circle.found(6)
    await border.secured(2, 4, 9)
    booked = await contributions.book_cash(border.circle.groups, uuid4().hex, phone(3), group.id, 4, cedis(50))
    invited = await invites.invite(border.circle.groups, phone(1), group.id, phone(8))
    assert isinstance(booked, contributions.Booked)
    assert isinstance(invited, invites.Invite)
    asked = await rules.ask(border.call(4), str(group.id), "short", "pay", Pin(PIN))
    assert isinstance(asked, RequestMade)
    codes = {"9": (booked.code, 9), "6": (invited.code, 9), "7": (asked.code, 4)}
    for flow, (right, stranger) in codes.items():
        words = {await border.thumb(stranger).dial(flow, code) for code in (right, "10000007", "99999999")}
        assert len(words) == 1, words
    for _ in range(10):
        await border.thumb(2).dial("9", "10000007")
    for flow, (right, _) in codes.items():
        thumb = border.thumb(2)
        assert await thumb.dial(flow, right) == await border.thumb(2).dial(flow, "10000007")


# What a provider calls back


async def test_a_swap_on_a_day_that_cannot_be_stops_no_vote(border: Border) -> None:
    """An answer of the year 9999 counts as a change, and breaks nothing."""
    for number, day in enumerate((date(9999, 12, 31), date.min), 1):
        async with border.circle.store.work() as connection:
            await connection.execute(
                text("INSERT INTO sim_checks (request_id, msisdn, asked_at) VALUES (:id, :who, :at)"),
                {"id": f"q{number}", "who": phone(number), "at": border.circle.clock.now()},
            )
        await border.services.sims.keep_answer(SimAnswer(f"q{number}", day))
    async with border.circle.store.look() as connection:
        found = [await trust(connection, phone(number), border.circle.clock.now()) for number in (1, 2)]
    assert found == ["changed", "trusted"]


# Whoever is not known


async def test_no_shortcut_serves_a_hidden_number_or_passes_a_new_one(border: Border) -> None:
    """A masked number is told so in every flow; who is new says who they are first, and no digits of a PIN are kept."""
    before = await border.state()
    for flow in border.menus.codes:
        hidden = Thumb(border.menus, None, services=border.services)
        for tokens in ((flow,), (flow, "48215037", "2580"), (flow, "1", "1", "1")):
            shown = await hidden.dial(*tokens)
            assert shown.startswith(("END Your network hides your number", "CON Akwaaba")), shown
        await hidden.dial()
        assert (await hidden.press(flow)).startswith(("END Your network hides", "CON Wrong choice", "CON Akwaaba"))
    assert await border.state() == before
    for number, flow in enumerate(border.menus.codes, 101):
        new = border.thumb(number)
        assert (await new.dial(flow, "48215037", "2580", "2580")).startswith("CON Language")
        assert flow not in {"2", "5", "7"} or "2580" not in str(new.dialogue), flow  # those that ask for one
        shown = await new.press("1", "Mallory")
        assert shown.startswith(
            ("CON ", "END No such receipt", "END You have no", "END Nothing is due", "END No payment of yours")
        ), shown
    assert (await border.state())[2:9] == before[2:9]


async def test_a_pin_is_in_no_dialogue_and_no_row(border: Border) -> None:
    """Right or wrong, in every flow that asks for one, at its first entry and after a wrong one."""
    group = await border.circle.found(6)
    await border.secured(1, 2, 3)
    kept = []
    ways = [(3, ("2", "1", "4", "1", "50")), (1, ("2", "1", "5", "3", "3")), (2, ("2", "5", "5", "1", "1", "60")),
            (1, ("2", "5", "3")), (1, ("22", "1", "X", "5", "1")), (2, ("2", "1", "5", "7"))]  # fmt: skip
    for number, dialled in ways:
        thumb = border.thumb(number)
        assert "PIN" in await thumb.dial(*dialled), dialled
        await thumb.press("864213")
        kept.append(str(thumb.dialogue))
        shown = await thumb.dial(redial=True)
        assert shown.startswith("CON Akwaaba"), shown  # never past a PIN
        await thumb.dial(*dialled)
        assert (await thumb.press(PIN)).startswith("END "), dialled
    kept += [str(await border.rows(f"SELECT * FROM {table}")) for table in ("audit", "procrastinate_jobs", "proposals")]
    kept.append(str(await border.state()))
    assert group.name in str(kept)
    assert not any(pin in words for words in kept for pin in ("864213", f"'{PIN}'"))


async def test_an_endless_dial_string_is_not_walked_to_its_end(border: Border) -> None:
    """No network carries more than 182 characters; what an aggregator's body has room for would take half a minute."""
    group = await border.circle.found(5)
    await border.circle.cycle(group, 5)
    sent: list[str] = []

    border.circle.store.heard = sent.append
    assert (await border.thumb(1).dial("2", "3", *["1"] * 300)).startswith("CON ")
    border.circle.store.heard = None
    assert 91 < len(sent) < 91 * 4
