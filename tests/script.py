"""How a journey is written (tests/journeys/*.txt): its commands line by line, and what an expected text matches.

    # once                                         at the top: played plainly only, for a long one
    # in KE                                        at the top: the country it is played in, Ghana where it says none
    as 233240000001 through africastalking         whose handset, through which network; `in fr` it says
    known 233240000002 Kofi 2580                   registers somebody by their keys: English, name, PIN; `through mtn`
    imsi 233240000002 620010000000099              from now on another SIM: what MTN's network tells of that handset
    > *920*55#                                     what is dialled, or typed
    Akwaaba ...                                    the whole screen; `...` is the rest of a line, alone any lines
    END Now approve ...                            END: the dialogue is over with it
    & 233240000002 > 2580                          typed by another handset at the same second, with its own screen
    approve                                        or reject, ignore: the operator's prompt on that handset
    hops 3                                         that handset's since it dialled: screens, and the prompt it answered
    sms 233240000001: You sent ...                 an SMS that this journey brings
    no sms 233240000001: You sent ...              none such is there, now that all before has come true
    balance 233240000001 GHS 49.50                 a wallet at the operator
    airtime 233240000001 GHS 5.00                  what was topped up
    ledger float:mtn_momo:GHS +0.50                how an account of ours has changed since the journey began
    time 3 hours                                   passes, with all that is due by then; seconds to weeks
    wallet 233240000001 GHS 10.00                  beforehand: what is in a wallet
    handset 233240000002 can_receive=false         beforehand: what else the sandbox may be told of a handset
    switch mtn_momo prompt_seconds=1               beforehand: how one of its services behaves
    fault lost_callback mtn_momo.collection count=1   beforehand: what goes wrong there
    mended                                         from now on nothing does
    float airtel 5000                              beforehand: what a treasurer of ours puts there
    decide <code> paid R-1                         what a treasurer reads of an order in a statement, or: unpaid
    till 254700000001 500 INV1 <receipt>           pays our till unasked, and reads the digits of the receipt

`<code>` in an expected text matches digits and remembers them; from then on it stands for them, typed or expected.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

ONCE = "# once"
HOME = "GH"
COUNTRY = re.compile(r"# in (?P<country>[A-Z]{2})")

HANDSET = re.compile(r"as (?P<msisdn>\d+) through (?P<aggregator>\w+)(?: in (?P<language>\w+))?")
KNOWN = re.compile(r"known (?P<msisdn>\d+) (?P<name>\w+) (?P<pin>\d{4,6})(?: through (?P<aggregator>\w+))?")
IMSI = re.compile(r"imsi (?P<msisdn>\d+) (?P<imsi>\d{15})")
TYPED = re.compile(r"> ?(?P<typed>.*)")
TOGETHER = re.compile(r"& (?P<msisdn>\d+) > ?(?P<typed>.*)")
PROMPT = re.compile(r"(?P<answer>approve|reject|ignore)")
HOPS = re.compile(r"hops (?P<count>\d+)")
SMS = re.compile(r"sms (?P<msisdn>\d+): (?P<text>.+)")
NO_SMS = re.compile(r"no sms (?P<msisdn>\d+): (?P<text>.+)")
BALANCE = re.compile(r"balance (?P<msisdn>\d+) (?P<currency>[A-Z]{3}) (?P<amount>\d+(?:\.\d+)?)")
AIRTIME = re.compile(r"airtime (?P<msisdn>\d+) (?P<currency>[A-Z]{3}) (?P<amount>\d+(?:\.\d+)?)")
LEDGER = re.compile(r"ledger (?P<account>\S+) (?P<change>[+-]\d+(?:\.\d+)?)")
TIME = re.compile(r"time (?P<count>\d+) (?P<unit>second|minute|hour|day|week)s?")
ARRANGED = re.compile(r"(?P<what>wallet|handset|switch|fault|float|decide) (?P<name>\S+)(?P<words>(?: \S+)*)")
MENDED = re.compile(r"(?P<what>mended)(?P<name>)(?P<words>)")
TILL = re.compile(r"till (?P<msisdn>\d+) (?P<amount>\d+) (?P<label>\w+) <(?P<receipt>\w+)>")
COMMANDS = (
    HANDSET, KNOWN, IMSI, TYPED, TOGETHER, PROMPT, HOPS, SMS, NO_SMS, BALANCE, AIRTIME, LEDGER, TIME, ARRANGED, MENDED,
    TILL,
)  # fmt: skip
SCREENED = {TYPED, TOGETHER}
TALK = {HANDSET, TYPED, HOPS}  # all that a journey holds that needs nothing but menus

REMEMBERED = re.compile(r"<(\w+)>")
PIECE = re.compile(r"(\.\.\.|<\w+>)")
ANY_LINES = re.compile(r"\n\.\.\.(?=\n|$)")
CODE = re.compile(r"(?<!\d)\d{8}(?!\d)")
# What an SMS says in every language: amounts of money, and numbers as they are dialled; SEPARATOR differs.
FACT = re.compile(r"[A-Z]{3} (\d[\d.,]*\d)|(?<!\d)(0\d{9})(?!\d)")
SEPARATOR = re.compile(r"(?<=\d)[.,\s](?=\d)")


class Mismatch(AssertionError):
    """What happened is not what the journey says; the message begins with its file and line."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command, and the screen expected of it."""

    line: int
    command: re.Match[str]
    screen: tuple[str, ...]


def steps(path: Path) -> Iterator[Step]:
    """A file's commands in their order; comments and blank lines say nothing."""
    command: tuple[int, re.Match[str]] | None = None
    screen: list[str] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        found = next((match for pattern in COMMANDS if (match := pattern.fullmatch(line.rstrip()))), None)
        screened = command is not None and command[1].re in SCREENED
        if not screened and (found is None or found.re is TOGETHER):
            raise Mismatch(f"{path.name}:{number}: neither a command nor part of a screen: {line}")
        if found is None:
            screen.append(line.rstrip())
            continue
        if command:
            yield Step(*command, tuple(screen))
        command, screen = (number, found), []
    if command:
        yield Step(*command, tuple(screen))


def only_talk(path: Path) -> bool:
    """Whether a journey can be played on menus alone, without operator, SMS, time and groups."""
    return all(step.command.re in TALK for step in steps(path))


def only_once(path: Path) -> bool:
    """Whether a journey is long, and says so."""
    return ONCE in _head(path)


def country(path: Path) -> str:
    """Where a journey is played, by its ISO 3166 code."""
    return next((found["country"] for line in _head(path) if (found := COUNTRY.fullmatch(line))), HOME)


def filled(text: str, remembered: Mapping[str, str]) -> str:
    """What is typed, with the digits that were remembered; raises KeyError."""
    return REMEMBERED.sub(lambda found: remembered[found[1]], text)


def matched(
    words: str, text: str, remembered: Mapping[str, str], flags: re.RegexFlag = re.NOFLAG
) -> dict[str, str] | None:
    """The digits to be remembered of a text that is as expected; None where it is another."""
    new: set[str] = set()

    def regex(piece: str) -> str:
        if piece == "...":
            return ".*"
        if not (named := REMEMBERED.fullmatch(piece)):
            return re.escape(piece)
        name = named[1]
        if name in remembered:
            return re.escape(remembered[name])
        if name in new:
            return f"(?P={name})"
        new.add(name)
        return rf"(?P<{name}>\d+)"

    # On a line of its own ``...`` stands for whole lines, and for the line break before them.
    lines = ("".join(regex(piece) for piece in PIECE.split(part)) for part in ANY_LINES.split(words))
    found = re.fullmatch(r"(?:\n.*)*".join(lines), text, flags)
    return found.groupdict() if found else None


def matched_screen(expected: tuple[str, ...], screen: str, remembered: Mapping[str, str]) -> dict[str, str] | None:
    """The same of a whole screen, which is a CON unless it says END; nothing expected is anything."""
    if not expected:
        return {}
    words = "\n".join(expected)
    return matched(words if words.startswith("END ") else f"CON {words}", screen, remembered)


def translated(words: str, text: str, remembered: Mapping[str, str]) -> dict[str, str] | None:
    """The codes of an SMS or a screen in another language than the journey's; None where one is missing."""
    named = dict.fromkeys(REMEMBERED.findall(words))
    fresh = [code for code in CODE.findall(text) if code not in remembered.values()]
    unknown = [name for name in named if name not in remembered]
    known = all(remembered[name] in text for name in named if name in remembered)
    return dict(zip(unknown, fresh, strict=False)) if known and len(unknown) <= len(fresh) else None


def translated_sms(words: str, text: str, remembered: Mapping[str, str]) -> dict[str, str] | None:
    """The same of an SMS, which has to say the same amounts and numbers."""
    facts = (SEPARATOR.sub("", amount or number) for amount, number in FACT.findall(words))
    said = SEPARATOR.sub("", text)
    return translated(words, text, remembered) if all(fact in said for fact in facts) else None


def translated_screen(expected: tuple[str, ...], screen: str, remembered: Mapping[str, str]) -> dict[str, str] | None:
    """The same of a screen, which has to end the dialogue where the journey's does."""
    words = "\n".join(expected)
    if expected and words.startswith("END ") != screen.startswith("END "):
        return None
    return translated(words, screen, remembered)


def _head(path: Path) -> list[str]:
    """The comments it begins with."""
    return list(takewhile(lambda line: line.startswith("#"), path.read_text().splitlines()))
