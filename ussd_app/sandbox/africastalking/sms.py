"""Africa's Talking's classic SMS and its delivery reports (wire/sms.md sections 2.2 to 2.6).

A number whose last three digits are a status code of section 2.4 gets that outcome, as ``+233240000405`` gets
InsufficientBalance.
"""

import secrets
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ussd_app import gsm
from ussd_app.sandbox.africastalking.account import Account, authorise, is_number, required
from ussd_app.sandbox.credentials import WRONG

# statusCode -> status (section 2.4); real replies say Success where the table says Sent.
STATUSES = {
    100: "Processed", 101: "Success", 102: "Queued", 401: "RiskHold", 402: "InvalidSenderId", 403: "InvalidPhoneNumber",
    404: "UnsupportedNumberType", 405: "InsufficientBalance", 406: "UserInBlacklist", 407: "CouldNotRoute",
    409: "DoNotDisturbRejection", 500: "InternalServerError", 501: "GatewayError", 502: "RejectedByGateway",
}  # fmt: skip
ACCEPTED = {100, 101, 102}
DEFAULT_SENDER = "AFRICASTKNG"
SANDBOX_NETWORK = "99999"


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


class Sms:
    """SMS to many numbers at once, each with its own outcome."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._country = account.country
        self._switches = account.switches

    def routes(self) -> list[Route]:
        """Classic sending."""
        return [self._account.route("sms", "POST", "/version1/messaging", self._send)]

    async def _send(self, request: Request) -> Response:
        body = await request.body()
        authorise(request)
        form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        required(form, "username", "to", "message")
        sender = form.get("from") or DEFAULT_SENDER
        if not self._registered(sender):
            return self._reply("InvalidSenderId", [])
        numbers = [number.strip() for number in form["to"].split(",")]
        recipients = [self._take(number, form["message"], queued=form.get("enqueue") == "1") for number in numbers]
        accepted = [recipient for recipient in recipients if recipient.code in ACCEPTED]
        for recipient in accepted:
            self._country.deliver(self._account.name, recipient.number, sender, form["message"])
            await self._report(recipient)
        total = sum((recipient.cost for recipient in accepted), Decimal(0))
        cost = f"{self._country.currency} {total:.4f}" if total else "0"
        message = f"Sent to {len(accepted)}/{len(recipients)} Total Cost: {cost}"
        return self._reply(message, [recipient.line(self._country.currency) for recipient in recipients])

    def _registered(self, sender: str) -> bool:
        if self._switches.sender_ids:
            return sender in {*self._switches.sender_ids, DEFAULT_SENDER}
        return WRONG not in sender.lower()

    def _take(self, number: str, text: str, *, queued: bool) -> Recipient:
        """Decide one recipient, and charge for it where it is accepted."""
        parts = gsm.parts(text).count
        cost = self._switches.price * parts
        code = self._outcome(number, cost, queued=queued)
        if code in ACCEPTED:
            self._account.spend("credit", cost)
        return Recipient(number, code, cost, f"ATXid_{secrets.token_hex(16)}", parts)

    def _outcome(self, number: str, cost: Decimal, *, queued: bool) -> int:
        if not is_number(number):
            return 403
        if self._switches.outcomes_by_number and int(number[-3:]) in STATUSES:
            return int(number[-3:])
        if number in self._switches.opted_out:
            return 406
        if not self._account.covers("credit", cost):
            return 405
        return 102 if queued else 101

    def _reply(self, message: str, recipients: list[dict[str, Any]]) -> Response:
        response = JSONResponse({"SMSMessageData": {"Message": message, "Recipients": recipients}}, 201)
        response.headers["content-type"] = self._switches.content_type
        return response

    async def _report(self, recipient: Recipient) -> None:
        url = self._switches.report_url or self._country.callback_urls.get(self._account.name, "")
        if not url:
            return
        reachable = self._country.handset(recipient.number).reachable
        words = self._switches.reports if reachable else (*self._switches.reports[:-1], "Failed")
        if self._country.faults.take("africastalking.sms", "reordered_report"):
            words = words[::-1]
        first = self._country.faults.take("africastalking.sms", "report_first")
        for turn, word in enumerate(words, start=1):
            send = partial(self._send_report, url, recipient, word)
            if first:
                await send()
            else:
                self._country.background.later(turn * self._switches.report_seconds, send)

    async def _send_report(self, url: str, recipient: Recipient, word: str) -> None:
        fields = {"id": recipient.message_id, "status": word, "phoneNumber": recipient.number}
        fields["networkCode"] = SANDBOX_NETWORK
        if word in {"Rejected", "Failed"}:
            fields["failureReason"] = self._switches.failure_reason
        await self._country.wire.notify("africastalking.sms", "report", "POST", url, data=fields)
