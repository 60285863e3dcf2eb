"""Money that people pay to our till without having been asked: from the operator's word of it to its payer's claim.

A confirmation alone books nothing, since whoever learns its address could make one up. The operator is asked about the
receipt, and what it answers at an address made for that receipt alone is booked, once: from the float to ``suspense``.

    told --> confirmed    booked; its payer may claim it, by the digits of its receipt and from their own number
        |--> own          the operator's notice of what an order of ours has collected: booked there
        `--> disputed     it was told or answered differently, or may not be believed: a person looks
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import or_, select, update
from sqlalchemy.dialects.postgresql import insert

from ussd_app import gsm, ledger, log
from ussd_app.config import Settings
from ussd_app.errors import ProviderError
from ussd_app.messages import Messages
from ussd_app.money import MAX_MAJOR, Money
from ussd_app.movement import Deposit, Kind, Status, Succeeded, Till, Unqueried
from ussd_app.msisdn import InvalidMsisdn, Msisdn, parse
from ussd_app.payments import Payments, schedule
from ussd_app.payments.life import FINAL
from ussd_app.store import Look, Row, Work
from ussd_app.tables import deposits, orders, payments, subscribers

SUSPENSE = "suspense"  # the account of what has been paid to us and is nobody's yet

# How long each question waits for its answer before the next is asked; after the last a person looks.
WAITS = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 30, 120, 720, 1_440))
# A collection asked for this long before a deposit was told of may be the same money: longer than callbacks stay away.
NEAR = schedule.PATIENCE
# ... and for this long after its failure, until it has been looked at again.
RECENT = schedule.SECOND_LOOKS[0] + timedelta(minutes=5)
MATCHES_MAX = 500  # deposits of the same digits that are looked at
PAYER_CHARS, LABEL_CHARS = 64, 40
DIALLED_MAX = 12  # digits of a receipt that an SMS has room for
HIDDEN_MAX = 6  # digits of a masked number: one that hides more is nobody's in particular

d, p = deposits.c, payments.c

OPEN = (d.state == "confirmed", d.claimed_at.is_(None))
LACKS_RECEIPT = or_(p.receipt.is_(None), p.receipt == "")

logger = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Unclaimed:
    """Money that is in the books and waits for its payer."""

    id: UUID
    provider: str
    digits: str  # of its receipt
    amount: Money
    at: datetime


class Tills:
    """Keeps what operators tell of deposits, has them asked about it, and books what they confirm."""

    def __init__(self, payments: Payments, messages: Messages, settings: Settings) -> None:
        self.payments = payments
        self.messages = messages
        self.settings = settings

    async def keep(self, connection: Work, provider: str, deposit: Deposit) -> None:
        """Note a deposit in the commit that keeps its confirmation, and plan to ask about it; once for a receipt."""
        if not _can_be_kept(deposit):
            await self.payments.alert(connection, "till money that cannot be read", provider=provider)
            return
        values = {
            "id": uuid4(), "provider": provider, "receipt": deposit.receipt, "digits": _digits(deposit.receipt),
            "amount": deposit.amount.minor, "currency": deposit.amount.currency, "told_at": self.payments.clock.now(),
            "payer": gsm.one_line(deposit.payer, PAYER_CHARS), "label": gsm.one_line(deposit.label, LABEL_CHARS),
            "state": "told",
        }  # fmt: skip
        once = insert(deposits).values(values).on_conflict_do_nothing(index_elements=["provider", "receipt"])
        row = (await connection.execute(once.returning(deposits))).mappings().one_or_none()
        if row is None:
            await self._told_again(connection, values)
        elif not await self._is_own(connection, row):
            if isinstance(self.payments.operators[provider], Till):
                await self._plan(connection, row["id"], 1, None)
            else:
                await self._alert(connection, row, "till money that nobody can be asked about")

    async def look_up(self, deposit: UUID, number: int) -> None:
        """Job: the ``number``-th question about a deposit; plans the next, then asks. The answer is a callback."""
        async with self.payments.store.work() as connection:
            row = (await connection.execute(select(deposits).where(d.id == deposit).with_for_update())).mappings().one()
            if row["state"] != "told" or row["looks"] != number:
                return
            if number > len(WAITS):
                await connection.execute(update(deposits).where(d.id == deposit).values(looks=number + 1))
                await self._alert(connection, row, "till money that nobody confirms")
                return
            await self._plan(connection, deposit, number + 1, self.payments.clock.now() + WAITS[number - 1])
        await self._ask(row)

    async def confirmed(self, connection: Work, provider: str, receipt: str, status: Status) -> None:
        """Book what the operator has confirmed, once; anything else it says of that receipt is asked again later."""
        same = select(deposits).where(d.provider == provider, d.receipt == receipt).with_for_update()
        row = (await connection.execute(same)).mappings().one_or_none()
        if row is None or row["state"] != "told" or not isinstance(status, Succeeded):
            return
        operator, amount = self.payments.operators[provider], _money(row)
        if status.amount != amount or status.receipt != receipt:
            moved = f"{status.receipt} {status.amount}"
            await self._dispute(connection, row, "till money told and confirmed differently", moved=moved)
        elif isinstance(operator, Unqueried) and amount > operator.believed_up_to(amount.currency):
            await self._dispute(connection, row, "till money over what is believed unsigned")
        elif not await self._is_own(connection, row) and not await self._may_be_own(connection, row):
            await self._book(connection, row, amount)

    async def _plan(self, connection: Work, deposit: UUID, number: int, at: datetime | None) -> None:
        await connection.execute(update(deposits).where(d.id == deposit).values(looks=number))
        await self.payments.jobs.defer(connection, "till.look_up", at=at, deposit=str(deposit), number=number)

    async def _ask(self, row: Row) -> None:
        operator = self.payments.operators.get(row["provider"])
        if operator is None or not isinstance(operator, Till):
            return  # it is no longer in use
        told = Deposit(row["receipt"], _money(row), row["payer"], row["label"])
        try:
            await operator.look_up(told, self.payments.callback_url(row["provider"], f"deposit/{row['receipt']}"))
        except ProviderError as error:
            logger.warning("deposit not looked up", deposit=str(row["id"]), error=str(error))

    async def _told_again(self, connection: Work, values: Mapping[str, Any]) -> None:
        """The same words change nothing; others make a person look before anything is paid out on them."""
        same = select(deposits).where(d.provider == values["provider"], d.receipt == values["receipt"])
        row = (await connection.execute(same.with_for_update())).mappings().one()
        if all(row[name] == values[name] for name in ("amount", "currency", "payer")):
            return
        if row["state"] in {"told", "confirmed"} and row["claimed_at"] is None:
            await self._dispute(connection, row, "one till receipt told in two ways")
        elif row["state"] != "disputed":
            await self._alert(connection, row, "one till receipt told in two ways")

    async def _is_own(self, connection: Work, row: Row) -> bool:
        """Whether an order of ours has collected this: some operators tell of that too, under the order's code."""
        others = deposits.alias()
        absorbed = (others.c.order_id == p.order_id) & (others.c.state == "own") & (others.c.id != row["id"])
        unclaimed = LACKS_RECEIPT & ~select(others.c.id).where(absorbed).exists()
        by_label = (p.label == row["label"]) & p.state.in_(FINAL) & unclaimed
        query = select(p.order_id, p.state).where(_collects(row), or_(p.receipt == row["receipt"], by_label))
        found = (await connection.execute(query.limit(1))).one_or_none()
        if found is None:
            return False
        own = update(deposits).where(d.id == row["id"]).values(state="own", order_id=found.order_id)
        await connection.execute(own)
        if found.state == "failed":
            await self._alert(connection, row, "till money for a collection that failed", order=str(found.order_id))
        return True

    async def _may_be_own(self, connection: Look, row: Row) -> bool:
        """Whether a collection whose receipt is not known yet looks the same: asked again, until it is.

        That of an order still under way where the notice names one, else any of the same payer.
        """
        then = p.submitted_at.between(row["told_at"] - NEAR, row["told_at"])
        fails = (p.state == "failed") & (p.final_at <= self.payments.clock.now() - RECENT)
        query = select(p.msisdn).where(_collects(row), LACKS_RECEIPT, then, ~fails)
        if row["label"]:
            query = query.where(p.label == row["label"], p.state.not_in(FINAL))
        payers = (await connection.execute(query.limit(MATCHES_MAX))).scalars()
        return any(row["label"] or agrees(row["payer"], Msisdn(payer)) for payer in payers)

    async def _book(self, connection: Work, row: Row, amount: Money) -> None:
        now = self.payments.clock.now()
        booked = update(deposits).where(d.id == row["id"]).values(state="confirmed", confirmed_at=now)
        await connection.execute(booked)
        held = self.payments.float_account(row["provider"], Kind.COLLECTION)
        await ledger.move(connection, held, SUSPENSE, amount, order=None, reason="paid to our till", at=now)
        await self._tell(connection, row, amount)

    async def _tell(self, connection: Work, row: Row, amount: Money) -> None:
        """Tell the payer how to use it, where the operator shows their number whole."""
        try:
            payer = parse(row["payer"], self.settings.country)
        except InvalidMsisdn:
            return
        if not 0 < len(row["digits"]) <= DIALLED_MAX:
            return  # it is claimed by the receipt itself, typed
        language = select(subscribers.c.language).where(subscribers.c.msisdn == payer)
        await self.messages.queue(
            connection,
            key=f"deposit:{row['id']}",
            msisdn=payer,
            template="till_received",
            language=(await connection.execute(language)).scalar_one_or_none() or "en",
            variables={"amount": amount, "ussd": self.settings.code, "digits": row["digits"]},
        )

    async def _dispute(self, connection: Work, row: Row, what: str, **detail: str) -> None:
        await connection.execute(update(deposits).where(d.id == row["id"]).values(state="disputed"))
        await self._alert(connection, row, what, **detail)

    async def _alert(self, connection: Work, row: Row, what: str, **detail: str) -> None:
        named = {"provider": row["provider"], "receipt": row["receipt"], "amount": str(_money(row))}
        await self.payments.alert(connection, what, **named, **detail)


def agrees(payer: str, msisdn: Msisdn) -> bool:
    """Whether a number may be the payer an operator shows: whole, masked (``2547*****001``) or as a SHA-256 hash."""
    shown = re.sub(r"[\s+]", "", payer).lower()
    if re.fullmatch("[0-9a-f]{64}", shown):
        return hmac.compare_digest(shown, hashlib.sha256(msisdn.digits.encode()).hexdigest())
    fits = len(shown) == len(msisdn.digits) and shown.count("*") <= HIDDEN_MAX
    return fits and all(seen in {"*", digit} for seen, digit in zip(shown, msisdn.digits, strict=True))


async def find(connection: Look, msisdn: Msisdn, typed: str) -> list[Unclaimed]:
    """What this person may claim with a receipt, or with the digits of it; the oldest first."""
    said = re.sub("[^A-Z0-9]", "", typed.upper())
    same = d.digits == said if said.isdigit() else d.receipt == said
    query = select(deposits).where(same, *OPEN).order_by(d.told_at, d.id).limit(MATCHES_MAX)
    rows = (await connection.execute(query)).mappings()
    return [_unclaimed(row) for row in rows if agrees(row["payer"], msisdn)]


async def read(connection: Look, deposit: UUID, msisdn: Msisdn, *, lock: bool = False) -> Unclaimed | None:
    """One that this person may claim, as it stands (``lock``: until the commit); None where it is so no longer."""
    query = select(deposits).where(d.id == deposit, *OPEN)
    row = (await connection.execute(query.with_for_update() if lock else query)).mappings().one_or_none()
    return _unclaimed(row) if row and agrees(row["payer"], msisdn) else None


async def claim(connection: Work, deposit: UUID, msisdn: Msisdn, code: str, at: datetime) -> None:
    """Give it to the order of this code. The deposit is locked."""
    order = select(orders.c.id).where(orders.c.code == code).scalar_subquery()
    claimed = {"claimed_at": at, "claimed_by": msisdn, "order_id": order}
    await connection.execute(update(deposits).where(d.id == deposit).values(claimed))


async def give_up(connection: Work, order: UUID) -> None:
    """Let it be claimed again: its order has moved nothing."""
    free = {"claimed_at": None, "claimed_by": None, "order_id": None}
    await connection.execute(update(deposits).where(d.order_id == order, d.state == "confirmed").values(free))


def _collects(row: Row) -> Any:  # noqa: ANN401 - a condition
    same = (p.operator == row["provider"]) & (p.kind == Kind.COLLECTION)
    return same & (p.amount == row["amount"]) & (p.currency == row["currency"])


def _unclaimed(row: Row) -> Unclaimed:
    return Unclaimed(row["id"], row["provider"], row["digits"], _money(row), row["told_at"])


def _money(row: Row) -> Money:
    return Money(row["amount"], row["currency"])


def _digits(receipt: str) -> str:
    return re.sub("[^0-9]", "", receipt)


def _can_be_kept(deposit: Deposit) -> bool:
    """Whether its receipt can stand in an address, and its amount in the books."""
    return bool(re.fullmatch("[A-Z0-9]{4,32}", deposit.receipt)) and 0 < deposit.amount.decimal <= MAX_MAJOR
