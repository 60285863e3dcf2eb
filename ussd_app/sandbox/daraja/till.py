"""C2B, people who pay our till unprompted: registration, validation, confirmation (wire/momo.md section 3.4)."""

import re
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Annotated, Literal

from pydantic import Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ussd_app.sandbox.country import Handset
from ussd_app.sandbox.daraja.account import Account, masked
from ussd_app.sandbox.daraja.answers import Address, Body, ShortCode, Subscriber, Text, Whole
from ussd_app.sandbox.daraja.transactions import Transaction, Transactions

POINT = "daraja.till"
SHORTCODE = "600111"
FORBIDDEN = re.compile("mpesa|safaricom|exe|cmd|sql|query", re.IGNORECASE)
TYPES = {"CustomerPayBillOnline": "Pay Bill", "CustomerBuyGoodsOnline": "Buy Goods"}
NOBODY_ASKED = "C2B00016"  # where validation gets no answer and that means no

Version = Literal["v1", "v2"]
Amount = Annotated[Whole, Field(ge=1, le=250_000)]


class Registration(Body):
    """The body of a registration; without an answer to validation a payment is then Completed, or Cancelled."""

    short_code: ShortCode
    response_type: Literal["Completed", "Cancelled"]
    confirmation_url: Address
    validation_url: Address


class Simulation(Body):
    """The body of the real sandbox's call that plays a person who pays."""

    short_code: ShortCode
    command_id: Literal["CustomerPayBillOnline", "CustomerBuyGoodsOnline"]
    amount: Amount
    msisdn: Subscriber
    bill_ref_number: Text = ""


class Payment(Body):
    """What a demo or a test has a handset pay; nothing of Daraja's."""

    msisdn: Subscriber = Field(alias="msisdn")
    amount: Amount = Field(alias="amount")
    label: Text = Field("", alias="label", max_length=20)


@dataclass(frozen=True, slots=True)
class Listener:
    """Where a till's payments are told, and in which version's words."""

    confirmation_url: str = ""
    validation_url: str = ""
    response_type: str = "Completed"
    version: Version = "v2"


class Till:
    """Registration, and people who pay."""

    def __init__(self, account: Account, transactions: Transactions) -> None:
        self._account = account
        self._country = account.country
        self._transactions = transactions
        self._listeners: dict[str, Listener] = {}  # by shortcode

    def routes(self) -> list[Route]:
        """Both versions, and one address that asks for no token."""
        at = self._account.route
        versions: tuple[Version, ...] = ("v1", "v2")
        return [
            *(at("till", "POST", f"/mpesa/c2b/{v}/registerurl", partial(self._register, v)) for v in versions),
            *(at("till", "POST", f"/mpesa/c2b/{v}/simulate", self._simulate) for v in versions),
            Route("/till", self._pay, methods=["POST"]),
        ]

    async def _register(self, version: Version, request: Request) -> Response:
        body = await request.body()
        self._account.authorise(request, "till")
        order = self._account.read(Registration, body)
        for name, url in (("ConfirmationURL", order.confirmation_url), ("ValidationURL", order.validation_url)):
            if FORBIDDEN.search(url):
                raise self._account.invalid(name)
        if self._account.switches.production and order.short_code in self._listeners:
            raise self._account.refused("500.003.1001", "URLs are already registered")
        listener = Listener(order.confirmation_url, order.validation_url, order.response_type, version)
        self._listeners[order.short_code] = listener
        return self._taken("Success")

    async def _simulate(self, request: Request) -> Response:
        body = await request.body()
        self._account.authorise(request, "till")
        order = self._account.read(Simulation, body)
        handset = self._account.subscriber(order.msisdn, "Msisdn")
        transaction = self._transactions.open("collection", handset, order.amount, order.short_code)
        run = partial(self._run, transaction, TYPES[order.command_id], order.bill_ref_number)
        if self._country.faults.take(POINT, "callback_first"):
            await run()
        else:
            self._country.background.later(0, run)
        return self._taken("Accept the service request successfully.")

    async def _pay(self, request: Request) -> Response:
        """A handset pays the till that was registered first; the answer says what came of it, once all was told."""
        try:
            payment = Payment.model_validate_json(await request.body())
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            return JSONResponse({"error": f"{'.'.join(map(str, first['loc']))}: {first['msg']}"}, 400)
        handset = self._country.handset(payment.msisdn)
        if not self._account.serves(handset):
            return JSONResponse({"error": "msisdn: has no wallet here"}, 400)
        shortcode = next(iter(self._listeners), SHORTCODE)
        transaction = self._transactions.open("collection", handset, payment.amount, shortcode)
        await self._run(transaction, TYPES["CustomerPayBillOnline"], payment.label)
        return JSONResponse({"TransID": transaction.receipt, "ResultCode": transaction.code})

    async def _run(self, transaction: Transaction, kind: str, label: str) -> None:
        """Ask whether it is welcome, move the money, and say so (section 3.4)."""
        listener = self._listener(transaction.shortcode)
        body = self._body(transaction, kind, label, listener.version)
        refusal = await self._validated(listener, body)
        if self._transactions.end(transaction, refusal) == "0" and listener.confirmation_url:
            await self._country.wire.notify(POINT, "callback", "POST", listener.confirmation_url, json=body)

    async def _validated(self, listener: Listener, body: dict[str, str]) -> str | None:
        """The code of a refusal; None where the payment is welcome."""
        if not listener.validation_url:
            return None
        answer = await self._country.wire.ask(POINT, "POST", listener.validation_url, json=body)
        said = answer.json() if answer and answer.status == 200 else None  # noqa: PLR2004 - HTTP's own number
        code = said.get("ResultCode") if isinstance(said, dict) else None
        if code is None:
            return None if listener.response_type == "Completed" else NOBODY_ASKED
        return None if str(code) == "0" else str(code)

    def _listener(self, shortcode: str) -> Listener:
        """Whoever registered, else the application that the sandbox runs in."""
        ours = self._country.callback_urls.get(self._account.name)
        usual = Listener(f"{ours}/confirmation", f"{ours}/validation") if ours else Listener()
        return self._listeners.get(shortcode, usual)

    def _body(self, transaction: Transaction, kind: str, label: str, version: Version) -> dict[str, str]:
        """Validation's and confirmation's, all of it text."""
        handset = transaction.handset
        first, *names = handset.name.split() or [""]
        return {
            "TransactionType": kind,
            "TransID": transaction.receipt,
            "TransTime": f"{transaction.opened:%Y%m%d%H%M%S}",
            "TransAmount": f"{transaction.movement.amount.decimal:.2f}",
            "BusinessShortCode": transaction.shortcode,
            "BillRefNumber": label,
            "InvoiceNumber": "",
            "OrgAccountBalance": "",
            "ThirdPartyTransID": "",
            "MSISDN": self._shown(handset, version),
            "FirstName": first,
            "MiddleName": " ".join(names[:-1]),
            "LastName": names[-1] if names else "",
        }

    def _shown(self, handset: Handset, version: Version) -> str:
        if version == "v2":
            return masked(handset.msisdn)
        hashed = self._account.switches.v1_msisdn == "hash"
        return sha256(handset.msisdn.encode()).hexdigest() if hashed else handset.msisdn

    def _taken(self, said: str) -> Response:
        """The answer has a misspelt key."""
        number = f"1000-{4_000_000 + self._account.number()}-1"
        return JSONResponse({"OriginatorCoversationID": number, "ResponseCode": "0", "ResponseDescription": said})
