"""What Safaricom's Daraja answers and calls back, read (wire/momo.md section 3).

Codes are numbers or texts. Members of a callback are unordered, may lack their value, and stand alone or in a list.
"""

import base64
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from http import HTTPStatus
from typing import Any

import httpx2 as httpx
from pydantic import SecretStr

from ussd_app.errors import ProviderError, Reason, Rejected, Throttled, Unknown
from ussd_app.http import Answer
from ussd_app.money import Money
from ussd_app.movement import Claimed, Deposit, Pending, Status, Succeeded
from ussd_app.providers.client import OUTAGES, Client, fetched, money, short
from ussd_app.providers.tokens import Token, Tokens, account

NAME = "daraja"
TOKEN = "oauth/v1/generate"  # noqa: S105 - a path
TOKEN_SECONDS = 3600.0
NAIROBI = timezone(timedelta(hours=3))  # no summer time
CURRENCY = "KES"
DONE = "0"  # as a ResponseCode it was taken, as a ResultCode it is done
UNDER_WAY = "4999"  # the ResultCode that is none
COMPLETED = "Completed"  # the only final word of a TransactionStatus (section 3.4)
IDENTIFIER = re.compile(r"\w[\w.:-]{0,99}", re.ASCII)

# Error codes (section 3.1), whatever their HTTP status: what is refused, what was not taken, what refuses a token.
REFUSED = dict.fromkeys(("400.002.02", "400.002.05", "400.003.02", "405.001"), Reason.BAD_REQUEST)
# The gateway knows no such address, method or product for us: the service was not reached.
MISSING = ("404.001.01", "404.001.04", "404.002.01", "404.003.01", "401.003.01")
BUSY = frozenset({"500.003.02", "500.003.03"})
STALE = frozenset({"400.003.01", "401.001", "401.002.01", "404.001.03"})
REFUSED |= dict.fromkeys((*MISSING, *STALE), Reason.NOT_AUTHORISED)
# Of the gateway's own faults, in a shape of their own, by their beginning.
FAULTS_BUSY, FAULTS_STALE = "policies.ratelimit.", ("oauth.v2.", "keymanagement.")
INTERNAL, MANY, DUPLICATE = "500.003.1001", "500.001.1001", "500.002.1001"  # the last also of a service that is away
# What MANY means, by a part of its message in lower case; whatever else it says is unknown.
PROCESSING = "being processed"
UNDER_PROCESSING = (PROCESSING, "under processing")
MESSAGES: Mapping[str, Reason] = {
    "lock subscriber": Reason.UNREACHABLE,
    "wrong credentials": Reason.NOT_AUTHORISED,
    "merchant": Reason.NOT_AUTHORISED,
}
HTTP_REFUSED = {400: Reason.BAD_REQUEST, 401: Reason.NOT_AUTHORISED, 403: Reason.NOT_AUTHORISED}

# What a result calls the amount: B2C the first, status queries and reversals the second (sections 3.3 and 3.4).
AMOUNTS = ("TransactionAmount", "Amount")
# The accounts of a shortcode that hold its money; the others hold charges, and what is on its way to a bank.
HOLDING = frozenset({"Working Account", "Utility Account"})
BALANCE_FIELDS = 6  # name, currency, current, available, reserved, uncleared


@dataclass(frozen=True, slots=True)
class Told:
    """The end of a prompt or a command as a callback tells it; ``values`` are what it names beside."""

    code: str
    said: str
    conversation: str | None  # CheckoutRequestID or ConversationID
    originator: str | None = None  # OriginatorConversationID: ours where we sent one, else theirs
    receipt: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def raw(self) -> str:
        """Its code and words, fit for a row and a log."""
        return short(f"{self.code} {self.said}".strip())

    @property
    def amount(self) -> Money:
        """How much moved; raises Unknown where it does not say."""
        return money(next((self.values[name] for name in AMOUNTS if name in self.values), None), CURRENCY)


class Calls:
    """Calls of one app of the portal, each under its token."""

    def __init__(self, base_url: str, basic: tuple[str, str], http: httpx.AsyncClient, tokens: Tokens) -> None:
        """``basic`` are its consumer key and secret."""
        self._basic = basic
        # One token for each consumer key, since a new one may end the former's life.
        self._account = account(base_url, *basic)
        self._client = Client(NAME, base_url, http)
        self._tokens = tokens

    async def post(self, what: str, path: str, body: Mapping[str, object]) -> Answer:
        """One call, made once more where its token is no longer taken; ``what`` names it in metrics and logs."""
        return await self._client.authorised(what, "POST", path, self.token, _is_stale, json=body)

    async def taken(
        self, what: str, path: str, body: Mapping[str, object], otherwise: Reason | None = None
    ) -> dict[str, Any]:
        """The answer of a call that was taken; raises what any other means, of MANY unknown words ``otherwise``."""
        return taken(await self.post(what, path, body), otherwise)

    async def token(self, refused: str | None = None) -> str:
        """An access token, cached; ``refused`` is one that was just answered as invalid."""
        return await self._tokens.get(NAME, self._account, self._fetch, force_refresh=refused)

    async def _fetch(self) -> Token:
        return await fetched(self._issued(), TOKEN_SECONDS)

    async def _issued(self) -> dict[str, Any]:
        """A token from Safaricom, which answers bad credentials with 400 and often nothing more (section 3.1)."""
        asked = {"grant_type": "client_credentials"}
        answer = await self._client.call("token", "GET", TOKEN, params=asked, auth=self._basic)
        if answer.status in HTTP_REFUSED:
            raise Rejected(Reason.NOT_AUTHORISED, f"HTTP {answer.status} for a token")
        return told(answer)


def password(shortcode: str, passkey: SecretStr, now: datetime) -> dict[str, str]:
    """Shortcode, Password and the Timestamp in Nairobi that it is made with (section 3.2)."""
    at = f"{now.astimezone(NAIROBI):%Y%m%d%H%M%S}"
    made = base64.b64encode(f"{shortcode}{passkey.get_secret_value()}{at}".encode()).decode()
    return {"BusinessShortCode": shortcode, "Password": made, "Timestamp": at}


def shillings(amount: Money) -> int:
    """Whole shillings, as they go on the wire; raises Rejected for anything else, which must never be rounded."""
    if amount.currency != CURRENCY or amount.minor % 100:
        raise Rejected(Reason.AMOUNT_INVALID, "M-PESA moves whole Kenyan shillings")
    return amount.minor // 100


def taken(answer: Answer, otherwise: Reason | None = None) -> dict[str, Any]:
    """The answer that says a request was taken, which is never that it was done; raises what any other means."""
    body = told(answer, otherwise)
    if code(body.get("ResponseCode")) != DONE:
        raise Unknown(f"ResponseCode {short(code(body.get('ResponseCode')))}")
    return body


def told(answer: Answer, otherwise: Reason | None = None) -> dict[str, Any]:
    """The object a 200 carries; raises what any other answer means."""
    body = answer.json() if answer.status == HTTPStatus.OK else None
    if isinstance(body, dict):
        return body
    raise _error(answer, otherwise)


def is_processing(answer: Answer) -> bool:
    """Whether this says that what was asked about is under way."""
    said = _said(answer, "errorMessage").lower()
    return _error_code(answer) == MANY and any(words in said for words in UNDER_PROCESSING)


def is_duplicate(answer: Answer) -> bool:
    """Whether this says that our reference is known."""
    return _error_code(answer) == DUPLICATE and "duplicate" in _said(answer, "errorMessage").lower()


def prompted(body: bytes) -> Told:
    """The callback of an STK push (section 3.2); raises Unknown where it is none."""
    match _json(body):
        case {"Body": {"stkCallback": dict(found)}}:
            metadata = found.get("CallbackMetadata")
            values = _values(metadata.get("Item") if isinstance(metadata, dict) else None, "Name")
            return Told(
                code(found.get("ResultCode")),
                short(found.get("ResultDesc", "")),
                identifier(found.get("CheckoutRequestID")),
                receipt=identifier(values.get("MpesaReceiptNumber")) or "",
                values=values,
            )
    raise Unknown("no stkCallback in the body")


def result(body: bytes) -> Told:
    """The Result of an asynchronous command (sections 3.3 and 3.4); raises Unknown where it is none."""
    match _json(body):
        case {"Result": dict(found)}:
            parameters = found.get("ResultParameters")
            values = _values(parameters.get("ResultParameter") if isinstance(parameters, dict) else None, "Key")
            receipt = identifier(values.get("TransactionReceipt")) or identifier(found.get("TransactionID"))
            return Told(
                code(found.get("ResultCode")),
                short(found.get("ResultDesc", "")),
                identifier(found.get("ConversationID")),
                identifier(found.get("OriginatorConversationID")),
                receipt or "",
                values,
            )
    raise Unknown("no Result in the body")


def done(told: Told) -> Status:
    """What a callback of success claims: no end where it does not say how much."""
    try:
        return Succeeded(told.receipt, told.amount)
    except Unknown as error:
        return Claimed(error.detail, receipt=told.receipt)


def found(result: Told) -> Status:
    """What a status query found: its ResultCode is the question's own, one word of the transaction's final (3.4)."""
    word, receipt = result.values.get("TransactionStatus"), identifier(result.values.get("ReceiptNo"))
    if result.code == DONE and word == COMPLETED and receipt:
        return done(replace(result, receipt=receipt))
    return Pending(short(word) if isinstance(word, str) else result.raw)


def deposited(result: Told, receipt: str, ours: Collection[str]) -> Status:
    """What a status query found of a payment at our till; raises Unknown where it is another one, or not to us."""
    status = found(result)
    credited = str(result.values.get("CreditPartyName", "")).partition(" ")[0]  # its number stands before its name
    if isinstance(status, Succeeded) and (status.receipt != receipt or (credited.isdigit() and credited not in ours)):
        raise Unknown("another transaction")
    return status


def deposit(body: bytes) -> Deposit | None:
    """A payment at our till, from the body of a confirmation (section 3.4); None where it is none we can read."""
    match _json(body):
        case {"TransID": sent, "TransAmount": paid, **others} if receipt := identifier(sent):
            payer, label = (short(others.get(name) or "") for name in ("MSISDN", "BillRefNumber"))
            with suppress(Unknown):
                amount = money(paid, CURRENCY)
                return Deposit(receipt, amount, payer, label) if amount else None
    return None


def balance(result: Told) -> Money:
    """What may be spent of a shortcode's money, out of ``name|KES|current|available|reserved|uncleared&...``.

    Raises Unknown where it names no account that holds money.
    """
    accounts = [account.split("|") for account in str(result.values.get("AccountBalance", "")).split("&")]
    ours = [each for each in accounts if len(each) == BALANCE_FIELDS and each[0] in HOLDING and each[1] == CURRENCY]
    if not ours or len({name for name, *_ in ours}) < len(ours):
        raise Unknown("no balance in the answer")
    return sum((money(available, currency) for _, currency, _, available, _, _ in ours), Money(0, CURRENCY))


def code(value: object) -> str:
    """A ResponseCode or ResultCode, which may be a number, digits or letters; empty where it is nothing of these."""
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def identifier(value: object) -> str | None:
    """An id of theirs; None where it is missing, or nothing an id looks like."""
    return value if isinstance(value, str) and IDENTIFIER.fullmatch(value) else None


def _is_stale(answer: Answer) -> bool:
    """Whether this refuses the token."""
    error = _error_code(answer)
    return answer.status == HTTPStatus.UNAUTHORIZED or error in STALE or error.startswith(FAULTS_STALE)


def _error(answer: Answer, otherwise: Reason | None = None) -> ProviderError:
    """What an answer that is no result says about the request (section 3.1), of MANY unknown words ``otherwise``."""
    error, message = _error_code(answer), _said(answer, "errorMessage")
    detail = f"HTTP {answer.status} {short(f'{error} {message}')} {short(_said(answer, 'requestId'))}".strip()
    if error in BUSY or error.startswith(FAULTS_BUSY) or answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        return Throttled(answer.retry_after, detail)
    reason = Reason.NOT_AUTHORISED if error.startswith(FAULTS_STALE) else REFUSED.get(error)
    if error == MANY and not is_processing(answer):
        reason = next((meant for words, meant in MESSAGES.items() if words in message.lower()), otherwise)
    elif not error.startswith("5"):
        reason = reason or HTTP_REFUSED.get(answer.status)
    if reason:
        return Rejected(reason, detail)
    unreadable = not _said(answer, "errorCode") and answer.status in {HTTPStatus.OK, *OUTAGES}
    away = error == INTERNAL or (error == DUPLICATE and not is_duplicate(answer))
    return Unknown(detail, outage=unreadable or away)


def _error_code(answer: Answer) -> str:
    """The code of an error, or of a fault of the gateway's; a 2xx or 3xx with one says two things, and so nothing."""
    if answer.status < HTTPStatus.BAD_REQUEST:
        return ""
    match answer.json():
        case {"errorCode": str(code)} | {"fault": {"detail": {"errorcode": str(code)}}}:
            return code
    return ""


def _said(answer: Answer, member: str) -> str:
    """A member of an answer's body that is a text."""
    body = answer.json()
    word = body.get(member) if isinstance(body, dict) else None
    return word if isinstance(word, str) else ""


def _values(items: object, name: str) -> Mapping[str, Any]:
    """The values by their names, from a list or from one alone; a name with two different values has none."""
    found: dict[str, Any] = {}
    for item in items if isinstance(items, list) else [items]:
        if isinstance(item, dict) and isinstance(item.get(name), str) and "Value" in item:
            key, value = item[name], item["Value"]
            found[key] = value if found.get(key, value) == value else None
    return found


def _json(body: bytes) -> Any:  # noqa: ANN401 - what a stranger sent has no type yet
    return Answer(HTTPStatus.OK, {}, body).json()
