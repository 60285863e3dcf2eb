"""What has moved between members and their group, as lines: the last of them on the screen, the others by SMS."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Select, func, select

from ussd_app import idempotency
from ussd_app.groups import Groups, owed
from ussd_app.groups.model import Group, Member
from ussd_app.groups.views import place
from ussd_app.messages import Sms
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.store import Look
from ussd_app.tables import group_events, memberships, rounds, subscribers

SHOWN = 5  # lines on a screen
SENT = 12  # older lines at most, by SMS
PER_SMS = 4

IN, OUT = ("contribution", "suspended_money"), ("paid_out", "savings_paid", "taken_back")
SIGNS: dict[str, Literal["+", "-"]] = {
    **dict.fromkeys(IN, "+"), **dict.fromkeys(OUT, "-"), "reversed": "-", "fined": "-",
}  # fmt: skip

e = group_events.c


@dataclass(frozen=True, slots=True)
class Line:
    """One movement: ``+`` into the group, ``-`` out of it or owed as a fine."""

    at: datetime
    sign: Literal["+", "-"]
    amount: Money
    what: str  # the event's kind
    name: str  # whose it was
    round: int | None

    def __str__(self) -> str:
        """In no language: ``04/03/31 +50.00 #6``."""
        ended = f" #{self.round}" if self.round else ""
        return f"{self.at:%d/%m/%y} {self.sign}{self.amount.plain}{ended}"


async def last(groups: Groups, msisdn: Msisdn, group_id: UUID, limit: int = SHOWN) -> tuple[Line, ...] | None:
    """A member's own last movements, newest first; None for whoever is no member."""
    async with groups.store.look() as connection:
        found = await place(connection, msisdn, group_id)
        if found is None:
            return None
        group, member, _ = found
        return await _lines(groups, connection, group, _movements(group).where(e.member == member.id).limit(limit))


async def of_group(groups: Groups, msisdn: Msisdn, group_id: UUID, limit: int = SHOWN) -> tuple[Line, ...] | None:
    """The last movements of a whole group, newest first; None for whoever is no member."""
    async with groups.store.look() as connection:
        found = await place(connection, msisdn, group_id)
        if found is None:
            return None
        group = found[0]
        return await _lines(groups, connection, group, _movements(group).limit(limit))


async def send(groups: Groups, run: str, msisdn: Msisdn, group_id: UUID) -> bool:
    """Send a member their sums and what comes before the lines of the screen, once a run; False: no member."""
    async with groups.store.work() as connection:
        found = await place(connection, msisdn, group_id)
        if found is None:
            return False
        await idempotency.use(connection, groups.clock.now())
        group, member, _ = found
        older = _movements(group).where(e.member == member.id).offset(SHOWN).limit(SENT)
        lines = await _lines(groups, connection, group, older)
        query = select(subscribers.c.language).where(subscribers.c.msisdn == msisdn)
        language = (await connection.execute(query)).scalar_one_or_none() or "en"
        texts = [("statement", await _sums(groups, connection, group, member)), *_in_parts(group, lines)]
        numbered = enumerate(texts)
        batch = [Sms(f"statement:{run}:{n}", msisdn, template, language, words) for n, (template, words) in numbered]
        await groups.messages.queue_all(connection, batch)
    return True


def _movements(group: Group) -> Select[Any]:
    return (
        select(e.at, e.kind, e.amount, memberships.c.name, rounds.c.number)
        .join(memberships, memberships.c.id == e.member)
        .outerjoin(rounds, rounds.c.id == e.round_id)
        .where(e.group_id == group.id, e.kind.in_(SIGNS), e.amount.is_not(None))
        .order_by(e.id.desc())
    )


async def _lines(groups: Groups, connection: Look, group: Group, query: Select[Any]) -> tuple[Line, ...]:
    rows = (await connection.execute(query)).mappings()
    return tuple(
        Line(
            row["at"].astimezone(groups.settings.zone),
            SIGNS[row["kind"]],
            Money(row["amount"], group.currency),
            row["kind"],
            row["name"],
            row["number"],
        )
        for row in rows
    )


async def _sums(groups: Groups, connection: Look, group: Group, member: Member) -> dict[str, Any]:
    """What a member has paid in, received and owes."""
    of = [e.kind.in_(IN), e.kind == "reversed", e.kind.in_(OUT)]
    sums = [func.coalesce(func.sum(e.amount).filter(which), 0) for which in of]
    paid, back, received = map(int, (await connection.execute(select(*sums).where(e.member == member.id))).one())
    return {
        "group": group.name,
        "paid_in": Money(paid - back, group.currency),
        "received": Money(received, group.currency),
        "owed": await owed.expected(connection, group, member),
        "at": groups.clock.now(),
    }


def _in_parts(group: Group, lines: Sequence[Line]) -> list[tuple[str, dict[str, Any]]]:
    """Four lines to an SMS; those the last one lacks are empty."""
    words = [str(line) for line in lines]
    words += [""] * (-len(words) % PER_SMS)
    parts = (words[start : start + PER_SMS] for start in range(0, len(words), PER_SMS))
    numbered = ({f"line_{number}": line for number, line in enumerate(part, 1)} for part in parts)
    return [("statement_lines", {"group": group.name, **shown}) for shown in numbered]
