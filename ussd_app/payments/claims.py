"""What callbacks have claimed about a payment: its receipt and, where no query tells, its end (design.md law 10).

Where a query tells, a claim that it moved is no proof of that, and yet enough to doubt a failure by.
"""

from collections.abc import Iterable

from sqlalchemy import Text, Uuid, and_, bindparam, func, or_, select, update

from ussd_app.errors import Reason
from ussd_app.money import Money
from ussd_app.movement import CallbackNote, Claimed, Failed, Provider, Status, Succeeded, Unqueried
from ussd_app.payments.life import SUCCESSES, Finding, Unresolved
from ussd_app.store import Look, Row, Statement, Work
from ussd_app.tables import callbacks, payments

CLAIMS_MAX = 20  # different ones, the latest, that are looked at
OVER = "callback over what is believed unasked"  # a person decides
TWICE = "one payment with two receipts"  # a person looks
CONTRADICTED = "a callback says paid, the operator says failed"  # a person decides
DENIED = "one callback says paid, another says failed"  # a person looks


c = callbacks.c
NAMED = bindparam("named", type_=Text)  # the provider's own id; null, by which nothing is found, where it told none
# Copies are one: nobody hides a claim under twenty of another.
ABOUT = Statement(
    select(c.path, c.body)
    .where(c.provider == bindparam("provider", type_=Text))
    .where(or_(c.payment == bindparam("payment", type_=Uuid), and_(c.payment.is_(None), c.external_id == NAMED)))
    .group_by(c.path, c.body)
    .order_by(func.max(c.id).desc())
    .limit(CLAIMS_MAX)
)
COMPLETE = Statement(
    update(payments)
    .where(payments.c.id == bindparam("payment", type_=Uuid), payments.c.receipt == "")
    .where(payments.c.state.in_(SUCCESSES))
    .values(receipt=bindparam("new_receipt", type_=Text))
)


async def of(look: Look, row: Row, provider: Provider) -> list[Status]:
    """What may prove something of the payment, newest first: each names the payment and its very kind."""
    return [note.status for path, note in await _about(look, row, provider) if proves(path, note, row)]


async def told(look: Look, row: Row, provider: Provider) -> list[Status]:
    """All that is said of the payment, newest first, by whatever name and of no other kind."""
    return [note.status for _, note in await _about(look, row, provider)]


async def paid(look: Look, row: Row, provider: Provider) -> Succeeded | Claimed | None:
    """The newest claim that it moved, of whatever amount: a failure that it contradicts is not booked by itself."""
    claims = await told(look, row, provider)
    return next((claim for claim in claims if isinstance(claim, Succeeded | Claimed)), None)


def proves(path: str, note: CallbackNote, row: Row) -> bool:
    """Whether a callback names the payment and its kind: by the address made for it or, where none is, by the body."""
    return bool(note.reference == row["id"] and (path.partition("/")[0] or note.kind) == row["kind"])


async def _about(look: Look, row: Row, provider: Provider) -> list[tuple[str, CallbackNote]]:
    """The latest callbacks that name the payment, by our reference or else by the provider's own id; newest first."""
    claims = await look.all(ABOUT, provider=row["operator"], payment=row["id"], named=row["external_id"])
    read = [(each["path"], provider.parse_callback(each["path"], each["body"])) for each in claims]
    own = [(path, note) for path, note in read if (path.partition("/")[0] or note.kind) in {None, row["kind"]}]
    return [(path, note) for path, note in own if (note.reference or row["id"]) == row["id"]]


def believed(claims: Iterable[Status], row: Row, provider: Unqueried) -> Finding | None:
    """The end that these prove: success before failure, and neither of more than is believed without a signature."""
    final = [claim for claim in claims if isinstance(claim, Succeeded | Failed)]
    found = next((claim for claim in final if isinstance(claim, Succeeded)), final[0] if final else None)
    if isinstance(found, Failed) and row["state"] == "failed":
        return None  # it says nothing new
    if found and row["amount"] > provider.believed_up_to(row["currency"]).minor:
        return Unresolved(OVER)
    return found


async def receipt(look: Look, row: Row, provider: Provider) -> str:
    """The provider's own id of what has moved, where its answer to the query has none; empty where no callback has."""
    return next(filter(None, (_receipt(claim, row) for claim in await of(look, row, provider))), "")


async def reason(look: Look, row: Row, provider: Provider, told: Reason) -> Reason:
    """Why a payment has failed: where the provider's answer to the query names no reason, a callback may be alone to.

    It proves no end; the query has.
    """
    if told is not Reason.INTERNAL:
        return told
    claims = (claim for claim in await of(look, row, provider) if isinstance(claim, Failed))
    return next((claim.reason for claim in claims if claim.reason is not Reason.INTERNAL), told)


async def complete(work: Work, row: Row, claim: Status) -> bool:
    """Take the receipt out of a callback that has come after its payment had succeeded without one.

    False where it had succeeded with another: it may have moved twice.
    """
    told = _receipt(claim, row)
    if told and row["state"] in SUCCESSES and row["receipt"] not in {None, "", told}:
        return False
    if told:
        await work.run(COMPLETE, payment=row["id"], new_receipt=told)
    return True


def _receipt(claim: Status, row: Row) -> str:
    if isinstance(claim, Succeeded) and claim.amount == Money(row["amount"], row["currency"]):
        return claim.receipt
    return ""
