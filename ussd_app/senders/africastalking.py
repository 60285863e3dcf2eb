"""SMS through Africa's Talking: the classic form-encoded API, by way of its official SDK.

Source: wire/sms.md sections 2.1 to 2.6 and 2.10. It takes no id of ours and promises no idempotency; its callbacks
carry no proof, so a report counts only for an id it gave us, with the number we sent to.
"""

from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import anyio
import httpx2 as httpx
from africastalking import SMSService
from pydantic import Field
from redis.asyncio import Redis

from ussd_app.clock import Clock
from ussd_app.errors import Reason, Throttled, Unknown
from ussd_app.http import RETRY_SECONDS, Answer
from ussd_app.msisdn import Msisdn
from ussd_app.providers.africastalking import THREADS, Account, Transport, is_outage, session
from ussd_app.senders import Accepted, Limits, Outcome, Outgoing, Refused, Report, State

# Per recipient, in the reply to a send (2.4).
ACCEPTED: Mapping[int, State] = {100: State.QUEUED, 101: State.SENT, 102: State.QUEUED}
BUSY = frozenset({500, 501})
REFUSED: Mapping[int, Reason] = {
    401: Reason.PARTY_NOT_ALLOWED,  # RiskHold: theirs, and not explained
    402: Reason.PROVIDER_CONFIG, 403: Reason.BAD_RECIPIENT, 404: Reason.BAD_RECIPIENT, 405: Reason.PROVIDER_FUNDS,
    406: Reason.POLICY_BLOCK, 407: Reason.NO_ROUTE, 409: Reason.POLICY_BLOCK, 502: Reason.NO_ROUTE,
}  # fmt: skip
# A request refused as a whole has no recipients and one of these words as its Message; compared in lower case.
CODES: Mapping[str, int] = {
    "riskhold": 401, "invalidsenderid": 402, "invalidphonenumber": 403, "unsupportednumbertype": 404,
    "insufficientbalance": 405, "userinblacklist": 406, "couldnotroute": 407, "donotdisturbrejection": 409,
    "internalservererror": 500, "gatewayerror": 501, "rejectedbygateway": 502,
}  # fmt: skip
# HTTP's own, with plain text bodies. 5xx is transient but for a gateway's timeout, which may come after the reading.
HTTP_REFUSED: Mapping[int, Reason] = {
    400: Reason.BAD_REQUEST, 401: Reason.PROVIDER_CONFIG, 403: Reason.PROVIDER_CONFIG, 404: Reason.PROVIDER_CONFIG,
    405: Reason.PROVIDER_CONFIG, 409: Reason.POLICY_BLOCK,
}  # fmt: skip
HTTP_UNKNOWN = frozenset({408, 504})

# Delivery reports (2.6), in lower case. Expired is their word for a text a telco's firewall has flagged.
REPORTED: Mapping[str, State] = {
    "sent": State.SENT, "submitted": State.SENT, "buffered": State.SENT, "success": State.DELIVERED,
    "rejected": State.FAILED, "failed": State.FAILED, "absentsubscriber": State.FAILED, "expired": State.FAILED,
}  # fmt: skip
FAILURES: Mapping[str, Reason] = {
    "insufficientcredit": Reason.PROVIDER_FUNDS, "userinblacklist": Reason.POLICY_BLOCK,
    "donotdisturbrejection": Reason.POLICY_BLOCK, "userdoesnotexist": Reason.BAD_RECIPIENT,
    "notnetworksubcriber": Reason.BAD_RECIPIENT, "userisinactive": Reason.UNREACHABLE,
    "useraccountsuspended": Reason.UNREACHABLE, "deliveryfailure": Reason.UNREACHABLE,
    "absentsubscriber": Reason.UNREACHABLE, "expired": Reason.POLICY_BLOCK,
}  # fmt: skip
REPORT_FIELDS_MAX = 32


class Settings(Account):
    """Africa's Talking for SMS."""

    sender_id: str | None = Field(None, max_length=15)  # an approved name or short code; theirs where none is set
    parts_per_second: int = Field(10, ge=1)


class Sender:
    """SMS through Africa's Talking."""

    name = "africastalking"

    def __init__(self, settings: Settings, _http: httpx.AsyncClient, _redis: Redis, _clock: Clock) -> None:
        self.limits = Limits(settings.parts_per_second, batch=THREADS)
        self._settings = settings
        self._session = session()
        self._threads = anyio.CapacityLimiter(THREADS)

    async def send(self, message: Outgoing) -> Outcome:
        """Hand one SMS over; raises Unknown or Throttled."""
        call = partial(_SMS(self._settings, self._session).send, message.text, [str(message.msisdn)],
                       sender_id=self._settings.sender_id)  # fmt: skip
        # Who gives up waiting leaves the thread to its own timeout: what it does then nobody knows.
        answer = await anyio.to_thread.run_sync(call, limiter=self._threads, abandon_on_cancel=True)
        return _outcome(answer, message.msisdn)

    def parse_report(self, _content_type: str, body: bytes) -> Report | None:
        """Read a form-encoded delivery report."""
        raw = body.decode("utf-8", "replace")
        try:
            form = dict(parse_qsl(raw, max_num_fields=REPORT_FIELDS_MAX))
        except ValueError:
            return None
        if not form.get("id") or not form.get("status"):
            return None
        state = REPORTED.get(form["status"].lower(), State.UNKNOWN)
        why = FAILURES.get(form.get("failureReason", form["status"]).lower(), Reason.INTERNAL)
        return Report(form["id"], None, state, raw, why if state is State.FAILED else None, form.get("phoneNumber"))


class _SMS(Transport, SMSService):  # type: ignore[misc]  # the SDK ships no types
    """The SDK's SMS service on our transport."""


def _outcome(answer: Answer, msisdn: Msisdn) -> Outcome:
    if answer.status not in {HTTPStatus.OK, HTTPStatus.CREATED}:
        return _http_error(answer)
    # Read as JSON whatever the content type says: theirs is met with and without a charset.
    match answer.json():
        case {"SMSMessageData": {"Recipients": [], "Message": str(said)}}:
            return _refused(CODES.get(said.lower(), 0), said)
        case {"SMSMessageData": {"Recipients": list(recipients)}}:
            for recipient in recipients:
                if isinstance(recipient, dict) and str(recipient.get("number")).lstrip("+") == msisdn.digits:
                    return _recipient(recipient)
            raise Unknown("a reply that does not say what became of this number")
    raise Unknown("an answer that cannot be read", outage=True)


def _recipient(recipient: dict[str, Any]) -> Outcome:
    said, code = str(recipient.get("status")), str(recipient.get("statusCode"))
    number = int(code) if code.isdecimal() else CODES.get(said.lower(), 0)
    if number in ACCEPTED:
        given = recipient.get("messageId")
        external_id = given if isinstance(given, str) and given != "None" else None
        return Accepted(external_id, ACCEPTED[number], str(recipient.get("cost", "")))
    return _refused(number, said)


def _refused(code: int, said: str) -> Refused:
    if code in BUSY:
        raise Throttled(RETRY_SECONDS, said)
    return Refused(REFUSED.get(code, Reason.INTERNAL), f"{code} {said}"[:200])


def _http_error(answer: Answer) -> Refused:
    said = f"HTTP {answer.status} {answer.body.decode('utf-8', 'replace')}"[:200]
    if answer.status in HTTP_UNKNOWN:
        raise Unknown(said, outage=is_outage(answer.status))
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise Throttled(answer.retry_after, said, outage=is_outage(answer.status))
    return Refused(HTTP_REFUSED.get(answer.status, Reason.INTERNAL), said)
