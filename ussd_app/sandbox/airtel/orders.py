"""Bodies of requests that move money (wire/momo.md section 2.3)."""

import json
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ussd_app.money import ZERO_DECIMAL, InvalidAmount, Money, parse

WHOLE = ZERO_DECIMAL | {"KES", "TZS", "MGA"}  # sent without a point (wire/operators.md section 1)

Reference = Annotated[str, Field(pattern=r"^[A-Za-z0-9]{4,64}$")]
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9]{1,64}$")]
Type = Literal["B2C", "B2B"]


class Part(BaseModel):
    """Base of every member: what it holds is of the documented type, and what else there is does no harm."""

    model_config = ConfigDict(strict=True)


class Subscriber(Part):
    """Who pays."""

    msisdn: str
    country: str
    currency: str


class Collected(Part):
    """What is asked of the payer."""

    amount: int | Decimal
    country: str
    currency: str
    id: Id


class Collection(Part):
    """A push to a payer's handset; the reference is shown there."""

    reference: Reference
    subscriber: Subscriber
    transaction: Collected


class Payee(Part):
    """Who is paid."""

    msisdn: str


class Paid(Part):
    """What is paid."""

    amount: int | Decimal
    id: Id


class Disbursement(Part):
    """A payout of version 1."""

    payee: Payee
    reference: Reference
    pin: str
    transaction: Paid


class TypedPaid(Paid):
    """What is paid, and to what kind of payee."""

    type: Type


class PayeeV2(Payee):
    """Who is paid, in what."""

    currency: str
    name: str | None = None


class DisbursementV2(Disbursement):
    """A payout of version 2."""

    payee: PayeeV2
    transaction: TypedPaid


class PayeeV3(Payee):
    """Who is paid, into which wallet."""

    wallet_type: Literal["NORMAL", "SALARY"]


class DisbursementV3(Disbursement):
    """A payout of version 3."""

    payee: PayeeV3
    transaction: TypedPaid


class Refunded(Part):
    """Which collection is given back."""

    airtel_money_id: str


class Refund(Part):
    """A full refund."""

    transaction: Refunded


PAYOUTS: dict[str, type[Disbursement]] = {"v1": Disbursement, "v2": DisbursementV2, "v3": DisbursementV3}

AnyPart = TypeVar("AnyPart", bound=Part)


class Unreadable(ValueError):
    """A body that is refused; its text is the code."""


def read(shape: type[AnyPart], body: bytes) -> AnyPart:
    """A body in its shape, amounts exact; raises Unreadable."""
    try:
        document: Any = json.loads(body, parse_float=Decimal)
        return shape.model_validate(document)
    except ValidationError as error:
        missing = any(each["type"] == "missing" for each in error.errors())
        raise Unreadable("ROUTER003" if missing else "ESB000008") from None
    except ValueError:
        raise Unreadable("ESB000008") from None


def money(amount: int | Decimal, currency: str) -> Money | None:
    """What a JSON number is in a currency; None where it does not fit."""
    if currency in WHOLE and isinstance(amount, Decimal):
        return None
    try:
        return parse(f"{amount:f}" if isinstance(amount, Decimal) else str(amount), currency)
    except InvalidAmount:
        return None
