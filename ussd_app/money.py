"""Money: integer minor units that carry their currency. No floats, no rounding of what a person typed."""

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import total_ordering

# ISO 4217 exponents (wire/operators.md section 1): these have no minor unit, every other currency we meet has two.
ZERO_DECIMAL = frozenset({"BIF", "DJF", "GNF", "KMF", "RWF", "UGX", "XAF", "XOF"})

# The largest amount any screen is checked for; more than this is refused where it is typed.
MAX_MAJOR = 999_999_999


class InvalidAmount(ValueError):
    """The text is not a positive amount of that currency that fits its step."""


def exponent(currency: str) -> int:
    """Decimals of a currency: 0 or 2."""
    return 0 if currency in ZERO_DECIMAL else 2


@total_ordering
@dataclass(frozen=True, slots=True)
class Money:
    """An amount in integer minor units (pesewas, cents) of one ISO 4217 currency."""

    minor: int
    currency: str

    @classmethod
    def of(cls, amount: str | int | Decimal, currency: str) -> "Money":
        """From a decimal amount in major units; raises InvalidAmount where it has more decimals than the currency."""
        scaled = Decimal(amount).scaleb(exponent(currency))
        if not scaled.is_finite() or scaled != scaled.to_integral_value():
            raise InvalidAmount(f"{amount} does not fit {currency}")
        return cls(int(scaled), currency)

    @property
    def decimal(self) -> Decimal:
        """The amount in major units."""
        return Decimal(self.minor).scaleb(-exponent(self.currency))

    @property
    def plain(self) -> str:
        """Major units without sign of currency or grouping: ``50.50``, ``1500``."""
        return f"{self.decimal:.{exponent(self.currency)}f}"

    def __str__(self) -> str:
        return f"{self.currency} {self.decimal:,.{exponent(self.currency)}f}"

    def __bool__(self) -> bool:
        return self.minor != 0

    def __add__(self, other: "Money") -> "Money":
        return Money(self.minor + self._same(other), self.currency)

    def __sub__(self, other: "Money") -> "Money":
        return Money(self.minor - self._same(other), self.currency)

    def __lt__(self, other: "Money") -> bool:
        return self.minor < self._same(other)

    def _same(self, other: "Money") -> int:
        if self.currency != other.currency:
            raise ValueError(f"{self.currency} and {other.currency} do not mix")
        return other.minor


def parse(text: str, currency: str, step: int = 1) -> Money:
    """What a person typed, as a positive amount that is a multiple of ``step`` minor units; raises InvalidAmount."""
    if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,2})?", text):
        raise InvalidAmount(text)
    amount = Money.of(text, currency)
    if amount.minor <= 0 or amount.decimal > MAX_MAJOR or amount.minor % step:
        raise InvalidAmount(text)
    return amount
