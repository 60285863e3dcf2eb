"""Founding groups, letting people in, giving offices, and letting people go."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from groups import Circle, circle, phone
from sqlalchemy import insert, select, update

from ussd_app.config import Settings
from ussd_app.groups import Groups, books, departures, founding, invites, members
from ussd_app.groups.model import Group, Refused
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.tables import cycles, group_rules
from ussd_app.tables import groups as groups_table

__all__ = ["circle"]

AMA, KOFI, ESI, NEW = phone(1), phone(2), phone(3), phone(40)
KENYAN = Msisdn("+254710000001")
SHARE = Money(5000, "GHS")
WRONG = "20000006"  # passes for a code, and is nobody's


def limited(circle: Circle, per_person: int) -> Groups:
    """The same village, where nobody may be in more groups than that."""
    return replace(circle.groups, settings=Settings(groups_per_person=per_person))


async def found(
    groups: Groups, run: str = "run-1", name: str = "Adehye", share: Money = SHARE
) -> Refused | founding.Created:
    """Ama founds a group."""
    return await founding.create(groups, run, AMA, "daily", name, share, "daily")


async def a_code(circle: Circle, group: Group) -> str:
    """Of an open invitation by the chair."""
    made = await invites.renew_open_code(circle.groups, AMA, group.id)
    assert isinstance(made, invites.Invite)
    return made.code


async def test_a_founder_chairs_the_group(circle: Circle) -> None:
    """Once a run, with a name that can be read, in the currency of their number, and a code for the others."""
    created = await found(circle.groups, name=" Adehye\n {{susu}} of everybody ")
    assert isinstance(created, founding.Created)
    assert await found(circle.groups) == created
    group = await circle.group(created.group_id)
    assert (group.name, group.currency, group.state, group.share) == ("Adehye {{susu}}", "GHS", "forming", SHARE)
    chair = await circle.member(group, 1)
    assert (chair.role, chair.msisdn, chair.name, chair.state) == ("chair", AMA, "0240000001", "active")
    assert chair.trusted_from == circle.clock.now()
    assert await circle.kinds(group) == ["created"]
    invitation = await invites.preview(circle.groups, NEW, created.code or "")
    assert invitation == invites.Invitation(group.id, group.name, "daily", SHARE, "daily", chair.name)


async def test_a_group_has_a_name_and_one_currency(circle: Circle) -> None:
    """Nothing but signs is no name; shillings are not saved with cedis, nor by whom they are not paid."""
    for name in ("", "*#?!", "\u4e2d\u6587", "--- "):
        assert await found(circle.groups, name=name) == Refused("name")
    assert await found(circle.groups, share=Money(5000, "KES")) == Refused("other_currency", {"currency": "GHS"})
    group = await circle.found(2)
    code = await a_code(circle, group)
    refused = Refused("other_currency", {"currency": "GHS"})
    assert await invites.join(circle.groups, KENYAN, "Wanjiru", code) == refused
    assert await invites.invite(circle.groups, AMA, group.id, KENYAN) == refused


async def test_nobody_is_in_more_groups_than_allowed(circle: Circle) -> None:
    """Not even by founding and joining several in the same moment; who leaves one has a place again."""
    groups = limited(circle, 3)
    other = await circle.found(2)
    await circle.change(other, 1, msisdn=phone(41))
    made = await invites.renew_open_code(circle.groups, KOFI, other.id)
    assert isinstance(made, invites.Invite)
    tried = await asyncio.gather(
        *(found(groups, f"run-{number}") for number in range(4)), invites.join(groups, AMA, "Ama", made.code)
    )
    assert sum(result == Refused("too_many_groups", {"most": 3}) for result in tried) == 2
    async with circle.store.look() as connection:
        theirs = await members.mine(connection, AMA)
    assert len(theirs) == 3
    founded = next(place for place in theirs if place.role == "chair")
    assert await departures.leave(groups, AMA, founded.group_id) == departures.Left(Money(0, "GHS"))
    assert (await circle.group(founded.group_id)).state == "closed"
    assert isinstance(await found(groups, "run-9"), founding.Created)


async def test_an_invitation_to_a_number_lets_that_number_in_once(circle: Circle) -> None:
    """Nobody else learns anything from its code, and asking again sends nothing again."""
    group = await circle.found(2)
    made = await invites.invite(circle.groups, KOFI, group.id, NEW)
    assert isinstance(made, invites.Invite)
    assert await invites.invite(circle.groups, AMA, group.id, NEW) == made
    (told,) = await circle.events(group, "invited")
    assert told.details == {"invite": made.code, "msisdn": NEW}
    for who, code in [(ESI, made.code), (NEW, WRONG), (NEW, "12345678"), (NEW, "1")]:
        assert await invites.preview(circle.groups, who, code) is None
        assert await invites.join(circle.groups, who, "X", code) is None
    first, second = await asyncio.gather(*(invites.join(circle.groups, NEW, " Efua\n", made.code) for _ in range(2)))
    joined, again = (first, second) if isinstance(first, invites.Joined) else (second, first)
    assert isinstance(joined, invites.Joined)
    assert (joined.member.name, joined.member.number, joined.member.role) == ("Efua", 3, "member")
    assert again == Refused("already")
    assert await invites.preview(circle.groups, NEW, made.code) is None
    assert await departures.leave(circle.groups, NEW, group.id) == departures.Left(Money(0, "GHS"))
    assert await invites.join(circle.groups, NEW, "Efua", made.code) is None
    assert await invites.invite(circle.groups, AMA, group.id, KOFI) == Refused("already")
    assert await invites.invite(circle.groups, NEW, group.id, ESI) == Refused("not_member")


async def test_invitations_end_after_a_week(circle: Circle) -> None:
    """An open code before that too, once there is a newer one."""
    group = await circle.found(2)
    before, code = await a_code(circle, group), await a_code(circle, group)
    bound = await invites.invite(circle.groups, AMA, group.id, NEW)
    assert isinstance(bound, invites.Invite)
    assert await invites.join(circle.groups, ESI, "Esi", before) is None
    circle.clock.advance(timedelta(days=7).total_seconds() - 1)
    assert isinstance(await invites.join(circle.groups, ESI, "Esi", code), invites.Joined)
    assert await invites.join(circle.groups, ESI, "Esi", code) == Refused("already")
    circle.clock.advance(1)
    assert await invites.join(circle.groups, phone(41), "Yaw", code) is None
    assert await invites.join(circle.groups, NEW, "Yaw", bound.code) is None
    async with circle.store.look() as connection:
        assert await invites.open_code(circle.groups, connection, group.id) is None
    assert await invites.renew_open_code(circle.groups, ESI, group.id) == Refused("not_officer")


async def test_the_last_place_is_given_once(circle: Circle) -> None:
    """Six come at once for two places; later neither a code nor an invitation lets anybody in."""
    group = await circle.found(3, members_min=2, members_max=5)
    code = await a_code(circle, group)
    came = await asyncio.gather(*(invites.join(circle.groups, phone(50 + n), "N", code) for n in range(6)))
    joined = [result.member.number for result in came if isinstance(result, invites.Joined)]
    full = Refused("full", {"most": 5})
    assert sorted(joined) == [4, 5]
    assert came.count(full) == 4
    assert await invites.invite(circle.groups, AMA, group.id, NEW) == full


async def test_two_phones_of_one_person_are_two_members(circle: Circle) -> None:
    """Each with a number, a share and a vote of its own."""
    group = await circle.found(2)
    code = await a_code(circle, group)
    for number in (60, 61):
        assert isinstance(await invites.join(circle.groups, phone(number), "Yaw", code), invites.Joined)
    assert [(await circle.member(group, number)).name for number in (3, 4)] == ["Yaw", "Yaw"]


async def test_who_comes_while_a_cycle_runs_waits_for_the_next(circle: Circle) -> None:
    """They are a member at once; whoever was suspended comes back only by an officer's invitation."""
    group = await circle.found(4)
    await circle.cycle(group, 4)
    code = await a_code(circle, group)
    joined = await invites.join(circle.groups, NEW, "Efua", code)
    assert isinstance(joined, invites.Joined)
    assert (joined.waits, joined.member.state) == (True, "active")
    await circle.change(group, 4, state="suspended")
    assert await invites.join(circle.groups, phone(4), "Yaw", code) is None
    bound = await invites.invite(circle.groups, AMA, group.id, phone(4))
    assert isinstance(bound, invites.Invite)
    back = await invites.join(circle.groups, phone(4), "Yaw", bound.code)
    assert isinstance(back, invites.Joined)
    assert back.member.number == 4


async def test_the_chair_gives_offices_and_shares_while_the_group_is_forming(circle: Circle) -> None:
    """Each office has one holder, and somebody always holds one; later it takes a vote."""
    group = await circle.found(4)

    async def appoint(who: Msisdn, number: int, role: str) -> str:
        result = await members.appoint(circle.groups, who, group.id, number, role)
        return result.why if isinstance(result, Refused) else result.member.role

    assert await appoint(KOFI, 4, "treasurer") == "not_chair"
    assert await appoint(NEW, 4, "treasurer") == "not_member"
    assert await appoint(AMA, 9, "treasurer") == "nobody"
    assert await appoint(AMA, 4, "king") == "role"
    assert await appoint(AMA, 4, "treasurer") == await appoint(AMA, 4, "treasurer") == "treasurer"
    assert [(await circle.member(group, number)).role for number in (3, 4)] == ["member", "treasurer"]
    (told,) = await circle.events(group, "role")
    assert (told.details, told.member) == ({"role": "treasurer"}, (await circle.member(group, 4)).id)
    slots = await members.set_slots(circle.groups, AMA, group.id, 4, 5)
    assert isinstance(slots, members.Changed)
    assert slots.member.slots == 5
    assert await members.set_slots(circle.groups, AMA, group.id, 4, 6) == Refused("slots", {"most": 5})
    assert await appoint(AMA, 2, "member") == await appoint(AMA, 4, "member") == "member"
    assert await appoint(AMA, 1, "member") == "last_officer"
    await circle.cycle(group, 4)
    assert await appoint(AMA, 3, "treasurer") == "running"
    assert await members.set_slots(circle.groups, AMA, group.id, 4, 1) == Refused("running")
    async with circle.store.work() as connection:
        await connection.execute(update(groups_table).values(state="forming"))
    assert await appoint(AMA, 3, "treasurer") == "running"  # between two cycles, where there may be money
    assert isinstance(await members.set_slots(circle.groups, AMA, group.id, 4, 1), members.Changed)


async def test_members_mute_notices_and_their_groups_hear_of_a_new_sim(circle: Circle) -> None:
    """In one group or in all; where they have left, nothing is said."""
    one, other, left = [await circle.found(2, called=name) for name in ("ONE", "TWO", "THREE")]
    await circle.change(left, 2, state="left")
    await members.set_muted(circle.groups, KOFI, None, ["contribution"])
    await members.set_muted(circle.groups, KOFI, one.id, ["joined", "role", "joined"])
    assert (await circle.member(one, 2)).muted == {"joined", "role"}
    assert (await circle.member(other, 2)).muted == {"contribution"}
    assert (await circle.member(one, 1)).muted == (await circle.member(left, 2)).muted == frozenset()
    await members.sim_changed(circle.groups, KOFI)
    assert [await circle.kinds(group) for group in (one, other, left)] == [["sim_changed"], ["sim_changed"], []]
    await circle.work()
    assert len(circle.told) == 2


async def test_whoever_leaves_after_their_turn_still_owes(circle: Circle) -> None:
    """What they have had, less what they have put in; who has had nothing owes nothing."""
    group = await circle.found(5)
    await circle.cycle(group, 5, paid=3)
    assert await departures.leave(circle.groups, phone(2), group.id) == departures.Left(Money(100_00, "GHS"))
    assert await departures.leave(circle.groups, phone(5), group.id) == departures.Left(Money(0, "GHS"))
    assert [event.details["left_owing"] for event in await circle.events(group, "left")] == [100_00, 0]
    gone = await circle.member(group, 2)
    assert (gone.state, gone.role) == ("left", "member")
    assert await departures.leave(circle.groups, phone(2), group.id) == Refused("not_member")


async def test_the_last_officer_stays_until_there_is_another(circle: Circle) -> None:
    """Unless they are the last of all, before anything has begun."""
    group = await circle.found(4)
    for number in (2, 3):
        assert isinstance(await departures.leave(circle.groups, phone(number), group.id), departures.Left)
    assert await departures.leave(circle.groups, AMA, group.id) == Refused("last_officer")
    assert isinstance(await departures.leave(circle.groups, phone(4), group.id), departures.Left)
    async with circle.store.work() as connection:
        cash = books.account(group.id, books.FUND, cash=True)
        await books.move(circle.groups, connection, books.cash_box(group.id), cash, SHARE, "a fine", None)
    assert await departures.leave(circle.groups, AMA, group.id) == Refused("savings")


@pytest.mark.parametrize("cash", [True, False])
async def test_a_saver_leaves_with_nothing_left_behind(circle: Circle, *, cash: bool) -> None:
    """As long as there is money of theirs, they stay."""
    group = await circle.found(4, kind="daily", period="daily")
    saver = await circle.member(group, 4)
    row = {
        "id": saver.id, "group_id": group.id, "member_id": saver.id, "number": 1, "state": "open", "share": 5000,
        "rules_version": 1, "started_at": circle.clock.now(),
    }  # fmt: skip
    theirs = books.account(group.id, books.member_part(saver.id), cash=cash)
    ways = [("float:scripted", theirs), (theirs, "float:scripted")]
    async with circle.store.work() as connection:
        await connection.execute(insert(cycles).values(row))
    for answer, (debit, credit) in zip([Refused("savings"), departures.Left(Money(0, "GHS"))], ways, strict=True):
        async with circle.store.work() as connection:
            await books.move(circle.groups, connection, debit, credit, SHARE, "savings", None)
        assert await departures.leave(circle.groups, phone(4), group.id) == answer


async def test_a_closed_group_lets_nobody_in(circle: Circle) -> None:
    """Its codes are as wrong as any other; its rules stay readable."""
    group = await circle.found(2)
    code = await a_code(circle, group)
    async with circle.store.work() as connection:
        await connection.execute(update(groups_table).values(state="closed"))
        assert (await connection.execute(select(group_rules.c.version))).scalars().all() == [1]
    assert await invites.preview(circle.groups, NEW, code) is None
    assert await invites.join(circle.groups, NEW, "Efua", code) is None
    assert await invites.invite(circle.groups, AMA, group.id, NEW) == Refused("closed")
