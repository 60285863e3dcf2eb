"""SMS through MTN: the developer portal's SMS API, version 3.

Source: wire/sms.md sections 3.1 to 3.5. It echoes our correlator in its reports and promises nothing about a repeated
one, so each attempt has its own, and goes to one recipient.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import httpx2 as httpx
from pydantic import Field
from redis.asyncio import Redis

from ussd_app.clock import Clock
from ussd_app.errors import Reason, Rejected, Throttled, Unknown
from ussd_app.http import Answer
from ussd_app.providers import madapi
from ussd_app.providers.tokens import Tokens
from ussd_app.senders import Accepted, Limits, Outcome, Outgoing, Refused, Report, State

# The envelope's statusCode (3.5). What is not listed fails this attempt only.
ACCEPTED = frozenset({"0000", "1004"})
REFUSED: Mapping[str, Reason] = {
    "1000": Reason.BAD_RECIPIENT, "1001": Reason.BAD_REQUEST, "5000": Reason.BAD_REQUEST, "5001": Reason.BAD_REQUEST,
    "4000": Reason.PROVIDER_CONFIG, "4001": Reason.PROVIDER_CONFIG, "4004": Reason.PROVIDER_CONFIG,
    "6000": Reason.PROVIDER_FUNDS, "6001": Reason.PROVIDER_FUNDS,
}  # fmt: skip
BUSY = frozenset({"1013", "2000", "3000", "3006"})
UNCERTAIN = frozenset({"1005", "1007", "1012", "3001", "3003"})  # their own time-outs, after the request was read
# Answers of the platform and its gateway, which have no statusCode.
HTTP_REFUSED: Mapping[int, Reason] = {
    400: Reason.BAD_REQUEST, 401: Reason.PROVIDER_CONFIG, 403: Reason.PROVIDER_CONFIG, 404: Reason.PROVIDER_CONFIG,
    405: Reason.PROVIDER_CONFIG, 407: Reason.PROVIDER_CONFIG,
}  # fmt: skip
HTTP_BUSY = frozenset({429, 500, 502, 503})
HTTP_UNKNOWN = frozenset({408, 504})

# Delivery reports (3.4), of every version, in lower case.
REPORTED: Mapping[str, State] = {
    "pending": State.QUEUED, "messagewaiting": State.QUEUED,
    "acceptd": State.SENT, "enroute": State.SENT, "sent": State.SENT, "deliveredtonetwork": State.SENT,
    "delivered": State.DELIVERED, "delivrd": State.DELIVERED, "deliveredtoterminal": State.DELIVERED,
    "read": State.DELIVERED, "expired": State.EXPIRED,
    "undelivered": State.FAILED, "rejected": State.FAILED, "deleted": State.FAILED, "undeliverable": State.FAILED,
    "deliveryimpossible": State.FAILED,
}  # fmt: skip


class Settings(madapi.Account):
    """MTN for SMS; what is not shared with MTN's other products begins with ``MTN_SMS_``."""

    sms_base_url: str = Field("https://api.mtn.com", pattern="^https?://")
    sms_token_path: str = "/v1/oauth/access_token"  # noqa: S105 - a path
    sms_send_path: str = "/v3/sms/messages/sms/outbound"
    sms_authentication: madapi.Authentication = "form"
    sms_service_code: str = Field(description="the approved short code; the name once more where sent by name")
    sms_sender_address: str | None = Field(None, max_length=15)  # an approved name; wins over the service code
    sms_parts_per_second: int = Field(10, ge=1)


class Sender:
    """SMS through MTN."""

    name = "mtn"

    def __init__(self, settings: Settings, http: httpx.AsyncClient, redis: Redis, clock: Clock) -> None:
        self.limits = Limits(settings.sms_parts_per_second, batch=10)
        self._settings = settings
        self._madapi = madapi.Client(
            settings,
            http,
            Tokens(redis, clock),
            base_url=settings.sms_base_url,
            token_path=settings.sms_token_path,
            authentication=settings.sms_authentication,
        )

    async def send(self, message: Outgoing) -> Outcome:
        """Hand one SMS over; raises Unknown or Throttled."""
        body = {
            "serviceCode": self._settings.sms_service_code,
            "receiverAddress": [message.msisdn.digits],
            "message": message.text,
            "clientCorrelatorId": str(message.correlator),
            "requestDeliveryReceipt": True,
        }
        if self._settings.sms_sender_address:
            body["senderAddress"] = self._settings.sms_sender_address
        try:
            return _outcome(await self._madapi.post(self._settings.sms_send_path, body))
        except Rejected as error:
            return Refused(error.reason, error.detail)

    def parse_report(self, _content_type: str, body: bytes) -> Report | None:
        """Read a JSON delivery report; an inbound message, which may come to the same address, is none."""
        report = _members(body)
        correlator = (report.get("clientcorrelatorid") or report.get("clientcorrelator") or "").lower() or None
        external_id = report.get("transactionid")
        status = report.get("deliverystatus")
        if report.get("message") or not status or not (correlator or external_id):
            return None
        state = REPORTED.get(status.lower(), State.UNKNOWN)
        why = Reason.UNREACHABLE if state is State.FAILED else None
        return Report(external_id, correlator, state, body.decode("utf-8", "replace"), why)


def _outcome(answer: Answer) -> Outcome:
    code = madapi.code(answer)
    said = f"HTTP {answer.status} {code or answer.body[:100].decode('utf-8', 'replace')}"
    if code in ACCEPTED:
        external_id = answer.json().get("transactionId")
        return Accepted(external_id if isinstance(external_id, str) else None)
    if code in UNCERTAIN or (code is None and answer.status in HTTP_UNKNOWN):
        raise Unknown(said)
    if code in BUSY or (code is None and answer.status in HTTP_BUSY):
        raise Throttled(answer.retry_after, said)
    if code is None and HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        raise Unknown(f"unreadable success: {said}")
    reasons: Mapping[Any, Reason] = HTTP_REFUSED if code is None else REFUSED
    return Refused(reasons.get(answer.status if code is None else code, Reason.INTERNAL), said)


def _members(body: bytes) -> dict[str, str]:
    """The texts and numbers of a JSON object by lower-cased key: samples differ in the case of theirs."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(parsed, dict):
        return {}
    return {key.lower(): str(value) for key, value in parsed.items() if isinstance(value, (str, int)) and value != ""}
