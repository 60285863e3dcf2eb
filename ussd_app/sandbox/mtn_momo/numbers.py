"""The MTN MoMo sandbox's test numbers, 467331234NN, and what each brings about (wire/momo.md section 1.9)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

NEVER = float("inf")
CARRIERS = ("MTN", "MTN Cameroon", "Swazi MTN", "Lonestar Cell", "Areeba")  # wire/operators.md section 2
TEST_NUMBER = re.compile(r"467331234(\d\d)")


@dataclass(frozen=True, slots=True)
class Fate:
    """How a request ends: its ``reason`` of failure or None, ``after`` so many seconds shown as ``status``."""

    reason: str | None = None
    after: float = 0.0
    status: str = "PENDING"


def _fates(*reasons: str) -> dict[int, Fate]:
    """Suffix 50 and on: the five that are common to the tables, then one for each reason."""
    common = [
        Fate("INTERNAL_PROCESSING_ERROR"),
        Fate("APPROVAL_REJECTED"),
        Fate("EXPIRED"),
        Fate(after=NEVER),
        Fate(after=25.0, status="CREATED"),
    ]
    return dict(enumerate([*common, *map(Fate, reasons)], start=50))


PAY_IN: Mapping[int, Fate] = _fates(
    "PAYER_NOT_FOUND",
    "PAYEE_NOT_ALLOWED_TO_RECEIVE",
    "NOT_ALLOWED",
    "NOT_ALLOWED_TARGET_ENVIRONMENT",
    "INVALID_CALLBACK_URL_HOST",
    "INVALID_CURRENCY",
    "INTERNAL_PROCESSING_ERROR",
    "SERVICE_UNAVAILABLE",
    "COULD_NOT_PERFORM_TRANSACTION",
    "TRANSFER_TYPE_UNKNOWN",
)
PAY_OUT: Mapping[int, Fate] = _fates(
    "NOT_ENOUGH_FUNDS",
    "PAYER_LIMIT_REACHED",
    "PAYEE_NOT_FOUND",
    "NOT_ALLOWED",
    "NOT_ALLOWED_TARGET_ENVIRONMENT",
    "INVALID_CALLBACK_URL_HOST",
    "INVALID_CURRENCY",
    "INTERNAL_PROCESSING_ERROR",
    "SERVICE_UNAVAILABLE",
    "TRANSFER_TYPE_UNKNOWN",
)
OLD: Mapping[int, Fate] = {**_fates(), 53: Fate(after=30.0), 54: Fate(after=NEVER)}

# accountholder/../active: an error code, or the result.
ACTIVE: Mapping[int, str | bool] = {
    50: "RESOURCE_NOT_FOUND",
    51: False,
    52: "NOT_ALLOWED",
    53: "NOT_ALLOWED_TARGET_ENVIRONMENT",
    54: "INTERNAL_PROCESSING_ERROR",
    55: "SERVICE_UNAVAILABLE",
}


def suffix(msisdn: str) -> int | None:
    """The NN of a test number, None for an ordinary one."""
    found = TEST_NUMBER.fullmatch(msisdn)
    return int(found.group(1)) if found else None
