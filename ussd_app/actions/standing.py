"""Where a payment stands, as outcomes that home and "Last payments" both have screens for, and as a line of a list."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ussd_app.actions import Choice, Choices
from ussd_app.money import Money
from ussd_app.orders import Standing


@dataclass(frozen=True, slots=True)
class Waiting:
    """Whoever collects it has not said yet that it is paid: perhaps the payer has to approve it still."""

    amount: Money
    party: str
    reference: str
    brand: str  # of who has been asked for it
    others: bool  # whether more is open


@dataclass(frozen=True, slots=True)
class Delivering:
    """It is paid, and what it bought is on its way."""

    amount: Money
    party: str
    reference: str
    others: bool


@dataclass(frozen=True, slots=True)
class Coming:
    """Money of theirs that a group or our till sends them is on its way."""

    amount: Money
    party: str
    reference: str
    others: bool


@dataclass(frozen=True, slots=True)
class Refunding:
    """It could not be delivered, and what was paid is on its way back."""

    amount: Money
    party: str
    reference: str
    others: bool


@dataclass(frozen=True, slots=True)
class Unclear:
    """Nobody has found out in time; a person of ours looks into it."""

    amount: Money
    party: str
    reference: str
    others: bool


Open = Waiting | Delivering | Coming | Refunding | Unclear
OPEN: Mapping[str, type[Delivering | Coming | Refunding | Unclear]] = {
    "delivering": Delivering, "coming": Coming, "refunding": Refunding, "unclear": Unclear,
}  # fmt: skip


def open_outcome(found: Standing, *, others: bool) -> Open:
    """The screen of what is open."""
    if found.state == "waiting":
        return Waiting(found.amount, found.party, found.code, found.brand, others)
    return OPEN[found.state](found.amount, found.party, found.code, others)


def line(found: Standing) -> Choice:
    """When, how much and whose, in figures and names, and how it stands in a word of the menus."""
    sign = "+" if found.state == "coming" else "-"
    return Choice(found.code, f"{found.at:%d/%m} {sign}{found.amount.plain} {found.party}", f"now_{found.state}")


def page(lines: Sequence[Choice], after: str | None) -> Choices:
    """What follows a line; all of them, where it is gone."""
    first = next((place for place, each in enumerate(lines, 1) if each.value == after), 0)
    return Choices(tuple(lines[first:]), more=False)
