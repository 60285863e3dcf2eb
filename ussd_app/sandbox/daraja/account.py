"""Our account at Daraja, what every part of the imitation shares: tokens, ids, error answers, bodies read."""

import asyncio
import re
from base64 import b64decode
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import count
from typing import Literal, TypeVar

from pydantic import ValidationError
from pydantic_settings import SettingsConfigDict
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ussd_app.sandbox.country import Country, Handset
from ussd_app.sandbox.credentials import WRONG, Tokens, basic, bearer
from ussd_app.sandbox.daraja.answers import ERRORS, Body
from ussd_app.sandbox.daraja.numbers import Fate
from ussd_app.sandbox.switches import Switches
from ussd_app.sandbox.wire import Endpoint, Refused

OF_THE_SANDBOX = "of-the-sandbox"
NETWORK = "Safaricom"
NAIROBI = timedelta(hours=3)  # ahead of UTC, all year
OUTAGES = {
    500: ("500.003.1001", "Internal Server Error"),
    503: ("500.002.1001", "Service unavailable"),
    429: ("500.003.02", ""),
    404: ("404.003.01", ""),
}

BodyClass = TypeVar("BodyClass", bound=Body)


class DarajaSwitches(Switches):
    """What the documents and the measurements disagree about, and how long things take."""

    model_config = SettingsConfigDict(env_prefix="SANDBOX_DARAJA_")

    token_seconds: int = 3599
    new_token_ends_former: bool = False
    stale_answer: Literal["404.001.03", "400.003.01", "401"] = "404.001.03"  # what is answered to one
    production: bool = False  # addresses must be https, and a till's are registered once
    outcomes_by_number: bool = True

    prompt_seconds: float = 60.0  # until an unanswered prompt is gone
    unanswered: Literal["1037", "1032", "1019"] = "1037"  # what it then ends with
    busy: Literal["result", "refused"] = "result"  # 1001 in the callback, or 500.001.1001 at once
    prompt_gap_seconds: float = 0.0  # between two prompts to one number; the real one wants 60
    pending: Literal["500.001.1001", "4999"] = "500.001.1001"  # what a query says meanwhile
    items: Literal["usual", "reversed"] = "usual"  # the order of CallbackMetadata
    masked_phone: bool = False  # in CallbackMetadata

    initiator_password: str = OF_THE_SANDBOX
    result_seconds: float = 0.0  # before a command is done
    queue_seconds: float = 10.0  # before one that waits too long is given up
    result_parameters: Literal["list", "single"] = "list"  # "single": one parameter alone, which is no list then
    reference_item: Literal["object", "list"] = "object"
    v1_msisdn: Literal["hash", "plain"] = "hash"  # in what a till registered with v1 is told


class Account:
    """Tokens, ids, and answers that are alike everywhere."""

    name = "daraja"

    def __init__(self, country: Country, switches: DarajaSwitches) -> None:
        self.country = country
        self.switches = switches
        self._tokens: Tokens[str] = Tokens(country.clock)  # of consumer keys
        self._newest: dict[str, str] = {}  # consumer key -> token
        self._numbers = count(1)
        self._receipts = count(int("SB00001", 36))
        self._requests = count(1)
        country.merchant(self.name, country.currency)

    def routes(self) -> list[Route]:
        """Tokens."""
        return [self.route("token", "GET", "/oauth/v1/generate", self._token)]

    def route(self, point: str, method: str, path: str, endpoint: Endpoint) -> Route:
        """An address that meets the faults planned for ``point``."""
        serve = self.country.wire.serve
        return Route(path, serve(f"{self.name}.{point}", endpoint, self.broken), methods=[method])

    # Answers

    def error(self, code: str, named: str = "", status: int | None = None) -> Response:
        """An error in the shape all have (section 3.1), with the HTTP status of its code unless told otherwise."""
        usual, message = ERRORS[code]
        request = f"0000-demo-{next(self._requests)}"
        body = {"requestId": request, "errorCode": code, "errorMessage": message.format(named)}
        return JSONResponse(body, status or usual)

    def refused(self, code: str, named: str = "") -> Refused:
        """End the request with an error."""
        return Refused(self.error(code, named))

    def invalid(self, field: str) -> Refused:
        """End the request because of one field."""
        return self.refused("400.002.02", field)

    def broken(self, status: int) -> Response:
        """An outage, or a gateway that knows no such address."""
        code, message = OUTAGES[status]
        return self.error(code, message, status)

    # Time and ids, which count up so that the same calls get the same ones

    def nairobi(self) -> datetime:
        """The time Daraja keeps."""
        return self.country.clock.now() + NAIROBI

    def number(self) -> int:
        """The next number for ids."""
        return next(self._numbers)

    def receipt(self) -> str:
        """The next receipt: ten letters and digits, the first three of them year, month and day."""
        now, left, digits = self.nairobi(), next(self._receipts), ""
        while left:
            left, digit = divmod(left, 36)
            digits = _sign(digit) + digits
        return f"{_sign((now.year - 2006) % 26 + 10)}{_sign(now.month + 9)}{_sign(now.day)}{digits}"

    # Requests

    async def _token(self, request: Request) -> Response:
        """Its life is a text; bad credentials get a 400 without a body (section 3.1)."""
        if not request.headers.get("authorization", "").lower().startswith("basic "):
            raise self.refused("400.008.01")
        if request.query_params.get("grant_type") != "client_credentials":
            raise self.refused("400.008.02")
        key, secret = basic(request)
        if not key or not secret or WRONG in key + secret:
            return Response(status_code=400)
        if self.switches.new_token_ends_former:
            self._tokens.withdraw(self._newest.get(key, ""))
        seconds = self.switches.token_seconds
        self._newest[key] = token = self._tokens.issue(key, seconds)
        return JSONResponse({"access_token": token, "expires_in": str(seconds)})

    def authorise(self, request: Request, point: str) -> None:
        """Refuse a call without a living token, which is a 404 here."""
        token = bearer(request)
        if self.country.faults.take(f"{self.name}.{point}", "token_expired"):
            self._tokens.withdraw(token)
        if self._tokens.owner(token) is None:
            said = self.switches.stale_answer
            raise Refused(self.error("404.001.03", status=401)) if said == "401" else self.refused(said)

    def read(self, model: type[BodyClass], body: bytes) -> BodyClass:
        """A body, or a refusal that names its first wrong field."""
        try:
            read = model.model_validate_json(body)
        except ValidationError as error:
            where = error.errors(include_url=False, include_input=False, include_context=False)[0]["loc"]
            raise self.invalid(str(where[0])) if where else self.refused("400.002.05") from None
        if self.switches.production:
            for name, value in read.model_dump(by_alias=True).items():
                if name.endswith("URL") and not value.startswith("https://"):
                    raise self.invalid(name)
        return read

    def prove(self, shortcode: str, password: str, timestamp: str) -> None:
        """Refuse a Password that is not base64 of shortcode, passkey and this very timestamp; any passkey is right."""
        try:
            datetime.strptime(timestamp, "%Y%m%d%H%M%S")  # noqa: DTZ007 - nothing but its form is looked at
        except ValueError:
            raise self.invalid("Timestamp") from None
        try:
            clear = b64decode(password, validate=True).decode()
        except ValueError:
            clear = ""
        found = re.fullmatch(f"{shortcode}(.+){timestamp}", clear)
        if not found or WRONG in found[1]:
            raise self.refused("500.001.1001", "Wrong credentials")

    def subscriber(self, msisdn: str, field: str) -> Handset:
        """The handset of a number that has a wallet here; refuses any other."""
        handset = self.country.handset(msisdn)
        if not self.serves(handset):
            raise self.invalid(field)
        return handset

    def serves(self, handset: Handset) -> bool:
        """Whether its SIM is of this network, with a wallet."""
        return handset.active and self.country.on_network(handset, NETWORK)

    def fate(self, decide: Callable[[str], Fate | None], handset: Handset) -> Fate | None:
        """What the number alone decides, where numbers do."""
        return decide(handset.msisdn) if self.switches.outcomes_by_number else None

    async def heard(self, told: asyncio.Event) -> None:
        """Return when a callback is through, or will not come."""
        with suppress(TimeoutError):
            await asyncio.wait_for(told.wait(), self.switches.prompt_seconds)


def masked(msisdn: str) -> str:
    """As tills show it: ``2547*****001``."""
    return f"{msisdn[:4]}*****{msisdn[-3:]}"


def _sign(number: int) -> str:
    return "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[number]
