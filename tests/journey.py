"""Plays tests that read like the phone (tests/journeys/*.txt) against anything that answers like one.

    as 233240000001 through africastalking        whose handset, and whose network; `in fr` adds the network's language
    > *920*55#                                     what is dialled, or typed
    Akwaaba ...                                    the whole screen; `...` is the rest of a line, alone any lines
    END Now approve ...                            END: the dialogue is over with it
    approve                                        or reject, ignore: the operator's prompt on that handset
    sms 233240000001: You sent ...                 an SMS that this journey brings
    balance 233240000001 GHS 49.50                 a wallet at the operator
    ledger float:mtn_momo:GHS +0.50                how an account of ours has changed since the journey began
    wallet 233240000001 GHS 10.00                  beforehand: what is in a wallet
    handset 233240000002 can_receive=false         beforehand: what else the sandbox may be told of a handset
    switch mtn_momo prompt_seconds=1               beforehand: how one of its services behaves
    fault lost_callback mtn_momo.collection count=1   beforehand: what goes wrong there

`Live` plays them over HTTP: the application at one base URL, the sandbox's control API at another.
"""

import asyncio
import itertools
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import httpx2 as httpx

from ussd_app.ussd import after_code

WAIT_SECONDS = 20.0  # for a prompt, an SMS or a posting; they come when workers get round to them
LOOK_SECONDS = 0.1
PRESS_SECONDS = 0.3  # between two presses of one key, which sooner would be a copy (design.md law 3)

HANDSET = re.compile(r"as (?P<msisdn>\d+) through (?P<aggregator>\w+)(?: in (?P<language>\w+))?")
TYPED = re.compile(r"> ?(?P<typed>.*)")
PROMPT = re.compile(r"(?P<answer>approve|reject|ignore)")
SMS = re.compile(r"sms (?P<msisdn>\d+): (?P<text>.+)")
BALANCE = re.compile(r"balance (?P<msisdn>\d+) (?P<currency>[A-Z]{3}) (?P<amount>\d+(?:\.\d+)?)")
LEDGER = re.compile(r"ledger (?P<account>\S+) (?P<change>[+-]\d+(?:\.\d+)?)")
ARRANGED = re.compile(r"(?P<what>wallet|handset|switch|fault) (?P<name>\S+)(?P<words>(?: \S+)*)")
COMMANDS = (HANDSET, TYPED, PROMPT, SMS, BALANCE, LEDGER, ARRANGED)


class Mismatch(AssertionError):
    """What happened is not what the journey says; the message begins with its file and line."""


@dataclass(frozen=True, slots=True)
class Handset:
    """Who holds it, through which aggregator, and the language that one reports."""

    msisdn: str
    aggregator: str
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One command, and the screen expected of it."""

    line: int
    command: re.Match[str]
    screen: tuple[str, ...]


class World(Protocol):
    """What a journey can be played against."""

    async def enter(self, handset: Handset, typed: str) -> str:
        """Dial (``*920*55#``) or type; the screen, beginning with ``CON `` or ``END ``."""
        ...

    async def answer(self, msisdn: str, answer: str) -> bool:
        """Answer the oldest prompt on a handset; False where there is none yet."""
        ...

    async def inbox(self, msisdn: str) -> list[str]:
        """The texts of a handset's SMS, oldest first."""
        ...

    async def balance(self, msisdn: str, currency: str) -> Decimal:
        """What is in a wallet."""
        ...

    async def ledger(self, account: str) -> Decimal:
        """What is in an account of ours, in major units."""
        ...

    async def arrange(self, what: str, name: str, words: list[str]) -> None:
        """Tell the sandbox of a wallet, a handset, a service's switch or a fault."""
        ...


async def play(path: Path, world: World, wait_seconds: float = WAIT_SECONDS) -> None:
    """Play one journey; raises Mismatch at the first line that does not come true in time."""
    await _Player(path, world, wait_seconds).play()


def steps(path: Path) -> Iterator[Step]:
    """A file's commands in their order; comments and blank lines say nothing."""
    command: tuple[int, re.Match[str]] | None = None
    screen: list[str] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        found = next((match for pattern in COMMANDS if (match := pattern.fullmatch(line.rstrip()))), None)
        if found is None and (command is None or command[1].re is not TYPED):
            raise Mismatch(f"{path.name}:{number}: neither a command nor part of a screen: {line}")
        if found is None:
            screen.append(line.rstrip())
            continue
        if command:
            yield Step(*command, tuple(screen))
        command, screen = (number, found), []
    if command:
        yield Step(*command, tuple(screen))


def matches(expected: tuple[str, ...], screen: str) -> bool:
    """Whether a screen is as expected; nothing expected is anything."""
    if not expected:
        return True
    wanted = "\n".join(expected)
    wanted = wanted if wanted.startswith("END ") else f"CON {wanted}"
    # On a line of its own ``...`` stands for whole lines, and for the line break before them.
    pieces = [re.escape(piece).replace(r"\.\.\.", ".*") for piece in re.split(r"\n\.\.\.(?=\n|$)", wanted)]
    return re.fullmatch(r"(?:\n.*)*".join(pieces), screen) is not None


@dataclass(slots=True)
class _Player:
    path: Path
    world: World
    wait_seconds: float
    handset: Handset | None = None
    read: dict[str, int] = field(default_factory=dict)  # SMS that were there before
    before: dict[str, Decimal] = field(default_factory=dict)  # accounts, when the journey began

    async def play(self) -> None:
        found = list(steps(self.path))
        for step in found:
            if step.command.re is LEDGER:
                self.before[step.command["account"]] = await self.world.ledger(step.command["account"])
            if step.command.re is SMS:
                self.read[step.command["msisdn"]] = len(await self.world.inbox(step.command["msisdn"]))
        for step in found:
            if problem := await self._step(step):
                raise Mismatch(f"{self.path.name}:{step.line}: {problem}")

    async def _step(self, step: Step) -> str | None:
        said = step.command
        if said.re is HANDSET:
            self.handset = Handset(**said.groupdict())
        elif said.re is ARRANGED:
            await self.world.arrange(said["what"], said["name"], said["words"].split())
        else:
            return await self._happens(step)
        return None

    async def _happens(self, step: Step) -> str | None:
        said = step.command
        if said.re is TYPED:
            return await self._typed(step)
        if said.re is PROMPT:
            holder = self._holder()
            return await self._until(lambda: self.world.answer(holder.msisdn, said["answer"]), "no prompt came")
        if said.re is SMS:
            return await self._until(lambda: self._has_sms(said["msisdn"], said["text"]), "no such SMS came")
        if said.re is BALANCE:
            return await self._until(lambda: self._has_balance(said), "the balance is another")
        return await self._until(lambda: self._has_changed(said), "the account is another")

    async def _typed(self, step: Step) -> str | None:
        screen = await self.world.enter(self._holder(), step.command["typed"])
        if matches(step.screen, screen):
            return None
        expected = "\n".join(step.screen)
        return f"expected\n{expected}\nand the screen is\n{screen}"

    async def _has_sms(self, msisdn: str, text: str) -> bool:
        wanted = re.compile(re.escape(text).replace(r"\.\.\.", ".*"), re.DOTALL)
        received = await self.world.inbox(msisdn)
        return any(wanted.fullmatch(sms) for sms in received[self.read.get(msisdn, 0) :])

    async def _has_balance(self, said: re.Match[str]) -> bool:
        return await self.world.balance(said["msisdn"], said["currency"]) == Decimal(said["amount"])

    async def _has_changed(self, said: re.Match[str]) -> bool:
        change = await self.world.ledger(said["account"]) - self.before[said["account"]]
        return change == Decimal(said["change"])

    async def _until(self, true: Callable[[], Awaitable[bool]], otherwise: str) -> str | None:
        deadline = time.monotonic() + self.wait_seconds
        while not await true():
            if time.monotonic() > deadline:
                return otherwise
            await asyncio.sleep(LOOK_SECONDS)
        return None

    def _holder(self) -> Handset:
        if self.handset is None:
            raise Mismatch(f"{self.path.name}: a journey begins with `as <number> through <aggregator>`")
        return self.handset


@dataclass(slots=True)
class _Session:
    """One USSD session of a handset."""

    id: str
    typed: str = ""


class Live:
    """A running application and its sandbox, over HTTP. ``ledger`` reads our books, which have no address."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        url: str,
        sandbox_url: str | None = None,
        service_code: str = "*920*55#",
        ledger: Callable[[str], Awaitable[Decimal]] | None = None,
    ) -> None:
        self._http = http
        self._url = url
        self._sandbox = f"{sandbox_url or url}/sandbox"
        self._service_code = service_code
        self._ledger = ledger
        self._sessions: dict[str, _Session] = {}
        self._faults: list[dict[str, Any]] = []
        self._ids = itertools.count(1)
        self._run = uuid4().hex[:12]

    async def enter(self, handset: Handset, typed: str) -> str:
        """Dial or type through the handset's aggregator."""
        dials = typed.startswith("*") and typed.endswith("#")
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
        values = {key: json.loads(value) for key, value in (word.split("=") for word in words if "=" in word)}
        if what == "handset":
            await self._put(f"handsets/{name}", values)
        elif what == "switch":
            await self._put("switches", {name: values})
        else:
            self._faults.append({"name": name, "target": words[0], **values})
            await self._put("faults", self._faults)

    async def _put(self, path: str, body: Any) -> None:  # noqa: ANN401 - JSON
        (await self._http.put(f"{self._sandbox}/{path}", json=body)).raise_for_status()

    async def _handset(self, msisdn: str) -> Any:  # noqa: ANN401 - JSON
        answer = await self._http.get(f"{self._sandbox}/handsets/{msisdn}")
        return answer.raise_for_status().json()

    async def _africastalking(self, handset: Handset, session: _Session, typed: str, *, dials: bool) -> str:
        """All five fields on every hop, every input joined by ``*`` (wire/ussd.md section 3)."""
        entered = after_code(typed, self._service_code.strip("*#")) if dials else typed
        session.typed = entered if dials or not session.typed else f"{session.typed}*{entered}"
        fields = {
            "sessionId": f"ATUid_{session.id}",
            "phoneNumber": f"+{handset.msisdn}",
            "networkCode": "62001",
            "serviceCode": self._service_code,
            "text": session.typed,
        }
        return await self._hop(data=fields)

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
            "imsi": None,
        }
        data = json.loads(await self._hop(json=fields))["data"]
        return f"{'CON' if data['userInputRequired'] else 'END'} {data['inboundResponse']}"
