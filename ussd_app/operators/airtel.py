"""Airtel Money: collections, disbursements and refunds over its Open API, versions 1 and 2 (wire/momo.md section 2).

A push that was taken is never a paid one, and a callback only a reason to ask. Codes and words: providers/airtel.py.
"""

import asyncio
import json
import os
import re
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import UUID

import httpx2 as httpx
import phonenumbers
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from pydantic import Field, PositiveInt, SecretStr, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict
from redis.asyncio import Redis

from ussd_app import gsm, networks
from ussd_app.clock import Clock
from ussd_app.config import Calling
from ussd_app.errors import ProviderError, Reason, Rejected, Throttled, Unknown
from ussd_app.http import RETRY_SECONDS, Answer
from ussd_app.money import Money
from ussd_app.msisdn import CURRENCIES, Msisdn
from ussd_app.operators import CallbackNote, Kind, Pending, Request, Status, Succeeded
from ussd_app.providers import airtel, rsa
from ussd_app.providers.client import Client, fetched, money, short
from ussd_app.providers.tokens import Token, Tokens, account

# Country -> its network in `phonenumbers` (wire/operators.md section 2).
COUNTRIES = dict.fromkeys(
    ("UG", "KE", "TZ", "RW", "ZM", "NG", "MW", "NE", "CD", "CG", "GA", "TD", "MG", "SC"), "Airtel"
)  # fmt: skip

PATHS = {
    Kind.COLLECTION: "merchant/{version}/payments/",
    Kind.DISBURSEMENT: "standard/{version}/disbursements/",
    Kind.REFUND: "standard/{version}/payments/refund",
}
COLLECTIONS = "standard/v1/payments/"  # where they are enquired about, whatever their version
PAYEES = "?transactionType=B2C"  # wanted by version 2 of a disbursement's enquiry
USERS = "standard/v1/users/"

UAT = "https://openapiuat.airtel.africa"
GROUPED = re.compile(r"[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?")
LABEL_CHARS = 64
NAME_SEPTETS = 40
NAME_SECONDS = 2.0  # a person waits with the phone in hand
TOKEN_SECONDS = 180.0


class Settings(Calling):
    """``AIRTEL_...``: one application, in one country."""

    model_config = SettingsConfigDict(env_prefix="AIRTEL_")

    client_id: str = Field(min_length=1, description="developers.airtel.africa, your application, Key Management")
    client_secret: SecretStr = Field(min_length=1, description="beside the client id")
    country: str = Field(description="ISO 3166 code of the country the application is enabled for, such as UG")
    currency: str = Field("", pattern="^([A-Z]{3})?$", description="where Airtel has a code of its own, such as CFA")
    base_url: str = Field(UAT, description="in production https://openapi.airtel.africa or your country's own host")
    version: Literal["v1", "v2"] = "v1"  # of collections, disbursements and refunds
    signing: bool = False  # message signing, as it is set for the application; of version 2 alone
    pin: SecretStr | None = Field(
        None, min_length=1, max_length=16, description="of the wallet that pays out; without it nobody can be paid"
    )
    pin_padding: rsa.Padding = "pkcs1"
    pin_public_key: str | None = Field(None, description="from the portal; asked for where it is not set")
    callback_hash_key: SecretStr | None = Field(None, description="private key in the application's callback settings")
    enforce_hash: bool = False  # refuse a callback whose hash does not fit
    leading_zero: bool = True  # is sent where it is part of the number (wire/operators.md section 6)
    one_wallet: bool = True
    steps: dict[str, PositiveInt] = Field({}, description='minor units, such as {"ZMW": 100}; else as networks.toml')

    @field_validator("country")
    @classmethod
    def _is_served(cls, value: str) -> str:
        if value not in COUNTRIES:
            raise ValueError(f"must be one of {', '.join(sorted(COUNTRIES))}")
        return value

    @field_validator("base_url")
    @classmethod
    def _host(cls, value: str) -> str:
        if not (value.startswith(("https://", "http://")) and urlsplit(value).hostname):
            raise ValueError("must be an http or https address")
        return value.rstrip("/")

    @field_validator("signing", "enforce_hash")
    @classmethod
    def _can(cls, value: object, info: ValidationInfo) -> object:
        if value and info.field_name == "signing" and info.data.get("version") == "v1":
            raise ValueError("needs AIRTEL_VERSION=v2")
        if value and info.field_name == "enforce_hash" and not info.data.get("callback_hash_key"):
            raise ValueError("needs AIRTEL_CALLBACK_HASH_KEY")
        return value

    @field_validator("pin_public_key")
    @classmethod
    def _is_key(cls, value: str | None) -> str | None:
        if value:
            airtel.usable_key(value)
        return value


class Operator:
    """Airtel Money as payments.py asks for it."""

    name = "airtel"
    brand = "Airtel"
    refunds_from = Kind.COLLECTION  # what was collected there goes back from there
    deduplicates = frozenset({Kind.COLLECTION, Kind.DISBURSEMENT})  # by transaction.id, which a refund has not

    def __init__(self, settings: Settings, http: httpx.AsyncClient, redis: Redis | None, clock: Clock) -> None:
        self.settings = settings
        self.one_float = settings.one_wallet
        self.countries: Mapping[str, str] = {settings.country: COUNTRIES[settings.country]}
        self._clock = clock
        self._held = CURRENCIES[settings.country]
        self._currency = settings.currency or self._held
        self._client = Client(self.name, settings.base_url, http)
        self._tokens = Tokens(redis, clock)
        self._key: tuple[RSAPublicKey, datetime] | None = None  # Airtel's, and until when it holds

    def step(self, currency: str) -> int:
        """The smallest difference between two amounts, in minor units."""
        return self.settings.steps.get(currency) or networks.step(self.settings.country, currency)

    async def submit(self, request: Request) -> Status:
        """Ask for the movement; an id Airtel has already is the first request, alive (section 2.4)."""
        if request.msisdn.country != self.settings.country:
            raise Rejected(Reason.PARTY_NOT_FOUND, "a number of another country")
        if request.amount.currency != self._held:
            raise Rejected(Reason.BAD_REQUEST, f"no wallet here holds {request.amount.currency}")
        if request.kind is Kind.DISBURSEMENT and not self.settings.pin:
            raise Rejected(Reason.NOT_AUTHORISED, "AIRTEL_PIN is not set")
        if request.kind is Kind.REFUND:
            return await self._give_back(request)
        said = await self._move(request.kind, self._body(request))
        if request.kind is Kind.COLLECTION and said.call_failed:
            return await self._made_sure(request, said)
        if said.taken(request.kind):
            return Pending(said.raw)
        # A disbursement's answer is its end where its code says so; a push's never, whatever it says (section 2.3).
        done = request.kind is Kind.DISBURSEMENT and said.meaning is Succeeded
        if done and said.receipt and said.ended(airtel.PAID, airtel.written(request.reference)):
            return Succeeded(said.receipt, request.amount)
        raise airtel.error(said)

    async def check(self, request: Request) -> Status:
        """The present state of an earlier request; that of a refund is its collection's, reversed or not yet."""
        if request.kind is Kind.REFUND:
            original = await self._original(request)
            return original if isinstance(original, Succeeded) else Pending(airtel.PAID)
        said = await self._enquired(request.kind, request.reference)
        return airtel.standing(said, request.reference, request.amount)

    async def name_of(self, msisdn: Msisdn) -> str | None:
        """The account holder's name within NAME_SECONDS, else None: a confirm screen can do without."""
        if msisdn.country != self.settings.country:
            return None
        try:
            async with asyncio.timeout(NAME_SECONDS):
                told = airtel.data(await self._user("name_of", msisdn), airtel.USER_FOUND)
        except (ProviderError, TimeoutError):
            return None
        names = told.get("first_name"), told.get("last_name")
        return gsm.one_line(" ".join(part for part in names if isinstance(part, str)), NAME_SEPTETS) or None

    async def is_active(self, msisdn: Msisdn) -> bool:
        """Whether this number has a wallet that takes part: registered, and not barred (section 2.3)."""
        if msisdn.country != self.settings.country:
            return False
        answer = await self._user("is_active", msisdn)
        if airtel.read(answer, Kind.COLLECTION).code == airtel.UNSEEN:
            answer = await self._user("is_active", msisdn)  # it is ambiguous once, and believed twice
        return airtel.takes_part(answer)

    async def balance(self, _kind: Kind, currency: str, _callback_url: str = "") -> Money:
        """What the wallet holds, told as a text with thousands separators (section 2.3)."""
        told = airtel.data(await self._get("balance", f"{USERS}balance"), airtel.BALANCE_FOUND)
        if told.get("currency") != self._currency or currency != self._held:
            raise Unknown(f"the balance is not in {currency}")
        held = str(told.get("balance"))
        return money(held.replace(",", "") if GROUPED.fullmatch(held) else held, currency)

    def parse_callback(self, _path: str, body: bytes) -> CallbackNote:
        """Read a callback, of collections alone and whose address is one for all (section 2.5)."""
        transaction = airtel.member(Answer(200, {}, body).json(), "transaction")
        reference = airtel.read_back(transaction.get("id"))
        return CallbackNote(reference, airtel.claimed(transaction), kind=Kind.COLLECTION)

    def authentic(self, _headers: Mapping[str, str], body: bytes) -> bool:
        """Whether a callback's hash fits one of the two ways of making it (2.5), where AIRTEL_ENFORCE_HASH asks."""
        key = self.settings.callback_hash_key
        if not self.settings.enforce_hash or key is None:
            return True
        return airtel.fits(key.get_secret_value(), Answer(200, {}, body).json())

    async def token(self, refused: str | None = None) -> str:
        """An access token, cached; ``refused`` is one that was just answered with 401."""
        secret = self.settings.client_secret.get_secret_value()
        ours = account(self.settings.base_url, self.settings.client_id, secret)
        return await self._tokens.get(self.name, ours, self._fetch, force_refresh=refused)

    async def _fetch(self) -> Token:
        """A token from Airtel, which lives for minutes (section 2.1)."""
        return await fetched(self._issued(), TOKEN_SECONDS)

    async def _issued(self) -> dict[str, Any]:
        secret = self.settings.client_secret.get_secret_value()
        body = {"client_id": self.settings.client_id, "client_secret": secret, "grant_type": "client_credentials"}
        answer = await self._client.call("token", "POST", "auth/oauth2/token", json=body)
        told = answer.json()
        if answer.status == HTTPStatus.OK and isinstance(told, dict):
            return told
        if answer.status in airtel.REFUSED:
            raise Rejected(Reason.NOT_AUTHORISED, f"no token: HTTP {answer.status}")
        raise airtel.error(airtel.read(answer, Kind.COLLECTION))

    async def _made_sure(self, request: Request, refused: airtel.Said) -> Status:
        """Where a push stands that was refused inside HTTP 200: failed, unless one enquiry knows of it (2.3)."""
        try:
            said = await self._enquired(request.kind, request.reference)
            if not said.unknown:
                return airtel.standing(said, request.reference, request.amount)
        except (Rejected, Throttled) as error:
            raise Unknown(f"refused, and not made sure of: {error.detail}", outage=error.outage) from error
        raise Rejected(Reason.INTERNAL, short(refused.code))

    async def _give_back(self, request: Request) -> Status:
        """Refund the whole collection; a refund has no id, so one that was made before is looked for first."""
        try:
            original = await self._original(request)
        except Unknown as error:
            raise _not_sent(error) from error
        if isinstance(original, Succeeded):
            return original
        receipt = request.receipt or original
        if not receipt:
            raise Throttled(RETRY_SECONDS, "no receipt to refund by")
        said = await self._move(Kind.REFUND, {"transaction": {"airtel_money_id": receipt}})
        if said.taken(Kind.REFUND):
            return Pending(said.raw)
        raise airtel.error(said)

    async def _original(self, request: Request) -> Succeeded | str:
        """The receipt of the collection to refund, or a refund's success where it is reversed; raises Unknown else."""
        reference = request.refunds or request.reference
        said = await self._enquired(Kind.COLLECTION, reference)
        if said.ended(airtel.REVERSED, airtel.written(reference)):
            return Succeeded(said.receipt or request.receipt, request.amount)
        if said.ended(airtel.PAID, airtel.written(reference)):
            return said.receipt
        raise airtel.error(said, airtel.CONFIGURATION)

    async def _enquired(self, kind: Kind, reference: UUID) -> airtel.Said:
        """What Airtel says of an earlier movement."""
        path = f"{COLLECTIONS}{airtel.written(reference)}"
        if kind is Kind.DISBURSEMENT:
            path = f"{self._path(kind)}{airtel.written(reference)}{PAYEES if self.settings.version == 'v2' else ''}"
        return airtel.read(await self._get("check", path), kind)

    async def _user(self, what: str, msisdn: Msisdn) -> Answer:
        # Short numbers of some countries would pass for no number in a log.
        return await self._get(what, f"{USERS}{self._national(msisdn)}", shown=f"{USERS}{msisdn.masked}")

    async def _get(self, what: str, path: str, shown: str = "") -> Answer:
        headers = self._headers()
        return await self._client.authorised(what, "GET", path, self.token, headers=headers, shown=shown)

    async def _move(self, kind: Kind, body: dict[str, Any]) -> airtel.Said:
        """A call that moves money, made once more where Airtel has another public key by now (section 2.2)."""
        asks_key = self.settings.signing or (kind is Kind.DISBURSEMENT and not self.settings.pin_public_key)
        key = await self._public_key() if asks_key else None
        said = await self._post(kind, body, key)
        if key and said.code in airtel.STALE_KEY:
            fresh = await self._public_key(refused=key)
            said = await self._post(kind, body, fresh) if fresh != key else said
        return said

    async def _post(self, kind: Kind, body: dict[str, Any], key: RSAPublicKey | None) -> airtel.Said:
        """One call, whose signature is of the very bytes that are sent."""
        settings, headers = self.settings, self._headers()
        pin_key = rsa.public_key(settings.pin_public_key) if settings.pin_public_key else key
        if kind is Kind.DISBURSEMENT and settings.pin and pin_key:
            pin = settings.pin.get_secret_value().encode()
            body = {**body, "pin": rsa.encrypt(pin_key, pin, settings.pin_padding)}
        content = json.dumps(body, separators=(",", ":")).encode()
        if settings.signing and key:
            headers["x-signature"], headers["x-key"] = rsa.signature(key, content, os.urandom(32), os.urandom(16))
        path = self._path(kind)
        answer = await self._client.authorised("submit", "POST", path, self.token, headers=headers, content=content)
        return airtel.read(answer, kind)

    async def _public_key(self, refused: RSAPublicKey | None = None) -> RSAPublicKey:
        """Airtel's public key, kept for as long as it says; nothing has been asked for where there is none."""
        now = self._clock.now()
        if self._key and self._key[0] != refused and now < self._key[1]:
            return self._key[0]
        try:
            told = airtel.data(await self._get("public_key", "v1/rsa/encryption-keys"), airtel.KEY_FOUND)
            self._key = airtel.usable_key(str(told.get("key"))), airtel.until(told.get("valid_upto"), now)
        except Unknown as error:
            raise _not_sent(error) from error
        except ValueError as error:
            raise Throttled(RETRY_SECONDS, "no public key in the answer", outage=True) from error
        return self._key[0]

    def _headers(self) -> dict[str, str]:
        where = {"X-Country": self.settings.country, "X-Currency": self._currency}
        return {**where, "Content-Type": "application/json", "Accept": "*/*"}

    def _path(self, kind: Kind) -> str:
        return PATHS[kind].format(version=self.settings.version)

    def _national(self, msisdn: Msisdn) -> str:
        """A number without its country's code; a 0 that leads it there is part of it (wire/operators.md section 6)."""
        national = phonenumbers.national_significant_number(phonenumbers.parse(str(msisdn), None))
        return national if self.settings.leading_zero else national.lstrip("0")

    def _body(self, request: Request) -> dict[str, Any]:
        """What is asked for, but the PIN."""
        where = {"country": self.settings.country, "currency": self._currency}
        party = {"msisdn": self._national(request.msisdn)}
        decimal = request.amount.decimal
        amount = int(decimal) if decimal == int(decimal) else float(decimal)
        transaction = {"amount": amount, "id": airtel.written(request.reference)}
        label = {"reference": re.sub(r"[^A-Za-z0-9]", "", request.label)[:LABEL_CHARS]}
        if request.kind is Kind.COLLECTION:
            return {**label, "subscriber": {**where, **party}, "transaction": {**transaction, **where}}
        if self.settings.version == "v2":
            party, transaction = {**party, "currency": self._currency}, {**transaction, "type": "B2C"}
        return {"payee": party, **label, "transaction": transaction}


def _not_sent(error: Unknown) -> Throttled:
    """What it means for a movement that a question before it had no answer: it did not leave."""
    return Throttled(RETRY_SECONDS, f"not sent: {error.detail}", outage=error.outage, alert=error.alert)
