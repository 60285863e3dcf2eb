"""The MTN MoMo API as its sandbox and its countries answer it (wire/momo.md section 1).

Any subscription key is accepted and bound to the API user provisioned with it; API users that were not provisioned here
are accepted with any key, as those of a live country. A key that contains ``wrong`` is wrong.
"""

import asyncio
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import urlsplit

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ussd_app.config import load
from ussd_app.money import InvalidAmount, Money, parse
from ussd_app.msisdn import CURRENCIES
from ussd_app.sandbox.books import merchant
from ussd_app.sandbox.country import Country
from ussd_app.sandbox.credentials import WRONG, Tokens, basic, bearer
from ussd_app.sandbox.mtn_momo.answers import broken, refused, service, unauthorised
from ussd_app.sandbox.mtn_momo.numbers import ACTIVE, suffix
from ussd_app.sandbox.mtn_momo.payments import RESOURCES, SANDBOX_CURRENCY, MomoSwitches, Order, Payments, Resource
from ussd_app.sandbox.wire import Endpoint, Refused

PRODUCTS = ("collection", "disbursement", "remittance")

# X-Target-Environment -> currency (section 1.1); the sandbox knows EUR alone.
COUNTRIES = {
    "mtnuganda": "UG", "mtnghana": "GH", "mtnivorycoast": "CI", "mtnzambia": "ZM", "mtncameroon": "CM",
    "mtnbenin": "BJ", "mtncongo": "CG", "mtnswaziland": "SZ", "mtnguineaconakry": "GN", "mtnsouthafrica": "ZA",
    "mtnliberia": "LR", "mtnrwanda": "RW", "mtnnigeria": "NG", "mtnsouthsudan": "SS",
}  # fmt: skip
ENVIRONMENTS = {"sandbox": SANDBOX_CURRENCY, **{name: CURRENCIES[country] for name, country in COUNTRIES.items()}}


@dataclass(frozen=True, slots=True)
class ApiUser:
    """A provisioned user, bound to the subscription key it was made with; ``key`` is None until one is issued."""

    host: str
    subscription_key: str
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and the currency of the environment they call in."""

    user: str
    currency: str


def environment(base_url: str, country: str) -> dict[str, str]:
    """What the client must be told to come here; the country's own target environment where MTN has one."""
    return {
        "MTN_MOMO_BASE_URL": base_url,
        "MTN_MOMO_ENVIRONMENT": next((name for name, code in COUNTRIES.items() if code == country), "sandbox"),
        "MTN_MOMO_SUBSCRIPTION_KEY": "of-the-sandbox",
        "MTN_MOMO_API_USER": "5a9d0b5e-0000-4000-8000-000000000001",
        "MTN_MOMO_API_KEY": "of-the-sandbox",
    }


class Service:
    """MTN MoMo: provisioning, tokens, collections, disbursements, refunds, deposits, account holders, balance."""

    name = "mtn_momo"
    points = (*(r.point for r in RESOURCES), *(f"mtn_momo.{p}" for p in ("status", "token", "account", "provisioning")))

    def __init__(self, country: Country) -> None:
        self.switches = load(MomoSwitches)
        self._country = country
        self._users: dict[str, ApiUser] = {}
        self._tokens: Tokens[tuple[str, str]] = Tokens(country.clock)  # of (API user, product)
        self._payments = Payments(country, self.switches)
        country.merchant(self.name, country.currency)

    def routes(self) -> list[Route]:
        """Every address that is played; no other is, so ``/token`` without its slash and v2 transfers are 404."""
        at = self._route
        routes = [
            at("provisioning", "POST", "/v1_0/apiuser", self._create_user),
            at("provisioning", "GET", "/v1_0/apiuser/{user}", self._show_user),
            at("provisioning", "POST", "/v1_0/apiuser/{user}/apikey", self._create_key),
        ]
        for product in PRODUCTS:
            holder, balance = f"/{product}/v1_0/accountholder/msisdn/{{msisdn}}", f"/{product}/v1_0/account/balance"
            routes += [
                at("token", "POST", f"/{product}/token/", partial(self._token, product)),
                at("account", "GET", f"{holder}/active", partial(self._active, product)),
                at("account", "GET", f"{holder}/basicuserinfo", partial(self._user_info, product)),
                at("account", "GET", balance, partial(self._balance, product)),
                at("account", "GET", f"{balance}/{{currency}}", partial(self._balance, product)),
            ]
        for resource in RESOURCES:
            routes += [
                at(resource.kind, "POST", f"/{resource.product}/{v}/{resource.path}", partial(self._create, resource))
                for v in resource.versions
            ]
            status = f"/{resource.product}/v1_0/{resource.path}/{{reference}}"
            routes.append(at("status", "GET", status, partial(self._show, resource)))
        return routes

    def _route(self, point: str, method: str, path: str, endpoint: Endpoint) -> Route:
        return Route(path, self._country.wire.serve(f"{self.name}.{point}", endpoint, broken), methods=[method])

    # Provisioning (section 1.2)

    async def _create_user(self, request: Request) -> Response:
        key, user = _subscription_key(request), self._reference(request)
        try:
            host = (await request.json())["providerCallbackHost"]
        except (ValueError, KeyError, TypeError):
            raise self._bad_request() from None
        if not isinstance(host, str) or not re.fullmatch(r"[A-Za-z0-9.-]+", host):
            raise self._bad_request()
        if user in self._users:
            raise refused("RESOURCE_ALREADY_EXIST")
        self._users[user] = ApiUser(host, key)
        return Response(status_code=201)

    async def _show_user(self, request: Request) -> Response:
        return JSONResponse({"providerCallbackHost": self._user(request).host, "targetEnvironment": "sandbox"})

    async def _create_key(self, request: Request) -> Response:
        key = secrets.token_hex(16)
        self._users[request.path_params["user"]] = replace(self._user(request), key=key)
        return JSONResponse({"apiKey": key}, 201)

    def _user(self, request: Request) -> ApiUser:
        _subscription_key(request)
        user = self._users.get(request.path_params["user"])
        if not user:
            raise refused("RESOURCE_NOT_FOUND")
        return user

    # Tokens (section 1.3)

    async def _token(self, product: str, request: Request) -> Response:
        _subscription_key(request)
        if await request.body():
            raise self._bad_request()
        user, key = basic(request)
        known = self._users.get(user)
        if not user or not key or WRONG in key or (known and known.key != key):
            return JSONResponse({"error": "login_failed"}, 401)
        seconds = self.switches.token_seconds
        token = self._tokens.issue((user, product), seconds)
        return JSONResponse({"access_token": token, "token_type": "access_token", "expires_in": seconds})

    def _caller(self, request: Request, product: str, point: str) -> Caller:
        key, token = _subscription_key(request), bearer(request)
        if self._country.faults.take(f"{self.name}.{point}", "token_expired"):
            self._tokens.withdraw(token)
        session = self._tokens.owner(token)
        if not session:
            raise unauthorised("Unauthorized")
        user, made_for = session
        if made_for != product:
            raise refused("NOT_ALLOWED")
        environment = request.headers.get("x-target-environment", "")
        known = self._users.get(user)
        if environment not in ENVIRONMENTS or (known and (known.subscription_key != key or environment != "sandbox")):
            raise refused("NOT_ALLOWED_TARGET_ENVIRONMENT")
        return Caller(user, ENVIRONMENTS[environment])

    # Money (section 1.4 and 1.5)

    async def _create(self, resource: Resource, request: Request) -> Response:
        body = await request.body()
        caller = self._caller(request, resource.product, resource.kind)
        reference = self._reference(request)
        if reference == caller.user:
            raise self._bad_request()
        order, amount = self._order(resource, body)
        if order.currency != caller.currency:
            raise refused("INVALID_CURRENCY")
        callback_url = self._callback_url(request, caller)
        payment = self._payments.accept(resource, reference, order, amount, callback_url)
        if self._country.faults.take(resource.point, "callback_first"):
            with suppress(TimeoutError):
                await asyncio.wait_for(payment.told.wait(), self.switches.prompt_seconds)
        return Response(status_code=202)

    async def _show(self, resource: Resource, request: Request) -> Response:
        self._caller(request, resource.product, "status")
        payment = self._payments.find(resource, request.path_params["reference"].lower())
        if not payment:
            raise refused("RESOURCE_NOT_FOUND")
        return JSONResponse(self._payments.shown(payment))

    def _reference(self, request: Request) -> str:
        """The reference id: a UUID of version 4 and no other, in any case of letters."""
        text = request.headers.get("x-reference-id", "").lower()
        if not re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", text):
            raise self._bad_request()
        return text

    def _order(self, resource: Resource, body: bytes) -> tuple[Order, Money]:
        try:
            order = Order.model_validate_json(body)
            amount = parse(order.amount, order.currency)
        except (ValidationError, InvalidAmount):
            raise self._bad_request() from None
        named = order.payer if resource.party == "payer" else order.payee
        if (order.reference_id_to_refund if resource.kind == "refund" else named) is None:
            raise self._bad_request()
        return order, amount

    def _callback_url(self, request: Request, caller: Caller) -> str | None:
        """Where to call back; an empty header is worse than none (section 1.4)."""
        url = request.headers.get("x-callback-url")
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise self._bad_request()
        known = self._users.get(caller.user)
        if known and parts.hostname != known.host.lower():
            raise refused("INVALID_CALLBACK_URL_HOST")
        return url

    # Account holders and our balance (section 1.5)

    async def _active(self, product: str, request: Request) -> Response:
        currency = self._caller(request, product, "account").currency
        msisdn = request.path_params["msisdn"]
        result = ACTIVE.get(suffix(msisdn) or 0)
        if isinstance(result, str):
            return service(result)
        if result is None:
            result = self._payments.has_wallet(self._country.handset(msisdn), currency)
        return JSONResponse({"result": result})

    async def _user_info(self, product: str, request: Request) -> Response:
        currency = self._caller(request, product, "account").currency
        handset = self._country.handset(request.path_params["msisdn"])
        if not self._payments.has_wallet(handset, currency):
            raise refused("RESOURCE_NOT_FOUND")
        given, _, family = handset.name.rpartition(" ")
        person = {"sub": handset.msisdn, "given_name": given or family, "family_name": family if given else ""}
        fixed = {"birthdate": "1990-01-01", "locale": "en", "gender": "FEMALE", "status": "ACTIVE"}
        return JSONResponse(person | fixed)

    async def _balance(self, product: str, request: Request) -> Response:
        currency = self._caller(request, product, "account").currency
        if request.path_params.get("currency", currency) != currency:
            raise refused("INVALID_CURRENCY")
        self._country.merchant(self.name, currency)
        balance = self._country.books.balance(merchant(self.name), currency)
        return JSONResponse({"availableBalance": balance.plain, "currency": currency})

    def _bad_request(self) -> Refused:
        return (
            Refused(Response(status_code=400)) if self.switches.bad_request == "empty" else refused("VALIDATION_ERROR")
        )


def _subscription_key(request: Request) -> str:
    key = request.headers.get("ocp-apim-subscription-key", "")
    if not key or WRONG in key:
        raise unauthorised(f"Access denied due to {'invalid' if key else 'missing'} subscription key.")
    return key
