"""MTN SMS, the MADAPI of the developer portal: token, v3 send, subscription, receipts (wire/sms.md section 3).

Any consumer key and secret are accepted but those that contain ``wrong``.
"""

import secrets
from datetime import datetime
from functools import partial
from itertools import count
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_settings import NoDecode, SettingsConfigDict
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ussd_app.config import load
from ussd_app.sandbox.country import Country
from ussd_app.sandbox.credentials import WRONG, Tokens, basic, bearer
from ussd_app.sandbox.switches import Switches
from ussd_app.sandbox.wire import Endpoint, Refused

OUTBOUND = "/v3/sms/messages/sms/outbound"
SUBSCRIPTION = "/v3/sms/messages/sms/subscription"

# statusCode -> HTTP status (section 3.5), of those the sandbox says by itself.
ERRORS = {
    "1000": (404, "Not found"),
    "3000": (503, "Service not available"),
    "3001": (500, "System error"),
    "3006": (429, "Rate exceeded"),
    "4000": (401, "Unauthorized"),
    "4004": (403, "Service code already subscribed"),
    "5000": (400, "Invalid parameters"),
}
OUTAGES = {500: "3001", 503: "3000", 429: "3006"}


class MtnSwitches(Switches):
    """What the specification and recorded traffic disagree about, and how long things take."""

    model_config = SettingsConfigDict(env_prefix="SANDBOX_MTN_")

    token_seconds: int = 3599
    receipts: Annotated[tuple[str, ...], NoDecode] = ("DELIVERED",)  # in order; DELIVRD and ENROUTE are met too
    receipt_shape: Literal["spec", "recorded"] = "spec"
    receipt_seconds: float = 0.2  # before each receipt
    report_url: str = ""  # for service codes nobody subscribed


class Outbound(BaseModel):
    """The body of a v3 send (section 3.2): bare digits, a correlator of 36 characters at most."""

    model_config = ConfigDict(alias_generator=to_camel, strict=True)

    message: str = Field(min_length=1)
    receiver_address: list[Annotated[str, Field(pattern=r"^[0-9]{6,15}$")]] = Field(min_length=1)
    client_correlator_id: str = Field(min_length=1, max_length=36)
    service_code: str = Field(min_length=1)
    sender_address: str | None = None
    request_delivery_receipt: bool = False


class Subscription(BaseModel):
    """The body of a subscription (section 3.4)."""

    model_config = ConfigDict(alias_generator=to_camel, strict=True)

    callback_url: str = Field(min_length=1)
    target_system: str = Field(min_length=1)
    service_code: str = Field(min_length=1)
    delivery_report_url: str | None = None


def environment(base_url: str, _country: str) -> dict[str, str]:
    """What the client must be told to come here."""
    return {
        "MTN_SMS_BASE_URL": base_url,
        "MTN_CONSUMER_KEY": "of-the-sandbox",
        "MTN_CONSUMER_SECRET": "of-the-sandbox",
        "MTN_SMS_SERVICE_CODE": "920",
    }


class Service:
    """MTN SMS v3."""

    name = "mtn"
    points = ("mtn.token", "mtn.sms", "mtn.subscription")

    def __init__(self, country: Country) -> None:
        self.switches = load(MtnSwitches)
        self._country = country
        self._tokens: Tokens[str] = Tokens(country.clock)  # of consumer keys
        self._subscriptions: dict[str, Subscription] = {}
        self._receipt_ids = count(1)

    def routes(self) -> list[Route]:
        """Both token paths, sending, and subscriptions."""
        at, one = self._route, f"{SUBSCRIPTION}/{{subscription}}"
        return [
            at("token", "POST", "/v1/oauth/access_token", self._token),
            at("token", "POST", "/v1/oauth/access_token/accesstoken", self._token),
            at("sms", "POST", OUTBOUND, self._send),
            at("subscription", "POST", SUBSCRIPTION, self._subscribe),
            at("subscription", "PATCH", one, self._change_subscription),
            at("subscription", "DELETE", one, self._unsubscribe),
        ]

    def _route(self, point: str, method: str, path: str, endpoint: Endpoint) -> Route:
        def broken(status: int) -> Response:
            if status == 404:  # noqa: PLR2004 - HTTP's own number; the platform's shape for it has no code
                return JSONResponse({"status": 404, "error": "Not Found", "message": "", "path": path}, 404)
            return self._error(OUTAGES[status], method, path)

        return Route(path, self._country.wire.serve(f"{self.name}.{point}", endpoint, broken), methods=[method])

    async def _token(self, request: Request) -> Response:
        """Form fields or HTTP Basic; ``expires_in`` is a string (section 3.1)."""
        form = {key: values[0] for key, values in parse_qs((await request.body()).decode("utf-8", "replace")).items()}
        if request.query_params.get("grant_type", form.get("grant_type")) != "client_credentials":
            return JSONResponse({"error": "unsupported_grant_type"}, 400)
        key, secret = basic(request)
        key, secret = key or form.get("client_id", ""), secret or form.get("client_secret", "")
        if not key or not secret or WRONG in key + secret:
            return JSONResponse({"error": "invalid_client"}, 401)
        seconds = self.switches.token_seconds
        token = self._tokens.issue(key, seconds)
        return JSONResponse({"access_token": token, "token_type": "BearerToken", "expires_in": str(seconds)})

    async def _send(self, request: Request) -> Response:
        body = await request.body()
        self._authorise(request, "sms")
        try:
            sms = Outbound.model_validate_json(body)
        except ValidationError:
            raise self._refused("5000", request) from None
        transaction, submitted = secrets.token_hex(8), self._country.clock.now()
        for receiver in sms.receiver_address:
            self._country.deliver(self.name, receiver, sms.sender_address or sms.service_code, sms.message)
            await self._report(sms, receiver, transaction, submitted)
        return _ok(transaction, {"status": "PENDING"})

    async def _subscribe(self, request: Request) -> Response:
        body = await request.body()
        self._authorise(request, "subscription")
        try:
            subscription = Subscription.model_validate_json(body)
        except ValidationError:
            raise self._refused("5000", request) from None
        if any(other.service_code == subscription.service_code for other in self._subscriptions.values()):
            raise self._refused("4004", request)
        key = secrets.token_hex(8)
        self._subscriptions[key] = subscription
        return _ok(secrets.token_hex(8), {"subscriptionId": key})

    async def _change_subscription(self, request: Request) -> Response:
        body = await request.body()
        key, present = self._subscription(request)
        try:
            change = Subscription.model_validate_json(body)
        except ValidationError:
            raise self._refused("5000", request) from None
        if change.service_code != present.service_code:
            raise self._refused("5000", request)
        self._subscriptions[key] = change
        return _ok(secrets.token_hex(8), {"subscriptionId": key})

    async def _unsubscribe(self, request: Request) -> Response:
        key, _ = self._subscription(request)
        del self._subscriptions[key]
        return _ok(secrets.token_hex(8), {"subscriptionId": key})

    def _subscription(self, request: Request) -> tuple[str, Subscription]:
        self._authorise(request, "subscription")
        key = request.path_params["subscription"]
        if key not in self._subscriptions:
            raise self._refused("1000", request)
        return key, self._subscriptions[key]

    def _authorise(self, request: Request, point: str) -> None:
        token = bearer(request)
        if self._country.faults.take(f"{self.name}.{point}", "token_expired"):
            self._tokens.withdraw(token)
        if self._tokens.owner(token) is None:
            raise self._refused("4000", request)

    async def _report(self, sms: Outbound, receiver: str, transaction: str, submitted: datetime) -> None:
        """Receipts come only where they were asked for and somebody subscribed the code (section 3.4)."""
        url = self._report_url(sms.service_code)
        if not sms.request_delivery_receipt or not url:
            return
        reachable = self._country.handset(receiver).reachable
        words = self.switches.receipts if reachable else (*self.switches.receipts[:-1], "UNDELIVERED")
        if self._country.faults.take("mtn.sms", "reordered_report"):
            words = words[::-1]
        first = self._country.faults.take("mtn.sms", "report_first")
        for turn, word in enumerate(words, start=1):
            send = partial(self._send_receipt, url, sms, receiver, transaction, submitted, word)
            if first:
                await send()
            else:
                self._country.background.later(turn * self.switches.receipt_seconds, send)

    async def _send_receipt(
        self, url: str, sms: Outbound, receiver: str, transaction: str, submitted: datetime, word: str
    ) -> None:
        receipt = self._receipt(sms, receiver, transaction, submitted, word)
        await self._country.wire.notify("mtn.sms", "report", "POST", url, json=receipt)

    def _report_url(self, service_code: str) -> str:
        subscribed = (s.delivery_report_url for s in self._subscriptions.values() if s.service_code == service_code)
        return next(subscribed, None) or self.switches.report_url or self._country.callback_urls.get(self.name, "")

    def _receipt(
        self, sms: Outbound, receiver: str, transaction: str, submitted: datetime, word: str
    ) -> dict[str, Any]:
        common = {
            "deliveryStatus": word,
            "senderAddress": sms.sender_address or sms.service_code,
            "receiverAddress": receiver,
            "submittedDate": submitted.isoformat(),
        }
        if self.switches.receipt_shape == "recorded":
            return {"TransactionID": transaction, "clientCorrelator": sms.client_correlator_id, **common}
        done = self._country.clock.now().isoformat()
        rest = {"details": "", "completedDate": done, "id": next(self._receipt_ids), "error": None}
        return {"clientCorrelatorId": sms.client_correlator_id, **common, **rest}

    def _refused(self, code: str, request: Request) -> Refused:
        return Refused(self._error(code, request.method, request.url.path))

    def _error(self, code: str, method: str, path: str) -> Response:
        """The envelope of section 3.5."""
        status, message = ERRORS[code]
        envelope = {"statusCode": code, "statusMessage": message, "supportMessage": message}
        at = {"timestamp": self._country.clock.now().isoformat(), "path": path, "method": method}
        return JSONResponse({**envelope, "transactionId": secrets.token_hex(8), **at}, status)


def _ok(transaction: str, data: dict[str, str]) -> Response:
    answer = {"statusCode": "0000", "statusMessage": "Successful", "transactionId": transaction, "data": data}
    return JSONResponse(answer)
