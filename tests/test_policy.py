"""Who may vote, and what the votes amount to: pure, so that every case can be written down."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ussd_app.groups import policy
from ussd_app.groups.model import OFFICERS, Member, Policy
from ussd_app.msisdn import Msisdn

CHAIR, SECRETARY, TREASURER, MEMBER, OTHER = (UUID(int=number) for number in range(1, 6))
THREE = frozenset({CHAIR, SECRETARY, TREASURER})


def person(who: UUID, role: str = "member", state: str = "active") -> Member:
    """A member, of whom only these three matter here."""
    moment = datetime(2031, 3, 4, tzinfo=UTC)
    number = Msisdn(f"+23324{who.int:07d}")
    return Member(who, UUID(int=99), who.int, number, "Ama", role, 1, state, frozenset(), None, moment)


PEOPLE = [
    person(CHAIR, "chair"),
    person(SECRETARY, "secretary"),
    person(TREASURER, "treasurer"),
    person(MEMBER),
    person(OTHER),
]
TWO_OFFICERS = Policy(count=2, roles=OFFICERS, veto=True)


@pytest.mark.parametrize(
    ("consent", "asked_by", "payee", "voters"),
    [
        (TWO_OFFICERS, MEMBER, None, {CHAIR, SECRETARY, TREASURER}),
        (TWO_OFFICERS, TREASURER, MEMBER, {CHAIR, SECRETARY}),
        (TWO_OFFICERS, TREASURER, CHAIR, {SECRETARY, MEMBER, OTHER}),  # one officer is too few: everybody is asked
        (TWO_OFFICERS, TREASURER, TREASURER, {CHAIR, SECRETARY}),
        (Policy(percent=50), CHAIR, None, {SECRETARY, TREASURER, MEMBER, OTHER}),
        (Policy(count=1, members=(str(OTHER),)), MEMBER, None, {OTHER}),
        (Policy(count=1, members=(str(OTHER),)), OTHER, None, set()),  # nobody stands in for one asked by name
        (Policy(roles=("treasurer",), percent=50), TREASURER, None, {CHAIR, SECRETARY, MEMBER, OTHER}),
    ],
)
def test_who_asks_and_who_is_paid_never_vote(
    consent: Policy, asked_by: UUID, payee: UUID | None, voters: set[UUID]
) -> None:
    """The officers do, or everybody where too few officers are left."""
    assert policy.entitled(consent, PEOPLE, asked_by, payee) == voters


def test_who_left_or_is_suspended_has_no_vote() -> None:
    """Even with an office; too few are too few."""
    people = [person(CHAIR, "chair", "left"), person(SECRETARY, "secretary", "suspended"), person(TREASURER), PEOPLE[3]]
    voters = policy.entitled(TWO_OFFICERS, people, MEMBER, None)
    assert voters == {TREASURER}
    assert not policy.is_possible(TWO_OFFICERS, voters)
    assert policy.is_possible(Policy(count=1), voters)
    assert not policy.is_possible(Policy(percent=50), frozenset())


@pytest.mark.parametrize(
    ("voters", "percent", "needed"), [(1, 50, 1), (2, 50, 2), (3, 50, 2), (4, 50, 3), (9, 66, 6), (4, 99, 4), (5, 0, 1)]
)
def test_more_than_a_percentage(voters: int, percent: int, needed: int) -> None:
    """Half is not more than half."""
    assert policy.needed(Policy(percent=percent), frozenset(map(UUID, map("{:032x}".format, range(voters))))) == needed


@pytest.mark.parametrize(
    ("veto", "votes", "decision"),
    [
        (True, {CHAIR: True}, None),
        (True, {CHAIR: True, SECRETARY: True}, "adopted"),
        (True, {CHAIR: True, MEMBER: True}, None),  # no vote of a member who is not asked
        (True, {CHAIR: False}, "rejected"),
        (True, {CHAIR: True, SECRETARY: True, TREASURER: False}, "rejected"),
        (True, {MEMBER: False}, None),
        (False, {CHAIR: False}, None),
        (False, {CHAIR: False, SECRETARY: False}, "rejected"),  # one who is left cannot carry it
        (False, {CHAIR: False, SECRETARY: True, TREASURER: True}, "adopted"),
    ],
)
def test_what_votes_amount_to(*, veto: bool, votes: dict[UUID, bool], decision: str | None) -> None:
    """Two of three officers carry it; one rejection closes it where that is the rule."""
    assert policy.decide(Policy(count=2, roles=OFFICERS, veto=veto), THREE, votes) == decision


@given(
    votes=st.dictionaries(st.sampled_from([person.id for person in PEOPLE]), st.booleans()),
    asked_by=st.sampled_from([person.id for person in PEOPLE]),
    payee=st.sampled_from([None, *(person.id for person in PEOPLE)]),
    consent=st.builds(
        Policy, count=st.integers(0, 4), percent=st.integers(0, 99), roles=st.sampled_from([(), OFFICERS])
    ),
)
def test_nothing_is_adopted_without_others(
    votes: dict[UUID, bool], asked_by: UUID, payee: UUID | None, consent: Policy
) -> None:
    """Whatever the policy: without the votes of who asks and who is paid, enough have approved."""
    voters = policy.entitled(consent, PEOPLE, asked_by, payee)
    others = {voter for voter, approves in votes.items() if approves} - {asked_by, payee}
    if policy.decide(consent, voters, votes) == "adopted":
        assert len(others) >= max(1, consent.count)
