"""STK push: a prompt on the payer's handset, its query and its callback (wire/momo.md section 3.2)."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ussd_app.sandbox.country import Handset, Verdict
from ussd_app.sandbox.daraja.account import Account, masked
from ussd_app.sandbox.daraja.answers import (
    Address,
    Body,
    ShortCode,
    Subscriber,
    Text,
    Timestamp,
    Whole,
    as_result,
    described,
)
from ussd_app.sandbox.daraja.numbers import LATE_SECONDS, NEVER, Fate, push_fate
from ussd_app.sandbox.daraja.transactions import Transaction, Transactions

POINT = "daraja.collection"
DONE, REJECTED = "0", "1032"
ACCEPTED = "Success. Request accepted for processing"


class Push(Body):
    """The body of a push."""

    business_short_code: ShortCode
    password: str
    timestamp: Timestamp
    transaction_type: Literal["CustomerPayBillOnline", "CustomerBuyGoodsOnline"]
    amount: Annotated[Whole, Field(ge=1, le=250_000)]
    party_a: Subscriber
    party_b: ShortCode
    phone_number: Subscriber
    call_back_url: Address
    account_reference: Annotated[Text, Field(pattern=r"^[A-Za-z0-9]{1,12}$")]
    transaction_desc: str = Field("", max_length=13)


class Query(Body):
    """The body of a query."""

    business_short_code: ShortCode
    password: str
    timestamp: Timestamp
    checkout_request_id: str


@dataclass(slots=True)
class Payment:
    """One push and where it stands. ``told`` is set when its first callback is through, or none will come."""

    order: Push
    transaction: Transaction
    fate: Fate
    denied: bool = False  # queries say that it failed, and it did not
    told: asyncio.Event = field(default_factory=asyncio.Event)


class Express:
    """Pushes by their CheckoutRequestID."""

    def __init__(self, account: Account, transactions: Transactions) -> None:
        self._account = account
        self._country = account.country
        self._transactions = transactions
        self._payments: dict[str, Payment] = {}
        self._prompted: dict[str, float] = {}  # MSISDN -> when

    def routes(self) -> list[Route]:
        """Push and query."""
        at = self._account.route
        return [
            at("collection", "POST", "/mpesa/stkpush/v1/processrequest", self._push),
            at("status", "POST", "/mpesa/stkpushquery/v1/query", self._query),
        ]

    async def _push(self, request: Request) -> Response:
        account, body = self._account, await request.body()
        account.authorise(request, "collection")
        order = account.read(Push, body)
        account.prove(order.business_short_code, order.password, order.timestamp)
        if order.transaction_type == "CustomerPayBillOnline" and order.party_b != order.business_short_code:
            raise account.invalid("PartyB")
        handset = account.subscriber(order.phone_number, "PhoneNumber")
        fate = account.fate(push_fate, handset)
        if fate and fate.twist == "no_such_party":
            raise account.invalid("PhoneNumber")
        if fate and fate.twist == "broken_before":
            return account.broken(500)
        busy = self._busy(handset)
        if busy and account.switches.busy == "refused":
            raise account.refused("500.001.1001", described("1001"))
        payment = self._accept(order, handset, fate or Fate())
        self._start(payment, Fate("1001") if busy else fate)
        if self._country.faults.take(POINT, "callback_first") or payment.fate.twist == "callback_first":
            await account.heard(payment.told)
        if payment.fate.twist == "broken_after":
            return account.broken(500)
        answer = {**_ids(payment), "ResponseCode": "0", "ResponseDescription": ACCEPTED, "CustomerMessage": ACCEPTED}
        return JSONResponse(answer)

    async def _query(self, request: Request) -> Response:
        """Final or not (section 3.2); an id that is not known is an invalid field."""
        account, body = self._account, await request.body()
        account.authorise(request, "status")
        order = account.read(Query, body)
        account.prove(order.business_short_code, order.password, order.timestamp)
        payment = self._payments.get(order.checkout_request_id)
        if not payment or payment.order.business_short_code != order.business_short_code:
            raise account.invalid("CheckoutRequestID")
        code = REJECTED if payment.denied else payment.transaction.code
        if not code:
            code = "4999" if payment.fate.twist == "in_progress" else account.switches.pending
        if code == "500.001.1001":
            raise account.refused(code, "The transaction is being processed")
        taken = "The service request has been accepted successfully"
        result = {"ResultCode": code, "ResultDesc": described(code)}
        return JSONResponse({"ResponseCode": "0", "ResponseDescription": taken, **_ids(payment), **result})

    def _busy(self, handset: Handset) -> bool:
        """Whether the handset shows a prompt, or has had one a moment ago (section 3.5)."""
        now, gap = self._country.clock.monotonic(), self._account.switches.prompt_gap_seconds
        last = self._prompted.get(handset.msisdn)
        return bool(handset.prompts) or (last is not None and now - last < gap)

    def _accept(self, order: Push, handset: Handset, fate: Fate) -> Payment:
        """``ws_CO_``, the moment, and what tells it from others of that moment."""
        number = self._account.number()
        key = f"ws_CO_{self._account.nairobi():%d%m%Y%H%M%S}{number:04d}{handset.msisdn[3:]}"
        transaction = self._transactions.open(
            "collection", handset, order.amount, order.business_short_code, conversation_id=key,
            originator_id=f"1000-{2_000_000 + number}-1", reference=key,
        )  # fmt: skip
        payment = self._payments[key] = Payment(order, transaction, fate)
        return payment

    def _start(self, payment: Payment, fate: Fate | None) -> None:
        """Let fate, a fault, a handset that is off, or else the person decide."""
        later, faults, handset = self._country.background.later, self._country.faults, payment.transaction.handset
        if fate is None and not handset.reachable:
            fate = Fate("1037")
        if faults.take(POINT, "queued_for_ever") or (fate and fate.after == NEVER):
            payment.told.set()
        elif fault := faults.take(POINT, "failed_after_accepted"):
            later(0, partial(self._decided, payment, fault.body or "26"))
        elif fate:
            later(fate.after, partial(self._decided, payment, fate.code))
        else:
            self._prompt(payment, handset)

    def _prompt(self, payment: Payment, handset: Handset) -> None:
        switches, order = self._account.switches, payment.order
        self._prompted[handset.msisdn] = self._country.clock.monotonic()
        verdicts: Mapping[Verdict, str | None] = {"approve": None, "reject": REJECTED, "expired": switches.unanswered}
        message = f"Pay {payment.transaction.movement.amount} to {order.party_b}, account {order.account_reference}?"
        self._country.prompt(
            handset, payment.transaction.movement, message, switches.prompt_seconds,
            lambda verdict: self._decided(payment, verdicts[verdict]),
        )  # fmt: skip

    def _decided(self, payment: Payment, code: str | None) -> None:
        fault = None if code else self._country.faults.take(POINT, "late_success")
        if fault or (code is None and payment.fate.twist == "late_success"):
            self._end(payment, "1019")
            self._country.background.later(fault.delay if fault else LATE_SECONDS, partial(self._end, payment, None))
        else:
            self._end(payment, code)

    def _end(self, payment: Payment, code: str | None) -> None:
        code = self._transactions.end(payment.transaction, code)
        paid, known = self._country.faults.told(POINT, paid=code == DONE)
        payment.denied = code == DONE and not known
        told = code if paid == (code == DONE) else DONE if paid else REJECTED
        self._country.background.later(0, partial(self._tell, payment, self._document(payment, told)))

    async def _tell(self, payment: Payment, document: dict[str, Any]) -> None:
        for _ in range(payment.fate.copies):
            await self._country.wire.notify(POINT, "callback", "POST", payment.order.call_back_url, json=document)
        payment.told.set()

    def _document(self, payment: Payment, code: str) -> dict[str, Any]:
        """The callback's body: numbers, a Balance without a value, and no metadata of what failed."""
        told: dict[str, Any] = {**_ids(payment), "ResultCode": as_result(code), "ResultDesc": described(code)}
        if code == DONE:
            told["CallbackMetadata"] = {"Item": self._items(payment)}
        return {"Body": {"stkCallback": told}}

    def _items(self, payment: Payment) -> list[dict[str, Any]]:
        switches, transaction = self._account.switches, payment.transaction
        msisdn = transaction.handset.msisdn
        items: list[dict[str, Any]] = [
            {"Name": "Amount", "Value": float(payment.order.amount + (payment.fate.twist == "wrong_amount"))},
            {"Name": "MpesaReceiptNumber", "Value": transaction.receipt},
            {"Name": "Balance"},
            {"Name": "TransactionDate", "Value": int(f"{transaction.ended:%Y%m%d%H%M%S}")},
            {"Name": "PhoneNumber", "Value": masked(msisdn) if switches.masked_phone else int(msisdn)},
        ]
        return items if switches.items == "usual" else items[::-1]


def _ids(payment: Payment) -> dict[str, str]:
    transaction = payment.transaction
    return {"MerchantRequestID": transaction.originator_id, "CheckoutRequestID": transaction.conversation_id}
