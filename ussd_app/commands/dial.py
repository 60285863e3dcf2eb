"""`ussd-app dial`: a phone in the terminal, or at the end of a pipe, that can write what it saw as a journey."""

import asyncio
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from phonenumbers import Leniency, PhoneNumberMatch, PhoneNumberMatcher, region_code_for_number
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ussd_app import http
from ussd_app.commands.phone import FORMATS, Decision, NoScreen, Phone, Prompt, Screen, State
from ussd_app.config import Settings, load

FRAME_CHARS = 38  # of a handset's screen with its frame
INBOX_SHOWN = 3
SCREEN_SEPTETS = 160
PROMPT_SECONDS = 5.0  # between the end of a dialogue and an operator's prompt or an SMS
SMS_SECONDS = 20.0  # between the answer to a prompt and the SMS about it

ANSWERS: Mapping[str, Decision] = {"1": "approve", "2": "reject", "3": "ignore"}

# What is another at each run, an order's code and the date behind it; and where a PIN is asked for.
REFERENCE = re.compile(r"\b\d{8}\b.*")
ASKS_PIN = re.compile(r"\bPIN\b")


def run(code: str, as_: str, through: str, url: str, record: Path | None) -> int:
    """Talk until the person hangs up (an empty line, Ctrl-C or the pipe's end); 1 where the server is away."""
    number = as_.removeprefix("+")
    if through not in FORMATS or not re.fullmatch(r"[0-9]{6,15}", number):
        sys.stderr.write(f"--through is one of {', '.join(FORMATS)}; --as is a number like 233240000001\n")
        return 2
    settings = load(Settings)
    journey = Journey(number, through, settings.country) if record else None
    # Between two hops the loop rests, so that Ctrl-C reaches whoever waits for a key.
    with asyncio.Runner() as runner:
        client = http.client()
        phone = Phone(client, url, number, through=through, code=settings.code)
        try:
            Terminal(phone, runner, journey).talk(code)
        except (EOFError, KeyboardInterrupt):
            sys.stdout.write("\n")
        except NoScreen as error:
            sys.stderr.write(f"{error}\n")
            return 1
        finally:
            runner.run(client.aclose())
            if record and journey:
                record.write_text(journey.text())
                sys.stderr.write(f"written to {record}; names stand there as they were shown\n")
    return 0


class Terminal:
    """One person's session with a phone."""

    def __init__(self, phone: Phone, runner: asyncio.Runner, journey: "Journey | None") -> None:
        self._phone = phone
        self._runner = runner
        self._journey = journey
        self._console = Console(highlight=False)
        self._read = 0  # messages of the inbox that have been shown

    def talk(self, dialled: str) -> None:
        """Dial, answer screen after screen, and dial again; ends where nothing is dialled."""
        state = self._look()
        self._read = len(state.inbox) if state else 0
        while dialled:
            screen = self._runner.run(self._phone.dial(dialled))
            self._show(dialled, screen)
            while not screen.over:
                entry = self._ask("> ")
                before, screen = screen, self._runner.run(self._phone.press(entry))
                self._show(entry, screen, before)
            self._hear()
            dialled = self._ask("Dial again, or Enter to leave: ")

    def _show(self, typed: str, screen: Screen, before: Screen | None = None) -> None:
        if self._journey:
            self._journey.hop(typed, screen, before)
        self._console.print(beside(framed(screen, self._phone), self._look()))

    def _hear(self) -> None:
        """After a dialogue: what the operator asks, and what is sent; nothing where there is no sandbox to tell."""
        state = self._wait(PROMPT_SECONDS, "waiting for the network")
        while state and state.prompts:
            answer = self._answer(state.prompts[0])
            self._runner.run(self._phone.decide(state.prompts[0], answer))
            if self._journey and answer != "ignore":
                self._journey.lines.append(answer)
            state = self._look() if answer == "ignore" else self._wait(SMS_SECONDS, "waiting for an SMS")
        if state and len(state.inbox) > self._read:
            if self._journey:
                self._journey.inbox(state, self._read)
            self._read = len(state.inbox)
            self._console.print(inbox(state))

    def _answer(self, prompt: Prompt) -> Decision:
        words = f"{prompt.message}\n{prompt.amount}\n1. Approve\n2. Reject\n3. Ignore"
        self._console.print(Panel(Text(words.lstrip()), title=prompt.operator, width=FRAME_CHARS, style="yellow"))
        while (answer := ANSWERS.get(self._ask("> "))) is None:
            self._console.print("1, 2 or 3")
        return answer

    def _ask(self, question: str) -> str:
        typed = self._console.input(question).strip()
        if not sys.stdin.isatty():
            self._console.print(Text(typed))  # what comes through a pipe is not seen by itself
        return typed

    def _look(self) -> State | None:
        return self._runner.run(self._phone.look())

    def _wait(self, seconds: float, what: str) -> State | None:
        """The state when a prompt or a message came, or as it is when none did."""
        with self._console.status(what):
            came = self._phone.wait(lambda state: bool(state.prompts) or len(state.inbox) > self._read, seconds)
            return self._runner.run(came) or self._look()


def framed(screen: Screen, phone: Phone) -> Panel:
    """A screen as a handset shows it, with what it costs of the network's limit."""
    length = screen.septets if screen.septets is not None else "not GSM-7, "
    below = f"{length}/{SCREEN_SEPTETS} septets, hop {phone.hops}{', end' if screen.over else ''}"
    return Panel(Text(screen.text), title=phone.msisdn, subtitle=below, width=FRAME_CHARS)


def inbox(state: State) -> Panel:
    """The newest messages, under what the wallet holds."""
    newest = state.inbox[-INBOX_SHOWN:]
    messages = [Text.assemble((f"{sms.sender}  ", "bold"), sms.text) for sms in newest] or [Text("no messages")]
    return Panel(Group(*messages), title="Messages", subtitle=", ".join(map(str, state.balances)), width=FRAME_CHARS)


def beside(screen: Panel, state: State | None) -> Table:
    """A screen, and beside it what the handset has received."""
    table = Table.grid(padding=(0, 1))
    table.add_row(screen, *([inbox(state)] if state else []))
    return table


class Journey:
    """A dialogue as the tests' journeys are written: numbers invented, PINs 0000 and on, order codes left out."""

    def __init__(self, number: str, through: str, country: str) -> None:
        own = next(iter(PhoneNumberMatcher(f"+{number}", None)), None)
        self._country = (own and region_code_for_number(own.number)) or country
        self._numbers: dict[str, str] = {}
        self._pins: dict[str, str] = {}
        self._number = self._masked(number)
        self.lines = [f"as {self._number} through {through}"]

    def hop(self, typed: str, screen: Screen, before: Screen | None) -> None:
        """What was typed on ``before``, and what came."""
        if before and ASKS_PIN.search(before.text) and re.fullmatch(r"\d{3,}", typed):
            typed = self._pins.setdefault(typed, str(len(self._pins)).zfill(len(typed)))
        # People leave out the 0 of their numbers, which only a text that is nothing else may be read without.
        typed = re.sub(r"\+?\d{9,}", lambda digits: self._masked(digits.group(), Leniency.POSSIBLE), typed)
        self.lines.append(f"> {typed}")
        self.lines.append(("END " if screen.over else "") + self._plain(screen.text))

    def inbox(self, state: State, seen: int) -> None:
        """The messages that came."""
        self.lines += [f"sms {self._number}: {self._plain(sms.text)}" for sms in state.inbox[seen:]]

    def text(self) -> str:
        """The whole file."""
        return "\n".join(self.lines) + "\n"

    def _plain(self, words: str) -> str:
        return REFERENCE.sub("...", self._masked(words))

    def _masked(self, words: str, leniency: int = Leniency.VALID) -> str:
        """The same words with every mobile number in them made another of its network, always the same one."""
        for found in reversed(list(PhoneNumberMatcher(words, self._country, leniency))):
            words = words[: found.start] + self._invented(found) + words[found.end :]
        return words

    def _invented(self, found: PhoneNumberMatch) -> str:
        own = str(found.number.national_number)
        new = self._numbers.setdefault(own, own[:2] + str(len(self._numbers) + 1).zfill(len(own) - 2))
        digits = iter(reversed(new))
        return "".join(next(digits, c) if c.isdigit() else c for c in reversed(found.raw_string))[::-1]
