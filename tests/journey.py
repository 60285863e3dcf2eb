"""A running application and its sandbox as a journey's world, over HTTP."""

import asyncio
import itertools
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import httpx2 as httpx
from player import Handset, is_dialled, play
from script import HOME

from ussd_app.msisdn import CURRENCIES, parse
from ussd_app.networks import TABLE
from ussd_app.ussd import after_code

__all__ = ["Live", "play"]

UNKNOWN_CODE = "99999"  # what Africa's Talking says of a network it does not know (wire/ussd.md section 3)
PRESS_SECONDS = 0.3  # between two presses of one key, which sooner would be a copy (design.md law 3)


@dataclass(slots=True)
class _Session:
    """One USSD session of a handset."""

    id: str
    typed: str = ""


class Live:
    """A running application and its sandbox, over HTTP.

    ``ledger``, ``advance``, ``fund``, which puts money of ours into an operator's float, and ``decide``, which says of
    an order under which receipt it is paid (None: unpaid), reach what has no address.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        url: str,
        sandbox_url: str | None = None,
        service_code: str = "*920*55#",
        ledger: Callable[[str], Awaitable[Decimal]] | None = None,
        advance: Callable[[timedelta], Awaitable[None]] | None = None,
        fund: Callable[[str, Decimal], Awaitable[None]] | None = None,
        country: str = HOME,
        decide: Callable[[str, str | None], Awaitable[None]] | None = None,
    ) -> None:
        self._http = http
        self._url = url
        self._sandbox = f"{sandbox_url or url}/sandbox"
        self._service_code = service_code
        self._ledger = ledger
        self._advance = advance
        self._fund = fund
        self._country = country
        self._decide = decide
        self._ported: dict[str, str] = {}  # MSISDN -> network
        self._sessions: dict[str, _Session] = {}
        self._faults: list[dict[str, Any]] = []
        self._ids = itertools.count(1)
        self._run = uuid4().hex[:12]

    async def enter(self, handset: Handset, typed: str) -> str:
        """Dial or type through the handset's aggregator."""
        dials = is_dialled(typed)
        if dials:
            self._sessions[handset.msisdn] = _Session(f"{self._run}{next(self._ids)}")
        session = self._sessions[handset.msisdn]
        through = {"africastalking": self._africastalking, "mtn": self._mtn}[handset.aggregator]
        return await through(handset, session, typed, dials=dials)

    async def answer(self, msisdn: str, answer: str) -> bool:
        """Answer the oldest prompt."""
        prompts = (await self._handset(msisdn))["prompts"]
        if not prompts:
            return False
        address = f"{self._sandbox}/handsets/{msisdn}/prompts/{prompts[0]['id']}"
        (await self._http.post(address, json={"answer": answer})).raise_for_status()
        return True

    async def inbox(self, msisdn: str) -> list[str]:
        """Every SMS on the handset."""
        return [sms["text"] for sms in (await self._handset(msisdn))["inbox"]]

    async def balance(self, msisdn: str, currency: str) -> Decimal:
        """The wallet's balance."""
        return Decimal((await self._handset(msisdn))["balances"].get(currency, "0"))

    async def airtime(self, msisdn: str, currency: str) -> Decimal:
        """What has been topped up."""
        return Decimal((await self._handset(msisdn))["airtime"].get(currency, "0"))

    async def advance(self, by: timedelta) -> None:
        """Move the application's time."""
        if self._advance is None:
            raise LookupError("in this journey time passes: give Live an `advance`")
        await self._advance(by)

    async def ledger(self, account: str) -> Decimal:
        """An account of ours."""
        if self._ledger is None:
            raise LookupError("this journey reads the ledger: give Live a `ledger`")
        return await self._ledger(account)

    async def arrange(self, what: str, name: str, words: list[str]) -> None:
        """One call to the control API."""
        if what == "wallet":
            currency, amount = words
            await self._put(f"handsets/{name}", {"balances": {currency: amount}})
            return
        if what == "mended":
            self._faults = []
            await self._put("faults", self._faults)
            return
        if what == "decide":
            await self._decided(name, *words)
            return
        if what == "float":
            await self._put_float(name, Decimal(words[0]))
            return
        values = {key: json.loads(value) for key, value in (word.split("=") for word in words if "=" in word)}
        if isinstance(values.get("body"), dict):
            values["body"] = json.dumps(values["body"])  # what a fault answers stands there as the JSON it is
        if what == "handset":
            self._ported |= {name: values["network"]} if "network" in values else {}
            await self._put(f"handsets/{name}", values)
        elif what == "switch":
            await self._put("switches", {name: values})
        else:
            self._faults.append({"name": name, "target": words[0], **values})
            await self._put("faults", self._faults)

    async def pay_till(self, msisdn: str, amount: str, label: str) -> str:
        """Pay the till of the first operator that has one: Daraja's."""
        body = {"msisdn": msisdn, "amount": int(amount), "label": label}
        paid = await self._http.post(f"{self._sandbox}/daraja/till", json=body)
        return re.sub(r"\D", "", paid.raise_for_status().json()["TransID"])

    async def _decided(self, code: str, word: str, receipt: str | None = None) -> None:
        """What a treasurer has read; ``paid`` has a receipt, and ``unpaid`` none."""
        if self._decide is None or (word == "paid") != bool(receipt):
            raise LookupError("in this journey a person decides: give Live a `decide`, and `paid` a receipt")
        await self._decide(code, receipt)

    async def _put_float(self, operator: str, amount: Decimal) -> None:
        """What a bank brings to the operator, and a treasurer books."""
        if self._fund is None:
            raise LookupError("this journey has floats: give Live a `fund`")
        currency = CURRENCIES[self._country]
        books = (await self._http.get(f"{self._sandbox}/books")).raise_for_status().json()
        held = Decimal(books["operators"][operator]["balances"].get(currency, "0"))
        await self._put("books", {operator: {currency: str(held + amount)}})
        await self._fund(operator, amount)

    async def _put(self, path: str, body: object) -> None:
        (await self._http.put(f"{self._sandbox}/{path}", json=body)).raise_for_status()

    async def _handset(self, msisdn: str) -> dict[str, Any]:
        answer = await self._http.get(f"{self._sandbox}/handsets/{msisdn}")
        shown: dict[str, Any] = answer.raise_for_status().json()
        return shown

    async def _africastalking(self, handset: Handset, session: _Session, typed: str, *, dials: bool) -> str:
        """All five fields on every hop, every input joined by ``*`` (wire/ussd.md section 3)."""
        entered = after_code(typed, self._service_code.strip("*#")) if dials else typed
        session.typed = entered if dials or not session.typed else f"{session.typed}*{entered}"
        fields = {
            "sessionId": f"ATUid_{session.id}",
            "phoneNumber": f"+{handset.msisdn}",
            "networkCode": self._code(handset.msisdn),
            "serviceCode": self._service_code,
            "text": session.typed,
        }
        return await self._hop(data=fields)

    def _code(self, msisdn: str) -> str:
        """The network a handset is on, as MCC and MNC."""
        number = parse(f"+{msisdn}", self._country)
        known = TABLE.countries[number.country].networks.get(self._ported.get(msisdn, number.network))
        return next((code for code in known.codes if code.isdigit()), UNKNOWN_CODE) if known else UNKNOWN_CODE

    async def _hop(self, **body: Any) -> str:  # noqa: ANN401 - httpx's own
        """One request, or as many as a subclass pleases."""
        answer = await self._http.post(f"{self._url}/ussd/callback", **body)
        return answer.raise_for_status().text

    async def _mtn(self, handset: Handset, session: _Session, typed: str, *, dials: bool) -> str:
        """The dial string on begin, else the newest entry alone (wire/ussd.md section 4.1)."""
        if typed == session.typed:
            await asyncio.sleep(PRESS_SECONDS)
        session.typed = typed
        fields = {
            "sessionId": session.id,
            "messageType": "0" if dials else "1",
            "msisdn": handset.msisdn,
            "serviceCode": self._service_code.strip("*#").split("*", maxsplit=1)[0],
            "ussdString": typed,
            "cellId": None,
            "language": handset.language,
            "imsi": handset.imsi or f"{self._code(handset.msisdn)}{handset.msisdn[-10:].zfill(10)}",
        }
        data = json.loads(await self._hop(json=fields))["data"]
        return f"{'CON' if data['userInputRequired'] else 'END'} {data['inboundResponse']}"
