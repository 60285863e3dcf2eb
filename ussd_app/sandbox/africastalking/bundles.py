"""Africa's Talking's data bundles (wire/sms.md section 2.8); no key makes two requests one."""

from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ussd_app.money import Money, exponent
from ussd_app.sandbox.africastalking.account import authorise, bad_request, is_number
from ussd_app.sandbox.africastalking.transactions import BUNDLES, Transactions
from ussd_app.sandbox.credentials import WRONG

MEGABYTES = {"MB": 1, "GB": 1024}


class Recipient(BaseModel):
    """One line of a request."""

    model_config = ConfigDict(alias_generator=to_camel)

    phone_number: str
    quantity: Decimal = Field(gt=0, le=10**6)
    unit: Literal["MB", "GB"]
    validity: Literal["Day", "Week", "BiWeek", "Month", "Quarterly"]
    metadata: dict[str, str] = {}
    is_promo_bundle: bool = False


class Body(BaseModel):
    """A whole request."""

    model_config = ConfigDict(alias_generator=to_camel)

    username: str = Field(min_length=1)
    product_name: str = Field(min_length=1)
    recipients: list[Recipient] = Field(min_length=1)


class Bundles:
    """Bundles, each answered at once and done later."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._account = transactions.account

    def routes(self) -> list[Route]:
        """Requests; a product whose name contains ``wrong`` does not exist."""
        return [self._account.route("bundles", "POST", "/mobile/data/request", self._request)]

    async def _request(self, request: Request) -> Response:
        content = await request.body()
        authorise(request)
        try:
            body = Body.model_validate_json(content)
        except ValidationError:
            raise bad_request("body") from None
        if WRONG in body.product_name:
            return JSONResponse({"errorMessage": "Product not found", "entries": []}, 201)
        reference = request.headers.get("idempotency-key", "")
        entries = [await self._take(body, recipient, reference) for recipient in body.recipients]
        return JSONResponse({"entries": entries}, 201)

    async def _take(self, body: Body, recipient: Recipient, reference: str) -> dict[str, Any]:
        price = self._price(recipient)
        line = {"phoneNumber": recipient.phone_number, "provider": "Telco"}
        refusal = "" if is_number(recipient.phone_number) else "InvalidPhoneNumber"
        if not refusal and not self._account.covers("wallet", price.decimal):
            refusal = "InsufficientBalance"
        if refusal:
            return {**line, "status": refusal, "transactionId": "None", "value": "0"}
        bundle = {
            "product": body.product_name,
            "quantity": f"{recipient.quantity:f}",
            "unit": recipient.unit,
            "validity": recipient.validity,
        }
        transaction = await self._transactions.take(
            BUNDLES, self._account.country.handset(recipient.phone_number), price, reference,
            bundle=bundle, metadata=recipient.metadata,
        )  # fmt: skip
        value = self._account.text(price.decimal)
        return {**line, "status": BUNDLES.queued, "transactionId": transaction.id, "value": value}

    def _price(self, recipient: Recipient) -> Money:
        """By the megabyte, cut to what the currency can hold, and never nothing."""
        currency = self._account.country.currency
        exact = self._account.switches.megabyte_price * MEGABYTES[recipient.unit] * recipient.quantity
        return Money(max(int(exact.scaleb(exponent(currency))), 1), currency)
