"""Plays journeys (script.py) against anything that answers like a phone, its operator and its network."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Protocol

from script import (
    AIRTIME,
    ARRANGED,
    BALANCE,
    HANDSET,
    HOPS,
    IMSI,
    KNOWN,
    LEDGER,
    MENDED,
    NO_SMS,
    PROMPT,
    SMS,
    TILL,
    TIME,
    TOGETHER,
    TYPED,
    Mismatch,
    Step,
    filled,
    matched,
    matched_screen,
    steps,
    translated_screen,
    translated_sms,
)

WAIT_SECONDS = 20.0  # for a prompt, an SMS or a posting; they come when workers get round to them
LOOK_SECONDS = 0.1
DIALLED = "*920*55#"
SET_PIN = "*920*55*5*3#"


@dataclass(frozen=True, slots=True)
class Handset:
    """Who holds it, through which aggregator, the language that one reports, and its SIM."""

    msisdn: str
    aggregator: str = "africastalking"
    language: str | None = None
    imsi: str | None = None  # None: the SIM it has always had


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

    async def airtime(self, msisdn: str, currency: str) -> Decimal:
        """What a handset was topped up with."""
        ...

    async def ledger(self, account: str) -> Decimal:
        """What is in an account of ours, in major units."""
        ...

    async def advance(self, by: timedelta) -> None:
        """Let time pass for the application."""
        ...

    async def arrange(self, what: str, name: str, words: list[str]) -> None:
        """Tell the sandbox of a wallet, a handset, a service's switch, a fault or a float of ours."""
        ...

    async def pay_till(self, msisdn: str, amount: str, label: str) -> str:
        """Pay our till out of a wallet; the digits of the receipt."""
        ...


async def play(path: Path, world: World, wait_seconds: float = WAIT_SECONDS, *, translated: bool = False) -> None:
    """Play one journey; raises Mismatch at the first line that does not come true in time.

    Where everybody reads another language than the journey is written in, what is said is not compared word by word.
    """
    await _Player(path, world, wait_seconds, translated).play()


@dataclass(slots=True)
class _Player:
    path: Path
    world: World
    wait_seconds: float
    translated: bool
    holder: str = ""  # whose handset it is now
    handsets: dict[str, Handset] = field(default_factory=dict)
    hops: Counter[str] = field(default_factory=Counter)  # of each handset, since it dialled
    remembered: dict[str, str] = field(default_factory=dict)
    read: dict[str, int] = field(default_factory=dict)  # SMS that were there before
    # What was expected where an SMS, by its handset and place, came: in another language each is one line's alone.
    taken: dict[tuple[str, int], str] = field(default_factory=dict)
    before: dict[str, Decimal] = field(default_factory=dict)  # accounts, when the journey began

    async def play(self) -> None:
        found = list(steps(self.path))
        for said in (step.command for step in found):
            if said.re is LEDGER:
                self.before[said["account"]] = await self.world.ledger(said["account"])
            if said.re in {SMS, NO_SMS}:
                self.read[said["msisdn"]] = len(await self.world.inbox(said["msisdn"]))
        while found:
            together = [found.pop(0)]
            while found and found[0].command.re is TOGETHER:
                together.append(found.pop(0))
            problems = await asyncio.gather(*map(self._step, together))
            for step, problem in zip(together, problems, strict=True):
                if problem:
                    raise Mismatch(f"{self.path.name}:{step.line}: {problem}")

    async def _step(self, step: Step) -> str | None:
        """Do what one line says; what is wrong with it, or None."""
        done: Mapping[re.Pattern[str], Callable[[Step], Awaitable[str | None]]] = {
            HANDSET: self._take, KNOWN: self._register, IMSI: self._swap, TYPED: self._type, TOGETHER: self._type,
            HOPS: self._count, NO_SMS: self._hear_nothing, TIME: self._wait, ARRANGED: self._arrange,
            MENDED: self._arrange, TILL: self._pay_till,
        }  # fmt: skip
        if step.command.re in done:
            return await done[step.command.re](step)
        awaited: Mapping[re.Pattern[str], tuple[Callable[[re.Match[str]], Awaitable[bool]], str]] = {
            PROMPT: (self._answered, "no prompt came"),
            SMS: (self._told, "no such SMS came"),
            BALANCE: (self._holds, "the balance is another"),
            AIRTIME: (self._topped_up, "the airtime is another"),
            LEDGER: (self._changed, "the account is another"),
        }
        true, otherwise = awaited[step.command.re]
        deadline = time.monotonic() + self.wait_seconds
        while not await true(step.command):
            if time.monotonic() > deadline:
                return otherwise
            await asyncio.sleep(LOOK_SECONDS)
        return None

    # What is done

    async def _take(self, step: Step) -> None:
        said = step.command
        self.holder = said["msisdn"]
        handset = self._handset(self.holder)
        self.handsets[self.holder] = replace(handset, aggregator=said["aggregator"], language=said["language"])

    async def _swap(self, step: Step) -> None:
        msisdn = step.command["msisdn"]
        self.handsets[msisdn] = replace(self._handset(msisdn), imsi=step.command["imsi"])

    async def _register(self, step: Step) -> str | None:
        """English, a name, and a PIN, as anybody would."""
        said = step.command
        handset = self._handset(said["msisdn"])
        self.handsets[handset.msisdn] = replace(handset, aggregator=said["aggregator"] or handset.aggregator)
        keys = (DIALLED, "1", said["name"], SET_PIN, said["pin"], said["pin"])
        screens = [await self._enter(said["msisdn"], typed) for typed in keys]
        return None if screens[-1].startswith("END ") else "\n".join(("no PIN was set; the screens were", *screens))

    async def _type(self, step: Step) -> str | None:
        """One hop of the handset in hand, or of the one that is named."""
        try:
            typed = filled(step.command["typed"], self.remembered)
        except KeyError as unknown:
            return f"nothing has been remembered as {unknown}"
        screen = await self._enter(step.command.groupdict().get("msisdn") or self.holder, typed)
        match = translated_screen if self.translated else matched_screen
        new = match(step.screen, screen, self.remembered)
        if new is None:
            expected = "\n".join(step.screen)
            return f"expected\n{expected}\nand the screen is\n{screen}"
        self.remembered |= new
        return None

    async def _count(self, step: Step) -> str | None:
        taken = self.hops[self.holder]
        return None if taken == int(step.command["count"]) else f"the handset has taken {taken} hops"

    async def _hear_nothing(self, step: Step) -> str | None:
        unknown = self.translated  # the words of what must not come, in another language
        return "such an SMS is there" if not unknown and await self._told(step.command) else None

    async def _wait(self, step: Step) -> None:
        await self.world.advance(timedelta(**{f"{step.command['unit']}s": int(step.command["count"])}))

    async def _arrange(self, step: Step) -> None:
        name = filled(step.command["name"], self.remembered)
        await self.world.arrange(step.command["what"], name, step.command["words"].split())

    async def _pay_till(self, step: Step) -> None:
        said = step.command
        self.remembered[said["receipt"]] = await self.world.pay_till(said["msisdn"], said["amount"], said["label"])

    # What comes true

    async def _answered(self, said: re.Match[str]) -> bool:
        answered = await self.world.answer(self.holder, said["answer"])
        self.hops[self.holder] += answered
        return answered

    async def _told(self, said: re.Match[str]) -> bool:
        received = await self.world.inbox(said["msisdn"])
        for place in reversed(range(self.read[said["msisdn"]], len(received))):  # what is remembered is the newest's
            if self.translated:
                taken = self.taken.get((said["msisdn"], place), said["text"]) != said["text"]
                new = None if taken else translated_sms(said["text"], received[place], self.remembered)
            else:
                new = matched(said["text"], received[place], self.remembered, re.DOTALL)
            if new is not None:
                self.taken[said["msisdn"], place] = said["text"]
                self.remembered |= new
                return True
        return False

    async def _holds(self, said: re.Match[str]) -> bool:
        return await self.world.balance(said["msisdn"], said["currency"]) == Decimal(said["amount"])

    async def _topped_up(self, said: re.Match[str]) -> bool:
        return await self.world.airtime(said["msisdn"], said["currency"]) == Decimal(said["amount"])

    async def _changed(self, said: re.Match[str]) -> bool:
        change = await self.world.ledger(said["account"]) - self.before[said["account"]]
        return change == Decimal(said["change"])

    # The phones

    async def _enter(self, msisdn: str, typed: str) -> str:
        if not msisdn:
            raise Mismatch(f"{self.path.name}: a journey begins with `as <number> through <aggregator>`")
        self.hops[msisdn] = 1 if is_dialled(typed) else self.hops[msisdn] + 1
        return await self.world.enter(self._handset(msisdn), typed)

    def _handset(self, msisdn: str) -> Handset:
        return self.handsets.setdefault(msisdn, Handset(msisdn))


def is_dialled(typed: str) -> bool:
    """Whether it is a dial string, and no answer."""
    return typed.startswith("*") and typed.endswith("#")
