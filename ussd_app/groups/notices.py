"""What a group's people are told by SMS: of each event those whom it concerns; reminders to those who have not paid.

One message per person and event, whatever is run twice. What nobody waits for waits for the morning where it is night.
"""

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import Select, and_, select, update

from ussd_app.groups import Groups, books, events, members, rotation, savings, views
from ussd_app.groups.audience import Line, Person, Told, concerned, lines
from ussd_app.groups.model import Group, Round
from ussd_app.groups.told import in_short, read
from ussd_app.jobs import SMS
from ussd_app.messages import Sms
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.store import Look, Work
from ussd_app.tables import dues, group_rules, memberships, rounds, subscribers
from ussd_app.tables import groups as groups_table

MORNING, NIGHT = 8, 21  # local hours between which people may be disturbed
ROUNDS_AT = time(9)  # when those who owe a round are reminded
SAVERS_AT = time(17)  # when those who have not saved today are

Which = Literal["before", "day"]  # the day before a round is due, and that day
DAYS_BEFORE: Mapping[Which, int] = {"before": 1, "day": 0}

d, m, r = dues.c, memberships.c, rounds.c


async def tell(groups: Groups, event: int) -> None:
    """Tell everybody an event concerns; the job groups.tell."""
    async with groups.store.work() as connection:
        told, group = await read(groups, connection, event)
        if told.kind == "created" and group.kind == views.SAVERS:
            await _begin_reminding(groups, connection, group)
        elif told.kind == "round_opened" and told.round_id:
            row = (await connection.execute(select(rounds).where(r.id == told.round_id))).mappings().one_or_none()
            if row and not told.details.get("chosen"):
                await plan_reminders(groups, connection, rotation.round_of(row))
        spoken = {person.member.id: person.language for person in told.people if person.member}
        language = (spoken.get(told.actor) if told.actor else None) or "en"
        batch = [_sms(groups, told, person, line, language) for person, line in lines(told)]
        await groups.messages.queue_all(connection, batch)


def _sms(groups: Groups, told: Told, person: Person, line: Line, language: str) -> Sms:
    """In the person's own language, else the one given."""
    words = dict(told.words)
    turns = told.turns.get(person.member.id, ()) if person.member else ()
    if turns:
        words |= {"turns": in_short(turn.round for turn in turns), "due_on": turns[0].on}
    due = morning(person.msisdn, groups.clock.now()) if line.waits else None
    key = f"group:{told.id}:{person.msisdn.digits}"
    order = told.order_id if concerned(told, person) else None  # what support finds beside its payments
    return Sms(key, person.msisdn, line.template, person.language or language, words, order, due)


def morning(msisdn: Msisdn, now: datetime) -> datetime | None:
    """When the quiet hours of whoever has this number end; None where it is day with them."""
    local = now.astimezone(msisdn.zone)
    if MORNING <= local.hour < NIGHT:
        return None
    day = local.date() + timedelta(days=local.hour >= NIGHT)
    return datetime.combine(day, time(MORNING), msisdn.zone)


async def plan_reminders(groups: Groups, connection: Work, turn: Round) -> None:
    """Plan both reminders of a round that has been opened, in its commit; an hour that is over is left out."""
    zone = await _zone(groups, connection, turn.group_id)
    due_on = turn.due_at.astimezone(zone).date()
    for which, days in DAYS_BEFORE.items():
        at = datetime.combine(due_on - timedelta(days=days), ROUNDS_AT, zone)
        if at > groups.clock.now():
            await _defer(groups, connection, "groups.remind", at, round=str(turn.id), which=which)


async def remind(groups: Groups, round_id: UUID, which: Which) -> None:
    """Remind those who have not paid a round; the job groups.remind. Nothing is said when it runs too late for that."""
    async with groups.store.work() as connection:
        row = (await connection.execute(select(rounds).where(r.id == round_id))).mappings().one_or_none()
        if row is None:
            return  # it has fallen away with a member
        zone = await _zone(groups, connection, row["group_id"])
        due_on = row["due_at"].astimezone(zone).date()
        if not _is_still(groups, due_on - timedelta(days=DAYS_BEFORE[which]), zone):
            return
        group = await members.load(connection, row["group_id"])
        owing = _reminded((d.amount - d.paid).label("minor")).join(dues, d.member_id == m.id)
        query = owing.where(d.round_id == round_id, d.paid < d.amount, m.group_id == group.id)
        words = {"round": row["number"], "due_on": due_on}
        await _remind(groups, connection, group, query, f"round_{which}", f"round:{round_id}:{which}", words)


async def remind_savers(groups: Groups, group_id: UUID, day: date) -> None:
    """Remind those who have not saved that day, and plan the next; the job groups.remind_savers.

    The group's row says which day comes next: a job of any other has been run before.
    """
    async with groups.store.work() as connection:
        await books.lock(connection, group_id)
        query = select(groups_table.c.remind_on).where(groups_table.c.id == group_id)
        if (await connection.execute(query)).scalar_one() != day:
            return
        group = await members.load(connection, group_id)
        await _plan_savers(groups, connection, group, day + timedelta(days=1))
        if _is_still(groups, day, groups.settings.zone):
            in_force = and_(group_rules.c.group_id == m.group_id, group_rules.c.version == group.rules_version)
            saving = _reminded(views.share().label("minor")).join(group_rules, in_force)
            query = saving.where(m.group_id == group_id, savings.awaited(savings.today(groups)))
            await _remind(groups, connection, group, query, "saving_due", f"saving:{group_id}:{day}", {})


async def _begin_reminding(groups: Groups, connection: Work, group: Group) -> None:
    """Plan the first reminder of a group's savers, once."""
    await books.lock(connection, group.id)
    query = select(groups_table.c.remind_on).where(groups_table.c.id == group.id)
    if (await connection.execute(query)).scalar_one() is None:
        await _plan_savers(groups, connection, group, groups.clock.now().astimezone(groups.settings.zone).date())


async def _plan_savers(groups: Groups, connection: Work, group: Group, day: date) -> None:
    """The next reminder is that day's, or the first after it that is not over; a closed group has none."""
    at = datetime.combine(day, SAVERS_AT, groups.settings.zone)
    while at <= groups.clock.now():
        at += timedelta(days=1)
    day, is_over = at.date(), group.state == "closed"
    row = update(groups_table).where(groups_table.c.id == group.id)
    await connection.execute(row.values(remind_on=None if is_over else day))
    if not is_over:
        await _defer(groups, connection, "groups.remind_savers", at, group=str(group.id), day=day.isoformat())


def _reminded(minor: Any) -> Select[Any]:  # noqa: ANN401 - any column
    """The active members who want reminders, and how much each is reminded of."""
    query = select(m.msisdn, subscribers.c.language, minor).outerjoin(subscribers, subscribers.c.msisdn == m.msisdn)
    return query.where(m.state == "active", ~m.muted.contains(["reminders"]))


async def _remind(
    groups: Groups,
    connection: Work,
    group: Group,
    query: Select[Any],
    template: str,
    key: str,
    words: Mapping[str, Any],
) -> None:
    now, common = groups.clock.now(), {"group": group.name, "ussd": groups.settings.code, **words}
    batch = []
    for row in await connection.execute(query):
        msisdn, amount = Msisdn(row.msisdn), Money(row.minor, group.currency)
        due = morning(msisdn, now)
        said = {**common, "amount": amount}
        batch.append(Sms(f"{key}:{msisdn.digits}", msisdn, template, row.language or "en", said, due=due))
    await groups.messages.queue_all(connection, batch)


async def _zone(groups: Groups, connection: Look, group_id: UUID) -> ZoneInfo:
    """The time in which a group's days end: that of its first member."""
    first = select(m.msisdn).where(m.group_id == group_id, m.state == "active").order_by(m.number).limit(1)
    found = (await connection.execute(first)).scalar_one_or_none()
    return Msisdn(found).zone if found else groups.settings.zone


def _is_still(groups: Groups, day: date, zone: ZoneInfo) -> bool:
    """Whether it is that day, and not yet night: what says "today" is never read tomorrow."""
    now = groups.clock.now().astimezone(zone)
    return now.date() == day and now.hour < NIGHT


async def _defer(groups: Groups, connection: Work, task: str, at: datetime, **ids: str) -> None:
    await groups.jobs.defer(connection, task, queue=events.QUEUE, priority=SMS, at=at, **ids)
