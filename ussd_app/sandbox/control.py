"""The control API: what a person would do with handsets, what a test does to the country."""

import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ussd_app.money import Money
from ussd_app.sandbox.books import OUTSIDE, charged, handed_over, merchant
from ussd_app.sandbox.country import Answer, Country, Handset
from ussd_app.sandbox.faults import Fault
from ussd_app.sandbox.switches import Switches

Balances = dict[Annotated[str, Field(pattern=r"^[A-Z]{3}$")], Annotated[Decimal, Field(ge=0, le=10**12)]]


class HandsetChange(BaseModel):
    """What may be set on a handset; what is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    balances: Balances = {}
    name: str = ""
    auto: Answer | None = None
    active: bool = True
    can_receive: bool = True
    reachable: bool = True
    sim_swapped_at: date | None = None
    network: str | None = None


class PromptAnswer(BaseModel):
    """What the person does with a prompt."""

    model_config = ConfigDict(extra="forbid")

    answer: Answer


class NoSuch(Exception):
    """The address names what is not there."""


PLAN = TypeAdapter(list[Fault])
FLOATS = TypeAdapter(dict[str, Balances])
SWITCHES = TypeAdapter(dict[str, dict[str, Any]])

Endpoint = Callable[[Request], Awaitable[Any]]  # answers what is to be shown as JSON


class Control:
    """Endpoints over one country; ``points`` are the places where faults may strike."""

    def __init__(self, country: Country, switches: Mapping[str, Switches], points: tuple[str, ...]) -> None:
        self._country = country
        self._switches = switches
        self._points = points

    def routes(self) -> list[Route]:
        """Every address but reset, which is the sandbox's own."""
        endpoints: list[tuple[str, str, Endpoint]] = [
            ("GET", "/handsets", self._list_handsets),
            ("GET", "/handsets/{msisdn}", self._show_handset),
            ("PUT", "/handsets/{msisdn}", self._change_handset),
            ("POST", "/handsets/{msisdn}/prompts/{prompt}", self._answer_prompt),
            ("GET", "/faults", self._show_faults),
            ("PUT", "/faults", self._plan_faults),
            ("DELETE", "/faults", self._clear_faults),
            ("GET", "/switches", self._show_switches),
            ("PUT", "/switches", self._change_switches),
            ("GET", "/books", self._show_books),
            ("PUT", "/books", self._change_books),
            ("GET", "/background", self._show_background),
        ]
        return [Route(path, _answered(endpoint), methods=[method]) for method, path, endpoint in endpoints]

    async def _list_handsets(self, _request: Request) -> list[dict[str, Any]]:
        return [self._shown(handset) for handset in self._country.handsets.values()]

    async def _show_handset(self, request: Request) -> dict[str, Any]:
        return self._shown(self._handset(request))

    async def _change_handset(self, request: Request) -> dict[str, Any]:
        change = HandsetChange.model_validate_json(await request.body())
        handset = self._handset(request)
        amounts = [Money.of(amount, currency) for currency, amount in change.balances.items()]
        for amount in amounts:
            self._country.books.put(self._country.wallet(handset.msisdn, amount.currency), amount)
        for name in change.model_fields_set - {"balances"}:
            setattr(handset, name, getattr(change, name))
        return self._shown(handset)

    async def _answer_prompt(self, request: Request) -> dict[str, Any]:
        answer = PromptAnswer.model_validate_json(await request.body()).answer
        handset, prompt = self._handset(request), request.path_params["prompt"]
        if prompt not in handset.prompts:
            raise NoSuch("no such prompt on this handset: it was answered, or has expired")
        self._country.answer(handset, prompt, answer)
        return self._shown(handset)

    async def _show_faults(self, _request: Request) -> list[dict[str, Any]]:
        return [fault.shown() for fault in self._country.faults.plan]

    async def _plan_faults(self, request: Request) -> list[dict[str, Any]]:
        plan = PLAN.validate_json(await request.body())
        for fault in plan:
            if not any(fault.aims_at(point) for point in self._points):
                raise ValueError(f"{fault.target} is no target; there are {', '.join(self._points)}")
        self._country.faults.plan = plan
        return await self._show_faults(request)

    async def _clear_faults(self, request: Request) -> list[dict[str, Any]]:
        self._country.faults.plan = []
        return await self._show_faults(request)

    async def _show_switches(self, _request: Request) -> dict[str, Any]:
        return {name: switches.model_dump(mode="json") for name, switches in self._switches.items()}

    async def _change_switches(self, request: Request) -> dict[str, Any]:
        for name, values in SWITCHES.validate_json(await request.body()).items():
            if name not in self._switches:
                raise ValueError(f"{name} has no switches; {', '.join(self._switches)} have")
            self._switches[name].change(values)
        return await self._show_switches(request)

    async def _show_books(self, _request: Request) -> dict[str, Any]:
        books = self._country.books
        return {
            "operators": {
                name: {"balances": books.balances(merchant(name)), "movements": self._movements(name)}
                for name in sorted(self._country.operators)
            },
            "deliveries": {
                name: {"balances": books.balances(charged(name)), "movements": self._movements(name)}
                for name in sorted(self._country.deliveries)
            },
            "outside": books.balances(OUTSIDE),
            "senders": self._country.messages,
        }

    async def _show_background(self, _request: Request) -> dict[str, Any]:
        """What is still to come unasked: callbacks, reports, expiries."""
        background = self._country.background
        return {"under_way": background.under_way, "coming": [round(seconds, 3) for seconds in background.coming]}

    def _movements(self, provider: str) -> list[dict[str, str]]:
        made = (movement for movement in self._country.books.movements if movement.operator == provider)
        return [
            {
                "reference": movement.reference,
                "kind": movement.kind,
                "msisdn": movement.msisdn,
                "amount": movement.amount.plain,
                "currency": movement.amount.currency,
                "at": movement.at.isoformat(),
                "status": movement.status,
            }
            for movement in made
        ]

    async def _change_books(self, request: Request) -> dict[str, Any]:
        for operator, balances in FLOATS.validate_json(await request.body()).items():
            if operator not in self._country.operators:
                raise ValueError(f"{operator} holds no money; {', '.join(sorted(self._country.operators))} do")
            for currency, amount in balances.items():
                account = self._country.merchant(operator, currency)
                self._country.books.put(account, Money.of(amount, currency))
        return await self._show_books(request)

    def _handset(self, request: Request) -> Handset:
        msisdn = request.path_params["msisdn"]
        if not re.fullmatch(r"\+?[0-9]{6,15}", msisdn):
            raise NoSuch("no such number")
        return self._country.handset(msisdn)

    def _shown(self, handset: Handset) -> dict[str, Any]:
        return {
            "msisdn": handset.msisdn,
            "name": handset.name,
            "balances": self._country.books.balances(self._country.wallet(handset.msisdn, self._country.currency)),
            "auto": handset.auto,
            "active": handset.active,
            "can_receive": handset.can_receive,
            "reachable": handset.reachable,
            "prompts": [
                {
                    "id": prompt.id,
                    "operator": prompt.operator,
                    "amount": prompt.amount.plain,
                    "currency": prompt.amount.currency,
                    "message": prompt.message,
                }
                for prompt in handset.prompts.values()
            ],
            "inbox": [{"from": sms.sender, "text": sms.text, "at": sms.at.isoformat()} for sms in handset.inbox],
            "airtime": self._country.books.balances(handed_over("airtime", handset.msisdn)),
            "bundles": handset.bundles,
            "sim_swapped_at": handset.sim_swapped_at and handset.sim_swapped_at.isoformat(),
            "network": handset.network,
        }


def _answered(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint whose faults are 400 and 404 with one line of explanation."""

    async def answer(request: Request) -> Response:
        try:
            return JSONResponse(await endpoint(request))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            return JSONResponse({"error": f"{where}: {first['msg']}" if where else first["msg"]}, 400)
        except ValueError as error:
            return JSONResponse({"error": str(error)}, 400)
        except NoSuch as error:
            return JSONResponse({"error": str(error)}, 404)

    return answer
