"""What a variable can be, the longest it can print, and the filters that keep it so (design.md law 16)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from typing import Any

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_datetime
from babel.numbers import format_decimal

from ussd_app.actions import Pin
from ussd_app.gsm import cut, one_line, septets, to_gsm
from ussd_app.money import MAX_MAJOR, Money, exponent
from ussd_app.msisdn import Msisdn


@dataclass(frozen=True, slots=True)
class Kind:
    """The values one filter prints, the most septets it ever prints, and whether a variable may have fewer."""

    types: tuple[type, ...]
    septets: int
    cut: bool = False


KINDS: Mapping[str, Kind] = {
    "money": Kind((Money,), 16),  # GHS 999999999.99
    "msisdn": Kind((Msisdn,), 13),  # +233240000001
    "date": Kind((datetime, date), 19),  # 25 sept. 2026 14:05
    "number": Kind((int,), 6, cut=True),
    "code": Kind((str,), 12, cut=True),
    "name": Kind((str,), 20, cut=True),
    "text": Kind((str,), 40, cut=True),
}

# What an ``ask`` of each type keeps.
ASKED: Mapping[str, type] = {
    "msisdn": Msisdn,
    "amount": Money,
    "pin": Pin,
    "text": str,
    "number": int,
    "date": date,
    "code": str,
}

# What may travel from an action's outcome to a text or to the next action.
VARIABLE_TYPES = frozenset({Money, Msisdn, str, int, bool, datetime, date})


def kind_of(type_: type) -> str | None:
    """The filter that prints a type, or None for what is never printed (PINs, yes and no); a plain str is text."""
    return {str: "text", **{t: name for name, kind in KINDS.items() for t in kind.types if t is not str}}.get(type_)


def filters(language: str, zone: tzinfo) -> dict[str, Callable[[Any], str]]:
    """One language's filters, by name; dates are shown in ``zone``."""
    try:
        locale = Locale.parse(language, sep="-" if "-" in language else "_")
    except (UnknownLocaleError, ValueError):
        locale = Locale("en")
    return {
        "money": lambda amount: _money(amount, locale),
        "msisdn": _msisdn,
        "date": lambda moment: _date(moment, locale, zone),
        "number": number,
        "code": lambda words: one_line(words, KINDS["code"].septets),
        "name": lambda words: one_line(words, KINDS["name"].septets),
        "text": lambda words: one_line(words, KINDS["text"].septets),
    }


def number(value: int | str, limit: int = KINDS["number"].septets) -> str:
    """A whole number; one that is too long for ``limit`` septets is shown as more than the largest that is not."""
    digits = str(value)
    if len(digits) <= limit:
        return digits
    return "<-" + "9" * (limit - 2) if digits.startswith("-") else ">" + "9" * (limit - 1)


def _money(amount: Money, locale: Locale) -> str:
    """``GHS 1,500.50``: grouped where that fits, plain where not, and never shortened to another amount."""
    decimals = "0" * exponent(amount.currency)
    pattern = f"#,##0.{decimals}".rstrip(".")
    for grouped in (True, False):
        figures = format_decimal(amount.decimal, pattern, locale, group_separator=grouped)
        words = to_gsm(f"{amount.currency} {figures}")
        if len(words) <= KINDS["money"].septets:
            return words
    return f"{amount.currency} {'<-' if amount.minor < 0 else '>'}{MAX_MAJOR}"


def _msisdn(number: Msisdn) -> str:
    """As its country writes it; one that is too long is shown by its end."""
    national, limit = number.national, KINDS["msisdn"].septets
    return national if len(national) <= limit else "..." + national[3 - limit :]


def _date(moment: datetime | date, locale: Locale, zone: tzinfo) -> str:
    """``25 Jul 2026 14:05``, in figures alone where a language's month is too long."""
    for pattern in ("d MMM y", "dd/MM/y"):
        if isinstance(moment, datetime):
            words = format_datetime(moment, f"{pattern} HH:mm", tzinfo=zone, locale=locale)
        else:
            words = format_date(moment, pattern, locale=locale)
        if (septets(to_gsm(words)) or 0) <= KINDS["date"].septets:
            break
    return cut(to_gsm(words), KINDS["date"].septets)
