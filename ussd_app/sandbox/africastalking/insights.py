"""Africa's Talking's SIM-swap insight (wire/sms.md section 2.9): asked now, answered later, without the number."""

import secrets
from functools import partial
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ussd_app.sandbox.africastalking.account import Account, authorise, bad_request, is_number
from ussd_app.sandbox.country import Handset

NEVER = "01-01-1900"
POINT = "africastalking.insights"
PRICE = 1  # of one question, in major units


class Body(BaseModel):
    """A whole request."""

    model_config = ConfigDict(alias_generator=to_camel, strict=True)

    username: str = Field(min_length=1)
    phone_numbers: list[str] = Field(min_length=1)


class Insights:
    """Questions about SIMs; what a handset's ``sim_swapped_at`` says is the answer."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def routes(self) -> list[Route]:
        """Asking."""
        return [self._account.route("insights", "POST", "/v1/sim-swap", self._ask)]

    async def _ask(self, request: Request) -> Response:
        content = await request.body()
        authorise(request)
        try:
            body = Body.model_validate_json(content)
        except ValidationError:
            raise bad_request("body") from None
        transaction = f"ATSwpid_{secrets.token_hex(16)}"
        responses = [await self._response(number, transaction) for number in body.phone_numbers]
        queued = sum(response["status"] == "Queued" for response in responses)
        return JSONResponse(
            {
                "status": "Processed",
                "transactionId": transaction,
                "totalCost": self._cost(queued),
                "responses": responses,
            }
        )

    async def _response(self, number: str, transaction: str) -> dict[str, Any]:
        if not is_number(number):
            refused = {"status": "InvalidPhoneNumber", "requestId": "None", "cost": self._cost(0)}
            return {"phoneNumber": {"number": number}, **refused}
        country, request_id = self._account.country, f"ATSwpid_{secrets.token_hex(16)}"
        tell = partial(self._tell, country.handset(number), request_id, transaction)
        if country.faults.take(POINT, "callback_first"):
            await tell()
        elif not country.faults.take(POINT, "queued_for_ever"):
            country.background.later(self._account.switches.final_seconds, tell)
        about = {"carrierName": "Telco", "countryCode": country.code, "networkCode": "99999"}
        return {
            "phoneNumber": {**about, "number": number, "numberType": "Mobile"},
            "status": "Queued",
            "requestId": request_id,
            "cost": self._cost(1),
        }

    def _cost(self, questions: int) -> dict[str, Any]:
        return {"amount": PRICE * questions, "currencyCode": self._account.country.currency}

    async def _tell(self, handset: Handset, request_id: str, transaction: str) -> None:
        country, swapped = self._account.country, handset.sim_swapped_at
        url = self._account.switches.insights_callback_url or country.callback_urls.get("insights_africastalking", "")
        if url:
            answer = {
                "status": "Swapped" if swapped else "NotSwapped",
                "lastSimSwapDate": f"{swapped:%d-%m-%Y}" if swapped else NEVER,
                "providerRefId": secrets.token_hex(8),
                "requestId": request_id,
                "transactionId": transaction,
            }
            await country.wire.notify(POINT, "callback", "POST", url, json=answer)
