"""Safaricom M-PESA: prompts, payouts, reversals and a till over the Daraja API (wire/momo.md section 3).

An accepted request is never a paid one. A prompt can be asked about; of everything else only callbacks tell.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from uuid import UUID

import httpx2 as httpx
from pydantic import Field, PositiveInt, SecretStr, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict
from redis.asyncio import Redis

from ussd_app.clock import Clock
from ussd_app.config import Calling, Networks
from ussd_app.errors import Reason, Rejected, Unknown
from ussd_app.money import Money
from ussd_app.movement import Deposit
from ussd_app.msisdn import Msisdn
from ussd_app.operators import CallbackNote, Failed, Kind, Pending, Request, Status, Succeeded
from ussd_app.providers import daraja, rsa
from ussd_app.providers.client import plain, short
from ussd_app.providers.daraja import Calls, Told, code, identifier
from ussd_app.providers.tokens import Tokens

# ResultCodes of a prompt, by what they mean (section 3.2). 0 is paid; any other code is pending to a query.
PROMPT_CODES: Mapping[Reason, tuple[str, ...]] = {
    Reason.INSUFFICIENT_FUNDS: ("1",), Reason.AMOUNT_INVALID: ("2", "3"), Reason.LIMIT_REACHED: ("4", "8"),
    Reason.DUPLICATE: ("17",), Reason.SERVICE_UNAVAILABLE: ("26",), Reason.UNREACHABLE: ("1001", "1037"),
    Reason.EXPIRED: ("1019",), Reason.INTERNAL: ("1025", "9999"), Reason.REJECTED_BY_PAYER: ("1032",),
    Reason.WRONG_PIN: ("2001",),
    Reason.NOT_AUTHORISED: ("2028", "8006", "SFC_IC0003", "11", "12", "13", "14", "15", "20", "21"),
}  # fmt: skip

# The same of a payout or a reversal (sections 3.2 and 3.3), where a callback alone is proof: a code that is not listed
# is pending, and so are 11 to 17 and 20, some of which may be about a second sending of what was paid.
PAYOUT_CODES: Mapping[Reason, tuple[str, ...]] = {
    Reason.INSUFFICIENT_FUNDS: ("1",), Reason.AMOUNT_INVALID: ("2", "3"), Reason.LIMIT_REACHED: ("4", "8"),
    Reason.SERVICE_UNAVAILABLE: ("26",), Reason.PARTY_NOT_FOUND: ("2040",),
    Reason.NOT_AUTHORISED: ("21", "2001", "2006", "2028", "8006", "SFC_IC0003"),  # 2006: the state of our own account
}  # fmt: skip
PROMPTS = {code: reason for reason, codes in PROMPT_CODES.items() for code in codes}
PAYOUTS = {code: reason for reason, codes in PAYOUT_CODES.items() for code in codes}

COUNTRIES = {"KE": "Safaricom"}

PROMPT = "mpesa/stkpush/v1/processrequest"
PROMPT_QUERY = "mpesa/stkpushquery/v1/query"
PAYOUT = "mpesa/b2c/v3/paymentrequest"
REVERSAL = "mpesa/reversal/v1/request"
STATUS_QUERY = "mpesa/transactionstatus/v1/query"
BALANCE_QUERY = "mpesa/accountbalance/v1/query"
TILL = "mpesa/c2b/{}/registerurl"

BUY_GOODS = "CustomerBuyGoodsOnline"
SANDBOX = "https://sandbox.safaricom.co.ke"
PRODUCTION = "https://api.safaricom.co.ke"
SHORTCODE = "4"  # IdentifierType, ...
REVERSED = "11"  # ... and what a reversal says instead
REFERENCE_CHARS, DESCRIPTION_CHARS, REMARKS_CHARS = 12, 13, 100
# Where callbacks come from, as Safaricom publishes it (section 3.5).
ADDRESSES = tuple(
    f"196.201.{network}.{host}"
    for network, hosts in ((214, (200, 206, 207, 208)), (213, (114, 44)), (212, (127, 128, 129, 132, 136, 138, 69, 74)))
    for host in hosts
)
FORBIDDEN = ("mpesa", "safaricom", "exe", "cmd", "sql", "query")  # in an address of a till (section 3.4)


class Settings(Calling):
    """``DARAJA_...``: an app of the portal, the shortcode that collects, and the initiator who may pay out."""

    model_config = SettingsConfigDict(env_prefix="DARAJA_")

    environment: Literal["sandbox", "production"] = "sandbox"
    base_url: str = Field("", description="leave empty for Safaricom's own sandbox or production host")
    consumer_key: SecretStr = Field(description="developer.safaricom.co.ke, My Apps")
    consumer_secret: SecretStr = Field(description="developer.safaricom.co.ke, My Apps")
    shortcode: str = Field(pattern="^[0-9]{5,7}$", description="your paybill, or for buy goods the store number")
    passkey: SecretStr = Field(description="the portal shows the sandbox's; in production it comes by e-mail")
    transaction_type: Literal["CustomerPayBillOnline", "CustomerBuyGoodsOnline"] = "CustomerPayBillOnline"
    till: str = Field("", pattern="^[0-9]*$", description="the till number, for CustomerBuyGoodsOnline")
    b2c_shortcode: str = Field("", pattern="^[0-9]*$", description="the one that pays out, where it is another")
    initiator: str = Field(description="the API user of the shortcode in the M-PESA portal; testapi in the sandbox")
    initiator_password: SecretStr = Field(max_length=100, description="the API user's password")
    certificate: str = Field(description="the environment's X.509 certificate from the portal: PEM, or a path to it")
    command_id: Literal["BusinessPayment", "SalaryPayment", "PromotionPayment"] = "BusinessPayment"
    response_type: Literal["Completed", "Cancelled"] = "Completed"  # of a payment our validation does not answer
    c2b_version: Literal["v1", "v2"] = "v2"
    callback_max: PositiveInt = 50_000  # major units up to which an unsigned callback is proof (design.md law 10)
    allowed_ips: Networks = ADDRESSES

    @field_validator("base_url")
    @classmethod
    def _host(cls, value: str, info: ValidationInfo) -> str:
        if value and not (value.startswith(("https://", "http://")) and urlsplit(value).hostname):
            raise ValueError("must be an http or https address")
        return value.rstrip("/") or (SANDBOX if info.data.get("environment") == "sandbox" else PRODUCTION)

    @field_validator("till")
    @classmethod
    def _sells(cls, value: str, info: ValidationInfo) -> str:
        if not value and info.data.get("transaction_type") == BUY_GOODS:
            raise ValueError("is not set")
        return value

    @field_validator("b2c_shortcode")
    @classmethod
    def _pays(cls, value: str, info: ValidationInfo) -> str:
        return value or str(info.data.get("shortcode", ""))

    @field_validator("certificate")
    @classmethod
    def _seals(cls, value: str, info: ValidationInfo) -> str:
        try:
            text = value if value.strip().startswith(rsa.PEM) else Path(value).read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            raise ValueError("is no certificate and no readable file of one") from None
        key = rsa.public_key(text)
        if password := info.data.get("initiator_password"):
            try:
                rsa.encrypt(key, password.get_secret_value().encode())
            except ValueError:
                raise ValueError("has too short a key for DARAJA_INITIATOR_PASSWORD") from None
        return text


class Operator:
    """M-PESA as payments.py asks for it."""

    name = "daraja"
    brand = "M-PESA"
    refunds_from = Kind.DISBURSEMENT
    countries: Mapping[str, str] = COUNTRIES
    deduplicates = frozenset({Kind.DISBURSEMENT})  # by OriginatorConversationID; prompts and reversals have none
    unqueried = frozenset({Kind.DISBURSEMENT, Kind.REFUND})

    def __init__(self, settings: Settings, http: httpx.AsyncClient, redis: Redis | None, clock: Clock) -> None:
        self.settings = settings
        self.one_float = settings.b2c_shortcode == settings.shortcode
        self._key = rsa.public_key(settings.certificate)
        self._clock = clock
        basic = settings.consumer_key.get_secret_value(), settings.consumer_secret.get_secret_value()
        self._calls = Calls(settings.base_url, basic, http, Tokens(redis, clock))

    def step(self, _currency: str) -> int:
        """Whole shillings, in minor units."""
        return 100

    def believed_up_to(self, currency: str) -> Money:
        """The largest amount of which a callback is proof."""
        return Money.of(self.settings.callback_max, currency)

    async def submit(self, request: Request) -> Status:
        """Ask for the movement; a payout's reference M-PESA has already is the first request, alive (section 3.3)."""
        shillings = daraja.shillings(request.amount)
        if request.kind is Kind.COLLECTION:
            # A prompt is none without a CheckoutRequestID, whatever the words it is refused with.
            body, otherwise = self._prompt(request, shillings), Reason.SERVICE_UNAVAILABLE
            told = await self._calls.taken("submit", PROMPT, body, otherwise)
            return Pending(external_id=identifier(told.get("CheckoutRequestID")))
        if self._is_reversal(request):
            told = await self._calls.taken("submit", REVERSAL, self._reversal(request, shillings))
            return Pending(external_id=identifier(told.get("OriginatorConversationID")))
        answer = await self._calls.post("submit", PAYOUT, self._payout(request, shillings))
        if daraja.is_duplicate(answer):
            return Pending()
        return Pending(external_id=identifier(daraja.taken(answer).get("ConversationID")))

    async def check(self, request: Request) -> Status:
        """The present state of a prompt; of any other movement it is only asked for, and a callback tells."""
        if request.kind is Kind.COLLECTION:
            return await self._prompted(request)
        known = request.external_id if self._is_reversal(request) else str(request.reference)
        if known is None:
            raise Unknown("no id of the reversal yet")
        paying = self.settings.shortcode if self._is_reversal(request) else self.settings.b2c_shortcode
        await self._ask("check", {"OriginalConversationID": known}, paying, request.callback_url, "/status")
        return Pending("asked, a callback tells")

    async def name_of(self, _msisdn: Msisdn) -> None:
        """None: M-PESA gives no names."""

    async def is_active(self, _msisdn: Msisdn) -> bool:
        """True: M-PESA has no such question."""
        return True

    async def balance(self, kind: Kind, _currency: str, callback_url: str = "") -> None:
        """Have M-PESA tell ``callback_url`` what the shortcode of this kind holds (section 3.4)."""
        party = self.settings.shortcode if kind is Kind.COLLECTION else self.settings.b2c_shortcode
        body = {
            **self._signed("AccountBalance", "Balance", callback_url), "PartyA": party, "IdentifierType": SHORTCODE,
        }  # fmt: skip
        await self._calls.taken("balance", BALANCE_QUERY, body)

    async def look_up(self, deposit: Deposit, callback_url: str) -> None:
        """Have M-PESA tell ``callback_url`` about a payment at our till."""
        await self._ask("look_up", {"TransactionID": deposit.receipt}, self.settings.shortcode, callback_url)

    async def register_till(self, confirmation_url: str, validation_url: str) -> None:
        """Name the addresses that hear of payments at our till; in production once for ever (section 3.4)."""
        if found := [word for word in FORBIDDEN if word in f"{confirmation_url} {validation_url}".lower()]:
            raise Rejected(Reason.BAD_REQUEST, f"M-PESA takes no address with {found[0]!r} in it")
        body = {
            "ShortCode": self.settings.shortcode, "ResponseType": self.settings.response_type,
            "ConfirmationURL": confirmation_url, "ValidationURL": validation_url,
        }  # fmt: skip
        await self._calls.taken("register_till", TILL.format(self.settings.c2b_version), body)

    def acknowledge(self, path: str, _body: bytes = b"") -> str:
        """What M-PESA wants to read after 200: every payment at our till is welcome, and every callback was heard."""
        if path.strip("/") == "validation":
            return json.dumps({"ResultCode": "0", "ResultDesc": "Accepted"})
        return json.dumps({"ResultCode": 0, "ResultDesc": "Success"})

    def parse_callback(self, path: str, body: bytes) -> CallbackNote:
        """Read a callback: a prompt's end, a command's result, a payment at our till, or a balance (3.2 to 3.4)."""
        kind, _, rest = path.strip("/").partition("/")
        about, _, what = rest.partition("/")
        if not about:
            return CallbackNote(None, Pending(), deposit=daraja.deposit(body) if kind == "confirmation" else None)
        try:
            reference = UUID(about)
        except ValueError:
            reference = None
        external_id = about if kind == "deposit" else None
        try:
            told = daraja.prompted(body) if kind == Kind.COLLECTION else daraja.result(body)
            if (kind, what) == ("balance", ""):
                return CallbackNote(None, Pending(), balance=daraja.balance(told))
            if reference and not what:  # the results of our later questions have ids of their own
                external_id = told.originator if kind == Kind.REFUND else told.conversation
            return CallbackNote(reference, self._meant(kind, about, what, told), external_id)
        except Unknown as error:
            return CallbackNote(reference, Pending(error.detail), external_id)

    def _meant(self, kind: str, about: str, what: str, told: Told) -> Status:
        """What a callback about a movement or a deposit claims; raises Unknown where that is nothing clear."""
        match kind, what:
            case Kind.COLLECTION, "":
                return _prompt(told)
            case Kind.DISBURSEMENT, "" if told.originator != about:
                raise Unknown("a result of another OriginatorConversationID")
            case ((Kind.DISBURSEMENT | Kind.REFUND), ""):
                return _payout(told)
            case ((Kind.DISBURSEMENT | Kind.REFUND), "status"):
                return daraja.found(told)
            case "deposit", "":
                return daraja.deposited(told, about, {self.settings.shortcode, self.settings.till})
        return Pending(short(f"{what} {told.raw}"))

    def _is_reversal(self, request: Request) -> bool:
        """Whether a refund goes back the way it came.

        Not without a receipt to name it by, and not where payouts have a shortcode of their own: there refunds are
        paid out like any disbursement, from the account that the ledger books them on.
        """
        return request.kind is Kind.REFUND and request.receipt != "" and self.one_float

    async def _prompted(self, request: Request) -> Status:
        """The state of a prompt, as the query tells it: without a receipt (section 3.2)."""
        if not request.external_id:
            raise Unknown("no CheckoutRequestID yet")
        body = {**self._password(), "CheckoutRequestID": request.external_id}
        answer = await self._calls.post("check", PROMPT_QUERY, body)
        if daraja.is_processing(answer):
            return Pending(daraja.PROCESSING)
        told = daraja.taken(answer)
        if told.get("CheckoutRequestID") != request.external_id:
            raise Unknown("the answer carries another CheckoutRequestID")
        match code(told.get("ResultCode")):
            case daraja.DONE:
                return Succeeded("", request.amount)
            case daraja.UNDER_WAY as under_way:
                return Pending(under_way)
            case listed if listed in PROMPTS:
                return Failed(PROMPTS[listed], listed)
            case other:
                raise Unknown(f"ResultCode {short(other)}")

    async def _ask(self, what: str, about: Mapping[str, str], party: str, url: str, more: str = "") -> None:
        """Have a transaction of ``party`` told to ``url`` and what more stands behind it (section 3.4)."""
        signed = self._signed("TransactionStatusQuery", "Status", url, more)
        body = {**signed, **about, "PartyA": party, "IdentifierType": SHORTCODE, "Occasion": "Status"}
        await self._calls.taken(what, STATUS_QUERY, body)

    def _prompt(self, request: Request, shillings: int) -> dict[str, object]:
        kind, payer = self.settings.transaction_type, request.msisdn.digits
        return {
            **self._password(), "TransactionType": kind, "Amount": shillings, "PartyA": payer, "PhoneNumber": payer,
            "PartyB": self.settings.till if kind == BUY_GOODS else self.settings.shortcode,
            "CallBackURL": request.callback_url, "AccountReference": plain(request.label, REFERENCE_CHARS),
            "TransactionDesc": plain(request.note, DESCRIPTION_CHARS),
        }  # fmt: skip

    def _payout(self, request: Request, shillings: int) -> dict[str, object]:
        signed = self._signed(self.settings.command_id, plain(request.note, REMARKS_CHARS), request.callback_url)
        return {
            "OriginatorConversationID": str(request.reference), "InitiatorName": signed.pop("Initiator"), **signed,
            "Amount": shillings, "PartyA": self.settings.b2c_shortcode, "PartyB": request.msisdn.digits,
        }  # fmt: skip

    def _reversal(self, request: Request, shillings: int) -> dict[str, object]:
        return {
            **self._signed("TransactionReversal", plain(request.note, REMARKS_CHARS), request.callback_url),
            "TransactionID": request.receipt, "Amount": shillings, "ReceiverParty": self.settings.shortcode,
            "RecieverIdentifierType": REVERSED, "Occasion": request.label,
        }  # fmt: skip

    def _signed(self, command: str, remarks: str, url: str, more: str = "") -> dict[str, str]:
        """What every asynchronous command begins with; its password is sealed anew each time."""
        password = self.settings.initiator_password.get_secret_value().encode()
        return {
            "Initiator": self.settings.initiator, "SecurityCredential": rsa.encrypt(self._key, password),
            "CommandID": command, "Remarks": remarks,
            "QueueTimeOutURL": f"{url}/timeout", "ResultURL": f"{url}{more}",
        }  # fmt: skip

    def _password(self) -> dict[str, str]:
        return daraja.password(self.settings.shortcode, self.settings.passkey, self._clock.now())


def _prompt(told: Told) -> Status:
    """The end of a prompt; a code nobody listed is a failure here, where the query has the last word (section 3.2)."""
    if told.code == daraja.DONE:
        return daraja.done(told)
    if told.code in {"", daraja.UNDER_WAY}:
        return Pending(told.raw)
    return Failed(PROMPTS.get(told.code, Reason.INTERNAL), told.raw)


def _payout(told: Told) -> Status:
    """The end of a payout or a reversal, final only as listed, and a success only where it says how much."""
    if told.code == daraja.DONE:
        return daraja.done(told)
    return Failed(PAYOUTS[told.code], told.raw) if told.code in PAYOUTS else Pending(told.raw)
