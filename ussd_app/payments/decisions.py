"""What a person's word makes of a payment, in every state it may be in: the one table that `ussd-app decide` goes by.

Paid is what the operator's statement shows with a receipt: a fact, whatever a query says. Unpaid is what it does not
show, which only says "not yet" while the operator may still move it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, text

from ussd_app.payments.life import UNRESOLVED
from ussd_app.store import Row, Work
from ussd_app.tables import deposits, payment_events, payments


class Word(StrEnum):
    """What a person has read in the operator's own statement."""

    PAID = "paid"
    UNPAID = "unpaid"


@dataclass(frozen=True, slots=True)
class Decision:
    """A person's word; ``receipt`` is the operator's own id of what was paid, None where nothing was."""

    by: str
    receipt: str | None

    @property
    def word(self) -> Word:
        """Which of the two."""
        return Word.UNPAID if self.receipt is None else Word.PAID


@dataclass(frozen=True, slots=True)
class Undecided:
    """The word books nothing; ``why`` goes on the line that says so."""

    why: str


@dataclass(frozen=True, slots=True)
class Booking:
    """One cell: the state it makes (None: the word is refused), and the words of it."""

    becomes: str | None
    says: str


ASKED = Booking(None, "refused: the operator may still move it, and is asked; it is parked after 72 h")
GOES_ON = "booked as paid, and asked for no more: its order goes on"
BOOKED = "refused: it is booked as paid already"
STANDS = "refused: it is booked as paid; what came back is another movement"
TABLE: Mapping[str, Mapping[Word, Booking]] = {
    "created": {
        Word.PAID: Booking("succeeded", GOES_ON),
        Word.UNPAID: Booking(None, "refused: it is still to be asked for"),
    },
    "sent": {Word.PAID: Booking("succeeded", GOES_ON), Word.UNPAID: ASKED},
    "pending": {Word.PAID: Booking("succeeded", GOES_ON), Word.UNPAID: ASKED},
    "parked": {
        Word.PAID: Booking("succeeded", "booked as paid: its order goes on"),
        Word.UNPAID: Booking("failed", "booked as failed: what was collected goes back"),
    },
    "failed": {
        Word.PAID: Booking("late", "booked as a late success: a collection is refunded, a payout may be owed to us"),
        Word.UNPAID: Booking("failed", "ends the doubt of a callback that says paid; else refused: it has failed"),
    },
    "succeeded": {Word.PAID: Booking(None, BOOKED), Word.UNPAID: Booking(None, STANDS)},
    "late": {Word.PAID: Booking(None, BOOKED), Word.UNPAID: Booking(None, STANDS)},
}  # fmt: skip
FAILED = "refused: it has failed already, and nothing says otherwise"


def in_doubt() -> ColumnElement[bool]:
    """Of a row of payments: it has failed, something says that it moved, and nobody has decided since.

    That nobody could say for days is no such thing.
    """
    e, p = payment_events.c, payments.c
    of = select(func.max(e.id)).where(e.payment_id == p.id)
    alerted = of.where(e.event == "alert", e.detail["what"].astext != UNRESOLVED).scalar_subquery()
    decided = of.where(e.event == "decided").scalar_subquery()
    return (p.state == "failed") & (alerted > func.coalesce(decided, 0))


async def refusal(connection: Work, row: Row, decision: Decision) -> str | None:
    """Why this word books nothing of a payment that is locked; None where it does."""
    cell = TABLE[row["state"]][decision.word]
    if cell.becomes is None:
        return cell.says
    if decision.receipt is not None:
        return await _used(connection, row, decision.receipt)
    doubted = select(payments.c.id).where(payments.c.id == row["id"], in_doubt())
    if row["state"] == "failed" and not (await connection.execute(doubted)).first():
        return FAILED
    return None


async def _used(connection: Work, row: Row, receipt: str) -> str | None:
    """Which other movement of that operator's has this receipt; two people who name one at once wait here."""
    one = {"one": f"{row['operator']} {receipt}"}
    await connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:one, 2))"), one)
    p, d = payments.c, deposits.c
    # A refund may be shown under the receipt of what it gives back.
    others = select(p.id).where(p.operator == row["operator"], p.receipt == receipt, p.id != row["id"])
    other: UUID | None = (
        await connection.execute(others.where(p.id.is_distinct_from(row["refunds"])).limit(1))
    ).scalar_one_or_none()
    if other:
        return f"refused: receipt {receipt} is that of payment {other}"
    # What is still being asked about waits for what becomes of this one (till.py).
    tills = select(d.id).where(d.provider == row["operator"], d.receipt == receipt, d.state == "confirmed")
    if (await connection.execute(tills.limit(1))).first():
        return f"refused: receipt {receipt} is that of money paid to our till"
    return None
