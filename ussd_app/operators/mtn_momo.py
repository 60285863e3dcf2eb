"""MTN Mobile Money: collections, disbursements and refunds over the MoMo API, version 1.0 (wire/momo.md section 1).

An accepted request is never a paid one, and a callback, which nobody signs, only a reason to ask.
"""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx2 as httpx
from pydantic import Field, PositiveInt, SecretStr, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict
from redis.asyncio import Redis

from ussd_app import gsm
from ussd_app.clock import Clock
from ussd_app.config import Calling
from ussd_app.errors import ProviderError, Reason, Rejected, Throttled, Unknown
from ussd_app.http import Answer
from ussd_app.money import Money
from ussd_app.movement import Claimed
from ussd_app.msisdn import Msisdn
from ussd_app.operators import CallbackNote, Failed, Kind, Pending, Request, Status, Succeeded
from ussd_app.providers.client import OUTAGES, Client, fetched, money, plain, short
from ussd_app.providers.tokens import Token, Tokens, account

# Final only if listed here as Succeeded or Failed; every other word is pending (wire/momo.md section 1.7).
PAID = "SUCCESSFUL"
STATUSES: Mapping[str, type[Status]] = {
    "CREATED": Pending, "PENDING": Pending, PAID: Succeeded,
    "FAILED": Failed, "REJECTED": Failed, "TIMEOUT": Failed, "EXPIRED": Failed,
}  # fmt: skip

# Codes of errors and of failures, by what they mean; None where the code contradicts a failure: ask again.
CODES: Mapping[Reason | None, tuple[str, ...]] = {
    Reason.INSUFFICIENT_FUNDS: ("NOT_ENOUGH_FUNDS", "LOW_BALANCE_OR_PAYEE_LIMIT_REACHED_OR_NOT_ALLOWED"),
    Reason.INTERNAL: ("INTERNAL_PROCESSING_ERROR", "ONGOING", "PAYER_DELAYED", "PAYEE_DELAYED"),
    Reason.LIMIT_REACHED: ("PAYER_LIMIT_REACHED", "PAYEE_LIMIT_REACHED"),
    Reason.PARTY_NOT_FOUND: ("PAYER_NOT_FOUND", "PAYEE_NOT_FOUND", "SENDER_ACCOUNT_NOT_ACTIVE"),
    Reason.PARTY_NOT_ALLOWED: ("PAYEE_NOT_ALLOWED_TO_RECEIVE",),
    Reason.REJECTED_BY_PAYER: ("APPROVAL_REJECTED", "PAYMENT_NOT_APPROVED", "TRANSACTION_CANCELED", "REJECTED"),
    Reason.EXPIRED: ("EXPIRED", "COULD_NOT_PERFORM_TRANSACTION", "TIMEOUT"),
    Reason.NOT_AUTHORISED: (
        "NOT_ALLOWED", "NOT_ALLOWED_TARGET_ENVIRONMENT", "ACCESS_DENIED", "FORBIDDEN_IP", "login_failed",
    ),
    Reason.BAD_REQUEST: ("INVALID_CALLBACK_URL_HOST", "INVALID_CURRENCY", "VALIDATION_ERROR", "INVALID_REFERENCE_ID"),
    Reason.SERVICE_UNAVAILABLE: ("SERVICE_UNAVAILABLE",),
    None: ("RESOURCE_NOT_FOUND", "TRANSACTION_NOT_FOUND", "RESOURCE_ALREADY_EXIST"),
}  # fmt: skip
REASONS: Mapping[str, Reason | None] = {code: reason for reason, codes in CODES.items() for code in codes}

# Codes about whoever pays: of money that goes out that is ourselves, never the person it goes to.
ABOUT_PAYER = frozenset({"PAYER_LIMIT_REACHED", "PAYER_NOT_FOUND", "SENDER_ACCOUNT_NOT_ACTIVE"})

# What is refused before anything is done (section 1.8): by HTTP status, and with 500 by a code of our configuration.
REFUSED = {400: Reason.BAD_REQUEST, 401: Reason.NOT_AUTHORISED, 403: Reason.NOT_AUTHORISED}
CONFIGURATION = {Reason.NOT_AUTHORISED, Reason.BAD_REQUEST}

# Every path begins with its product, and each product has its own token (and may have its own key and user).
PRODUCTS = ("collection", "disbursement")
PATHS = {
    Kind.COLLECTION: "collection/v1_0/requesttopay",
    Kind.DISBURSEMENT: "disbursement/v1_0/transfer",
    Kind.REFUND: "disbursement/v1_0/refund",
}
HOLDER = "collection/v1_0/accountholder/msisdn"

# X-Target-Environment -> country and its network in `phonenumbers` (wire/operators.md section 2).
NETWORKS = {
    "mtnghana": ("GH", "MTN"), "mtnuganda": ("UG", "MTN"), "mtnrwanda": ("RW", "MTN"), "mtnzambia": ("ZM", "MTN"),
    "mtnnigeria": ("NG", "MTN"), "mtncameroon": ("CM", "MTN Cameroon"), "mtnivorycoast": ("CI", "MTN"),
    "mtnbenin": ("BJ", "MTN"), "mtnguineaconakry": ("GN", "Areeba"), "mtnliberia": ("LR", "Lonestar Cell"),
    "mtncongo": ("CG", "MTN"), "mtnswaziland": ("SZ", "Swazi MTN"), "mtnsouthafrica": ("ZA", "MTN"),
    "mtnsouthsudan": ("SS", "MTN"),
}  # fmt: skip
COUNTRIES = dict(NETWORKS.values())

SANDBOX = "https://sandbox.momodeveloper.mtn.com"
PRODUCTION = "https://proxy.momoapi.mtn.com"
PRODUCTION_HOSTS = "proxy.momoapi.mtn."  # of all countries
SANDBOX_CURRENCY = "EUR"  # the only one the environment `sandbox` takes, whatever the country
NOTE_CHARS = 160
NAME_SEPTETS = 40
NAME_SECONDS = 2.0  # a person waits with the phone in hand
TOKEN_SECONDS = 3600.0


class Settings(Calling):
    """``MTN_MOMO_...``: key and user for all products, or one pair for each (sandbox users belong to one key)."""

    model_config = SettingsConfigDict(env_prefix="MTN_MOMO_")

    environment: str = Field("sandbox", pattern="^[!-~]+$", description="X-Target-Environment, such as mtnghana")
    base_url: str = Field("", description="leave empty for MTN's own sandbox or production host")
    collection_subscription_key: SecretStr | None = None
    collection_api_user: str | None = None
    collection_api_key: SecretStr | None = None
    disbursement_subscription_key: SecretStr | None = None
    disbursement_api_user: str | None = None
    disbursement_api_key: SecretStr | None = None
    subscription_key: SecretStr | None = Field(
        None, description="primary key of your subscription at momodeveloper.mtn.com, Profile; one per product"
    )
    api_user: str | None = Field(None, description="`ussd-app setup-momo` makes one; in production: Partner Portal")
    api_key: SecretStr | None = Field(None, description="`ussd-app setup-momo` makes it; in production: Partner Portal")
    one_wallet: bool = True  # collections and disbursements show one balance (section 1.5)
    steps: dict[str, PositiveInt] = Field({}, description='minor units, such as {"GHS": 10}; 1 where not listed')

    @field_validator("base_url")
    @classmethod
    def _host(cls, value: str, info: ValidationInfo) -> str:
        if value and not (value.startswith(("https://", "http://")) and urlsplit(value).hostname):
            raise ValueError("must be an http or https address")
        return value.rstrip("/") or (SANDBOX if info.data.get("environment") == "sandbox" else PRODUCTION)

    @field_validator("subscription_key", "api_user", "api_key")
    @classmethod
    def _covers(cls, value: object, info: ValidationInfo) -> object:
        if not value and not all(info.data.get(f"{product}_{info.field_name}") for product in PRODUCTS):
            raise ValueError("is not set")
        return value

    def credential(self, product: str, name: str) -> str:
        """A product's own ``subscription_key``, ``api_user`` or ``api_key``, else the shared one."""
        value = getattr(self, f"{product}_{name}") or getattr(self, name)
        return str(value.get_secret_value() if isinstance(value, SecretStr) else value)


class Operator:
    """MTN Mobile Money as payments.py asks for it."""

    name = "mtn_momo"
    brand = "MTN"
    refunds_from = Kind.DISBURSEMENT  # by the product of that name (section 1.5)
    deduplicates = frozenset(Kind)  # by X-Reference-Id, for ever

    def __init__(self, settings: Settings, http: httpx.AsyncClient, redis: Redis | None, clock: Clock) -> None:
        self.settings = settings
        self.one_float = settings.one_wallet
        here = NETWORKS.get(settings.environment)
        self.countries: Mapping[str, str] = dict([here]) if here else COUNTRIES
        self._client = Client(self.name, settings.base_url, http)
        self._tokens = Tokens(redis, clock)

    def step(self, currency: str) -> int:
        """The smallest difference between two amounts, in minor units."""
        return self.settings.steps.get(currency, 1)

    async def submit(self, request: Request) -> Status:
        """Ask for the movement; a reference MTN has already is the first request, alive (section 1.4)."""
        headers = {"X-Reference-Id": str(request.reference)}
        if self._may_call_back(request.callback_url):
            headers["X-Callback-Url"] = request.callback_url
        answer = await self._send("submit", "POST", PATHS[request.kind], headers, self._body(request))
        if answer.status == HTTPStatus.ACCEPTED or _said(answer, "code") == "RESOURCE_ALREADY_EXIST":
            return Pending()
        raise _error(answer, request.kind)

    async def check(self, request: Request) -> Status:
        """The present state of an earlier request; a final word about another amount or label raises Unknown."""
        told = _told(await self._send("check", "GET", f"{PATHS[request.kind]}/{request.reference}"))
        status = _status(told)
        if isinstance(status, Pending):
            return status
        if str(told.get("externalId") or request.label) != request.label:
            raise Unknown("the answer carries another externalId")
        if isinstance(status, Failed):
            return Failed(_ours(request.kind, status.raw) or status.reason, status.raw)
        if status.amount != Money.of(request.amount.decimal, self._currency(request.amount.currency)):
            raise Unknown(f"asked for {request.amount}, told {status.amount}")
        return Succeeded(status.receipt, request.amount)

    async def name_of(self, msisdn: Msisdn) -> str | None:
        """The account holder's name within NAME_SECONDS, else None: a confirm screen can do without."""
        try:
            async with asyncio.timeout(NAME_SECONDS):
                told = _told(await self._send("name_of", "GET", f"{HOLDER}/{msisdn.digits}/basicuserinfo"))
        except (ProviderError, TimeoutError):
            return None
        given, family = told.get("given_name"), told.get("family_name")
        return gsm.one_line(" ".join(part for part in (given, family) if isinstance(part, str)), NAME_SEPTETS) or None

    async def is_active(self, msisdn: Msisdn) -> bool:
        """Whether this number has a wallet that takes part; MTN says 404 or false where it has not (section 1.9)."""
        answer = await self._send("is_active", "GET", f"{HOLDER}/{msisdn.digits}/active")
        if answer.status == HTTPStatus.NOT_FOUND and _said(answer, "code"):
            return False
        match _told(answer):
            case {"result": bool(active)}:
                return active
        raise Unknown("no result in the answer")

    async def balance(self, kind: Kind, currency: str, _callback_url: str = "") -> Money:
        """What the product's account holds; in MTN's sandbox its euros are taken for ``currency``."""
        told = _told(await self._send("balance", "GET", f"{PATHS[kind].partition('/')[0]}/v1_0/account/balance"))
        if told.get("currency") != self._currency(currency):
            raise Unknown(f"the balance is not in {currency}")
        return money(told.get("availableBalance"), currency)

    def parse_callback(self, path: str, body: bytes) -> CallbackNote:
        """Read a callback: its reference stands in the path alone, its body is that of a status answer (1.6)."""
        try:
            reference = UUID(path.rpartition("/")[2])
        except ValueError:
            reference = None
        try:
            return CallbackNote(reference, _status(_told(Answer(200, {}, body))))
        except Unknown as error:
            told = Answer(200, {}, body).json()
            paid = isinstance(told, dict) and told.get("status") == PAID
            receipt = short(told.get("financialTransactionId", "")) if paid else ""
            return CallbackNote(reference, Claimed(error.detail, receipt=receipt) if paid else Pending(error.detail))

    async def token(self, product: str, refused: str | None = None) -> str:
        """An access token of one product, cached; ``refused`` is one that was just answered with 401."""
        basic = (self.settings.credential(product, name) for name in ("api_user", "api_key"))
        ours = account(self.settings.environment, product, *basic)
        return await self._tokens.get(self.name, ours, lambda: self._fetch(product), force_refresh=refused)

    async def _fetch(self, product: str) -> Token:
        """A token from MTN (section 1.3)."""
        basic = self.settings.credential(product, "api_user"), self.settings.credential(product, "api_key")
        key = {"Ocp-Apim-Subscription-Key": self.settings.credential(product, "subscription_key")}
        return await fetched(self._issued(product, basic, key), TOKEN_SECONDS)

    async def _issued(self, product: str, basic: tuple[str, str], key: dict[str, str]) -> dict[str, Any]:
        return _told(await self._client.call("token", "POST", f"{product}/token/", headers=key, auth=basic))

    async def _send(
        self, what: str, method: str, path: str, more: Mapping[str, str] | None = None, body: object = None
    ) -> Answer:
        """A call under its product's key and token."""
        product = path.partition("/")[0]
        headers = {
            **(more or {}),
            "X-Target-Environment": self.settings.environment,
            "Ocp-Apim-Subscription-Key": self.settings.credential(product, "subscription_key"),
        }
        return await self._client.authorised(
            what, method, path, lambda refused: self.token(product, refused), headers=headers, json=body
        )

    def _body(self, request: Request) -> dict[str, Any]:
        amount, note = request.amount, plain(request.note, NOTE_CHARS)
        body = {"amount": amount.plain, "currency": self._currency(amount.currency), "externalId": request.label}
        body |= {"payerMessage": note, "payeeNote": note}
        if request.kind is Kind.REFUND:
            return {**body, "referenceIdToRefund": str(request.refunds)}
        party = "payer" if request.kind is Kind.COLLECTION else "payee"
        return {**body, party: {"partyIdType": "MSISDN", "partyId": request.msisdn.digits}}

    def _currency(self, currency: str) -> str:
        """The currency on the wire."""
        return SANDBOX_CURRENCY if self.settings.environment == "sandbox" else currency

    def _may_call_back(self, url: str) -> bool:
        """An empty header is refused everywhere, plain http by MTN's production hosts (section 1.4)."""
        host = urlsplit(self.settings.base_url).hostname or ""
        return url.startswith("https://") or (url != "" and not host.startswith(PRODUCTION_HOSTS))


def _told(answer: Answer) -> dict[str, Any]:
    """The object a 200 carries; raises what any other answer means."""
    told = answer.json() if answer.status == HTTPStatus.OK else None
    if isinstance(told, dict):
        return told
    raise _error(answer)


def _error(answer: Answer, kind: Kind = Kind.COLLECTION) -> ProviderError:
    """What an answer that is no result says about the request (section 1.8)."""
    code = _said(answer, "code", "error")
    detail = f"HTTP {answer.status} {short(code or _said(answer, 'message'))}".strip()
    reason = _ours(kind, code) or REASONS.get(code)
    if answer.status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        return Throttled(answer.retry_after, detail, outage=answer.status in OUTAGES)
    if answer.status in REFUSED:
        return Rejected(reason or REFUSED[answer.status], detail)
    if _is_missing(answer):
        return Rejected(Reason.NOT_AUTHORISED, detail)
    if answer.status == HTTPStatus.INTERNAL_SERVER_ERROR and reason in CONFIGURATION:
        return Rejected(reason, detail)
    return Unknown(detail, outage=answer.status in OUTAGES or (answer.status == HTTPStatus.OK and not code))


def _ours(kind: Kind, code: str) -> Reason | None:
    """The reason where a code is about ourselves, who pay."""
    return Reason.PROVIDER_CONFIG if kind is not Kind.COLLECTION and code in ABOUT_PAYER else None


def _is_missing(answer: Answer) -> bool:
    """Whether the gateway knows no such address for us: the product is not ours, and its service was not reached."""
    return answer.status == HTTPStatus.NOT_FOUND and not _said(answer, "code") and bool(_said(answer, "message"))


def _said(answer: Answer, *members: str) -> str:
    """The first of these members of an error's body that is a text: services say `code`, the gateway only `message`."""
    told = answer.json()
    words = (told.get(member) for member in members) if isinstance(told, dict) else ()
    return next((word for word in words if isinstance(word, str)), "")


def _status(told: Mapping[str, Any]) -> Status:
    """What the body of a status answer or of a callback claims; raises Unknown where it claims nothing clear."""
    word = told.get("status")
    if not isinstance(word, str):
        raise Unknown("no status in the answer")
    meaning = STATUSES.get(word, Pending)
    if meaning is Succeeded:
        amount = money(told.get("amount"), told.get("currency"))
        return Succeeded(short(told.get("financialTransactionId", "")), amount)
    if meaning is Failed:
        match told.get("reason"):
            case str(code) | {"code": str(code)}:
                pass
            case _:
                code = word
        reason = REASONS.get(code, Reason.INTERNAL)
        if reason is None:
            raise Unknown(f"{word} because of {code}")
        return Failed(reason, short(code))
    return Pending(short(word))
