"""The Airtel Money Open API as its countries answer it (wire/momo.md section 2).

Any client id and secret are accepted but those that contain ``wrong``, and any PIN in digits but ``0000``. The
application is enabled for the sandbox's country alone. No summary of transactions is played: its answer is not known.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ussd_app.config import load
from ussd_app.money import Money
from ussd_app.msisdn import CURRENCIES
from ussd_app.sandbox.airtel import keys
from ussd_app.sandbox.airtel.answers import (
    DONE,
    WORDS,
    AirtelSwitches,
    Answers,
    answer,
    broken,
    failed,
    nobody,
    oauth_error,
    refused_inside,
)
from ussd_app.sandbox.airtel.numbers import national, subscriber
from ussd_app.sandbox.airtel.orders import PAYOUTS, Collection, Refund, Unreadable, money, read
from ussd_app.sandbox.airtel.payments import FAMILIES, NOT_FOUND, UNSIGNED, Kind, Payment, Payments, refused
from ussd_app.sandbox.books import merchant
from ussd_app.sandbox.country import Country, Handset
from ussd_app.sandbox.credentials import WRONG, Tokens, bearer
from ussd_app.sandbox.wire import Endpoint, Refused

POINTS = ("collection", "disbursement", "refund", "status", "account", "token", "keys")
# What a country's wallets hold beside its own currency, and what Airtel calls that elsewhere (wire/operators.md).
ALSO = {("CD", "USD"): "USD", ("GA", "CFA"): "XAF"}
KEY_DAYS = 30

Called = Callable[[Request, str], Awaitable[Response]]  # with the currency of the call


def environment(base_url: str, country: str) -> dict[str, str]:
    """What the client must be told to come here."""
    return {
        "AIRTEL_BASE_URL": base_url,
        "AIRTEL_COUNTRY": country,
        "AIRTEL_CLIENT_ID": "of-the-sandbox",
        "AIRTEL_CLIENT_SECRET": "of-the-sandbox",
        "AIRTEL_PIN": "1234",
    }


class Service:
    """Airtel Money: tokens, keys, collections, disbursements, refunds, enquiries, KYC, balance."""

    name = "airtel"
    points = tuple(f"airtel.{point}" for point in POINTS)

    def __init__(self, country: Country) -> None:
        self.switches = load(AirtelSwitches)
        self._country = country
        self._answers = Answers(self.switches)
        self._tokens: Tokens[str] = Tokens(country.clock)  # of a client id
        self._payments = Payments(country, self.switches)
        country.merchant(self.name, country.currency)

    def routes(self) -> list[Route]:
        """Every address that is played; whether one ends with a slash is as documented."""
        serve = self._country.wire.serve
        token = Route("/auth/oauth2/token", serve("airtel.token", self._token, broken), methods=["POST"])
        at = self._route
        routes = [
            token,
            at("keys", "GET", "/v1/rsa/encryption-keys", self._key),
            at("account", "GET", "/standard/v1/users/balance", self._balance),
            at("account", "GET", "/standard/v1/users/{msisdn}", self._user),
            at("status", "GET", "/standard/v1/payments/{id}", partial(self._show, "collection", "v1")),
        ]
        for version in ("v1", "v2"):
            routes += [
                at("collection", "POST", f"/merchant/{version}/payments/", partial(self._collect, version)),
                at("refund", "POST", f"/standard/{version}/payments/refund", partial(self._refund, version)),
            ]
        for version, slash in (("v1", "/"), ("v2", "/"), ("v3", "")):
            path = f"/standard/{version}/disbursements"
            shown = partial(self._show, "disbursement", version)
            routes += [
                at("disbursement", "POST", f"{path}{slash}", partial(self._disburse, version)),
                at("status", "GET", f"{path}/{{id}}", shown),
            ]
        return routes

    def _route(self, point: str, method: str, path: str, called: Called) -> Route:
        """An address that wants a token and the headers of a country."""

        async def endpoint(request: Request) -> Response:
            self._authorise(request, point)
            return await called(request, self._currency(request))

        served: Endpoint = self._country.wire.serve(f"{self.name}.{point}", endpoint, broken)
        return Route(path, served, methods=[method])

    # Tokens and headers (section 2.1)

    async def _token(self, request: Request) -> Response:
        try:
            asked = json.loads(await request.body())
            client, secret, grant = (asked[name] for name in ("client_id", "client_secret", "grant_type"))
        except (ValueError, KeyError, TypeError):
            raise oauth_error(400, "invalid_request", "The request is missing a required parameter") from None
        if grant != "client_credentials":
            raise oauth_error(400, "unsupported_grant_type", "The grant type is not supported")
        if not client or not secret or WRONG in f"{client} {secret}":
            raise oauth_error(401, "invalid_client", "Client authentication failed")
        seconds = self.switches.token_seconds
        shown = str(seconds) if self.switches.expires_in == "text" else seconds
        token = self._tokens.issue(str(client), seconds)
        return JSONResponse({"token_type": "bearer", "access_token": token, "expires_in": shown})

    def _authorise(self, request: Request, point: str) -> None:
        token = bearer(request)
        if self._country.faults.take(f"{self.name}.{point}", "token_expired"):
            self._tokens.withdraw(token)
        if not self._tokens.owner(token):
            raise oauth_error(401, "invalid_token", "The access token is invalid or has expired")

    def _currency(self, request: Request) -> str:
        """The currency a call's money is in: the headers name the country and it."""
        code, currency = request.headers.get("x-country", ""), request.headers.get("x-currency", "")
        if code not in CURRENCIES:
            raise self._answers.refused("ROUTER006")
        if code != self._country.code:
            raise self._answers.refused("ROUTER007")
        if not currency:
            raise self._answers.refused("ROUTER119")
        held = self._country.currency if currency == self._country.currency else ALSO.get((code, currency))
        if not held:
            raise self._answers.refused("ROUTER112")
        return held

    # Keys and signatures (section 2.2)

    async def _key(self, _request: Request, _currency: str) -> Response:
        until = self._country.clock.now() + timedelta(days=KEY_DAYS)
        data = {"key_id": "77", "key": keys.public_key(), "valid_upto": f"{until:%Y-%m-%d} 00:00:00"}
        return answer("Success", "DP02010001001", data=data)

    async def _signed(self, request: Request, version: str, kind: Kind) -> bytes:
        """The body, whose signature is right where one is wanted."""
        body = await request.body()
        signature, key = request.headers.get("x-signature", ""), request.headers.get("x-key", "")
        if self.switches.signing and version != "v1" and not keys.signed(body, signature, key):
            raise failed(FAMILIES[kind], UNSIGNED[kind])
        return body

    # Money (section 2.3)

    async def _collect(self, version: str, request: Request, currency: str) -> Response:
        body = await self._signed(request, version, "collection")
        try:
            order = read(Collection, body)
        except Unreadable as error:
            raise self._answers.refused(str(error)) from None
        asked = order.transaction
        if {order.subscriber.country, asked.country} != {self._country.code}:
            raise self._answers.refused("ESB000034")
        if {order.subscriber.currency, asked.currency} != {request.headers["x-currency"]}:
            raise self._answers.refused("ESB000035")
        handset = self._handset(order.subscriber.msisdn)
        if asked.id in self._payments:
            raise self._answers.refused("ESB000041")
        amount = self._amount(money(asked.amount, currency), "collection")
        self._cut_short(handset, "collection")
        payment = self._payments.accept("collection", asked.id, order.reference, handset, amount)
        await self._told_first(payment)
        self._cut_short(handset, "collection", taken=True)
        if not self._payments.has_wallet(handset):
            raise failed(FAMILIES["collection"], payment.code, {"transaction": {"id": asked.id, "status": "TF"}})
        # Samples of the first version show a word that looks final, and is not.
        word = "SUCCESS" if version == "v1" else "Success."
        code = FAMILIES["collection"] + self.switches.accepted_code
        return answer(word, code, data={"transaction": {"id": asked.id, "status": word}})

    async def _disburse(self, version: str, request: Request, currency: str) -> Response:
        body = await self._signed(request, version, "disbursement")
        try:
            order = read(PAYOUTS[version], body)
        except Unreadable as error:
            raise self._answers.refused(str(error)) from None
        if getattr(order.payee, "currency", request.headers["x-currency"]) != request.headers["x-currency"]:
            raise self._answers.refused("ESB000035")
        if fault := keys.pin_fault(order.pin, self.switches.pin_padding):
            raise self._answers.refused(fault)
        handset, asked = self._handset(order.payee.msisdn), order.transaction
        if asked.id in self._payments:
            raise failed(FAMILIES["disbursement"], "017")
        amount = self._amount(money(asked.amount, currency), "disbursement")
        self._cut_short(handset, "disbursement")
        payment = self._payments.accept("disbursement", asked.id, order.reference, handset, amount)
        self._cut_short(handset, "disbursement", taken=True)
        words = "Success" if payment.status == "TS" else payment.words
        shown = {"reference_id": payment.reference_id} | self._transaction(payment, said=False)
        return _standing(payment, payment.response_code, words, shown)

    def _cut_short(self, handset: Handset, kind: Kind, *, taken: bool = False) -> None:
        """Answer the outage or the refusal that a number stands for, before anything is taken or after it was."""
        fate = self._payments.fate(handset)
        if not fate or fate.taken != taken:
            return
        if fate.http:
            raise Refused(broken(fate.http))
        if fate.said == "field validation":
            raise self._answers.refused("ESB000008")
        if fate.said == "refused inside":
            raise refused_inside(FAMILIES[kind])
        if fate.said == "nobody" and kind == "collection":
            raise nobody()

    async def _told_first(self, payment: Payment) -> None:
        """Answer after the callback, where the plan or the number wants that."""
        first = payment.fate is not None and payment.fate.callback == "first"
        if first or self._country.faults.take("airtel.collection", "callback_first"):
            with suppress(TimeoutError):
                await asyncio.wait_for(payment.told.wait(), self.switches.prompt_seconds)

    async def _refund(self, version: str, request: Request, _currency: str) -> Response:
        body = await self._signed(request, version, "collection")
        try:
            money_id = read(Refund, body).transaction.airtel_money_id
        except Unreadable as error:
            raise self._answers.refused(str(error)) from None
        payment = self._payments.collected_as(money_id)
        if not payment:
            raise self._answers.refused("ESB000045")
        family, shown = FAMILIES["collection"], {"airtel_money_id": money_id, "status": "FAILED"}
        if code := self._payments.refund(payment):
            raise failed(family, code, {"transaction": shown})
        data = {"transaction": shown | {"status": "SUCCESS"}}
        return answer("SUCCESS", f"{family}001", data=data, success=self.switches.refund_flag)

    async def _show(self, kind: Kind, version: str, request: Request, _currency: str) -> Response:
        """The enquiry; of what is not known there is no transaction to show."""
        if version != "v1" and request.query_params.get("transactionType") not in {"B2C", "B2B"}:
            raise self._answers.refused("ROUTER003")
        payment = self._payments.find(kind, request.path_params["id"])
        if not payment:
            family, code = FAMILIES[kind], NOT_FOUND[kind]
            words = WORDS[family][code]
            return answer(words, family + code, data={}, success=False, result_code="ESB000045")
        payment = refused(payment) if payment.denied and payment.status == "TS" else payment
        words = "SUCCESS" if payment.status in {"TS", "TR"} else payment.words
        shown = self._answers.enquired(FAMILIES[kind], payment.code)
        return _standing(payment, shown, words, self._transaction(payment, said=True))

    def _transaction(self, payment: Payment, *, said: bool) -> dict[str, str]:
        """Where it stands, in words too if that is to be ``said``; Airtel's own id only once it is paid."""
        shown = {"airtel_money_id": payment.money_id} if payment.status in {"TS", "TR"} else {}
        shown |= {"id": payment.movement.reference}
        word = self.switches.pending_word if payment.status == "TIP" else payment.status
        return shown | ({"message": payment.words} if said else {}) | {"status": word}

    def _handset(self, msisdn: str) -> Handset:
        """The handset of a national number."""
        found = subscriber(msisdn, self._country.code)
        if not found.startswith("+"):
            raise self._answers.refused(found)
        return self._country.handset(found)

    def _amount(self, amount: Money | None, kind: Kind) -> Money:
        if amount is None:
            raise failed(FAMILIES[kind], "004")
        return amount

    # People and our balance (section 2.3)

    async def _user(self, request: Request, _currency: str) -> Response:
        handset = self._handset(request.path_params["msisdn"])
        if not self._payments.has_wallet(handset):
            return self._answers.no_user()
        given, _, family = handset.name.rpartition(" ")
        data = {
            "first_name": given or family,
            "last_name": family if given else "",
            "msisdn": national(handset.msisdn, self._country.code),
            "grade": "SUBS",
            "is_barred": not handset.can_receive,
            "is_pin_set": True,
            "registration": {"status": "SUBS"},
        }
        return answer("SUCCESS", "DP02200000001", data=data)

    async def _balance(self, request: Request, currency: str) -> Response:
        self._country.merchant(self.name, currency)
        held = self._country.books.balance(merchant(self.name), currency)
        shown = {"balance": f"{held.decimal:,.2f}", "currency": request.headers["x-currency"]}
        return answer("SUCCESS", "DP02100000001", data=shown | {"account_status": "Active"})


def _standing(payment: Payment, code: str | None, words: str, transaction: dict[str, str]) -> Response:
    good = payment.status in {"TS", "TIP", "TR"}
    return answer(words, code, data={"transaction": transaction}, success=good, result_code=DONE)
