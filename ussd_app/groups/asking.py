"""Asking for what takes the consent of others: rules, an office, another's turn, a new number, a member's removal.

Any member may ask, for one thing of a kind at a time. Money out is asked for in payouts.py.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import select

from ussd_app.groups import Groups, books, changes, members, proposals
from ussd_app.groups.model import OFFICERS, ROLES, Group, Member, Policy, Proposal, Refused
from ussd_app.msisdn import CURRENCIES, Msisdn
from ussd_app.store import Work
from ussd_app.tables import proposals as proposals_table

p = proposals_table.c

# To another number or out of the group, whatever money out takes: a member's number is the key to what is theirs.
CONSENTS_MIN = 2


async def rules(
    groups: Groups, run: str, msisdn: Msisdn, group_id: UUID, changed: Mapping[str, Any]
) -> Proposal | Refused:
    """Ask all for other rules, by the names of Rules' fields, or refused: rules (nothing a group may agree on)."""
    async with groups.store.work() as connection:
        group, caller = await _caller(groups, connection, run, msisdn, group_id, "rules")
        if isinstance(caller, Refused):
            return caller
        new = changes.agreed(group.rules, changed)
        if new is None or new.members_max > groups.settings.group_members_max:
            return Refused("rules")
        details = {"changes": dict(changed)}
        return await _ask(groups, connection, run, group, caller, "rules", _all(group), details)


async def role(groups: Groups, run: str, msisdn: Msisdn, group_id: UUID, number: int, role: str) -> Proposal | Refused:
    """Ask all for another officer, or refused: nobody (of that number), role (no such, or theirs already)."""
    async with groups.store.work() as connection:
        group, caller = await _caller(groups, connection, run, msisdn, group_id, "role")
        if isinstance(caller, Refused):
            return caller
        member = await members.numbered(connection, group_id, number)
        if member is None:
            return Refused("nobody")
        if role not in ROLES or role == member.role:
            return Refused("role")
        details = {"member": str(member.id), "role": role}
        return await _ask(groups, connection, run, group, caller, "role", _all(group), details)


async def swap(groups: Groups, run: str, msisdn: Msisdn, group_id: UUID, number: int) -> Proposal | Refused:
    """Ask another for their next turn in exchange for one's own, or refused: nobody, turn (one has none to come)."""
    async with groups.store.work() as connection:
        group, caller = await _caller(groups, connection, run, msisdn, group_id, "swap")
        if isinstance(caller, Refused):
            return caller
        other = await members.numbered(connection, group_id, number)
        if other is None or other.id == caller.id:
            return Refused("nobody")
        turns = await changes.next_turns(connection, group_id, caller.id, other.id)
        if turns is None:
            return Refused("turn")
        consent = Policy(count=1, members=(str(other.id),), veto=True)
        details = {"member": str(other.id), "rounds": turns}
        return await _ask(groups, connection, run, group, caller, "swap", consent, details)


async def phone(
    groups: Groups, run: str, msisdn: Msisdn, group_id: UUID, number: int, new: Msisdn
) -> Proposal | Refused:
    """Ask the officers to let a member have another number, or refused: nobody, already (taken), other_currency."""
    async with groups.store.work() as connection:
        group, caller = await _caller(groups, connection, run, msisdn, group_id, "phone")
        if isinstance(caller, Refused):
            return caller
        member = await members.numbered(connection, group_id, number)
        if member is None:
            return Refused("nobody")
        if await changes.is_taken(connection, group_id, new):
            return Refused("already")
        if CURRENCIES.get(new.country) != group.currency:
            return Refused("other_currency", {"currency": group.currency})
        details = {"member": str(member.id), "msisdn": str(new)}
        return await _ask(groups, connection, run, group, caller, "phone", _officers(group), details, member.id)


async def removal(groups: Groups, run: str, msisdn: Msisdn, group_id: UUID, number: int) -> Proposal | Refused:
    """Ask the officers to suspend a member who died or cannot be found, or refused: nobody (or oneself)."""
    async with groups.store.work() as connection:
        group, caller = await _caller(groups, connection, run, msisdn, group_id, "removal")
        if isinstance(caller, Refused):
            return caller
        member = await members.numbered(connection, group_id, number)
        if member is None or member.id == caller.id:
            return Refused("nobody")
        details = {"member": str(member.id)}
        return await _ask(groups, connection, run, group, caller, "removal", _officers(group), details, member.id)


def _all(group: Group) -> Policy:
    return Policy(percent=group.rules.vote_percent)


def _officers(group: Group) -> Policy:
    return Policy(count=max(CONSENTS_MIN, group.rules.approvals), roles=OFFICERS)


async def _caller(
    groups: Groups, connection: Work, run: str, msisdn: Msisdn, group_id: UUID, kind: str
) -> tuple[Group, Member | Refused]:
    """The group, locked, and the member who asks, or refused: not_member, closed, asked (one of the kind is open)."""
    await books.lock(connection, group_id)
    group = await members.load(connection, group_id)
    caller = await members.member(connection, group_id, msisdn)
    if caller is None or group.state == "closed":
        return group, Refused("not_member" if caller is None else "closed")
    still = (p.state == "open") & (p.expires_at > groups.clock.now()) & (p.run != run)
    query = select(p.code).where(p.group_id == group_id, p.kind == kind, p.asked_by == caller.id, still)
    code = (await connection.execute(query.limit(1))).scalar_one_or_none()
    return group, Refused("asked", {"code": code}) if code else caller


async def _ask(
    groups: Groups,
    connection: Work,
    run: str,
    group: Group,
    caller: Member,
    kind: str,
    consent: Policy,
    details: Mapping[str, Any],
    concerned: UUID | None = None,
) -> Proposal | Refused:
    """``concerned`` has no vote, as a payee has none."""
    return await proposals.open(
        groups, connection, run, group, kind, consent, caller.id, payee=concerned, details=details
    )
