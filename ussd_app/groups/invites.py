"""Invitations: to one number, once, or by an open code to whoever has it; both end after a week.

Somebody who dials a code that is wrong, used, expired or another's gets one answer for all: a guess tells nothing.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.dialects.postgresql import insert

from ussd_app import codes, gsm, idempotency
from ussd_app.groups import Groups, books, events, fresh, members
from ussd_app.groups.model import Group, Member, Refused
from ussd_app.money import Money
from ussd_app.msisdn import CURRENCIES, Msisdn
from ussd_app.store import Look, Row, Work
from ussd_app.tables import invites, memberships

LIFE = timedelta(days=7)
NAME_SEPTETS = 20

i, m = invites.c, memberships.c


@dataclass(frozen=True, slots=True)
class Invite:
    """A code that lets somebody in until then."""

    code: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Invitation:
    """What somebody is asked to join, and by whom."""

    group_id: UUID
    name: str
    kind: str
    share: Money
    period: str
    by: str


@dataclass(frozen=True, slots=True)
class Joined:
    """They are a member now; ``waits``: a cycle runs, and they pay from the next one on."""

    group: Group
    member: Member
    waits: bool


async def invite(groups: Groups, msisdn: Msisdn, group_id: UUID, guest: Msisdn) -> Invite | Refused:
    """Invite a number, which is told by SMS; invited already, its code stands and nothing more is said.

    Refused: not_member, not_officer, closed, already (a member), other_currency, full (with those invited).
    """
    now = groups.clock.now()
    async with groups.store.work() as connection:
        await books.lock(connection, group_id)
        group = await members.load(connection, group_id)
        host = await _host(connection, msisdn, group)
        if isinstance(host, Refused):
            return host
        if (await members.member(connection, group_id, guest)) is not None:
            return Refused("already")
        if CURRENCIES.get(guest.country) != group.currency:
            return Refused("other_currency", {"currency": group.currency})
        waiting = await _open(connection, group_id, i.msisdn.is_not(None), now)
        for row in waiting:
            if row["msisdn"] == guest:
                return Invite(row["code"], row["expires_at"])
        if await _count(connection, group_id) + len(waiting) >= _most(groups, group):
            return Refused("full", {"most": _most(groups, group)})
        made = await write(groups, connection, host, guest)
        await events.record(groups, connection, group_id, "invited", actor=host.id, invite=made.code, msisdn=str(guest))
        return made


async def renew_open_code(groups: Groups, msisdn: Msisdn, group_id: UUID) -> Invite | Refused:
    """A new open code in place of the one before, or refused: not_member, not_officer, closed."""
    async with groups.store.work() as connection:
        await books.lock(connection, group_id)
        host = await _host(connection, msisdn, await members.load(connection, group_id))
        if isinstance(host, Refused):
            return host
        await connection.execute(
            update(invites)
            .where(i.group_id == group_id, i.msisdn.is_(None), i.state == "open")
            .values(state="withdrawn")
        )
        return await write(groups, connection, host, None)


async def open_code(groups: Groups, connection: Look, group_id: UUID) -> Invite | None:
    """The open code in force, if there is one."""
    rows = await _open(connection, group_id, i.msisdn.is_(None), groups.clock.now())
    return Invite(rows[0]["code"], rows[0]["expires_at"]) if rows else None


async def preview(groups: Groups, msisdn: Msisdn, code: str) -> Invitation | None:
    """What this person would join with that code; None for every code that does not let them in."""
    async with groups.store.look() as connection:
        row = await _find(groups, connection, msisdn, code)
        if row is None or row["state"] != "open":
            return None
        group = await members.load(connection, row["group_id"])
        host = (await connection.execute(select(m.name).where(m.id == row["invited_by"]))).scalar_one()
    if group.state == "closed":
        return None
    return Invitation(group.id, group.name, group.kind, group.share, group.rules.period, host)


async def join(groups: Groups, msisdn: Msisdn, name: str, code: str) -> Joined | Refused | None:
    """Become a member; None for every code that does not let them in.

    Refused: already (a member), full, other_currency, too_many_groups.
    """
    async with groups.store.work() as connection:
        mine = await members.count_of(connection, msisdn)
        seen = await _find(groups, connection, msisdn, code)
        if seen is None:
            return None
        await books.lock(connection, seen["group_id"])
        row = await _find(groups, connection, msisdn, code)  # as the last one who held the lock left it
        group = await members.load(connection, seen["group_id"])
        if row is None or group.state == "closed":
            return None
        before = select(m.state).where(m.group_id == group.id, m.msisdn == msisdn)
        state = (await connection.execute(before)).scalar_one_or_none()
        if state == "active":
            return Refused("already")  # of a used invitation, only whoever used it hears anything
        if row["state"] != "open" or (state == "suspended" and row["msisdn"] is None):
            return None
        refused = await _refusal(groups, connection, group, msisdn, mine)
        if refused is not None:
            return refused
        if row["msisdn"] is not None:
            await connection.execute(update(invites).where(i.code == code).values(state="used"))
        member = await enter(groups, connection, group.id, msisdn, name)
        await events.record(groups, connection, group.id, "joined", actor=member.id, member=member.id)
        return Joined(group, member, waits=group.state == "running")


async def enter(
    groups: Groups, connection: Work, group_id: UUID, msisdn: Msisdn, name: str, role: str = "member"
) -> Member:
    """Make somebody an active member; one who comes back has their number again, and no office. The group is locked."""
    now = groups.clock.now()
    number = select(func.coalesce(func.max(m.number), 0) + 1).where(m.group_id == group_id).scalar_subquery()
    called = gsm.one_line(name, NAME_SEPTETS).rstrip() or msisdn.national
    fresh_start: dict[str, Any] = {
        "name": called, "role": role, "slots": 1, "state": "active", "paused_at": None,
        "joined_at": now, "trusted_from": now,
    }  # fmt: skip
    added = insert(memberships).values(id=uuid4(), group_id=group_id, number=number, msisdn=msisdn, **fresh_start)
    still_cooling = {"trusted_from": func.greatest(m.trusted_from, now)}
    again = added.on_conflict_do_update(index_elements=["group_id", "msisdn"], set_=fresh_start | still_cooling)
    return members.member_of((await connection.execute(again.returning(memberships))).mappings().one())


async def write(groups: Groups, connection: Work, host: Member, guest: Msisdn | None) -> Invite:
    """A new code, for one number or (None) for whoever has it."""
    now = groups.clock.now()
    made = Invite(await fresh.code(groups, connection, i.code), now + LIFE)
    values = {
        "code": made.code, "group_id": host.group_id, "msisdn": guest, "invited_by": host.id, "state": "open",
        "created_at": now, "expires_at": made.expires_at,
    }  # fmt: skip
    await idempotency.use(connection, now)
    await connection.execute(invites.insert().values(values))
    return made


async def _refusal(groups: Groups, connection: Look, group: Group, msisdn: Msisdn, mine: int) -> Refused | None:
    """Why somebody who is invited, and is in ``mine`` groups, cannot be let in."""
    if CURRENCIES.get(msisdn.country) != group.currency:
        return Refused("other_currency", {"currency": group.currency})
    if mine >= groups.settings.groups_per_person:
        return Refused("too_many_groups", {"most": groups.settings.groups_per_person})
    if await _count(connection, group.id) >= _most(groups, group):
        return Refused("full", {"most": _most(groups, group)})
    return None


async def _host(connection: Look, msisdn: Msisdn, group: Group) -> Member | Refused:
    """The officer who invites, if they may."""
    host = await members.member(connection, group.id, msisdn)
    if host is None or not host.is_officer:
        return Refused("not_member" if host is None else "not_officer")
    return Refused("closed") if group.state == "closed" else host


async def _find(groups: Groups, connection: Look, msisdn: Msisdn, code: str) -> Row | None:
    """The invitation of that code to this person, open or used."""
    if not codes.is_code(code):
        return None
    theirs = i.msisdn.is_(None) | (i.msisdn == msisdn)
    alive = (i.state != "withdrawn") & (i.expires_at > groups.clock.now())
    return (await connection.execute(select(invites).where(i.code == code, theirs, alive))).mappings().one_or_none()


async def _open(connection: Look, group_id: UUID, to: ColumnElement[bool], now: datetime) -> list[Row]:
    query = select(invites).where(i.group_id == group_id, to, i.state == "open", i.expires_at > now)
    return list((await connection.execute(query)).mappings())


async def _count(connection: Look, group_id: UUID) -> int:
    query = select(func.count()).where(m.group_id == group_id, m.state == "active")
    return int((await connection.execute(query)).scalar_one())


def _most(groups: Groups, group: Group) -> int:
    return min(group.rules.members_max, groups.settings.group_members_max)
