"""What a person types, by the type its screen asks for. A ValueError is a wrong answer, worded ``wrong_<type>``."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any

from ussd_app import gsm, money, msisdn
from ussd_app.actions import Pin
from ussd_app.menus.kinds import KINDS
from ussd_app.money import Money

TEXT_SEPTETS_MAX = KINDS["text"].septets


def read(kind: str, typed: str, country: str) -> Any:  # noqa: ANN401 - of the type menus.kinds.ASKED says
    """The typed words as a value of ``kind``, read as people of ``country`` write; raises ValueError."""
    return _READERS[kind](typed.strip(), country)


def _amount(typed: str, country: str) -> Money:
    return money.parse(typed, msisdn.CURRENCIES[country])


def _pin(typed: str, _country: str) -> Pin:
    return Pin(_matched("[0-9]{4,6}", typed))


def _text(typed: str, _country: str) -> str:
    line = gsm.one_line(typed, TEXT_SEPTETS_MAX)
    if not any(char.isalnum() for char in line):
        raise ValueError("no words")
    return line


def _number(typed: str, _country: str) -> int:
    return int(_matched("0*[1-9][0-9]{0,8}", typed))


def _date(typed: str, _country: str) -> date:
    """Day, month, year: ``15052026``, ``15/5/2026``, ``15.5.26`` or ``15-05-26``."""
    parts = re.split("[/.* -]", typed)
    if len(parts) == 1 and len(typed) == len("ddmmyyyy"):
        parts = [typed[:2], typed[2:4], typed[4:]]
    day, month, year = (int(_matched("[0-9]{1,4}", part)) for part in parts)
    return datetime(year if year > 99 else 2000 + year, month, day, tzinfo=UTC).date()  # noqa: PLR2004 - two digits


def _code(typed: str, _country: str) -> str:
    return _matched("[0-9]{4,12}", typed.replace(" ", ""))


def _matched(pattern: str, typed: str) -> str:
    if not re.fullmatch(pattern, typed):
        raise ValueError(pattern)
    return typed


_READERS: Mapping[str, Callable[[str, str], Any]] = {
    "msisdn": msisdn.parse, "amount": _amount, "pin": _pin, "text": _text, "number": _number, "date": _date,
    "code": _code,
}  # fmt: skip
