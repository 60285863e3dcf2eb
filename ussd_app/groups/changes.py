"""What an adopted proposal does: to the rules, to an office, to two turns, to a number, to a member who is gone."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select, update

from ussd_app.groups import Groups, departures, events, members, rotation
from ussd_app.groups.model import PERIODS, Group, Member, Proposal, Rules
from ussd_app.money import MAX_MAJOR
from ussd_app.msisdn import Msisdn
from ussd_app.store import Look, Work
from ussd_app.tables import group_rules, memberships
from ussd_app.tables import groups as groups_table

LARGEST = MAX_MAJOR * 100  # minor units

# What may be agreed: one of these words, or a number from one to the other.
WORDS: Mapping[str, tuple[str | None, ...]] = {
    "period": PERIODS,
    "order": ("agreed", "drawn", "need"),
    "short": (None, "pay", "cover", "wait"),
    "arrears": ("net", "skip", "swap"),
    "unknown_sim": ("allow", "refuse"),
}
NUMBERS: Mapping[str, tuple[int, int]] = {
    "share": (1, LARGEST),
    "fine": (0, LARGEST),
    "members_min": (1, 1_000),
    "members_max": (2, 1_000),
    "approvals": (0, 10),
    "request_hours": (1, 7 * 24),
    "cooling_hours": (1, 7 * 24),
    "vote_percent": (50, 99),
}


def agreed(rules: Rules, changed: Mapping[str, Any]) -> Rules | None:
    """The rules with some of them changed, by name; None where one is unknown, or a value is none a group may have."""
    if not changed or not all(_is_fit(name, value) for name, value in changed.items()):
        return None
    new = replace(rules, **changed)
    return new if new.members_min <= new.members_max and new != rules else None


async def adopt(groups: Groups, connection: Work, group: Group, proposal: Proposal) -> bool:
    """Carry out what was proposed; False where things have moved on and it no longer can be. The group is locked."""
    details = proposal.details
    if proposal.kind == "rules":
        return await _change_rules(groups, connection, group, details["changes"])
    if proposal.kind == "swap":
        return await _swap(groups, connection, proposal)
    everyone = await members.active(connection, group.id)
    member = next((member for member in everyone if str(member.id) == details["member"]), None)
    if member is None:
        return False
    trusted = groups.clock.now() + timedelta(hours=group.rules.cooling_hours)
    if proposal.kind == "role":
        return await members.assign(groups, connection, group, member, details["role"], trusted)
    if proposal.kind == "phone":
        values = {"msisdn": details["msisdn"], "trusted_from": trusted}
        return await _change_phone(groups, connection, member, values)
    await departures.remove(groups, connection, group, member)
    return True


async def is_taken(connection: Look, group_id: UUID, msisdn: Msisdn) -> bool:
    """Whether a number is, or was, a member's."""
    m = memberships.c
    return (
        await connection.execute(select(m.id).where(m.group_id == group_id, m.msisdn == msisdn))
    ).first() is not None


async def next_turns(connection: Look, group_id: UUID, one: UUID, other: UUID) -> list[int] | None:
    """The rounds, by number, that would change hands if these two swapped; None where either has no turn to come."""
    cycle = await rotation.running(connection, group_id)
    if cycle is None:
        return None
    leaving = await rotation.on_its_way(connection, group_id)
    to_come = [
        turn
        for turn in await rotation.rounds_of(connection, cycle["id"])
        if turn.state != "paid" and turn.id not in leaving
    ]
    first = {turn.beneficiary: turn.number for turn in reversed(to_come)}
    return [first[one], first[other]] if one in first and other in first else None


async def _change_rules(groups: Groups, connection: Work, group: Group, changed: Mapping[str, Any]) -> bool:
    new = agreed(group.rules, changed)
    if new is None:
        return False
    version = group.rules_version + 1
    row = {"group_id": group.id, "version": version, "rules": new.dump(), "adopted_at": groups.clock.now()}
    await connection.execute(group_rules.insert().values(row))
    in_force = update(groups_table).where(groups_table.c.id == group.id)
    await connection.execute(in_force.values(rules_version=version))
    await events.record(groups, connection, group.id, "rules", version=version, changes=dict(changed))
    return True


async def _swap(groups: Groups, connection: Work, proposal: Proposal) -> bool:
    """As long as their next turns are still those of which they agreed."""
    one, other = proposal.asked_by, UUID(proposal.details["member"])
    if await next_turns(connection, proposal.group_id, one, other) != proposal.details["rounds"]:
        return False
    return await rotation.swap(groups, connection, proposal.group_id, one, other)


async def _change_phone(groups: Groups, connection: Work, member: Member, values: Mapping[str, Any]) -> bool:
    if await is_taken(connection, member.group_id, values["msisdn"]):
        return False
    await connection.execute(update(memberships).where(memberships.c.id == member.id).values(values))
    # The number before hears of it too: it may be its owner who does not know.
    await events.record(groups, connection, member.group_id, "phone", member=member.id, before=str(member.msisdn))
    return True


def _is_fit(name: str, value: object) -> bool:
    if name in WORDS:
        return value in WORDS[name]
    least, most = NUMBERS.get(name, (1, 0))
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
