"""Money out: B2C to a person, and the reversal of what a person paid (wire/momo.md sections 3.3 and 3.4)."""

from functools import partial
from typing import Annotated, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ussd_app.sandbox.books import Status, merchant
from ussd_app.sandbox.daraja.account import Account
from ussd_app.sandbox.daraja.answers import ShortCode, Subscriber, Text, Whole
from ussd_app.sandbox.daraja.commands import Commands, Order, Parameters
from ussd_app.sandbox.daraja.numbers import Fate, payout_fate
from ussd_app.sandbox.daraja.transactions import Transaction, Transactions


class PayOut(Order):
    """The body of B2C v1."""

    initiator: str = Field(min_length=1, alias="InitiatorName")
    command_id: Literal["BusinessPayment", "SalaryPayment", "PromotionPayment"]
    amount: Annotated[Whole, Field(ge=10, le=250_000)]
    party_a: ShortCode
    party_b: Subscriber
    occassion: str = Field("", max_length=100)


class PayOutV3(PayOut):
    """The body of B2C v3, which has an id of the caller's."""

    originator_conversation_id: Annotated[Text, Field(min_length=1, max_length=100)]


class Reversal(Order):
    """The body of a reversal; one field is misspelt."""

    command_id: Literal["TransactionReversal"]
    transaction_id: str = Field(min_length=1)
    amount: Annotated[Whole, Field(ge=1)]
    receiver_party: ShortCode
    reciever_identifier_type: Annotated[Text, Field(pattern=r"^(11|4)$")]
    occasion: str = Field("", max_length=100)


class PayOuts:
    """Disbursements and reversals."""

    def __init__(self, account: Account, commands: Commands, transactions: Transactions) -> None:
        self._account = account
        self._country = account.country
        self._commands = commands
        self._transactions = transactions
        self._originators: set[str] = set()

    def routes(self) -> list[Route]:
        """Both versions of B2C, and reversal."""
        at = self._account.route
        return [
            at("disbursement", "POST", "/mpesa/b2c/v1/paymentrequest", partial(self._pay, PayOut)),
            at("disbursement", "POST", "/mpesa/b2c/v3/paymentrequest", partial(self._pay, PayOutV3)),
            at("refund", "POST", "/mpesa/reversal/v1/request", self._reverse),
        ]

    async def _pay(self, model: type[PayOut], request: Request) -> Response:
        """An OriginatorConversationID is used up by the acceptance of what came with it."""
        body = await request.body()
        self._account.authorise(request, "disbursement")
        order = self._account.read(model, body)
        originator = order.originator_conversation_id if isinstance(order, PayOutV3) else ""
        if originator in self._originators:
            raise self._account.refused("500.002.1001", "Duplicate OriginatorConversationID.")
        handset = self._country.handset(order.party_b)
        fate = self._account.fate(payout_fate, handset) or Fate()
        if fate.twist == "broken_before":
            return self._account.broken(500)
        command = self._commands.accept("disbursement", order, originator, fate.copies)
        self._originators |= {originator} - {""}
        transaction = self._transactions.open(
            "disbursement", handset, order.amount, order.party_a, receipt=command.receipt,
            conversation_id=command.conversation_id, originator_id=command.originator_id,
            reference=command.originator_id,
        )  # fmt: skip
        self._commands.start(command, partial(self._paid, transaction, fate), fate)
        answer = await self._commands.taken(command, first=fate.twist == "callback_first")
        return self._account.broken(500) if fate.twist == "broken_after" else answer

    def _paid(self, transaction: Transaction, fate: Fate, code: str | None) -> tuple[str, Parameters]:
        handset = transaction.handset
        if code is None and not self._account.serves(handset):
            code = "2040"
        elif code is None and not handset.can_receive:
            code = "2006"
        code = self._transactions.end(transaction, code)
        amount = transaction.movement.amount
        left = self._country.books.balance(merchant(self._account.name), amount.currency)
        told = {
            "TransactionAmount": int(amount.decimal) + (fate.twist == "wrong_amount"),
            "TransactionReceipt": transaction.receipt,
            "ReceiverPartyPublicName": f"{handset.msisdn} - {handset.name}",
            "TransactionCompletedDateTime": f"{transaction.ended:%d.%m.%Y %H:%M:%S}",
            "B2CUtilityAccountAvailableFunds": float(left.decimal),
            "B2CWorkingAccountAvailableFunds": 0.0,
            "B2CRecipientIsRegisteredCustomer": "Y",
            "B2CChargesPaidAccountAvailableFunds": 0.0,
        }
        return code, [{"Key": key, "Value": value} for key, value in told.items()]

    async def _reverse(self, request: Request) -> Response:
        """It gives back what was paid to us and nothing else, B2C least of all (section 3.3)."""
        body = await request.body()
        self._account.authorise(request, "refund")
        order = self._account.read(Reversal, body)
        command = self._commands.accept("refund", order)
        original = self._transactions.find(order.transaction_id)
        back = None
        if original and original.receipt == order.transaction_id and original.movement.kind == "collection":
            back = self._transactions.open(
                "refund", original.handset, order.amount, order.receiver_party, receipt=command.receipt,
                conversation_id=command.conversation_id, originator_id=command.originator_id,
                reference=command.originator_id,
            )  # fmt: skip
        self._commands.start(command, partial(self._reversed, original, back))
        return await self._commands.taken(command)

    def _reversed(
        self, original: Transaction | None, back: Transaction | None, code: str | None
    ) -> tuple[str, Parameters]:
        if not original or not back:
            return code or "R000002", []
        code = self._transactions.end(back, code or _misfit(original, back))
        original.reversed |= code == "0"
        return code, []  # which it may do without (section 3.4)


def _misfit(original: Transaction, back: Transaction) -> str | None:
    """Why it cannot be given back: not paid, given back already, or less than this."""
    if original.movement.status is not Status.SUCCEEDED:
        return "R000002"
    if original.reversed:
        return "R000001"
    return "3" if original.movement.amount < back.movement.amount else None
