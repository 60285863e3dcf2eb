"""Africa's Talking's airtime (wire/sms.md section 2.7)."""

import asyncio
from collections import defaultdict
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ussd_app.money import InvalidAmount, Money, parse
from ussd_app.sandbox.africastalking.account import authorise, bad_request, is_number, required
from ussd_app.sandbox.africastalking.transactions import AIRTIME, Transactions

DUPLICATE = "A duplicate request was received within the last 5 minutes"  # theirs; the other texts of refusals are ours
WINDOW = timedelta(minutes=5)


class Recipient(BaseModel):
    """One line of a request."""

    model_config = ConfigDict(alias_generator=to_camel, strict=True)

    phone_number: str
    amount: str = Field(pattern=r"^[A-Z]{3} [0-9.]+$")


RECIPIENTS = TypeAdapter(Annotated[list[Recipient], Field(min_length=1)])


class Airtime:
    """Top-ups, each answered at once and done later; one Idempotency-Key is one request, whatever it says."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._account = transactions.account
        self._answered: dict[str, dict[str, Any]] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def routes(self) -> list[Route]:
        """Sending."""
        return [self._account.route("airtime", "POST", "/version1/airtime/send", self._send)]

    async def _send(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True))
        authorise(request)
        required(form, "username", "recipients")
        try:
            recipients = RECIPIENTS.validate_json(form["recipients"])
        except ValidationError:
            raise bad_request("recipients") from None
        key = request.headers.get("idempotency-key", "")
        if not key:
            return JSONResponse(await self._answer(recipients, key), 201)
        async with self._locks[key]:  # a copy may come while the first is being answered
            if key not in self._answered:
                self._answered[key] = await self._answer(recipients, key)
        return JSONResponse(self._answered[key], 201)

    async def _answer(self, recipients: list[Recipient], key: str) -> dict[str, Any]:
        if self._account.switches.same_number == "reply" and any(map(self._repeated, recipients)):
            none = {"totalAmount": "0", "totalDiscount": "0", "responses": []}
            return {"errorMessage": DUPLICATE, "numSent": 0, **none}
        lines = [await self._take(recipient, key) for recipient in recipients]
        sent = [line["amount"].split()[1] for line in lines if line["status"] == AIRTIME.queued]
        return {
            "errorMessage": "None",
            "numSent": len(sent),
            "totalAmount": self._account.text(sum(map(Decimal, sent), Decimal(0))),
            "totalDiscount": self._account.text(Decimal(0)),
            "responses": lines,
        }

    async def _take(self, recipient: Recipient, key: str) -> dict[str, Any]:
        refusal, amount = self._refusal(recipient), _money(recipient)
        line = {"phoneNumber": recipient.phone_number, "errorMessage": refusal or "None"}
        if refusal or amount is None:
            nothing = {"amount": "0", "status": "Failed", "requestId": "None", "discount": "0"}
            return {**line, **nothing}
        fails = DUPLICATE if self._account.switches.same_number == "callback" and self._repeated(recipient) else ""
        handset = self._account.country.handset(recipient.phone_number)
        transaction = await self._transactions.take(AIRTIME, handset, amount, key, fails=fails)
        return {
            **line,
            "amount": self._account.text(amount.decimal),
            "status": AIRTIME.queued,
            "requestId": transaction.id,
            "discount": self._account.text(Decimal(0)),
        }

    def _refusal(self, recipient: Recipient) -> str:
        """Why a line is not taken; empty where it is."""
        if not is_number(recipient.phone_number):
            return "Invalid phone number"
        amount = _money(recipient)
        if amount is None:
            return "Invalid amount"
        if amount.currency != self._account.country.currency:
            return "Invalid currency code"
        return "" if self._account.covers("credit", amount.decimal) else "Insufficient balance"

    def _repeated(self, recipient: Recipient) -> bool:
        amount, country = _money(recipient), self._account.country
        digits = recipient.phone_number.lstrip("+")
        return amount is not None and self._transactions.recent(digits, amount, country.clock.now() - WINDOW)


def _money(recipient: Recipient) -> Money | None:
    """What a line asks for; None where that is no amount of its currency."""
    currency, _, value = recipient.amount.partition(" ")
    try:
        return parse(value, currency)
    except InvalidAmount:
        return None
