"""Every movement of money Daraja was asked for or told of, by each of its ids, and what became of it."""

from dataclasses import dataclass
from datetime import datetime

from ussd_app.money import Money
from ussd_app.sandbox.books import Movement, Status
from ussd_app.sandbox.country import Handset
from ussd_app.sandbox.daraja.account import Account


@dataclass(slots=True)
class Transaction:
    """One movement: its receipt, the two ids of the conversation it was asked for in, and its ResultCode at the end."""

    movement: Movement
    handset: Handset
    shortcode: str
    receipt: str
    opened: datetime  # in Nairobi's time, as is ``ended``
    conversation_id: str = ""
    originator_id: str = ""
    code: str = ""
    ended: datetime | None = None
    reversed: bool = False


class Transactions:
    """The account's movements."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._all: dict[str, Transaction] = {}

    def open(
        self, kind: str, handset: Handset, amount: int, shortcode: str, *, conversation_id: str = "",
        originator_id: str = "", receipt: str = "", reference: str = "",
    ) -> Transaction:  # fmt: skip
        """Write a movement down; whichever ids it has, it is found by all of them."""
        country = self._account.country
        money, receipt = Money.of(amount, country.currency), receipt or self._account.receipt()
        movement = country.ask(self._account.name, reference or receipt, kind, handset, money)
        now = self._account.nairobi()
        transaction = Transaction(movement, handset, shortcode, receipt, now, conversation_id, originator_id)
        self._all |= dict.fromkeys(filter(None, (receipt, conversation_id, originator_id)), transaction)
        return transaction

    def find(self, *ids: str | None) -> Transaction | None:
        """The first of these that is known."""
        return next((self._all[one] for one in ids if one and one in self._all), None)

    def end(self, transaction: Transaction, code: str | None) -> str:
        """Make it final and return its ResultCode: without one the money moves, where the payer has it."""
        books = self._account.country.books
        if code is None:
            code = "0" if books.settle(transaction.movement) else "1"
        if code != "0":
            transaction.movement.status = Status.FAILED
        transaction.code, transaction.ended = code, self._account.nairobi()
        return code
