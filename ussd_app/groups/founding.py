"""A new group: its first member chairs it and has a code to let the others in."""

from dataclasses import dataclass
from uuid import UUID, uuid4

from sqlalchemy import select

from ussd_app import gsm
from ussd_app.groups import Groups, events, invites, kinds, members
from ussd_app.groups.model import Refused
from ussd_app.money import Money
from ussd_app.msisdn import CURRENCIES, Msisdn
from ussd_app.store import Work
from ussd_app.tables import group_rules, subscribers
from ussd_app.tables import groups as groups_table

NAME_SEPTETS = 20


@dataclass(frozen=True, slots=True)
class Created:
    """The group, and the code that lets others in for a week; None where it is over."""

    group_id: UUID
    code: str | None


async def create(
    groups: Groups, run: str, msisdn: Msisdn, kind: str, name: str, share: Money, period: str
) -> Created | Refused:
    """Found a group, once a run, or refused: name (nothing to call it by), other_currency, too_many_groups."""
    called = gsm.one_line(name, NAME_SEPTETS).rstrip()
    if not any(char.isalnum() for char in called):
        return Refused("name")
    if share.currency != CURRENCIES.get(msisdn.country):
        return Refused("other_currency", {"currency": CURRENCIES.get(msisdn.country, "")})
    async with groups.store.work() as connection:
        mine = await members.count_of(connection, msisdn)  # and another copy of this run waits here
        query = select(groups_table.c.id).where(groups_table.c.run == run)
        earlier = (await connection.execute(query)).scalar_one_or_none()
        if earlier is not None:
            code = await invites.open_code(groups, connection, earlier)
            return Created(earlier, code.code if code else None)
        if mine >= groups.settings.groups_per_person:
            return Refused("too_many_groups", {"most": groups.settings.groups_per_person})
        return await _create(groups, connection, run, msisdn, kind, called, share, period)


async def _create(
    groups: Groups,
    connection: Work,
    run: str,
    msisdn: Msisdn,
    kind: str,
    called: str,
    share: Money,
    period: str,
) -> Created:
    group_id, now = uuid4(), groups.clock.now()
    group = {
        "id": group_id, "kind": kind, "name": called, "currency": share.currency, "state": "forming",
        "rules_version": 1, "created_at": now, "run": run,
    }  # fmt: skip
    rules = kinds.kind(kind).rules(share.minor, period).dump()
    await connection.execute(groups_table.insert().values(group))
    await connection.execute(group_rules.insert().values(group_id=group_id, version=1, rules=rules, adopted_at=now))
    query = select(subscribers.c.name).where(subscribers.c.msisdn == msisdn)
    person = (await connection.execute(query)).scalar_one_or_none() or ""
    chair = await invites.enter(groups, connection, group_id, msisdn, person, "chair")
    await events.record(groups, connection, group_id, "created", actor=chair.id)
    return Created(group_id, (await invites.write(groups, connection, chair, None)).code)
