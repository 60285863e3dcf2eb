"""Payouts of a rotating group: who may ask for the pot, and what becomes of it once it has been approved.

Asking moves no money out (pots.py says what a pot can pay). Once the officers have approved, ``prepare`` makes it ready
in the commit that places the order; the order's end is ``paid``, ``failed`` or ``late``.
"""

from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, select, update

from ussd_app import sims
from ussd_app.groups import (
    Groups,
    books,
    contributions,
    cycles,
    events,
    members,
    owed,
    policy,
    pots,
    proposals,
    rotation,
)
from ussd_app.groups.model import OFFICERS, Group, Member, Policy, Proposal, Refused, Round
from ussd_app.groups.pots import Pot, Purse
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.store import Look, Work
from ussd_app.tables import group_events, rounds
from ussd_app.tables import groups as groups_table
from ussd_app.tables import proposals as proposals_table

e, g, p, r = group_events.c, groups_table.c, proposals_table.c, rounds.c


@dataclass(frozen=True, slots=True)
class Asked:
    """The officers are asked to approve it under this code."""

    code: str
    amount: Money  # to the payee's wallet
    cash: Money  # handed over by the treasurer
    payee: str
    needed: int  # approvals


async def ask(groups: Groups, run: str, msisdn: Msisdn, group_id: UUID, step: int = 1) -> Asked | Refused:
    """Ask for the oldest pot that can be paid, once a run; a wallet is paid in multiples of ``step`` minor units.

    Refused: not_member, not_entitled (officers and who is to be paid may ask), cooling or sim_changed (whoever asks, or
    is paid), nothing, undecided (whose turn it is), already_asked (words: code), nobody_to_approve, turn_moved (to
    another, since who asks owes earlier rounds), netted (all of it went there); and where not all have paid (words:
    missing): not_all_paid (before the deadline), no_rule, wait.
    """
    async with groups.store.work() as connection:
        await books.lock(connection, group_id)
        group, caller = await members.load(connection, group_id), await members.member(connection, group_id, msisdn)
        if caller is None:
            return Refused("not_member")
        earlier = await _proposal(connection, group, p.run == run)
        if earlier:
            return await _asked(connection, earlier)
        distrusted = await _distrust(groups, connection, group, caller)
        if distrusted:
            return distrusted
        turns = await _turns(connection, group)
        if not turns:
            await cycles.close_if_over(groups, connection, group)
            return Refused("nothing")
        refusals = []
        for turn in turns:
            if caller.is_officer or turn.beneficiary == caller.id:
                asked = await _ask(groups, connection, run, group, caller, turn, step)
                if isinstance(asked, Asked):
                    return asked
                refusals.append(asked)
        return refusals[0] if refusals else Refused("not_entitled")


async def prepare(groups: Groups, connection: Work, proposal: Proposal) -> Refused | None:
    """Make a pot ready to be paid as it was approved, or refused: turn_moved, short (its money is there no more).

    In the commit that pays it; the group is locked.
    """
    group, turn = await members.load(connection, proposal.group_id), await _round(connection, proposal)
    if turn.beneficiary is None or turn.beneficiary != proposal.payee:
        return Refused("turn_moved")
    wallet, cash = (Purse(**proposal.details[name]) for name in ("wallet", "cash"))
    pot = Pot(turn, await owed.member(connection, turn.beneficiary), wallet, cash)
    if await pots.is_short(connection, group, pot):
        return Refused("short")
    await _make_ready(groups, connection, group, pot)
    return None


async def paid(
    groups: Groups, connection: Work, proposal_id: UUID, order: UUID | None = None, code: str | None = None
) -> None:
    """The wallet has what it gets, if it gets any: the treasurer hands over the cash, and the round has been paid.

    ``code`` is the receipt's; None: a new one. The group is locked.
    """
    proposal = await _by_id(connection, proposal_id)
    if await _has(connection, proposal, "paid_out") or proposal.amount is None or proposal.cash is None:
        return
    turn = await _round(connection, proposal)
    pot = books.account(proposal.group_id, books.round_part(turn.id), cash=True)
    # After a late success the cash may have gone elsewhere meanwhile.
    cash = min(proposal.cash, await books.spendable(connection, pot, proposal.cash.currency))
    await books.move(groups, connection, pot, books.cash_box(proposal.group_id), cash, "handed over", order)
    await connection.execute(update(rounds).where(r.id == turn.id).values(state="paid"))
    own = await contributions.receipt_code(groups, connection, code)
    told = {**_told(proposal, order), "amount": (proposal.amount + cash).minor, "code": own}
    await events.record(groups, connection, proposal.group_id, "paid_out", **told, cash=cash.minor)
    await cycles.close_if_over(groups, connection, await members.load(connection, proposal.group_id))


async def failed(groups: Groups, connection: Work, proposal_id: UUID, reason: str, order: UUID | None = None) -> None:
    """The payee has nothing, and the pot all of it: it can be asked for again. The group is locked."""
    proposal = await _by_id(connection, proposal_id)
    if not await _has(connection, proposal, "payout_failed"):
        amount = None if proposal.amount is None else proposal.amount.minor
        told = {**_told(proposal, order), "amount": amount}
        await events.record(groups, connection, proposal.group_id, "payout_failed", **told, reason=reason)


async def late(groups: Groups, connection: Work, proposal_id: UUID, order: UUID, code: str) -> bool:
    """A payout that had failed has reached its payee after all, and that is booked; False where a person must look.

    Where the pot still had the money, it has been paid out now. Where it had not, somebody was paid twice and the group
    has lost nothing: the ledger says who owes it to us. The group is locked.
    """
    proposal = await _by_id(connection, proposal_id)
    turn = await _round(connection, proposal)
    pot = books.account(proposal.group_id, books.round_part(turn.id))
    if proposal.payee is None or not await books.has_paid(connection, pot, order):
        return False
    theirs = turn.state == "paid" or turn.beneficiary == proposal.payee
    if not theirs and not await rotation.take(groups, connection, turn, proposal.payee):
        return False
    await paid(groups, connection, proposal_id, order, code)
    return True


async def _ask(
    groups: Groups, connection: Work, run: str, group: Group, caller: Member, turn: Round, step: int
) -> Asked | Refused:
    """Ask for one round's pot."""
    asked = (p.round_id == turn.id) & (p.kind == "payout") & (p.state == "open") & (p.expires_at > groups.clock.now())
    open_ = await _proposal(connection, group, asked)
    if open_ or turn.id in await rotation.on_its_way(connection, group.id):
        return Refused("already_asked", {"code": open_.code} if open_ else {})
    pot = await pots.reckon(groups, connection, group, turn, step)
    if isinstance(pot, Refused):
        return pot
    if pot.payee.id != turn.beneficiary and not caller.is_officer:
        return Refused("turn_moved", {"name": pot.payee.name})
    distrusted = await _distrust(groups, connection, group, pot.payee)
    if distrusted:
        return distrusted
    if not pot.pays:
        return await _net(groups, connection, group, pot) if pot.nets else Refused("nothing")
    opened = await proposals.open(
        groups,
        connection,
        run,
        group,
        "payout",
        Policy(count=group.rules.approvals, roles=OFFICERS, veto=True),
        caller.id,
        payee=pot.payee.id,
        amount=Money(pot.wallet.pays, group.currency),
        cash=Money(pot.cash.pays, group.currency),
        round_id=turn.id,
        details={"wallet": asdict(pot.wallet), "cash": asdict(pot.cash)},
    )
    return opened if isinstance(opened, Refused) else await _asked(connection, opened)


async def _net(groups: Groups, connection: Work, group: Group, pot: Pot) -> Refused:
    """All of a pot goes to earlier rounds, which its beneficiary owes: no money leaves, so nobody need approve it."""
    await _make_ready(groups, connection, group, pot)
    await connection.execute(update(rounds).where(r.id == pot.round.id).values(state="paid"))
    await cycles.close_if_over(groups, connection, group)
    return Refused("netted", {"amount": Money(pot.nets, group.currency)})


async def _make_ready(groups: Groups, connection: Work, group: Group, pot: Pot) -> None:
    """Make both purses ready; what the payee owed to earlier rounds is then paid, and told like any contribution."""
    netted = await pots.make_ready(groups, connection, group, pot, pot.wallet, cash=False)
    for turn, minor in (await pots.make_ready(groups, connection, group, pot, pot.cash, cash=True)).items():
        netted[turn] = netted.get(turn, 0) + minor
    turns = [turn for turn, minor in netted.items() if minor]
    if not turns:
        return
    code = await contributions.receipt_code(groups, connection)
    told: dict[str, Any] = {"member": pot.payee.id, "amount": sum(netted.values()), "code": code}
    told |= {"round_id": turns[-1].id, "rounds": [turn.number for turn in turns]}
    await events.record(groups, connection, group.id, "contribution", **told, source="pot", over=0)


async def _turns(connection: Look, group: Group) -> list[Round]:
    """The rounds that may have something to pay, the oldest first: unpaid ones, and paid ones that got more since."""
    cycle = await rotation.running(connection, group.id)
    turns = await rotation.rounds_of(connection, cycle["id"]) if cycle else []
    held = await books.balances(connection, group.id, group.currency)
    return [
        turn
        for turn in turns
        if turn.state == "open"
        or any(held.get(books.account(group.id, books.round_part(turn.id), cash=cash)) for cash in (False, True))
    ]


async def _distrust(groups: Groups, connection: Look, group: Group, person: Member) -> Refused | None:
    """Why no money may move at this person's word, or to them."""
    now = groups.clock.now()
    if await sims.trust(connection, person.msisdn, now, group.rules.cooling_hours) == "changed":
        return Refused("sim_changed", {"name": person.name})
    return (
        Refused("cooling", {"name": person.name, "until": person.trusted_from}) if person.trusted_from > now else None
    )


async def _asked(connection: Look, proposal: Proposal) -> Asked:
    people = await members.active(connection, proposal.group_id)
    voters = policy.entitled(proposal.policy, people, proposal.asked_by, proposal.payee)
    if proposal.amount is None or proposal.cash is None or proposal.payee is None:
        raise LookupError(f"proposal {proposal.code} is no payout")
    payee = await owed.member(connection, proposal.payee)
    needed = policy.needed(proposal.policy, voters)
    return Asked(proposal.code, proposal.amount, proposal.cash, payee.name, needed)


async def _proposal(connection: Look, group: Group, where: ColumnElement[bool]) -> Proposal | None:
    query = select(proposals_table).where(where).order_by(p.asked_at.desc()).limit(1)
    row = (await connection.execute(query)).mappings().one_or_none()
    return proposals.proposal_of(row, group.currency) if row else None


async def _by_id(connection: Look, proposal_id: UUID) -> Proposal:
    query = select(proposals_table, g.currency).join(groups_table, g.id == p.group_id).where(p.id == proposal_id)
    row = (await connection.execute(query)).mappings().one()
    return proposals.proposal_of(row, row["currency"])


async def _round(connection: Look, proposal: Proposal) -> Round:
    query = select(rounds).where(r.id == proposal.round_id)
    return rotation.round_of((await connection.execute(query)).mappings().one())


async def _has(connection: Look, proposal: Proposal, kind: str) -> bool:
    """Whether that has come of it."""
    query = select(e.id).where(e.group_id == proposal.group_id, e.proposal_id == proposal.id, e.kind == kind)
    return (await connection.execute(query.limit(1))).first() is not None


def _told(proposal: Proposal, order: UUID | None) -> dict[str, Any]:
    return {
        "member": proposal.payee, "round_id": proposal.round_id, "proposal_id": proposal.id, "order_id": order,
        "actor": proposal.asked_by,
    }  # fmt: skip
