"""Questions that are answered at ResultURL: TransactionStatus and AccountBalance (wire/momo.md section 3.4)."""

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ussd_app.sandbox.books import Status, merchant
from ussd_app.sandbox.daraja.account import Account
from ussd_app.sandbox.daraja.answers import ShortCode, Text
from ussd_app.sandbox.daraja.commands import Commands, Order, Parameters
from ussd_app.sandbox.daraja.transactions import Transaction, Transactions

# Where our one wallet stands among the accounts of a shortcode: what B2C pays from, as in the samples.
ACCOUNTS = ("Working Account", "Utility Account", "Charges Paid Account")
HOLDS = "Utility Account"

WORDS = {Status.PENDING: "Pending", Status.SUCCEEDED: "Completed", Status.FAILED: "Failed"}
REASONS = {
    "collection": "Pay Bill Online",
    "disbursement": "Business Payment to Customer via API",
    "refund": "Reversal",
}


class StatusQuery(Order):
    """The body of a question about one transaction, by its receipt or an id of its conversation."""

    command_id: Literal["TransactionStatusQuery"]
    transaction_id: str = Field("", alias="TransactionID")
    original_conversation_id: str = ""
    party_a: ShortCode
    identifier_type: Annotated[Text, Field(pattern=r"^[124]$")]
    occasion: str = Field("", max_length=100)


class BalanceQuery(Order):
    """The body of a question about our accounts."""

    command_id: Literal["AccountBalance"]
    party_a: ShortCode
    identifier_type: Annotated[Text, Field(pattern=r"^4$")]


class Queries:
    """Both questions."""

    def __init__(self, account: Account, commands: Commands, transactions: Transactions) -> None:
        self._account = account
        self._commands = commands
        self._transactions = transactions

    def routes(self) -> list[Route]:
        """Their addresses."""
        at = self._account.route
        return [
            at("status", "POST", "/mpesa/transactionstatus/v1/query", self._ask_status),
            at("account", "POST", "/mpesa/accountbalance/v1/query", self._ask_balance),
        ]

    async def _ask_status(self, request: Request) -> Response:
        body = await request.body()
        self._account.authorise(request, "status")
        order = self._account.read(StatusQuery, body)
        if not order.transaction_id and not order.original_conversation_id:
            raise self._account.invalid("TransactionID")
        command = self._commands.accept("status", order)
        self._commands.start(command, partial(self._status, order))
        return await self._commands.taken(command)

    def _status(self, order: StatusQuery, code: str | None) -> tuple[str, Parameters]:
        found = self._transactions.find(order.transaction_id, order.original_conversation_id)
        if code or not found:
            return code or "R000002", []
        return "0", _told(found)

    async def _ask_balance(self, request: Request) -> Response:
        body = await request.body()
        self._account.authorise(request, "account")
        command = self._commands.accept("account", self._account.read(BalanceQuery, body))
        self._commands.start(command, self._balance)
        return await self._commands.taken(command)

    def _balance(self, code: str | None) -> tuple[str, Parameters]:
        currency = self._account.country.currency
        held = self._account.country.books.balance(merchant(self._account.name), currency)
        amounts = {name: f"{held.decimal:.2f}" if name == HOLDS else "0.00" for name in ACCOUNTS}
        accounts = "&".join(f"{name}|{currency}|{amount}|{amount}|0.00|0.00" for name, amount in amounts.items())
        now = int(f"{self._account.nairobi():%Y%m%d%H%M%S}")
        return code or "0", [{"Key": "AccountBalance", "Value": accounts}, {"Key": "BOCompletedTime", "Value": now}]


def _told(transaction: Transaction) -> Parameters:
    """The keys of section 3.4; the one that decides comes first, for where a parameter stands alone."""
    movement, handset = transaction.movement, transaction.handset
    theirs, ours = f"{handset.msisdn} - {handset.name}", f"{transaction.shortcode} - Demo Shop"
    inwards = movement.kind == "collection"
    told: list[tuple[str, Any]] = [
        ("TransactionStatus", WORDS[movement.status]),
        ("ReceiptNo", transaction.receipt),
        ("Conversation ID", transaction.conversation_id),
        ("Originator Conversation ID", transaction.originator_id),
        ("FinalisedTime", int(f"{transaction.ended:%Y%m%d%H%M%S}") if transaction.ended else None),
        ("InitiatedTime", int(f"{transaction.opened:%Y%m%d%H%M%S}")),
        ("Amount", float(movement.amount.decimal)),
        ("ReasonType", REASONS[movement.kind]),
        ("TransactionReason", None),
        ("DebitPartyName", theirs if inwards else ours),
        ("CreditPartyName", ours if inwards else theirs),
        ("DebitPartyCharges", ""),
        ("DebitAccountType", "Customer Account" if inwards else HOLDS),
    ]
    return [{"Key": key} if value is None else {"Key": key, "Value": value} for key, value in told]
