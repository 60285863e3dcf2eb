"""Who is in a group, in which role: reading memberships, and what changes without anybody's consent."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, exists, func, select, text, update

from ussd_app import idempotency
from ussd_app.groups import Groups, books, events
from ussd_app.groups.model import OFFICERS, ROLES, Group, Member, Refused, Rules
from ussd_app.msisdn import Msisdn
from ussd_app.store import Look, Row, Work
from ussd_app.tables import cycles, group_rules, memberships
from ussd_app.tables import groups as groups_table

SLOTS_MAX = 5

m = memberships.c


@dataclass(frozen=True, slots=True)
class Changed:
    """The member is now as this says."""

    member: Member


def member_of(row: Row) -> Member:
    """From a row of memberships."""
    return Member(
        id=row["id"],
        group_id=row["group_id"],
        number=row["number"],
        msisdn=Msisdn(row["msisdn"]),
        name=row["name"],
        role=row["role"],
        slots=row["slots"],
        state=row["state"],
        muted=frozenset(row["muted"]),
        paused_at=row["paused_at"],
        trusted_from=row["trusted_from"],
    )


def group_of(row: Row, rules_row: Row) -> Group:
    """From a row of groups and its row of group_rules; one row that joins both does for either."""
    return Group(
        id=row["id"],
        kind=row["kind"],
        name=row["name"],
        currency=row["currency"],
        state=row["state"],
        rules=Rules.load(rules_row["rules"]),
        rules_version=row["rules_version"],
    )


async def load(connection: Look, group_id: UUID) -> Group:
    """A group with the rules in force; NoResultFound where there is none."""
    r, g = group_rules.c, groups_table.c
    in_force = (r.group_id == g.id) & (r.version == g.rules_version)
    query = select(groups_table, r.rules).join(group_rules, in_force).where(g.id == group_id)
    row = (await connection.execute(query)).mappings().one()
    return group_of(row, row)


async def mine(connection: Look, msisdn: Msisdn) -> list[Member]:
    """Every place somebody has in a group, the oldest first."""
    query = select(memberships).where(m.msisdn == msisdn, m.state == "active").order_by(m.joined_at, m.id)
    return [member_of(row) for row in (await connection.execute(query)).mappings()]


async def member(connection: Look, group_id: UUID, msisdn: Msisdn) -> Member | None:
    """The active member who has this number, if there is one."""
    return await _one(connection, m.group_id == group_id, m.msisdn == msisdn, m.state == "active")


async def numbered(connection: Look, group_id: UUID, number: int) -> Member | None:
    """The active member whom the group counts as this number, if there is one."""
    return await _one(connection, m.group_id == group_id, m.number == number, m.state == "active")


async def everyone(connection: Look, group_id: UUID) -> list[Member]:
    """Whoever is or was a member, by number."""
    query = select(memberships).where(m.group_id == group_id).order_by(m.number)
    return [member_of(row) for row in (await connection.execute(query)).mappings()]


async def active(connection: Look, group_id: UUID) -> list[Member]:
    """The active members, by number."""
    return [member for member in await everyone(connection, group_id) if member.state == "active"]


async def keeper(connection: Look, group_id: UUID) -> Member | None:
    """Who keeps the cash box: the treasurer or, where there is none, the chair."""
    by_role = {member.role: member for member in await active(connection, group_id)}
    return by_role.get("treasurer") or by_role.get("chair")


async def count_of(connection: Work, msisdn: Msisdn) -> int:
    """In how many groups somebody is active; nobody else changes that until the commit."""
    # Before any group's lock: whoever joins holds this one first.
    await connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:who, 2))"), {"who": msisdn})
    query = select(func.count()).where(m.msisdn == msisdn, m.state == "active")
    return int((await connection.execute(query)).scalar_one())


async def appoint(groups: Groups, msisdn: Msisdn, group_id: UUID, number: int, role: str) -> Changed | Refused:
    """The chair gives a role before the first cycle; later it takes a vote.

    Refused: not_member, not_chair, running (or has run), nobody, role (there is none such), last_officer.
    """
    async with groups.store.work() as connection:
        group, found = await _for_chair(connection, msisdn, group_id, number)
        if isinstance(found, Refused):
            return found
        if (await connection.execute(select(exists().where(cycles.c.group_id == group_id)))).scalar_one():
            return Refused("running")
        if role == found.role:
            return Changed(found)
        # No money is there yet: nothing is won by waiting.
        if role not in ROLES or not await assign(groups, connection, group, found, role, groups.clock.now()):
            return Refused("role" if role not in ROLES else "last_officer")
        return Changed(await _by_id(connection, found.id))


async def assign(
    groups: Groups, connection: Work, group: Group, member: Member, role: str, trusted_from: datetime
) -> bool:
    """Give a role, taking it from whoever held it; False where no officer would be left. The group is locked.

    Whoever chairs no more keeps what they have earned as a collector.
    """
    people = await active(connection, group.id)
    others = [other for other in people if other.id != member.id]
    if role not in OFFICERS and not any(other.is_officer for other in others):
        return False
    collector = next((each for each in people if each.role == "chair"), None)
    if collector and (collector.id == member.id) != (role == "chair"):
        earned = books.earned_part(collector.id)
        await books.move_all(groups, connection, group.id, group.currency, books.COMMISSION, earned, "earned")
    if role in OFFICERS:
        held = update(memberships).where(m.group_id == group.id, m.role == role, m.id != member.id)
        await connection.execute(held.values(role="member"))
    await connection.execute(update(memberships).where(m.id == member.id).values(role=role, trusted_from=trusted_from))
    await events.record(groups, connection, group.id, "role", member=member.id, role=role)
    return True


async def set_slots(groups: Groups, msisdn: Msisdn, group_id: UUID, number: int, slots: int) -> Changed | Refused:
    """The chair sets a member's shares of a round while no cycle runs.

    Refused: not_member, not_chair, running, nobody, slots (not 1 to 5).
    """
    async with groups.store.work() as connection:
        _, found = await _for_chair(connection, msisdn, group_id, number)
        if isinstance(found, Refused):
            return found
        if not 1 <= slots <= SLOTS_MAX:
            return Refused("slots", {"most": SLOTS_MAX})
        await idempotency.use(connection, groups.clock.now())
        await connection.execute(update(memberships).where(m.id == found.id).values(slots=slots))
        return Changed(await _by_id(connection, found.id))


async def set_muted(groups: Groups, msisdn: Msisdn, group_id: UUID | None, kinds: Collection[str]) -> None:
    """From now on spare this person notices of these kinds and no others, in one group or (None) in all of theirs."""
    chosen = update(memberships).where(m.msisdn == msisdn, m.state == "active")
    if group_id is not None:
        chosen = chosen.where(m.group_id == group_id)
    async with groups.store.work() as connection:
        await idempotency.use(connection, groups.clock.now())
        await connection.execute(chosen.values(muted=sorted(set(kinds))))


async def spare(groups: Groups, msisdn: Msisdn, kind: str, *, spared: bool) -> None:
    """From now on spare this person notices of one kind, or tell them again, in all of their groups at once."""
    async with groups.store.work() as connection:
        await idempotency.use(connection, groups.clock.now())
        for place in await mine(connection, msisdn):
            kinds = place.muted | {kind} if spared else place.muted - {kind}
            await connection.execute(update(memberships).where(m.id == place.id).values(muted=sorted(kinds)))


async def sim_changed(groups: Groups, msisdn: Msisdn) -> None:
    """Let each of their groups know that this person's SIM is another one."""
    async with groups.store.work() as connection:
        for place in await mine(connection, msisdn):
            await events.record(groups, connection, place.group_id, "sim_changed", member=place.id)


async def _for_chair(connection: Work, msisdn: Msisdn, group_id: UUID, number: int) -> tuple[Group, Member | Refused]:
    """The group, locked, and the member of that number, where it is the chair who asks and no cycle runs."""
    await books.lock(connection, group_id)
    group = await load(connection, group_id)
    caller = await member(connection, group_id, msisdn)
    found = await numbered(connection, group_id, number)
    if caller is None or caller.role != "chair":
        return group, Refused("not_member" if caller is None else "not_chair")
    if group.state != "forming":
        return group, Refused("running")
    return group, found or Refused("nobody")


async def _by_id(connection: Look, member_id: UUID) -> Member:
    return member_of((await connection.execute(select(memberships).where(m.id == member_id))).mappings().one())


async def _one(connection: Look, *where: ColumnElement[bool]) -> Member | None:
    row = (await connection.execute(select(memberships).where(*where))).mappings().one_or_none()
    return member_of(row) if row else None
