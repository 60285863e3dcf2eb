"""A handset that reaches a running server through an aggregator, and what the server's sandbox keeps for it.

The far side of ``aggregators/``: requests as wire/ussd.md sections 3, 4.1 to 4.3 and 5.1 have them, and their answers.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2 as httpx

from ussd_app import gsm
from ussd_app.errors import ProviderError
from ussd_app.http import Answer, call
from ussd_app.money import Money
from ussd_app.ussd import after_code

POLL_SECONDS = 0.1  # between two looks at the sandbox

Decision = Literal["approve", "reject", "ignore"]


class NoScreen(Exception):
    """The server could not be reached, or what it answered is no screen; the message is one line."""


@dataclass(frozen=True, slots=True)
class Screen:
    """What the phone shows, and whether the dialogue is over with it."""

    text: str
    over: bool

    @property
    def septets(self) -> int | None:
        """Its length, or None where handsets cannot show it in GSM-7."""
        return gsm.septets(self.text)


@dataclass(frozen=True, slots=True)
class Hop:
    """What the network tells an aggregator when a key is sent."""

    session_id: str
    msisdn: str  # digits
    code: str  # the service code, ``920*55``
    dialled: str  # ``*920*55*3#``
    entries: tuple[str, ...]

    @property
    def history(self) -> str:
        """Everything typed so far, with what was dialled behind the code, joined by ``*``."""
        pretyped = after_code(self.dialled, self.code)
        return "*".join((pretyped, *self.entries) if pretyped else self.entries)

    @property
    def newest(self) -> str:
        """The newest entry; on the first hop what was dialled."""
        return self.entries[-1] if self.entries else self.dialled


@dataclass(frozen=True, slots=True)
class Format:
    """One aggregator's callback, as ``form`` or JSON: what it sends of a hop, and how the answer is read."""

    aggregator: str  # its address
    body: Callable[[Hop], dict[str, Any]]
    read: Callable[[Answer], Screen]
    form: bool = False


@dataclass(frozen=True, slots=True)
class Prompt:
    """An operator's question, whether to pay this."""

    id: str
    operator: str
    amount: Money
    message: str


@dataclass(frozen=True, slots=True)
class Sms:
    """A message in the inbox, under the sender's name or code."""

    sender: str
    text: str
    at: datetime


@dataclass(frozen=True, slots=True)
class State:
    """What the sandbox keeps for one handset: mobile money, open prompts, and messages, the newest last."""

    balances: tuple[Money, ...]
    prompts: tuple[Prompt, ...]
    inbox: tuple[Sms, ...]


class Phone:
    """One handset. ``through`` is a name of FORMATS; a ``url`` with a path is that aggregator's whole address.

    ``sandbox`` is the server that keeps the handset, where it is another.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        url: str,
        msisdn: str,
        *,
        through: str = "africastalking",
        code: str = "920*55",
        sandbox: str | None = None,
    ) -> None:
        self.msisdn = msisdn.removeprefix("+")
        self.code = code
        self.hops = 0  # of this dialogue
        self._http = http
        self._format = FORMATS[through]
        parts = urlsplit(url)
        self._server = f"{parts.scheme}://{parts.netloc}"
        self._callback = url if parts.path.strip("/") else f"{self._server}/ussd/{self._format.aggregator}"
        self._handset = f"{sandbox or self._server}/sandbox/handsets/{self.msisdn}"
        self._dialled, self._session_id = "", ""
        self._entries: tuple[str, ...] = ()

    async def dial(self, dialled: str) -> Screen:
        """The first screen of a new dialogue; raises NoScreen."""
        self._dialled, self._session_id, self._entries, self.hops = dialled, uuid4().hex, (), 0
        return await self._hop()

    async def press(self, entry: str) -> Screen:
        """The screen that follows an entry; raises NoScreen."""
        self._entries += (entry,)
        return await self._hop()

    async def look(self) -> State | None:
        """What the sandbox keeps for this handset, None where the server has no sandbox; raises NoScreen."""
        answer = await self._ask("GET", self._handset)
        shown = answer.json()
        if answer.status == HTTPStatus.NOT_FOUND or not isinstance(shown, dict):
            return None
        return State(
            balances=tuple(Money.of(amount, currency) for currency, amount in shown["balances"].items()),
            prompts=tuple(
                Prompt(each["id"], each["operator"], Money.of(each["amount"], each["currency"]), each["message"])
                for each in shown["prompts"]
            ),
            inbox=tuple(Sms(each["from"], each["text"], datetime.fromisoformat(each["at"])) for each in shown["inbox"]),
        )

    async def wait(self, ready: Callable[[State], bool], seconds: float) -> State | None:
        """Look until the sandbox has what is wanted, or the time is up: then None."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    state = await self.look()
                    if state is None or ready(state):
                        return state
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            return None

    async def decide(self, prompt: Prompt, answer: Decision) -> bool:
        """Answer an operator's prompt; False where it has expired."""
        said = await self._ask("POST", f"{self._handset}/prompts/{prompt.id}", json={"answer": answer})
        return said.status == HTTPStatus.OK

    async def _hop(self) -> Screen:
        hop = Hop(self._session_id, self.msisdn, self.code, self._dialled, self._entries)
        answer = await self._send(self._format.body(hop))
        self.hops += 1
        if answer.status != HTTPStatus.OK:
            raise NoScreen(f"{self._server} answered {self._format.aggregator} {answer.status}: {_words(answer)}")
        return self._format.read(answer)

    async def _send(self, fields: dict[str, Any]) -> Answer:
        return await self._ask("POST", self._callback, **{"data" if self._format.form else "json": fields})

    async def _ask(self, method: str, url: str, **options: Any) -> Answer:  # noqa: ANN401 - httpx's own
        try:
            return await call(self._http, method, url, **options)
        except ProviderError as error:
            raise NoScreen(f"no answer from {self._server}: is the server running there? ({error})") from error


# Requests


def _africastalking(hop: Hop) -> dict[str, Any]:
    """Section 3: five fields on every hop, ``text`` cumulative; the sandbox's network code."""
    return {
        "sessionId": f"ATUid_{hop.session_id}",
        "phoneNumber": f"+{hop.msisdn}",
        "networkCode": "99999",
        "serviceCode": f"*{hop.code}#",
        "text": hop.history,
    }


def _madapi(hop: Hop) -> dict[str, Any]:
    """Section 4.1: the dialled string first, then the newest entry; the code's first part as serviceCode."""
    return {
        "sessionId": hop.session_id,
        "messageType": "1" if hop.entries else "0",
        "msisdn": hop.msisdn,
        "serviceCode": hop.code.partition("*")[0],
        "ussdString": hop.newest,
        "cellId": None,
        "language": None,
        "imsi": None,
    }


def _flat(hop: Hop) -> dict[str, Any]:
    """Section 4.2: MADAPI's members, messageType an integer, the first string without its outer signs."""
    string = hop.newest if hop.entries else hop.dialled.strip("*#")
    kind = 1 if hop.entries else 0
    return _madapi(hop) | {"messageType": kind, "ussdString": string, "network": "MTNN", "aggregator": "phone"}


def _con_end(hop: Hop) -> dict[str, Any]:
    """Section 4.3: MADAPI's names, but cumulative and without messageType."""
    return {
        "sessionId": hop.session_id,
        "msisdn": hop.msisdn,
        "ussdString": hop.history,
        "serviceCode": f"*{hop.code}#",
    }


def _hubtel(hop: Hop) -> dict[str, Any]:
    """Section 5.1: the dialled string first, then the newest entry; hops are numbered."""
    return {
        "Type": "Response" if hop.entries else "Initiation",
        "Message": hop.newest,
        "ServiceCode": hop.code,
        "Operator": "mtn",
        "ClientState": "",
        "Mobile": hop.msisdn,
        "SessionId": hop.session_id,
        "Sequence": len(hop.entries) + 1,
        "Platform": "USSD",
    }


# Answers


def _read_con_end(answer: Answer) -> Screen:
    prefix, _, text = answer.body.decode(errors="replace").partition(" ")
    if prefix not in {"CON", "END"}:
        raise NoScreen(f"neither CON nor END: {_words(answer)}")
    return Screen(text, over=prefix == "END")


def _read_madapi(answer: Answer) -> Screen:
    data = _members(answer).get("data")
    return _screen(answer, data if isinstance(data, dict) else {}, "inboundResponse", "userInputRequired")


def _read_flat(answer: Answer) -> Screen:
    return _screen(answer, _members(answer), "response", "userInputRequired")


def _read_hubtel(answer: Answer) -> Screen:
    members = _members(answer)
    return _screen(answer, members | {"open": members.get("Type") == "response"}, "Message", "open")


def _screen(answer: Answer, members: Mapping[str, Any], text: str, stays_open: str) -> Screen:
    if not isinstance(members.get(text), str) or not isinstance(members.get(stays_open), bool):
        raise NoScreen(f"no {text} and {stays_open}: {_words(answer)}")
    return Screen(members[text], over=not members[stays_open])


def _members(answer: Answer) -> dict[str, Any]:
    members = answer.json()
    return members if isinstance(members, dict) else {}


def _words(answer: Answer) -> str:
    return " ".join(answer.body[:200].decode(errors="replace").split())


FORMATS: Mapping[str, Format] = {
    "africastalking": Format("africastalking", _africastalking, _read_con_end, form=True),
    "mtn": Format("mtn", _madapi, _read_madapi),
    "mtn:flat": Format("mtn", _flat, _read_flat),
    "mtn:con_end": Format("mtn", _con_end, _read_con_end),
    "hubtel": Format("hubtel", _hubtel, _read_hubtel),
}
