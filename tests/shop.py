"""Menus made for the tests of the dialogue: every kind of screen, every resume rule, an order, a PIN and a list."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phone import AMA

from ussd_app import menus
from ussd_app.actions import Call, Choice, Choices, Pin, action
from ussd_app.menus import Action, Menus
from ussd_app.menus.signature import read
from ussd_app.money import Money

ITEMS = 12
SEEN: list[Any] = []  # what the actions below were given
GIVING = asyncio.Event(), asyncio.Event()  # set when it begins; may end when set


@dataclass(frozen=True, slots=True)
class Hello:
    """Whoever it is, in the language they have chosen once."""

    language: str
    vip: bool


@dataclass(frozen=True, slots=True)
class Placed:
    """It stands."""

    reference: str


@dataclass(frozen=True, slots=True)
class Refused:
    """It does not."""


@dataclass(frozen=True, slots=True)
class Done:
    """That was it."""


@action()
async def hello(call: Call) -> Hello:
    """A French speaker."""
    return Hello("fr", vip=call.msisdn == AMA)


@action()
async def note(call: Call, pin: Pin) -> Done:
    """See a PIN."""
    SEEN.append((call.run, str(pin)))
    return Done()


@action(collects=True)
async def order(call: Call, amount: Money) -> Placed | Refused:
    """Place, refuse or break by the amount."""
    SEEN.append((call.run, amount))
    if amount == Money(200, "GHS"):
        return Refused()
    call.may_have_effect = True
    if amount == Money(300, "GHS"):
        raise ConnectionError
    return Placed("48215037")


@action(collects=True)
async def pay(call: Call) -> Placed:
    """Place what needs no question."""
    call.may_have_effect = True
    SEEN.append((call.run, None))
    return Placed("48215037")


@action()
async def give(call: Call) -> Done:
    """Do something for good, and stay in the middle of it for as long as a test wants."""
    call.may_have_effect = True
    begun, ended = GIVING
    begun.set()
    await ended.wait()
    return Done()


@action()
async def refuse(call: Call) -> Refused:
    """Begin, and refuse after all."""
    call.may_have_effect = True
    call.may_have_effect = False
    return Refused()


@action()
async def items(call: Call, after: str | None) -> Choices:
    """Twelve things, five at a time."""
    del call
    start = int(after) + 1 if after else 0
    names = [Choice(str(number), f"Thing number {number}") for number in range(start, min(start + 5, ITEMS))]
    return Choices(tuple(names), more=start + 5 < ITEMS)


@action()
async def nothing(call: Call, after: str | None) -> Choices:
    """An empty list."""
    del call, after
    return Choices((), more=False)


MAIN = """
[greet]
do = "test.hello"
on.hello = "home"

[home]
text = "Home"
flows = true
options = [
  { key = "9", text = "For you", next = "vips", when = "vip" },
]

[vips]
end = "Very important"
"""

SHOP = """
title  = "Shop"
code   = "3"
resume = "ask"

[amount]
ask  = "amount"
text = "How much"
next = "colour"

[colour]
text = "Colour"
options = [
  { text = "Red",  next = "confirm", set = { colour = "red" } },
  { text = "Blue", next = "confirm", set = { colour = "blue" } },
]

[confirm]
text = "{{ amount | money }} {{ colour }}"
options = [
  { text = "Buy", next = "order" },
  { text = "No",  next = "flow:main" },
]

[order]
do = "test.order"
on.placed  = "bought"
on.refused = "again"

[again]
ask  = "amount"
keep = "amount"
text = "Refused. How much"
next = "confirm"

[bought]
end = "Bought {{ reference }}"
"""

THINGS = """
title  = "Things"
code   = "4"
resume = "silent"

[thing]
from  = "test.items"
text  = "Which"
next  = "chosen"
empty = "none"

[chosen]
text = "{{ thing }}: {{ thing_label }}"
options = [{ text = "Another", next = "thing" }, { text = "Nothing", next = "empty" }]

[empty]
from  = "test.nothing"
text  = "Which"
next  = "chosen"
empty = "none"

[none]
end = "Nothing there"
"""

SECRET = """
title  = "Secret"
code   = "5"
resume = "ask"

[pin]
ask  = "pin"
text = "PIN, or 2"
next = "note"
on.2 = "left"

[note]
do = "test.note"
on.done = "word"

[word]
ask  = "text"
text = "Say something"
next = "said"

[said]
text = "You said {{ word }}"
options = [{ text = "Again", next = "pin" }]

[left]
end = "Not today"
"""

# Flows that only some tests want.
PAY = """
title  = "Pay"
code   = "1"

[pay]
do = "test.pay"
on.placed = "paid"

[paid]
end = '''
Now approve, and approve it soon, because we cannot wait for you for ever.
Then nothing is bought at all, which would be a pity.
{{ reference | code }}'''
"""

GIFT = """
title = "Gift"
code  = "6"

[sure]
text = "Sure"
options = [{ text = "Yes", next = "give" }]

[give]
do = "test.give"
on.done = "refuse"

[refuse]
do = "test.refuse"
on.refused = "given"

[given]
end = "Given"
"""

ASKING = MAIN.replace('on.hello = "home"', 'on.hello = "name"\n\n[name]\nask  = "text"\ntext = "Name"\nnext = "home"')

WORDS = (Path(__file__).parents[1] / "menus/main.toml").read_text().partition("[words]")
FILES = {"main.toml": MAIN, "shop.toml": SHOP, "things.toml": THINGS, "secret.toml": SECRET}


def resolver(name: str) -> Action | None:
    """The actions of this file."""
    function = globals().get(name.removeprefix("test."))
    return read(name, function) if function else None


def written(directory: Path, **changed: str) -> Menus:
    """Menus of these files, some of them changed."""
    for name, text in (FILES | {f"{name}.toml": text for name, text in changed.items()}).items():
        words = "".join(WORDS[1:]) if name == "main.toml" else ""
        (directory / name).write_text(text + words)
    return menus.load(directory, actions=resolver)


HOME = "CON Home\n9 For you\n3 Shop\n4 Things\n5 Secret"
FOOT = "\n0 Back 00 Home"
AMOUNT = "CON How much" + FOOT
COLOUR = "CON Colour\n1 Red\n2 Blue" + FOOT
CONFIRM = "CON GHS 1.00 red\n1 Buy\n2 No" + FOOT
QUESTION = "CON You had not finished:\nShop\n1 Continue\n2 Main menu"
