"""Numbers that decide by themselves: the real sandbox's own, and the last three digits of others.

Sources: wire/momo.md section 3.5, wire/operators.md section 7. Endings 001 to 009, and all that are not listed, are
decided by the person and the books.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

NEVER = float("inf")
LATE_SECONDS = 30.0  # between a time-out and the success that nobody waits for
TEST_NUMBER = "254708374149"

Twist = Literal[
    "",
    "no_such_party",  # the request is refused
    "broken_before",  # HTTP 500, nothing was done
    "broken_after",  # HTTP 500, all was done
    "late_success",  # times out, and succeeds when nobody waits
    "in_progress",  # until it ends, a query says 4999
    "callback_first",
    "wrong_amount",  # in the callback alone
]


@dataclass(frozen=True, slots=True)
class Fate:
    """How a request ends ``after`` so many seconds: its ResultCode, or None to succeed where the money is there."""

    code: str | None = None
    after: float = 0.0
    copies: int = 1  # of its callback
    twist: Twist = ""


EITHER: Mapping[int, Fate] = {
    10: Fate(after=5.0),
    44: Fate("26"),
    45: Fate(after=NEVER),
    49: Fate("1"),
    50: Fate(twist="broken_after"),
    51: Fate(twist="broken_before"),
    52: Fate(twist="late_success"),
    60: Fate(after=30.0, twist="in_progress"),
    61: Fate(copies=0),
    62: Fate(copies=2),
    63: Fate(twist="callback_first"),
    64: Fate(twist="wrong_amount"),
}
PAY_IN: Mapping[int, Fate] = {
    **EITHER,
    19: Fate("4"),
    29: Fate(twist="no_such_party"),
    39: Fate("1032"),
    40: Fate("2001"),
    41: Fate("1019"),
    42: Fate("1037"),
    43: Fate("11"),
}
PAY_OUT: Mapping[int, Fate] = {**EITHER, 19: Fate("8"), 29: Fate("2040"), 43: Fate("2006")}


def push_fate(msisdn: str) -> Fate | None:
    """What a push to this number comes to; None where the person decides."""
    return Fate("1037") if msisdn == TEST_NUMBER else PAY_IN.get(int(msisdn[-3:]))


def payout_fate(msisdn: str) -> Fate | None:
    """What a payment to this number comes to; None where the books decide."""
    return PAY_OUT.get(int(msisdn[-3:]))
