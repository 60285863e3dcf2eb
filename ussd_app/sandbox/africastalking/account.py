"""Our account at Africa's Talking, its two purses, and what every part of the imitation shares."""

import re
from decimal import Decimal
from typing import Annotated, Literal

from pydantic_settings import NoDecode, SettingsConfigDict
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ussd_app.sandbox.country import Country
from ussd_app.sandbox.credentials import WRONG
from ussd_app.sandbox.switches import Switches
from ussd_app.sandbox.wire import Endpoint, Refused

OUTAGES = {500: "Internal Server Error", 503: "Service Unavailable", 429: "Too Many Requests", 404: "Not Found"}

Purse = Literal["credit", "wallet"]  # SMS and airtime are paid from the one, bundles from the other


class AfricastalkingSwitches(Switches):
    """The account, and how replies, reports and callbacks look."""

    model_config = SettingsConfigDict(env_prefix="SANDBOX_AFRICASTALKING_")

    sender_ids: Annotated[tuple[str, ...], NoDecode] = ()  # registered ones; none listed: all but `wrong` ones
    opted_out: Annotated[tuple[str, ...], NoDecode] = ()  # numbers with plus
    outcomes_by_number: bool = True  # of SMS
    credit: Decimal = Decimal("250000.50")  # of the account, before the first SMS or airtime
    price: Decimal = Decimal("0.0350")  # of one part
    reports: Annotated[tuple[str, ...], NoDecode] = ("Sent", "Buffered", "Success")
    failure_reason: str = "UserIsInactive"  # in reports that say Failed or Rejected
    report_seconds: float = 0.2  # before each report
    report_url: str = ""
    content_type: str = "application/json"  # bare; the SDK does not parse it with a charset

    wallet: Decimal = Decimal("250000.00")  # of the account, before the first bundle
    megabyte_price: Decimal = Decimal("0.02")
    # What the same airtime for the same number within five minutes meets: a callback that it failed, a refusal in the
    # reply (both are met in the real world), or nothing.
    same_number: Literal["callback", "reply", "allowed"] = "callback"
    final_seconds: float = 0.2  # before airtime, a bundle or an answer about a SIM is final, and told
    callback_body: Literal["json", "form"] = "json"  # of airtime and bundles: newer text and oldest docs (section 2.7)
    airtime_callback_url: str = ""
    bundles_callback_url: str = ""
    insights_callback_url: str = ""


class Account:
    """What was spent, and the answers about it."""

    name = "africastalking"

    def __init__(self, country: Country, switches: AfricastalkingSwitches) -> None:
        self.country = country
        self.switches = switches
        self._spent: dict[Purse, Decimal] = {"credit": Decimal(0), "wallet": Decimal(0)}

    def routes(self) -> list[Route]:
        """The account's data, and the balance of its wallet."""
        return [
            self.route("user", "GET", "/version1/user", self._user),
            self.route("wallet", "GET", "/query/wallet/balance", self._wallet),
        ]

    def route(self, point: str, method: str, path: str, endpoint: Endpoint) -> Route:
        """An address that meets the faults planned for ``point``."""
        serve = self.country.wire.serve
        return Route(path, serve(f"{self.name}.{point}", endpoint, _broken), methods=[method])

    def covers(self, purse: Purse, cost: Decimal) -> bool:
        """Whether a purse holds that much."""
        return cost <= self._left(purse)

    def spend(self, purse: Purse, cost: Decimal) -> None:
        """Take from a purse; give back what is negative."""
        self._spent[purse] += cost

    def text(self, amount: Decimal) -> str:
        """An amount as replies write it: ``GHS 5.0000``."""
        return f"{self.country.currency} {amount:.4f}"

    def _left(self, purse: Purse) -> Decimal:
        before = self.switches.credit if purse == "credit" else self.switches.wallet
        return before - self._spent[purse]

    async def _user(self, request: Request) -> Response:
        authorise(request)
        required(dict(request.query_params), "username")
        return JSONResponse({"UserData": {"balance": f"{self.country.currency} {self._left('credit'):.2f}"}})

    async def _wallet(self, request: Request) -> Response:
        authorise(request)
        required(dict(request.query_params), "username")
        return JSONResponse({"status": "Success", "balance": f"{self.country.currency} {self._left('wallet'):.2f}"})


def authorise(request: Request) -> None:
    """Refuse a call without a key, or with a wrong one."""
    key = request.headers.get("apikey", "")
    if not key or WRONG in key:
        raise Refused(PlainTextResponse("The supplied authentication is invalid", 401))


def required(fields: dict[str, str], *names: str) -> None:
    """Refuse a call that lacks one of these."""
    for name in names:
        if not fields.get(name):
            raise Refused(PlainTextResponse(f"Request is missing required form field '{name}'", 400))


def is_number(text: str) -> bool:
    """Whether a text is a number as all parts want it: a plus, and 9 to 15 digits."""
    return bool(re.fullmatch(r"\+[0-9]{9,15}", text))


def bad_request(said: str) -> Refused:
    """Refuse a body that cannot be read; the words are ours."""
    return Refused(PlainTextResponse(f"Request holds an invalid {said}", 400))


def _broken(status: int) -> Response:
    return PlainTextResponse(OUTAGES[status], status)
