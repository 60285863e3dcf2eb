"""Reads an event with all that its notices say: who the people are, and the figures as they stand when it is told."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import func, or_, select

from ussd_app.groups import Groups, members, policy, rotation
from ussd_app.groups.audience import Person, Told, Turn
from ussd_app.groups.kinds.daily import CONTRIBUTIONS
from ussd_app.groups.model import Group, Proposal
from ussd_app.groups.proposals import proposal_of
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.store import Look, Row
from ussd_app.tables import cycles, dues, group_events, memberships, proposals, rounds, subscribers

ASKED = ("proposed", "approved", "rejected", "expired")  # events of a request itself; others have words of their own
MONEY = ("over", "cash", "commission", "left_owing", "kept")  # minor units among an event's details
ROUNDS_CHARS = 7  # several of them

c, d, m, r = cycles.c, dues.c, memberships.c, rounds.c


async def read(groups: Groups, connection: Look, event: int) -> tuple[Told, Group]:
    """The event of that number, and its group; NoResultFound where there is none."""
    query = select(group_events).where(group_events.c.id == event)
    row = (await connection.execute(query)).mappings().one()
    group = await members.load(connection, row["group_id"])
    proposal = await _proposal(connection, row["proposal_id"], group)
    people = await _people(connection, row, proposal)
    words: dict[str, Any] = {}
    if row["round_id"]:
        words |= await _round_words(connection, row["round_id"], group, _zone(people))
    if row["kind"] == "contribution" and not row["details"].get("rounds"):
        words |= await _savings_words(connection, row["member"], group)
    words |= _words(groups, group, row, people)
    if proposal and row["kind"] in ASKED:
        words |= _asked_words(people, proposal)
    told = Told(
        id=row["id"],
        kind=row["kind"],
        member=row["member"],
        actor=row["actor"],
        round_id=row["round_id"],
        order_id=row["order_id"],
        details=row["details"],
        people=people,
        proposal=proposal,
        voters=_voters(people, proposal),
        turns=await _turns(connection, group.id, _zone(people)) if row["kind"] in {"started", "swapped"} else {},
        words={name: value for name, value in words.items() if value is not None},
    )
    return told, group


def in_short(rounds: Iterable[int]) -> str:
    """Rounds by number: all where there is room, else the first of them, none cut into another: ``3,8,...``."""
    numbers = [str(number) for number in rounds]
    shown = ",".join(numbers)
    while len(shown) > ROUNDS_CHARS:
        numbers.pop()
        shown = ",".join((*numbers, "..."))
    return shown


async def _proposal(connection: Look, proposal_id: UUID | None, group: Group) -> Proposal | None:
    if proposal_id is None:
        return None
    query = select(proposals).where(proposals.c.id == proposal_id)
    return proposal_of((await connection.execute(query)).mappings().one(), group.currency)


async def _people(connection: Look, row: Row, proposal: Proposal | None) -> tuple[Person, ...]:
    """The active members, whoever else is named, and the number that is no member's (yet, or any more)."""
    named = {row["member"], row["actor"], *((proposal.payee, proposal.asked_by) if proposal else ())}
    language = subscribers.c.language
    query = (
        select(memberships, language)
        .outerjoin(subscribers, subscribers.c.msisdn == m.msisdn)
        .where(m.group_id == row["group_id"], or_(m.state == "active", m.id.in_(named - {None})))
        .order_by(m.number)
    )
    found = (await connection.execute(query)).mappings()
    people = [Person(Msisdn(each["msisdn"]), each["language"], members.member_of(each)) for each in found]
    outside = row["details"].get("msisdn" if row["kind"] == "invited" else "before")
    if outside:
        query = select(language).where(subscribers.c.msisdn == outside)
        people.append(Person(Msisdn(outside), (await connection.execute(query)).scalar_one_or_none(), None))
    return tuple(people)


def _zone(people: tuple[Person, ...]) -> ZoneInfo:
    """The time in which the group's days end: that of its first member."""
    return people[0].msisdn.zone


def _voters(people: tuple[Person, ...], proposal: Proposal | None) -> frozenset[UUID]:
    if proposal is None:
        return frozenset()
    known = [person.member for person in people if person.member]
    return policy.entitled(proposal.policy, known, proposal.asked_by, proposal.payee)


def _words(groups: Groups, group: Group, row: Row, people: tuple[Person, ...]) -> dict[str, Any]:
    """What the event itself says; what it does not is None."""
    details, names = row["details"], _names(people)
    words: dict[str, Any] = {
        "group": group.name, "ussd": groups.settings.code, "at": row["at"], "share": group.share,
        "members": sum(person.member is not None and person.member.state == "active" for person in people),
        "code": row["code"] or details.get("of"), "invite": details.get("invite"),
        "keeper": _keeper(people) or group.name,
        "fined": Money(sum(details.get("fines", {}).values()), group.currency),
        "amount": None if row["amount"] is None else Money(row["amount"], group.currency),
    }  # fmt: skip
    words |= {name: names[who] for name, who in (("member", row["member"]), ("by", row["actor"])) if who}
    words |= {name: details[name] for name in ("count", "needed") if name in details}
    if "missing" in details:
        words["missing"] = len(details["missing"])
    if isinstance(details.get("rounds"), list):
        words["rounds"] = in_short(details["rounds"])
    return words | {name: Money(details[name], group.currency) for name in MONEY if name in details}


def _asked_words(people: tuple[Person, ...], proposal: Proposal) -> dict[str, Any]:
    """What a request says: who asks for what, and until when."""
    names = _names(people)
    words: dict[str, Any] = {
        "code": proposal.code,
        "asker": names[proposal.asked_by],
        "expires_at": proposal.expires_at,
    }
    if proposal.payee:
        numbers = {person.member.id: person.msisdn for person in people if person.member}
        words |= {"payee": names[proposal.payee], "ending": numbers[proposal.payee][-3:]}
    money = [money for money in (proposal.amount, proposal.cash) if money]
    return words | ({"amount": sum(money[1:], money[0])} if money else {})


def _keeper(people: tuple[Person, ...]) -> str | None:
    """Who keeps the cash box (members.keeper)."""
    by_role = {
        person.member.role: person.member.name for person in people if person.member and person.member.is_officer
    }
    return by_role.get("treasurer") or by_role.get("chair")


def _names(people: tuple[Person, ...]) -> dict[UUID, str]:
    return {person.member.id: person.member.name for person in people if person.member}


async def _round_words(connection: Look, round_id: UUID, group: Group, zone: ZoneInfo) -> dict[str, Any]:
    """How far a round is: who has paid it, how much its pot will be, and for whom."""
    query = (
        select(r.number, r.due_at, m.name, func.count(d.member_id).label("owing"))
        .add_columns(func.count().filter(d.paid >= d.amount).label("paid"), func.sum(d.amount).label("pot"))
        .select_from(rounds.outerjoin(dues, d.round_id == r.id).outerjoin(memberships, m.id == r.beneficiary))
        .where(r.id == round_id)
        .group_by(r.id, m.name)
    )
    row = (await connection.execute(query)).one()
    due_on = row.due_at.astimezone(zone).date()
    pot = Money(int(row.pot or 0), group.currency)
    return {"round": row.number, "due_on": due_on, "paid": row.paid, "owing": row.owing, "pot": pot, "payee": row.name}


async def _savings_words(connection: Look, member: UUID, group: Group) -> Mapping[str, Any]:
    """How far a saver's newest cycle is, and all they have saved; nothing where members have no cycles of their own."""
    live = select(func.sum(c.paid)).where(c.member_id == member, c.state != "closed").scalar_subquery()
    newest = select(c.paid, c.share, live.label("saved")).where(c.member_id == member)
    row = (await connection.execute(newest.order_by(c.number.desc()).limit(1))).one_or_none()
    if row is None:
        return {}
    return {"day": row.paid // row.share, "days": CONTRIBUTIONS, "saved": Money(int(row.saved or 0), group.currency)}


async def _turns(connection: Look, group_id: UUID, zone: ZoneInfo) -> Mapping[UUID, tuple[Turn, ...]]:
    """The turns to come of the cycle that runs, by member."""
    turns: dict[UUID, tuple[Turn, ...]] = defaultdict(tuple)
    cycle = await rotation.running(connection, group_id)
    for turn in await rotation.rounds_of(connection, cycle["id"]) if cycle else ():
        if turn.beneficiary and turn.state != "paid":
            turns[turn.beneficiary] += (Turn(turn.number, turn.due_at.astimezone(zone).date()),)
    return turns
