"""Asking, approving and rejecting: every one who may decide, nobody else, and exactly one decision."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from groups import Circle, circle, name, phone

from ussd_app import codes
from ussd_app.groups import asking, changes, departures, proposals
from ussd_app.groups.model import OFFICERS, Group, Policy, Proposal, Refused, Rules
from ussd_app.groups.proposals import Adopted, Counted, Rejected
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.tables import cycles, rounds

__all__ = ["circle"]

POT = Money(250_00, "GHS")
TWO_OFFICERS = Policy(count=2, roles=OFFICERS, veto=True)
HOUR = 3600


async def ask(
    circle: Circle, group: Group, asked_by: int, payee: int | None, consent: Policy = TWO_OFFICERS, run: str = ""
) -> Proposal | Refused:
    """A member asks for the pot to be paid to another."""
    who = (await circle.member(group, asked_by)).id
    paid = (await circle.member(group, payee)).id if payee else None
    async with circle.store.work() as connection:
        return await proposals.open(
            circle.groups, connection, run or uuid4().hex, group, "payout", consent, who, payee=paid, amount=POT
        )


async def asked(circle: Circle, group: Group, asked_by: int, payee: int | None, **more: Any) -> Proposal:  # noqa: ANN401 - as ask
    """The same, where it is taken."""
    proposal = await ask(circle, group, asked_by, payee, **more)
    assert isinstance(proposal, Proposal)
    return proposal


async def vote(
    circle: Circle, number: int | Msisdn, proposal: Proposal, *, approves: bool = True, sim: proposals.Sim = "trusted"
) -> Any:  # noqa: ANN401 - any outcome
    """Member ``number`` dials the code."""
    who = phone(number) if isinstance(number, int) else number
    async with circle.store.work() as connection:
        return await proposals.vote(circle.groups, connection, who, proposal.code, approves=approves, sim=sim)


async def who_waits(circle: Circle, count: int = 5) -> set[int]:
    """The numbers of those who have something to decide."""
    async with circle.store.look() as connection:
        return {n for n in range(1, count + 1) if await proposals.waiting(circle.groups, connection, phone(n))}


async def test_two_of_the_officers_carry_a_payout(circle: Circle) -> None:
    """Asked once a run; told step by step; neither who asks nor a stranger learns anything from its code."""
    group = await circle.found(5)
    proposal = await asked(circle, group, 4, 5, run="run-1")
    assert await ask(circle, group, 4, 5, run="run-1") == proposal
    assert proposal.expires_at - proposal.asked_at == timedelta(hours=48)
    for number in (4, 5, 99):
        assert await proposals.find(circle.groups, phone(number), proposal.code) is None
        assert await vote(circle, number, proposal) is None
    assert await proposals.find(circle.groups, phone(1), "12345678") is None
    found = await proposals.find(circle.groups, phone(1), proposal.code)
    assert found is not None
    assert found.payee is not None
    assert (found.count, found.needed, found.voted, found.proposal.amount) == (0, 2, None, POT)
    assert (found.caller.name, found.asked_by.name, found.payee.name) == (name(1), name(4), name(5))
    assert await who_waits(circle) == {1, 2, 3}
    assert await vote(circle, 1, proposal) == Counted(1, 2)
    assert await vote(circle, 1, proposal) == Refused("already_voted")
    assert await who_waits(circle) == {2, 3}
    adopted = await vote(circle, 2, proposal)
    assert isinstance(adopted, Adopted)
    assert (adopted.proposal.id, adopted.proposal.state) == (proposal.id, "adopted")
    assert await vote(circle, 3, proposal) == Refused("decided")
    assert await who_waits(circle) == set()
    events = await circle.events(group)
    assert [(event.kind, event.details) for event in events] == [
        ("proposed", {}), ("approved", {"count": 1, "needed": 2}), ("approved", {"count": 2, "needed": 2}),
    ]  # fmt: skip
    assert {event.amount for event in events} == {POT.minor}


async def test_an_officer_who_is_paid_has_no_vote(circle: Circle) -> None:
    """With too few officers beside, every member may approve; where they are too few as well, nothing is asked."""
    group = await circle.found(5)
    proposal = await asked(circle, group, 3, 1)  # the treasurer asks for the chair's pot
    assert await vote(circle, 1, proposal) is None
    assert await who_waits(circle) == {2, 4, 5}
    assert await vote(circle, 4, proposal) == Counted(1, 2)
    assert isinstance(await vote(circle, 5, proposal), Adopted)
    pair = await circle.found(3, called="THREE")
    assert await ask(circle, pair, 3, 1) == Refused("nobody_to_approve")
    assert await circle.events(pair) == []


async def test_one_rejection_closes_a_payout(circle: Circle) -> None:
    """For who may not yet approve, stopping it is no matter of trust."""
    group = await circle.found(5)
    await circle.change(group, 2, trusted_from=circle.clock.now() + timedelta(hours=1))
    proposal = await asked(circle, group, 4, 5)
    assert await vote(circle, 1, proposal) == Counted(1, 2)
    assert isinstance(await vote(circle, 2, proposal, approves=False, sim="changed"), Rejected)
    assert await vote(circle, 3, proposal) == Refused("decided")
    assert await circle.kinds(group) == ["proposed", "approved", "rejected"]


async def test_who_is_not_yet_trusted_cannot_approve(circle: Circle) -> None:
    """A new officer, a SIM that has just changed, and an unknown one where the group says so."""
    group = await circle.found(5, unknown_sim="refuse")
    until = circle.clock.now() + timedelta(hours=24)
    await circle.change(group, 2, trusted_from=until)
    proposal = await asked(circle, group, 4, 5)
    assert await vote(circle, 2, proposal) == Refused("cooling", {"until": until})
    assert await vote(circle, 1, proposal, sim="changed") == Refused("sim_changed")
    assert await vote(circle, 1, proposal, sim="unknown") == Refused("sim_unknown")
    assert await vote(circle, 1, proposal) == Counted(1, 2)
    circle.clock.advance(24 * HOUR)
    assert isinstance(await vote(circle, 2, proposal), Adopted)
    easy = await circle.found(5, called="EASY")
    assert await vote(circle, 1, await asked(circle, easy, 4, 5), sim="unknown") == Counted(1, 2)


async def test_two_officers_in_the_same_second_carry_it_once(circle: Circle) -> None:
    """Twenty times, three phones at once on their own connections: one adoption, and every vote counted once."""
    group = await circle.found(5)
    for turn in range(20):
        proposal = await asked(circle, group, 4, 5, run=f"run-{turn}")
        results = await asyncio.gather(*(vote(circle, number, proposal) for number in (1, 2, 3, 1)))
        assert sum(isinstance(result, Adopted) for result in results) == 1
        assert results.count(Counted(1, 2)) == 1
        assert sum(isinstance(result, Refused) for result in results) == 2
    assert (await circle.kinds(group)).count("approved") == 40


async def test_officers_change_while_a_request_is_pending(circle: Circle) -> None:
    """The approval of one who left or lost the office no longer counts; their successor cools first."""
    group = await circle.found(6, cooling_hours=1)
    proposal = await asked(circle, group, 6, 5)
    assert await vote(circle, 1, proposal) == Counted(1, 2)
    assert isinstance(await departures.leave(circle.groups, phone(1), group.id), departures.Left)
    change = await asking.role(circle.groups, "run-2", phone(2), group.id, 4, "chair")
    assert isinstance(change, Proposal)
    assert change.policy == Policy(percent=50)
    assert await who_waits(circle, 6) == {2, 3, 4, 5, 6}
    for number in (3, 5):
        assert isinstance(await vote(circle, number, change), Counted)
    assert isinstance(await vote(circle, 6, change), Adopted)
    trusted_from = circle.clock.now() + timedelta(hours=1)
    assert await vote(circle, 4, proposal) == Refused("cooling", {"until": trusted_from})
    assert await vote(circle, 2, proposal) == Counted(1, 2)
    circle.clock.advance(HOUR)
    assert isinstance(await vote(circle, 4, proposal), Adopted)


async def test_nothing_outlives_its_deadline(circle: Circle) -> None:
    """A vote that comes too late meets nothing, whether the job has run or not; what was decided stays."""
    circle.on("groups.expire", proposals.expire)
    group = await circle.found(5, request_hours=2)
    late, decided = await asked(circle, group, 4, 5), await asked(circle, group, 4, 5)
    await vote(circle, 1, decided, approves=False)
    await proposals.expire(circle.groups, late.id)  # too early by somebody's clock
    await circle.work(2 * HOUR - 1)
    assert await vote(circle, 1, late) == Counted(1, 2)
    circle.clock.advance(1)
    assert await vote(circle, 2, late) is None
    assert await who_waits(circle) == set()
    await circle.work()
    await proposals.expire(circle.groups, late.id)
    assert await circle.kinds(group) == ["proposed", "proposed", "rejected", "approved", "expired"]
    assert await proposals.find(circle.groups, phone(2), late.code) is None


async def test_rules_change_by_vote_and_every_version_is_kept(circle: Circle) -> None:
    """More than half of those who are asked; nothing that makes no sense is even asked."""
    group = await circle.found(5)
    senseless: list[dict[str, Any]] = [
        {}, {"fine": 0}, {"share": 0}, {"share": True}, {"share": "50"}, {"king": 1}, {"order": "chance"},
        {"members_min": 21}, {"members_max": 26}, {"vote_percent": 10}, {"cooling_hours": 0},
    ]  # fmt: skip
    for changed in senseless:
        assert await asking.rules(circle.groups, "run-0", phone(5), group.id, changed) == Refused("rules")
    changed = {"fine": 500, "short": "wait"}
    proposal = await asking.rules(circle.groups, "run-1", phone(5), group.id, changed)
    assert isinstance(proposal, Proposal)
    assert await asking.rules(circle.groups, "run-1", phone(5), group.id, changed) == proposal
    again = await asking.rules(circle.groups, "run-2", phone(5), group.id, {"fine": 600})
    assert again == Refused("asked", {"code": proposal.code})
    assert await asking.rules(circle.groups, "run-3", phone(99), group.id, changed) == Refused("not_member")
    assert await vote(circle, 1, proposal) == Counted(1, 3)
    assert await vote(circle, 2, proposal, approves=False) == Counted(1, 3)
    assert await vote(circle, 3, proposal) == Counted(2, 3)
    assert isinstance(await vote(circle, 4, proposal), Adopted)
    now = await circle.group(group)
    assert (now.rules_version, now.rules.fine, now.rules.short) == (2, 500, "wait")
    (event,) = await circle.events(group, "rules")
    assert event.details == {"version": 2, "changes": changed}


async def test_only_members_ask_and_only_codes_are_looked_up(circle: Circle) -> None:
    """A stranger is refused whatever they ask; what is no code, and a code that is nobody's, decide nothing."""
    group, stranger = await circle.found(5), phone(99)
    refused = [
        await asking.rules(circle.groups, "run-1", stranger, group.id, {"fine": 500}),
        await asking.role(circle.groups, "run-2", stranger, group.id, 5, "chair"),
        await asking.swap(circle.groups, "run-3", stranger, group.id, 5),
        await asking.phone(circle.groups, "run-4", stranger, group.id, 5, stranger),
        await asking.removal(circle.groups, "run-5", stranger, group.id, 5),
    ]
    assert refused == [Refused("not_member")] * 5
    assert await asking.role(circle.groups, "run-6", phone(1), group.id, 9, "chair") == Refused("nobody")
    proposal = await asked(circle, group, 4, 5)
    for code in ("", "12345678", codes.new(circle.groups.random)):
        assert await vote(circle, 1, replace(proposal, code=code)) is None
    assert await departures.leave(circle.groups, phone(5), group.id) == Refused("payout")


async def test_rules_that_no_longer_fit_are_not_adopted(circle: Circle) -> None:
    """Two changes, each sensible alone, of which the second comes too late."""
    group = await circle.found(2, members_min=2)
    first = await asking.rules(circle.groups, "run-1", phone(1), group.id, {"members_max": 4})
    second = await asking.rules(circle.groups, "run-2", phone(2), group.id, {"members_min": 5})
    assert isinstance(first, Proposal)
    assert isinstance(second, Proposal)
    assert isinstance(await vote(circle, 2, first), Adopted)
    assert isinstance(await vote(circle, 1, second), Rejected)
    assert (await circle.group(group)).rules_version == 2
    assert changes.agreed(Rules(100), {"members_min": 30}) is None


async def test_a_phone_is_changed_with_the_officers_consent(circle: Circle) -> None:
    """The new number cools; a number of another member or currency is refused, even when it became one meanwhile."""
    group = await circle.found(5)

    async def new(run: str, number: int, msisdn: Msisdn, asked_by: int = 5) -> Proposal | Refused:
        return await asking.phone(circle.groups, run, phone(asked_by), group.id, number, msisdn)

    assert await new("run-1", 2, phone(4)) == Refused("already")
    assert await new("run-1", 2, Msisdn("+254710000001")) == Refused("other_currency", {"currency": "GHS"})
    assert await new("run-1", 9, phone(70)) == Refused("nobody")
    one, other = await new("run-1", 2, phone(70)), await new("run-2", 3, phone(70), asked_by=4)
    assert isinstance(one, Proposal)
    assert isinstance(other, Proposal)
    assert await vote(circle, 2, one) is None
    assert await vote(circle, 1, one) == Counted(1, 2)
    assert isinstance(await vote(circle, 3, one), Adopted)
    member = await circle.member(group, 2)
    assert (member.msisdn, member.trusted_from) == (phone(70), circle.clock.now() + timedelta(hours=24))
    (event,) = await circle.events(group, "phone")
    assert (event.member, event.details) == (member.id, {"before": phone(2)})
    assert await vote(circle, 1, other) == Counted(1, 2)
    assert await vote(circle, phone(70), other) == Refused("cooling", {"until": member.trusted_from})
    circle.clock.advance(24 * HOUR)
    assert isinstance(await vote(circle, phone(70), other), Rejected)


async def test_a_member_dies_mid_cycle(circle: Circle) -> None:
    """The officers take them out: their turn goes to the others, and no round to come waits for them."""
    group = await circle.found(5)
    await circle.cycle(group, 5, paid=1)
    assert await asking.removal(circle.groups, "run-0", phone(4), group.id, 4) == Refused("nobody")
    proposal = await asking.removal(circle.groups, "run-1", phone(4), group.id, 5)
    assert isinstance(proposal, Proposal)
    assert await vote(circle, 5, proposal) is None
    await vote(circle, 1, proposal)
    assert isinstance(await vote(circle, 2, proposal), Adopted)
    gone = await circle.member(group, 5)
    assert gone.state == "suspended"
    assert await holders(circle, group) == [1, 2, 3, 4]
    assert (await circle.kinds(group))[-2:] == ["removed", "approved"]


async def test_two_swap_their_turns(circle: Circle) -> None:
    """The other's consent alone, of the very turns it was asked of."""
    group = await circle.found(5)
    assert await asking.swap(circle.groups, "run-0", phone(2), group.id, 5) == Refused("turn")
    await circle.cycle(group, 5, paid=1)
    assert await asking.swap(circle.groups, "run-0", phone(1), group.id, 5) == Refused("turn")
    assert await asking.swap(circle.groups, "run-0", phone(2), group.id, 2) == Refused("nobody")
    first = await asking.swap(circle.groups, "run-1", phone(2), group.id, 5)
    second = await asking.swap(circle.groups, "run-2", phone(5), group.id, 3)
    assert isinstance(first, Proposal)
    assert isinstance(second, Proposal)
    assert await vote(circle, 1, first) is None
    assert isinstance(await vote(circle, 5, first), Adopted)
    assert await holders(circle, group) == [1, 5, 3, 4, 2]
    assert isinstance(await vote(circle, 3, second), Rejected)
    again = await asking.swap(circle.groups, "run-3", phone(5), group.id, 3)
    assert isinstance(again, Proposal)
    assert isinstance(await vote(circle, 3, again, approves=False), Rejected)
    assert await holders(circle, group) == [1, 5, 3, 4, 2]


async def test_the_office_of_one_who_left_is_not_given(circle: Circle) -> None:
    """What can no longer be carried out is rejected by the vote that would have carried it."""
    group = await circle.found(5)
    assert await asking.role(circle.groups, "run-0", phone(2), group.id, 1, "chair") == Refused("role")
    proposal = await asking.role(circle.groups, "run-1", phone(2), group.id, 5, "chair")
    assert isinstance(proposal, Proposal)
    assert isinstance(await departures.leave(circle.groups, phone(5), group.id), departures.Left)
    assert await vote(circle, 3, proposal) == Counted(1, 2)
    rejected = await vote(circle, 4, proposal)
    assert isinstance(rejected, Rejected)
    assert rejected.proposal.state == "rejected"
    assert (await circle.member(group, 1)).role == "chair"


async def holders(circle: Circle, group: Group) -> list[int]:
    """Whose the rounds of the open cycle are, by member's number."""
    people: dict[UUID, int] = {
        member.id: member.number for member in [await circle.member(group, n) for n in range(1, 6)]
    }
    query = rounds.select().join(cycles, cycles.c.id == rounds.c.cycle_id).where(cycles.c.group_id == group.id)
    async with circle.store.look() as connection:
        return [people[row.beneficiary] for row in await connection.execute(query.order_by(rounds.c.number))]
