"""What Africa's Talking's airtime, bundles and insights share: calls, refusals, the look-up, and final callbacks.

Source: wire/sms.md sections 2.7, 2.8 and 2.10. A call that was taken is only queued; it ends by a callback nobody
signs, and may be looked up by the id its answer gave.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

import anyio
import anyio.to_thread
from africastalking import MobileDataService

from ussd_app import gsm, log, metrics
from ussd_app.errors import ProviderError, Reason, Rejected, Throttled, Unknown
from ussd_app.http import Answer
from ussd_app.money import InvalidAmount, Money
from ussd_app.movement import CallbackNote, Claimed, Failed, Pending, Request, Status, Succeeded
from ussd_app.msisdn import Msisdn
from ussd_app.providers.africastalking import THREADS, Account, is_outage, session

# The only final words (2.7); in lower case, as all words of theirs are compared.
SUCCESS, FAILED = "success", "failed"

# What a refusal or failure says, by a part of its text without blanks and in lower case; the first that is met counts.
WORDS: Mapping[str, Reason] = {
    "duplicate": Reason.DUPLICATE, "insufficient": Reason.PROVIDER_FUNDS, "phonenumber": Reason.BAD_RECIPIENT,
    "allowedlimits": Reason.AMOUNT_INVALID, "invalidamount": Reason.AMOUNT_INVALID, "limit": Reason.LIMIT_REACHED,
    "currency": Reason.AMOUNT_INVALID, "notsupported": Reason.NO_ROUTE, "couldnotroute": Reason.NO_ROUTE,
    "blacklist": Reason.POLICY_BLOCK, "invalidrequest": Reason.BAD_REQUEST, "product": Reason.PROVIDER_CONFIG,
    "unavailable": Reason.SERVICE_UNAVAILABLE,
}  # fmt: skip
# HTTP's own, with plain text bodies. Of 5xx only 503 surely did nothing.
HTTP_REFUSED: Mapping[int, Reason] = {
    400: Reason.BAD_REQUEST, 401: Reason.PROVIDER_CONFIG, 403: Reason.PROVIDER_CONFIG, 404: Reason.PROVIDER_CONFIG,
    405: Reason.PROVIDER_CONFIG,
}  # fmt: skip
HTTP_BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
TAKEN = frozenset({HTTPStatus.OK, HTTPStatus.CREATED})

IDENTIFIER = re.compile(r"[\w.:-]{1,100}", re.ASCII)
VALUE = re.compile(r"(?:([A-Z]{3}) )?([0-9]{1,12}(?:\.[0-9]{1,6})?)")
AMOUNTS = ("value", "amount")  # the members that tell it, the documented one first
NOTHING: tuple[object, ...] = (None, "", "None")
CALLBACK_FIELDS_MAX = 32

logger = log.get(__name__)


class Calls:
    """Calls of one provider file through the SDK: each in a thread, a few at a time, measured and logged."""

    def __init__(self, name: str, account: Account) -> None:
        self.account = account
        self.session = session()
        self._name = name
        self._threads = anyio.CapacityLimiter(THREADS)

    async def make(self, what: str, call: Callable[[], Answer]) -> Answer:
        """The whole answer of one call; raises Throttled or Unknown where there is none."""
        line = logger.bind(provider=self._name, call=what)
        try:
            with metrics.PROVIDER_SECONDS.labels(self._name, what).time():
                # Who gives up waiting leaves the thread to its own timeout: what it does then nobody knows.
                answer = await anyio.to_thread.run_sync(call, limiter=self._threads, abandon_on_cancel=True)
        except ProviderError as error:
            line.warning("provider did not answer", error=str(error))
            raise
        line.info("provider answered", status=answer.status)
        return answer

    async def find(self, service: MobileDataService, request: Request) -> Mapping[str, Any]:
        """What ``service``'s host knows of an earlier request; raises Unknown where that is nothing, or of another."""
        if not request.external_id:
            raise Unknown("it gave us no id to ask by")
        answer = await self.make("check", partial(service.find_transaction, request.external_id))
        if answer.status == HTTPStatus.NOT_FOUND:
            raise Unknown("no such transaction")
        match told(answer):
            # The outer status is the question's own success.
            case {"data": dict(data)}:
                if _is_of(data, request):
                    return data
        raise Unknown("no such transaction of ours in the answer")


def told(answer: Answer) -> dict[str, Any]:
    """The object a call that was taken carries; raises what any other answer means."""
    if answer.status in TAKEN:
        body = answer.json()
        if isinstance(body, dict):
            return body
        raise Unknown("an answer that cannot be read", outage=True)
    said = short(f"HTTP {answer.status} {answer.body[:200].decode('utf-8', 'replace')}")
    if answer.status in HTTP_BUSY:
        raise Throttled(answer.retry_after, said, outage=is_outage(answer.status))
    if answer.status in HTTP_REFUSED:
        raise Rejected(HTTP_REFUSED[answer.status], said)
    raise Unknown(said, outage=is_outage(answer.status))


def line_of(reply: Mapping[str, Any], member: str, msisdn: Msisdn) -> Mapping[str, Any]:
    """The line about this number; raises Rejected where the whole request was refused, else Unknown without a line."""
    lines = reply.get(member)
    if isinstance(lines, list):
        for line in lines:
            if isinstance(line, dict) and is_for(msisdn, line.get("phoneNumber")):
                return line
    said = refused(reply.get("errorMessage"))
    if said and not lines:
        raise Rejected(reason_of(said) or Reason.INTERNAL, said)
    # Without a list of lines it is no reply of theirs at all.
    raise Unknown("a reply that does not say what became of this number", outage=not isinstance(lines, list))


def is_for(msisdn: Msisdn, number: object) -> bool:
    """Whether a number of theirs, with or without its plus, is this one."""
    return str(number).lstrip("+") == msisdn.digits


def identifier(value: object) -> str | None:
    """An id of theirs; None where it is missing, the text None, or nothing an id looks like."""
    return value if isinstance(value, str) and value != "None" and IDENTIFIER.fullmatch(value) else None


def refused(said: object) -> str:
    """A member that tells of a fault, as text; empty where it says None or nothing."""
    return "" if said is None or said == "None" else short(str(said))


def reason_of(text: str) -> Reason | None:
    """What a refusal's or a failure's text means, where it holds a word of the table."""
    compact = re.sub(r"[^a-z]", "", text.lower())
    return next((reason for word, reason in WORDS.items() if word in compact), None)


def ended(data: Mapping[str, Any], receipt: str, amount: Callable[[], Money]) -> Status:
    """What a look-up's data or a callback claims; a success moved ``amount``."""
    word = str(data.get("status"))
    if word.lower() == SUCCESS:
        return Succeeded(receipt, amount())
    if word.lower() == FAILED:
        said = refused(data.get("description"))
        return Failed(reason_of(said) or Reason.INTERNAL, said or word)
    return Pending(short(word))


def moved(data: Mapping[str, Any], request: Request) -> Money:
    """What a look-up by our own id says has moved: what was asked for where it tells no amount, and the log says so."""
    if _told(data) is None:
        logger.warning("amount not told, taken as asked for", payment=str(request.reference))
        return request.amount
    return value_of(data, request.amount.currency)


def value_of(data: Mapping[str, Any], currency: str = "") -> Money:
    """The value or amount ``CUR 5.0000`` as money, in ``currency`` where it names none; raises Unknown."""
    found = VALUE.fullmatch(str(_told(data)))
    named = str(found[1] or currency) if found else ""
    if not found or not named:
        raise Unknown("no value in the answer")
    try:
        return Money.of(Decimal(found[2]), named)
    except InvalidAmount as error:
        raise Unknown(str(error)) from error


def parse_callback(body: bytes) -> CallbackNote:
    """Read a final status, JSON or form (2.7): nobody signs it, and our reference stands in a bundle's alone."""
    fields = _fields(body)
    external_id = identifier(fields.get("requestId")) or identifier(fields.get("transactionId"))
    try:
        status = ended(fields, external_id or "", partial(value_of, fields))
    except Unknown as error:  # a success that does not say of how much
        status = Claimed(error.detail, receipt=external_id or "")
    return CallbackNote(_reference(fields), status, external_id=external_id)


def short(said: str) -> str:
    """A text of theirs, fit for a row and a log."""
    return gsm.one_line(said[:256], 64)


def _told(data: Mapping[str, Any]) -> object:
    """The amount as it stands there; None where there is none."""
    return next((data[member] for member in AMOUNTS if data.get(member) not in NOTHING), None)


def _is_of(data: Mapping[str, Any], request: Request) -> bool:
    """Whether what was found has our id, number and reference, as far as it names them."""
    return (
        data.get("transactionId", request.external_id) == request.external_id
        and is_for(request.msisdn, data.get("destination", request.msisdn))
        and _reference(data) in {None, request.reference}
    )


def _reference(data: Mapping[str, Any]) -> UUID | None:
    """Our reference, where the metadata of a bundle's request carries it back."""
    match data.get("requestMetadata"):
        case {"reference": str(text)}:
            with suppress(ValueError):
                return UUID(text)
    return None


def _fields(body: bytes) -> Mapping[str, Any]:
    fields = Answer(HTTPStatus.OK, {}, body).json()
    if isinstance(fields, dict):
        return fields
    try:
        return dict(parse_qsl(body.decode("utf-8", "replace"), max_num_fields=CALLBACK_FIELDS_MAX))
    except ValueError:
        return {}
