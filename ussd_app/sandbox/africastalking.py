"""Africa's Talking: classic SMS, delivery reports, and the account's balance (wire/sms.md sections 2.1 to 2.6, 2.11).

Any username and API key are accepted but a key that contains ``wrong``. A number whose last three digits are a status
code of section 2.4 gets that outcome, as ``+233240000405`` gets InsufficientBalance.
"""

import re
import secrets
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Annotated, Any
from urllib.parse import parse_qsl

from pydantic_settings import NoDecode, SettingsConfigDict
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ussd_app import gsm
from ussd_app.config import load
from ussd_app.sandbox.country import Country
from ussd_app.sandbox.credentials import WRONG
from ussd_app.sandbox.switches import Switches
from ussd_app.sandbox.wire import Endpoint, Refused

# statusCode -> status (section 2.4); real replies say Success where the table says Sent.
STATUSES = {
    100: "Processed", 101: "Success", 102: "Queued", 401: "RiskHold", 402: "InvalidSenderId", 403: "InvalidPhoneNumber",
    404: "UnsupportedNumberType", 405: "InsufficientBalance", 406: "UserInBlacklist", 407: "CouldNotRoute",
    409: "DoNotDisturbRejection", 500: "InternalServerError", 501: "GatewayError", 502: "RejectedByGateway",
}  # fmt: skip
ACCEPTED = {100, 101, 102}
DEFAULT_SENDER = "AFRICASTKNG"
SANDBOX_NETWORK = "99999"
OUTAGES = {500: "Internal Server Error", 503: "Service Unavailable", 429: "Too Many Requests"}


class AfricastalkingSwitches(Switches):
    """The account, and how replies and reports look."""

    model_config = SettingsConfigDict(env_prefix="SANDBOX_AFRICASTALKING_")

    sender_ids: Annotated[tuple[str, ...], NoDecode] = ()  # registered ones; none listed: all but `wrong` ones
    opted_out: Annotated[tuple[str, ...], NoDecode] = ()  # numbers with plus
    outcomes_by_number: bool = True
    credit: Decimal = Decimal("250000.50")  # of the account, before the first SMS
    price: Decimal = Decimal("0.0350")  # of one part
    reports: Annotated[tuple[str, ...], NoDecode] = ("Sent", "Buffered", "Success")
    failure_reason: str = "UserIsInactive"  # in reports that say Failed or Rejected
    report_seconds: float = 0.2  # before each report
    report_url: str = ""
    content_type: str = "application/json"  # bare; the SDK does not parse it with a charset


@dataclass(frozen=True, slots=True)
class Recipient:
    """One line of the reply."""

    number: str
    code: int
    cost: Decimal
    message_id: str
    parts: int

    def line(self, currency: str) -> dict[str, Any]:
        """As the reply's ``Recipients`` lists it: a failed one costs the text 0 and has the text None for an id."""
        line = {"statusCode": self.code, "number": self.number, "status": STATUSES[self.code]}
        if self.code not in ACCEPTED:
            return {**line, "cost": "0", "messageId": "None"}
        return {
            **line,
            "cost": f"{currency} {self.cost:.4f}",
            "messageId": self.message_id,
            "messageParts": self.parts,
        }


def environment(base_url: str, _country: str) -> dict[str, str]:
    """What the client must be told to come here."""
    return {"AT_BASE_URL": base_url, "AT_USERNAME": "ussd-app", "AT_API_KEY": "of-the-sandbox"}


class Service:
    """Africa's Talking SMS and account."""

    name = "africastalking"
    points = ("africastalking.sms", "africastalking.user")

    def __init__(self, country: Country) -> None:
        self.switches = load(AfricastalkingSwitches)
        self._country = country
        self._spent = Decimal(0)

    def routes(self) -> list[Route]:
        """Classic sending and the account's data."""
        return [
            self._route("sms", "POST", "/version1/messaging", self._send),
            self._route("user", "GET", "/version1/user", self._user),
        ]

    def _route(self, point: str, method: str, path: str, endpoint: Endpoint) -> Route:
        serve = self._country.wire.serve
        return Route(path, serve(f"{self.name}.{point}", endpoint, _broken), methods=[method])

    async def _user(self, request: Request) -> Response:
        _authorise(request)
        _required(dict(request.query_params), "username")
        balance = self.switches.credit - self._spent
        return JSONResponse({"UserData": {"balance": f"{self._country.currency} {balance:.2f}"}})

    async def _send(self, request: Request) -> Response:
        body = await request.body()
        _authorise(request)
        form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        _required(form, "username", "to", "message")
        sender = form.get("from") or DEFAULT_SENDER
        if not self._registered(sender):
            return self._reply("InvalidSenderId", [])
        numbers = [number.strip() for number in form["to"].split(",")]
        recipients = [self._take(number, form["message"], queued=form.get("enqueue") == "1") for number in numbers]
        accepted = [recipient for recipient in recipients if recipient.code in ACCEPTED]
        for recipient in accepted:
            self._country.deliver(self.name, recipient.number, sender, form["message"])
            await self._report(recipient)
        total = sum((recipient.cost for recipient in accepted), Decimal(0))
        cost = f"{self._country.currency} {total:.4f}" if total else "0"
        message = f"Sent to {len(accepted)}/{len(recipients)} Total Cost: {cost}"
        return self._reply(message, [recipient.line(self._country.currency) for recipient in recipients])

    def _registered(self, sender: str) -> bool:
        if self.switches.sender_ids:
            return sender in {*self.switches.sender_ids, DEFAULT_SENDER}
        return WRONG not in sender.lower()

    def _take(self, number: str, text: str, *, queued: bool) -> Recipient:
        """Decide one recipient, and charge for it where it is accepted."""
        parts = gsm.parts(text).count
        cost = self.switches.price * parts
        code = self._outcome(number, cost, queued=queued)
        if code in ACCEPTED:
            self._spent += cost
        return Recipient(number, code, cost, f"ATXid_{secrets.token_hex(16)}", parts)

    def _outcome(self, number: str, cost: Decimal, *, queued: bool) -> int:
        if not re.fullmatch(r"\+[0-9]{9,15}", number):
            return 403
        if self.switches.outcomes_by_number and int(number[-3:]) in STATUSES:
            return int(number[-3:])
        if number in self.switches.opted_out:
            return 406
        if self._spent + cost > self.switches.credit:
            return 405
        return 102 if queued else 101

    def _reply(self, message: str, recipients: list[dict[str, Any]]) -> Response:
        response = JSONResponse({"SMSMessageData": {"Message": message, "Recipients": recipients}}, 201)
        response.headers["content-type"] = self.switches.content_type
        return response

    async def _report(self, recipient: Recipient) -> None:
        url = self.switches.report_url or self._country.report_urls.get(self.name, "")
        if not url:
            return
        reachable = self._country.handset(recipient.number).reachable
        words = self.switches.reports if reachable else (*self.switches.reports[:-1], "Failed")
        if self._country.faults.take("africastalking.sms", "reordered_report"):
            words = words[::-1]
        first = self._country.faults.take("africastalking.sms", "report_first")
        for turn, word in enumerate(words, start=1):
            send = partial(self._send_report, url, recipient, word)
            if first:
                await send()
            else:
                self._country.background.later(turn * self.switches.report_seconds, send)

    async def _send_report(self, url: str, recipient: Recipient, word: str) -> None:
        fields = {"id": recipient.message_id, "status": word, "phoneNumber": recipient.number}
        fields["networkCode"] = SANDBOX_NETWORK
        if word in {"Rejected", "Failed"}:
            fields["failureReason"] = self.switches.failure_reason
        await self._country.wire.notify("africastalking.sms", "report", "POST", url, data=fields)


def _authorise(request: Request) -> None:
    key = request.headers.get("apikey", "")
    if not key or WRONG in key:
        raise Refused(PlainTextResponse("The supplied authentication is invalid", 401))


def _required(fields: dict[str, str], *names: str) -> None:
    for name in names:
        if not fields.get(name):
            raise Refused(PlainTextResponse(f"Request is missing required form field '{name}'", 400))


def _broken(status: int) -> Response:
    return PlainTextResponse(OUTAGES[status], status)
