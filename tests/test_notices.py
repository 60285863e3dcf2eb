"""Who is told of what happens in a group, when, and in which words."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from groups import circle, phone
from post import Post, first_round, pay, post, running, wording
from sqlalchemy import delete, insert, update

from ussd_app.groups import audience, cycles, notices, proposals
from ussd_app.groups.model import OFFICERS, Group, Policy, Proposal, Round
from ussd_app.messages.outcomes import Priority
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.tables import memberships, subscribers

__all__ = ["circle", "post", "wording"]

EVERYBODY = (1, 2, 3, 4, 5)


async def wallet(post: Post, group: Group, number: int, turn: Round, **details: Any) -> int:  # noqa: ANN401 - JSON
    """A contribution by wallet as it is recorded, and told."""
    member = await post.circle.member(group, number)
    what = {"source": "wallet", "rounds": [turn.number], "over": 0, **details}
    return await post.happened(
        group, "contribution", member=member.id, amount=5_000, code="71530264", round_id=turn.id, **what
    )


async def asked(post: Post, group: Group, kind: str, consent: Policy, **what: Any) -> Proposal:  # noqa: ANN401 - open's own
    """Esi (3) asks for something."""
    esi = await post.circle.member(group, 3)
    async with post.circle.store.work() as connection:
        found = await proposals.open(post.groups, connection, f"ask-{uuid4()}", group, kind, consent, esi.id, **what)
    assert isinstance(found, Proposal)
    return found


# --- contributions


async def test_a_contribution_is_received_and_witnessed(post: Post) -> None:
    """The payer has a receipt, everybody else sees how far the round is; told twice, everybody hears it once."""
    group = await running(post)
    await pay(post, group, 4)
    event = await wallet(post, group, 2, await first_round(post, group))
    await notices.tell(post.groups, event)
    told = await post.rows(event)
    assert [row.template for row in told] == ["contribution_seen", "contribution_paid", *["contribution_seen"] * 3]
    assert await post.text(2, event) == (
        "You paid GHS 50.00 to ADEHYE, round 1. Paid 1 of 5. Ref 71530264 4 Mar 2031 08:00"
    )
    assert await post.text(5, event) == (
        "ADEHYE: Kofi paid GHS 50.00, round 1. Paid 1 of 5. Pot GHS 250.00 for Ama. Check *920*55*9*71530264#"
    )
    assert {row.priority for row in told if row.template == "contribution_paid"} == {Priority.RECEIPT}


async def test_each_is_told_in_their_language_and_what_they_have_not_muted(post: Post) -> None:
    """Who never registered hears it in the language of whoever acted; a receipt cannot be muted."""
    group = await running(post)
    async with post.circle.store.work() as connection:
        await connection.execute(update(subscribers).where(subscribers.c.msisdn == phone(1)).values(language="fr"))
        await connection.execute(update(subscribers).where(subscribers.c.msisdn == phone(3)).values(language="sw"))
        await connection.execute(delete(subscribers).where(subscribers.c.msisdn == phone(2)))
    for number in (4, 5):
        await post.circle.change(group, number, muted=["contributions"])
    event = await pay(post, group, 5)
    await notices.tell(post.groups, event)
    assert await post.told(event) == {
        1: "contribution_seen", 2: "contribution_seen", 3: "contribution_seen", 5: "contribution_cash",
    }  # fmt: skip
    assert (await post.text(1, event)).startswith("ADEHYE : Efua a payé GHS 50,00, tour 1.")
    assert (await post.text(2, event)).startswith("ADEHYE: Efua amelipa GHS 50.00, raundi 1.")
    assert (await post.text(5, event)).startswith("Esi wrote down GHS 50.00 cash from you for ADEHYE.")


async def test_what_is_said_of_more_than_a_round(post: Post) -> None:
    """What is over, what went to fines, what nothing was due for, and a beneficiary nobody has chosen yet."""
    group = await running(post, order="need")
    turn = await first_round(post, group)
    over = await wallet(post, group, 2, turn, over=2_000)
    assert "GHS 20.00 of it is for the next round." in await post.text(2, over)
    assert (await post.text(1, over)).endswith("Pot GHS 250.00. Check *920*55*9*71530264#")
    member = (await post.circle.member(group, 2)).id
    for details, template in (({"fines": {"x": 500}, "over": 0}, "fine_paid"), ({"over": 5_000}, "advance_paid")):
        what = {"source": "wallet", "rounds": [], **details}
        event = await post.happened(group, "contribution", member=member, amount=5_000, code=uuid4().hex[:8], **what)
        assert (await post.told(event))[2] == template
        assert (await post.told(event))[5] == "payment_seen"


# --- the quiet hours


@pytest.mark.parametrize(
    ("hour", "waits_until"), [(21, "06 08"), (23, "06 08"), (0, "05 08"), (7, "05 08"), (8, None), (20, None)]
)
def test_the_night_is_where_the_recipient_is(hour: int, waits_until: str | None) -> None:
    """From 21:00 to 08:00 nobody is disturbed; over midnight it is the next day's morning."""
    for msisdn, ahead in ((phone(1), 0), (Msisdn("+254712000001"), 3), (Msisdn("+256772000001"), 3)):
        now = datetime(2031, 3, 5, hour, 30, tzinfo=UTC) - timedelta(hours=ahead)
        until = notices.morning(msisdn, now)
        assert (until and f"{until:%d %H}") == waits_until
        assert until is None or until.utcoffset() == timedelta(hours=ahead)


async def test_at_night_only_what_somebody_waits_for_goes_out(post: Post) -> None:
    """A receipt goes at once, a witness waits for the morning, and has its hours from then on."""
    group = await running(post)
    post.at(22, 30)
    event = await wallet(post, group, 2, await first_round(post, group))
    now, morning = post.circle.clock.now(), datetime(2031, 3, 5, 8, tzinfo=UTC)
    rows = {row.template: row for row in await post.rows(event)}
    assert (rows["contribution_paid"].due_at, rows["contribution_seen"].due_at) == (now, morning)
    assert rows["contribution_seen"].deadline - morning == timedelta(hours=6)
    proposal = await payout(post, group)
    await notices.tell(post.groups, (await post.circle.events(group))[-1].id)
    assert {row.due_at for row in await post.rows() if proposal.code in row.text} == {now}


# --- requests


async def payout(post: Post, group: Group) -> Proposal:
    """Esi asks for the pot of Ama, the chair; so of the officers only Kofi may approve, and he alone is enough."""
    ama = await post.circle.member(group, 1)
    turn = await first_round(post, group)
    consent = Policy(count=1, roles=OFFICERS, veto=True)
    nothing = Money(0, "GHS")
    money = {"payee": ama.id, "amount": Money.of(250, "GHS"), "cash": nothing, "round_id": turn.id}
    return await asked(post, group, "payout", consent, **money)


async def test_a_payout_is_asked_of_those_who_may_approve(post: Post) -> None:
    """With its code and its deadline; never of who asks or is paid, nor of a member without office."""
    group = await running(post)
    proposal = await payout(post, group)
    event = (await post.circle.events(group, "proposed"))[-1].id
    await notices.tell(post.groups, event)
    assert await post.told(event) == {2: "payout_asked"}
    assert await post.text(2) == (
        f"Approve? ADEHYE pays Ama ...001 GHS 250.00. Dial *920*55*7*{proposal.code}# with your PIN"
        " before 6 Mar 2031 08:00"
    )


async def test_what_becomes_of_a_payout(post: Post) -> None:
    """In part, approved, rejected, expired, failed: officers and payee; paid: everybody, the payee with a receipt."""
    group = await running(post)
    proposal = await payout(post, group)
    ama, kofi = [(await post.circle.member(group, number)).id for number in (1, 2)]
    what: dict[str, Any] = {"member": ama, "actor": kofi, "amount": 25_000, "proposal_id": proposal.id}

    async def told(kind: str, **details: Any) -> dict[int, str]:  # noqa: ANN401 - JSON
        return await post.told(await post.happened(group, kind, **what, **details))

    officers = (1, 2, 3)
    assert await told("approved", count=1, needed=2) == dict.fromkeys(officers, "payout_approved_in_part")
    assert (await post.text(3)).endswith("1 of 2 done. Ref " + proposal.code)
    assert await told("approved", count=2, needed=2) == dict.fromkeys(officers, "payout_approved")
    assert await told("rejected") == dict.fromkeys(officers, "payout_rejected")
    assert await told("expired") == dict.fromkeys(officers, "payout_expired")
    assert await told("payout_failed", reason="x") == dict.fromkeys(officers, "payout_failed")
    paid = await told("paid_out", code="48215037", cash=0)
    assert paid == {1: "payout_received", **dict.fromkeys((2, 3, 4, 5), "payout_seen")}
    received = [row.text for row in await post.rows() if row.template == "payout_received"]
    assert received == ["You received GHS 250.00 from ADEHYE. Check: *920*55*9*48215037# 4 Mar 2031 08:00"]


async def test_other_requests(post: Post) -> None:
    """All are asked about rules; one about a swap; of a single vote nobody hears; of its end officers and asker do."""
    group = await running(post)
    await post.circle.change(group, 3, role="member")
    yaw = await post.circle.member(group, 4)
    others = dict.fromkeys((1, 2, 4, 5), "rules_asked")
    swap = Policy(count=1, members=(str(yaw.id),), veto=True)
    for kind, consent, expected in (
        ("rules", Policy(percent=50), others),
        ("role", Policy(percent=50), dict.fromkeys(others, "role_asked")),
        ("swap", swap, {4: "swap_asked"}),
        ("phone", Policy(percent=50), dict.fromkeys(others, "number_asked")),
        ("removal", Policy(percent=50), dict.fromkeys(others, "removal_asked")),
    ):
        proposal = await asked(post, group, kind, consent, details={"member": str(yaw.id)})
        event = (await post.circle.events(group, "proposed"))[-1].id
        await notices.tell(post.groups, event)
        assert await post.told(event) == expected
        vote = await post.happened(group, "approved", proposal_id=proposal.id, count=1, needed=1)
        assert await post.told(vote) == {}
        end = await post.happened(group, "expired", proposal_id=proposal.id)
        assert set(await post.told(end)) == ({1, 2, 3, 4} if kind == "swap" else {1, 2, 3})


# --- everything else that happens

# What happened, to which member, by which, with what; and who hears it.
HAPPENED: list[tuple[str, int | None, int | None, dict[str, Any], dict[int, str]]] = [
    ("joined", 5, 5, {}, {5: "group_joined", **dict.fromkeys((1, 2, 3), "member_joined")}),
    ("left", 5, 5, {"left_owing": 0}, {5: "group_left", **dict.fromkeys((1, 2, 3), "member_left")}),
    ("left", 5, 5, {"left_owing": 1}, {5: "group_left_owing", **dict.fromkeys((1, 2, 3), "member_left_owing")}),
    ("invited", None, 1, {"invite": "48215037", "msisdn": str(phone(9))}, {9: "group_invited"}),
    ("removed", 5, None, {}, {5: "group_removed", **dict.fromkeys((1, 2, 3), "member_removed")}),
    ("role", 2, None, {"role": "chair"}, dict.fromkeys((1, 2, 3, 5), "chair_changed")),
    ("role", 2, None, {"role": "secretary"}, dict.fromkeys((1, 2, 3, 5), "secretary_changed")),
    ("role", 2, None, {"role": "treasurer"}, dict.fromkeys((1, 2, 3, 5), "treasurer_changed")),
    ("role", 2, None, {"role": "member"}, dict.fromkeys((1, 2, 3, 5), "officer_gone")),
    ("rules", None, None, {"version": 2, "changes": {}}, dict.fromkeys((1, 2, 3, 5), "rules_changed")),
    ("phone", 5, None, {"before": str(phone(9))},
     {9: "number_taken", 5: "number_given", **dict.fromkeys((1, 2, 3), "number_changed")}),
    ("sim_changed", 2, None, {}, {1: "sim_changed", 3: "sim_changed"}),
    ("swapped", 1, 2, {"rounds": [1, 2]},
     {1: "turn_moved", 2: "turn_moved", **dict.fromkeys((3, 4, 5), "turns_swapped")}),
    ("skipped", 2, 1, {"rounds": [2, 5]}, {2: "turn_skipped", **dict.fromkeys((1, 3, 4, 5), "turn_skipped_seen")}),
    ("cycle_closed", None, None, {"rounds": 5}, dict.fromkeys(EVERYBODY, "cycle_closed")),
    ("reversed", 5, 3, {"of": "48215037"},
     {5: "contribution_reversed", **dict.fromkeys((1, 2, 3, 4), "reversal_seen")}),
    ("suspended_money", 5, None, {"source": "wallet"}, {5: "money_kept", 3: "money_kept_seen"}),
    ("allotted", 5, None, {"of": "48215037"}, {5: "money_allotted"}),
    ("savings_paid", 5, 5, {"cycles": [1], "commission": 10, "cash": 0},
     {5: "savings_received", 3: "savings_paid"}),
    ("paused", 5, 5, {}, dict.fromkeys((1, 2, 3), "saving_paused")),
    ("resumed", 5, 5, {}, dict.fromkeys((1, 2, 3), "saving_resumed")),
    ("created", None, 1, {}, {}),
]  # fmt: skip
OF_A_ROUND: list[tuple[str, int | None, dict[str, Any], dict[int, str]]] = [
    ("fined", 5, {}, {5: "fined"}),
    ("round_due", 1, {"missing": []}, {}),
    ("round_due", 1, {"missing": ["Yaw"]}, dict.fromkeys((1, 2, 3), "round_missing")),
    ("round_opened", 1, {}, {}),
    ("round_opened", 1, {"chosen": True}, {1: "turn_given", **dict.fromkeys((2, 3, 4, 5), "turn_chosen")}),
]


async def test_who_hears_of_what(post: Post) -> None:
    """Each kind of event reaches those it concerns, once each, in words that say it; Yaw wants to hear no changes."""
    group = await running(post)
    await post.circle.change(group, 4, muted=["changes", "contributions", "reminders"])
    turn = await first_round(post, group)
    happened: list[Any] = [
        *HAPPENED,
        *((kind, who, 3, {**what, "round_id": turn.id}, to) for kind, who, what, to in OF_A_ROUND),
    ]
    told = {}
    for kind, who, by, what, expected in happened:
        ids = {name: (await post.circle.member(group, n)).id for name, n in (("member", who), ("actor", by)) if n}
        code = uuid4().hex[:8]
        event = told[kind] = await post.happened(group, kind, amount=1_000, code=code, **ids, **what)
        assert await post.told(event) == expected, kind
        assert all(row.parts == 1 and "ADEHYE" in row.text for row in await post.rows(event))
    assert "turns have changed. Yours is now round 1, due 11 Mar 2031." in await post.text(1, told["swapped"])
    assert "rounds 1,2 have changed places." in await post.text(4, told["swapped"])
    assert await post.text(9, told["phone"]) == (
        "ADEHYE: Efua has another phone number now. If that is you and you did not want it, tell your officers at once."
    )


async def test_no_line_is_never_used(wording: Any) -> None:  # noqa: ANN401 - menus
    """Every template of the table is a text, and every kind that can be muted is one a member may mute."""
    lines = [line for lines in audience.NOTICES.values() for line in lines]
    assert {line.template for line in lines} <= set(wording.sms)
    assert {line.mute for line in lines} - {None} < set(audience.MUTABLE)


async def test_the_beginning_of_a_cycle_says_whose_turn_is_when(post: Post) -> None:
    """Each hears of their own turn, and of all of them where they have several."""
    group = await post.circle.found(5)
    await post.circle.change(group, 2, slots=2)
    await cycles.start(post.groups, "start", phone(1), group.id)
    [started] = await post.circle.events(group, "started")
    await notices.tell(post.groups, started.id)
    assert await post.told(started.id) == dict.fromkeys(EVERYBODY, "turn_drawn")
    assert "Your turn is round 2,6, due 18 Mar 2031." in await post.text(2)
    group = await running(post, order="need")
    [started] = await post.circle.events(group, "started")
    await notices.tell(post.groups, started.id)
    assert set((await post.told(started.id)).values()) == {"cycle_started"}


async def test_a_thousand_members_are_told_in_few_statements(post: Post) -> None:
    """One contribution in a group of 1,000 is one receipt and 999 notices."""
    group = await running(post)
    row = {"group_id": group.id, "role": "member", "state": "active", "joined_at": post.circle.clock.now()}
    row |= {"trusted_from": row["joined_at"]}
    crowd = [
        {**row, "id": uuid4(), "number": number, "msisdn": phone(number), "name": f"Member {number}"}
        for number in range(6, 1_001)
    ]
    async with post.circle.store.work() as connection:
        await connection.execute(insert(memberships), crowd)
    with post.counted() as sent:
        event = await wallet(post, group, 2, await first_round(post, group))
    assert len(await post.rows(event)) == 1_000
    assert len(sent) < 15
