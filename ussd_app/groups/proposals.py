"""Proposals: asked by a member, decided by others who dial its code; none outlives its deadline.

Every change of one happens under its group's lock and its own, so that of two who approve in the same second exactly
one carries it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID, uuid4

from sqlalchemy import exists, select, update

from ussd_app import codes
from ussd_app.groups import Groups, books, changes, events, fresh, members, policy
from ussd_app.groups.model import Group, Member, Policy, Proposal, Refused
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.store import Look, Row, Work
from ussd_app.tables import groups as groups_table
from ussd_app.tables import memberships, proposals, votes

Sim = Literal["trusted", "changed", "unknown"]

p, v, m = proposals.c, votes.c, memberships.c


@dataclass(frozen=True, slots=True)
class Found:
    """A proposal as one of those who may decide it sees it; ``voted``: what they said, None: nothing yet."""

    proposal: Proposal
    group: Group
    caller: Member
    asked_by: Member
    payee: Member | None
    count: int  # who have approved so far
    needed: int
    voted: bool | None


@dataclass(frozen=True, slots=True)
class Counted:
    """The vote stands; so many have approved, of so many needed."""

    count: int
    needed: int


@dataclass(frozen=True, slots=True)
class Adopted:
    """This vote has carried it."""

    proposal: Proposal


@dataclass(frozen=True, slots=True)
class Rejected:
    """It is closed, and nothing comes of it."""

    proposal: Proposal


def proposal_of(row: Row, currency: str) -> Proposal:
    """From a row of proposals, and the currency of its group."""
    amount, cash = row["amount"], row["cash"]
    return Proposal(
        id=row["id"],
        group_id=row["group_id"],
        code=row["code"],
        kind=row["kind"],
        state=row["state"],
        policy=Policy.load(row["policy"]),
        details=row["details"],
        asked_by=row["asked_by"],
        payee=row["payee"],
        amount=None if amount is None else Money(amount, currency),
        cash=None if cash is None else Money(cash, currency),
        round_id=row["round_id"],
        order_id=row["order_id"],
        asked_at=row["asked_at"],
        expires_at=row["expires_at"],
    )


async def open(  # noqa: A001 - always said as proposals.open
    groups: Groups,
    connection: Work,
    run: str,
    group: Group,
    kind: str,
    consent: Policy,
    asked_by: UUID,
    *,
    payee: UUID | None = None,
    amount: Money | None = None,
    cash: Money | None = None,
    round_id: UUID | None = None,
    details: Mapping[str, Any] | None = None,
) -> Proposal | Refused:
    """Ask for something, once a run, or refused: nobody_to_approve. The group is locked.

    ``details`` is JSON; a ``member`` in it, by id, is whom it concerns where nobody is paid.
    """
    earlier = (await connection.execute(select(proposals).where(p.run == run))).mappings().one_or_none()
    if earlier is not None:
        return proposal_of(earlier, group.currency)
    voters = policy.entitled(consent, await members.active(connection, group.id), asked_by, payee)
    if not policy.is_possible(consent, voters):
        return Refused("nobody_to_approve")
    now = groups.clock.now()
    values = {
        "id": uuid4(), "group_id": group.id, "code": await fresh.code(groups, connection, p.code), "run": run,
        "kind": kind, "state": "open", "policy": consent.dump(), "details": dict(details or {}), "asked_by": asked_by,
        "payee": payee, "amount": _minor(amount), "cash": _minor(cash),
        "round_id": round_id, "asked_at": now, "expires_at": now + timedelta(hours=group.rules.request_hours),
    }  # fmt: skip
    row = (await connection.execute(proposals.insert().values(values).returning(proposals))).mappings().one()
    asked = proposal_of(row, group.currency)
    await _expire_at(groups, connection, asked)
    await _record(groups, connection, asked, "proposed", actor=asked_by)
    return asked


async def find(groups: Groups, msisdn: Msisdn, code: str) -> Found | None:
    """The proposal of that code, open or decided, to somebody entitled to decide it; None to everybody else."""
    if not codes.is_code(code):
        return None
    async with groups.store.look() as connection:
        row = (await connection.execute(select(proposals).where(p.code == code))).mappings().one_or_none()
        return await _found(groups, connection, row, msisdn) if row else None


async def vote(
    groups: Groups, connection: Work, msisdn: Msisdn, code: str, *, approves: bool, sim: Sim
) -> Counted | Adopted | Rejected | Refused | None:
    """Approve or reject; None to whoever is not entitled, and when the deadline has passed.

    Adopting carries out every kind but a payout, which is the caller's in the same commit. Refused: decided,
    already_voted; and only to those who approve (stopping money needs no trust): cooling, sim_changed, sim_unknown.
    """
    if not codes.is_code(code):
        return None
    group_id = (await connection.execute(select(p.group_id).where(p.code == code))).scalar_one_or_none()
    if group_id is None:
        return None
    await books.lock(connection, group_id)
    query = select(proposals).where(p.code == code).with_for_update()
    found = await _found(groups, connection, (await connection.execute(query)).mappings().one(), msisdn)
    if found is None:
        return None
    if found.proposal.state != "open" or found.voted is not None:
        return Refused("already_voted" if found.voted is not None else "decided")
    refused = _distrust(groups, found, sim) if approves else None
    if refused is not None:
        return refused
    values = {
        "proposal_id": found.proposal.id, "member_id": found.caller.id, "approves": approves, "at": groups.clock.now(),
    }  # fmt: skip
    await connection.execute(votes.insert().values(values))
    return await _count(groups, connection, found, approves=approves)


async def expire(groups: Groups, proposal_id: UUID) -> None:
    """Close what nobody has decided by its deadline; the job groups.expire."""
    async with groups.store.work() as connection:
        query = select(p.group_id).where(p.id == proposal_id)
        group_id = (await connection.execute(query)).scalar_one()
        await books.lock(connection, group_id)
        group = await members.load(connection, group_id)
        row = (await connection.execute(select(proposals).where(p.id == proposal_id))).mappings().one()
        proposal = proposal_of(row, group.currency)
        if proposal.state != "open":
            return
        if groups.clock.now() < proposal.expires_at:
            await _expire_at(groups, connection, proposal)  # by the clock of another machine it was time
            return
        await _close(groups, connection, proposal, "expired")
        await _record(groups, connection, proposal, "expired")


async def waiting(groups: Groups, connection: Look, msisdn: Msisdn) -> list[tuple[str, str]]:
    """Code and kind of every proposal this person may still decide, the most urgent first. Two queries at most."""
    voted = exists().where(v.proposal_id == p.id, v.member_id == m.id)
    asked = (
        select(proposals, groups_table.c.currency, m.id.label("caller"))
        .join(memberships, (m.group_id == p.group_id) & (m.msisdn == msisdn) & (m.state == "active"))
        .join(groups_table, groups_table.c.id == p.group_id)
        .where(p.state == "open", p.expires_at > groups.clock.now(), ~voted)
        .order_by(p.expires_at)
    )
    rows = (await connection.execute(asked)).mappings().all()
    if not rows:
        return []
    concerned = select(memberships).where(m.group_id.in_({row["group_id"] for row in rows}), m.state == "active")
    people = [members.member_of(row) for row in (await connection.execute(concerned)).mappings()]
    found = [(row["caller"], proposal_of(row, row["currency"])) for row in rows]
    return [(proposal.code, proposal.kind) for caller, proposal in found if caller in _voters(proposal, people)]


async def _found(groups: Groups, connection: Look, row: Row, msisdn: Msisdn) -> Found | None:
    group = await members.load(connection, row["group_id"])
    proposal = proposal_of(row, group.currency)
    people = {member.id: member for member in await members.everyone(connection, group.id)}
    voters = _voters(proposal, list(people.values()))
    caller = next((member for member in people.values() if member.msisdn == msisdn), None)
    over = proposal.state == "expired" or (proposal.state == "open" and proposal.expires_at <= groups.clock.now())
    if caller is None or caller.id not in voters or over:
        return None
    given = await _votes(connection, proposal)
    return Found(
        proposal=proposal,
        group=group,
        caller=caller,
        asked_by=people[proposal.asked_by],
        payee=people[proposal.payee] if proposal.payee else None,
        count=policy.approvals(voters, given),
        needed=policy.needed(proposal.policy, voters),
        voted=given.get(caller.id),
    )


def _distrust(groups: Groups, found: Found, sim: Sim) -> Refused | None:
    """Why this person's approval is not taken, if it is not."""
    if found.caller.trusted_from > groups.clock.now():
        return Refused("cooling", {"until": found.caller.trusted_from})
    if sim == "changed":
        return Refused("sim_changed")
    return Refused("sim_unknown") if sim == "unknown" and found.group.rules.unknown_sim == "refuse" else None


async def _count(groups: Groups, connection: Work, found: Found, *, approves: bool) -> Counted | Adopted | Rejected:
    """What the votes amount to with the one that has just been given."""
    group, proposal = found.group, found.proposal
    voters = _voters(proposal, await members.active(connection, group.id))
    given = await _votes(connection, proposal)
    count, needed = policy.approvals(voters, given), policy.needed(proposal.policy, voters)
    decision = policy.decide(proposal.policy, voters, given)
    adopted = decision == "adopted" and (
        proposal.kind == "payout" or await changes.adopt(groups, connection, group, proposal)
    )
    if decision is not None and not adopted:
        rejected = await _close(groups, connection, proposal, "rejected")
        await _record(groups, connection, proposal, "rejected", actor=found.caller.id)
        return Rejected(rejected)
    if approves:
        words = {"count": count, "needed": needed}
        await _record(groups, connection, proposal, "approved", actor=found.caller.id, words=words)
    return Adopted(await _close(groups, connection, proposal, "adopted")) if adopted else Counted(count, needed)


def _minor(money: Money | None) -> int | None:
    return None if money is None else money.minor


def _voters(proposal: Proposal, people: list[Member]) -> frozenset[UUID]:
    theirs = (member for member in people if member.group_id == proposal.group_id)
    return policy.entitled(proposal.policy, theirs, proposal.asked_by, proposal.payee)


async def _votes(connection: Look, proposal: Proposal) -> dict[UUID, bool]:
    given = await connection.execute(select(v.member_id, v.approves).where(v.proposal_id == proposal.id))
    return {row.member_id: row.approves for row in given}


async def _close(groups: Groups, connection: Work, proposal: Proposal, state: str) -> Proposal:
    decided = update(proposals).where(p.id == proposal.id).values(state=state, decided_at=groups.clock.now())
    await connection.execute(decided)
    return replace(proposal, state=state)


async def _expire_at(groups: Groups, connection: Work, proposal: Proposal) -> None:
    at = proposal.expires_at
    await groups.jobs.defer(connection, "groups.expire", queue=events.QUEUE, at=at, proposal=str(proposal.id))


async def _record(
    groups: Groups,
    connection: Work,
    proposal: Proposal,
    kind: str,
    *,
    actor: UUID | None = None,
    words: Mapping[str, Any] | None = None,
) -> None:
    concerned = proposal.details.get("member")
    told: dict[str, Any] = {
        "actor": actor,
        "member": proposal.payee or (UUID(concerned) if concerned else None),
        "amount": _minor(proposal.amount),
        "round_id": proposal.round_id,
        "proposal_id": proposal.id,
        **(words or {}),
    }
    await events.record(groups, connection, proposal.group_id, kind, **told)
