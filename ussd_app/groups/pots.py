"""What a round's pot can pay, to whom, and what it takes to make it ready.

Wallet money and cash are two purses, each with its own sums. A pot is short where an active member has not paid: the
rules say whether it waits, is paid as it is, or is filled from the fund. What its beneficiary owes to earlier rounds
goes there first, or they take a later turn.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select

from ussd_app.groups import Groups, books, owed, rotation
from ussd_app.groups.model import Due, Group, Member, Refused, Round
from ussd_app.money import Money
from ussd_app.store import Look, Work
from ussd_app.tables import rounds


@dataclass(frozen=True, slots=True)
class Purse:
    """Out of wallet money, or out of cash; in minor units."""

    pays: int
    cover: int  # out of the fund, at most
    nets: int  # to earlier rounds, at most
    rest: int  # that the operator's step leaves, into the fund


@dataclass(frozen=True, slots=True)
class Pot:
    """What a round can pay, and to whom."""

    round: Round
    payee: Member
    wallet: Purse
    cash: Purse

    @property
    def pays(self) -> int:
        """To the payee, in minor units."""
        return self.wallet.pays + self.cash.pays

    @property
    def nets(self) -> int:
        """To earlier rounds, in minor units."""
        return self.wallet.nets + self.cash.nets


async def reckon(groups: Groups, connection: Work, group: Group, turn: Round, step: int) -> Pot | Refused:
    """What a round can pay now; its turn passes on where its beneficiary is in arrears and the rules say so.

    Refused: not_all_paid, no_rule, wait (words: missing), undecided. The group is locked.
    """
    missing = await owed.missing(connection, turn.id)
    refused = _gate(groups, group, turn, missing)
    if refused:
        return refused
    turn = await _after_arrears(groups, connection, group, turn)
    if turn.beneficiary is None:
        return Refused("undecided")
    payee = await owed.member(connection, turn.beneficiary)
    arrears = sum(due.open.minor for due in await _arrears(connection, group, payee, turn))
    cover = await _coverable(connection, group, turn)
    wallet = _purse(*await _there(connection, group, turn, cash=False), cover, arrears, step)
    cash = _purse(*await _there(connection, group, turn, cash=True), cover - wallet.cover, arrears - wallet.nets, 1)
    return Pot(turn, payee, wallet, cash)


async def is_short(connection: Look, group: Group, pot: Pot) -> bool:
    """Whether a pot can no longer pay what it could when it was reckoned, with as much cover at most."""
    # Since then another payout may have been covered, or whoever was missing may be a member no more.
    cover = await _coverable(connection, group, pot.round)
    for purse, cash in ((pot.wallet, False), (pot.cash, True)):
        there, fund = await _there(connection, group, pot.round, cash=cash)
        lacking = max(0, purse.pays - there)
        if lacking > min(purse.cover, fund, cover):
            return True
        cover -= lacking
    return False


async def make_ready(
    groups: Groups, connection: Work, group: Group, pot: Pot, purse: Purse, *, cash: bool
) -> dict[Round, int]:
    """Leave in a pot what one purse pays: fill it from the fund, and move out of it what is not its payee's.

    What has gone to earlier rounds, in minor units.
    """
    name = books.account(group.id, books.round_part(pot.round.id), cash=cash)
    fund = books.account(group.id, books.FUND, cash=cash)
    there, in_fund = await _there(connection, group, pot.round, cash=cash)
    coverable = await _coverable(connection, group, pot.round)
    cover = min(max(0, purse.pays + purse.nets + purse.rest - there), purse.cover, in_fund, coverable)
    await books.move(groups, connection, fund, name, Money(cover, group.currency), "cover", None)
    await owed.cover(connection, pot.round.id, cover)
    netted: dict[Round, int] = {}
    spare = there + cover - purse.pays
    for due in await _arrears(connection, group, pot.payee, pot.round):
        part = min(purse.nets - sum(netted.values()), spare - sum(netted.values()), due.open.minor)
        await owed.pay_due(groups, connection, due, Money(part, group.currency), name, cash=cash)
        netted[due.round] = part
    rest = min(purse.rest, spare - sum(netted.values()))
    await books.move(groups, connection, name, fund, Money(rest, group.currency), "rest of a payout", None)
    return netted


async def _coverable(connection: Look, group: Group, turn: Round) -> int:
    """What the fund may still put in for those who have not paid, in minor units."""
    if turn.state == "paid" or group.rules.short != "cover":
        return 0
    covered = (await connection.execute(select(rounds.c.covered).where(rounds.c.id == turn.id))).scalar_one()
    missing = await owed.missing(connection, turn.id)
    # Nobody is paid out of the fund for what they have not paid themselves.
    return max(0, sum(person.minor for person in missing if person.member != turn.beneficiary) - int(covered))


def _gate(groups: Groups, group: Group, turn: Round, missing: list[owed.Missing]) -> Refused | None:
    """Why a short pot is not paid; what comes to one that has been paid is its beneficiary's without more."""
    if not missing or turn.state == "paid":
        return None
    words = {"missing": [person.name for person in missing]}
    if groups.clock.now() < turn.due_at:
        return Refused("not_all_paid", words)
    if group.rules.short in {None, "wait"}:
        return Refused(group.rules.short or "no_rule", words)
    return None


def _purse(there: int, fund: int, cover: int, arrears: int, step: int) -> Purse:
    cover = min(cover, fund)
    nets = min(arrears, there + cover)
    left = there + cover - nets
    return Purse(left - left % step, cover, nets, left % step)


async def _after_arrears(groups: Groups, connection: Work, group: Group, turn: Round) -> Round:
    """The turn in the hands of the first who owes nothing to earlier rounds; where everybody does, it stays."""
    if turn.state == "paid" or group.rules.arrears == "net":
        return turn
    while await _is_in_arrears(connection, group, turn.beneficiary, turn):
        later = await rotation.later(connection, turn)
        free = [other for other in later if not await _is_in_arrears(connection, group, other.beneficiary, turn)]
        if not free:
            break
        if group.rules.arrears == "swap":
            turn = await rotation.pass_on(groups, connection, turn, free[:1], "swapped")
        else:
            turn = await rotation.pass_on(groups, connection, turn, later, "skipped")
    return turn


async def _is_in_arrears(connection: Look, group: Group, person: UUID | None, turn: Round) -> bool:
    return person is not None and bool(await _arrears(connection, group, await owed.member(connection, person), turn))


async def _arrears(connection: Look, group: Group, person: Member, turn: Round) -> list[Due]:
    """What somebody owes to rounds before this one."""
    return [due for due in await owed.open_dues(connection, person, group.currency) if due.round.number < turn.number]


async def _there(connection: Look, group: Group, turn: Round, *, cash: bool) -> tuple[int, int]:
    """What a pot and the fund can spend, in minor units."""
    names = (books.account(group.id, part, cash=cash) for part in (books.round_part(turn.id), books.FUND))
    pot, fund = [(await books.spendable(connection, name, group.currency)).minor for name in names]
    return pot, fund
