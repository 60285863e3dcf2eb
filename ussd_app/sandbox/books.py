"""The sandbox's own books: double entry, integer minor units, every movement kept. Tests compare them to ours."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from ussd_app.money import Money, exponent

OUTSIDE = "outside"  # where money of wallets that are opened or set comes from


class Status(StrEnum):
    """What became of a movement that was asked for."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(slots=True)
class Movement:
    """One movement an operator or a delivery was asked for; ``reference`` is the asking party's own."""

    operator: str
    reference: str
    kind: str
    msisdn: str
    amount: Money
    debit: str
    credit: str
    at: datetime
    status: Status = Status.PENDING


@dataclass(frozen=True, slots=True)
class Entry:
    """A positive amount taken from one account and given to another of the same currency: zero in sum."""

    debit: str
    credit: str
    amount: Money
    reference: str


def person(msisdn: str) -> str:
    """The account of a person's wallet."""
    return f"person:{msisdn}"


def merchant(operator: str) -> str:
    """The account of our own wallet at an operator, one for money in and out as MTN's is (wire/momo.md 1.5)."""
    return f"merchant:{operator}"


def handed_over(what: str, msisdn: str) -> str:
    """The account of what deliveries have handed over to a person, such as ``airtime``, at its price."""
    return f"{what}:{msisdn}"


def charged(provider: str) -> str:
    """The account of what a delivery has charged us, below zero."""
    return f"charged:{provider}"


class Books:
    """Accounts and entries. An account is opened when first met, with what its kind starts from, in major units."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.movements: list[Movement] = []
        self._balances: dict[tuple[str, str], int] = {}

    def open(self, account: str, currency: str, amount: Decimal) -> None:
        """Give an account its opening balance, cut to what the currency can hold; nothing where it is open already."""
        if (account, currency) not in self._balances:
            self._balances[account, currency] = 0
            self._post(OUTSIDE, account, Money(int(amount.scaleb(exponent(currency))), currency), "opening")

    def balance(self, account: str, currency: str) -> Money:
        """What an account holds."""
        return Money(self._balances.get((account, currency), 0), currency)

    def balances(self, account: str) -> dict[str, str]:
        """What an account holds in each currency, as decimal text."""
        return {
            currency: Money(minor, currency).plain
            for (owner, currency), minor in self._balances.items()
            if owner == account
        }

    def put(self, account: str, amount: Money) -> None:
        """Bring an account to a balance, against the outside."""
        difference = amount - self.balance(account, amount.currency)
        if difference.minor >= 0:
            self._post(OUTSIDE, account, difference, "set")
        else:
            self._post(account, OUTSIDE, Money(-difference.minor, amount.currency), "set")

    def settle(self, movement: Movement, *, on_credit: bool = False) -> bool:
        """Move the money of a movement that has not moved yet; False, and nothing moved, where there is too little.

        What is paid ``on_credit`` may bring its account below zero.
        """
        if movement.status is Status.SUCCEEDED:
            raise ValueError(f"{movement.reference} has moved already")
        if not on_credit and self.balance(movement.debit, movement.amount.currency) < movement.amount:
            return False
        self._post(movement.debit, movement.credit, movement.amount, movement.reference)
        movement.status = Status.SUCCEEDED
        return True

    def _post(self, debit: str, credit: str, amount: Money, reference: str) -> None:
        self.entries.append(Entry(debit, credit, amount, reference))
        for account, minor in ((debit, -amount.minor), (credit, amount.minor)):
            key = account, amount.currency
            self._balances[key] = self._balances.get(key, 0) + minor
