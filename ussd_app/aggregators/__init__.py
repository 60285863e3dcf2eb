"""USSD aggregators: one file each, turning their request into a Turn and our Reply into their response."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from pydantic import NonNegativeInt, PositiveInt

from ussd_app import msisdn
from ussd_app.config import Environment, Networks, Segment
from ussd_app.msisdn import InvalidMsisdn, Msisdn
from ussd_app.ussd import Reply, Turn

ID_CHARS_MAX = 128  # of a session id, number or code; the longest documented has 32


class AggregatorSettings(Environment):
    """What every aggregator can be told; each file subclasses it with its own ``env_prefix``."""

    ussd_secret: Segment | None = None  # last path segment of its callback address
    ussd_allowed_ips: Networks = ()  # CIDR ranges its callbacks come from
    repeat_window_ms: NonNegativeInt = 1_000  # design.md law 3
    screen_septets: PositiveInt = 160
    opening_septets: PositiveInt = 140


@dataclass(frozen=True, slots=True)
class Callback:
    """A request's decoded body (or query), before anyone knows what it means."""

    format: str  # "form" | "json" | "query" | "xml"
    fields: Mapping[str, Any] = field(repr=False)  # what was typed is among them


@dataclass(frozen=True, slots=True)
class Response:
    """What goes back over HTTP."""

    body: bytes
    media: str  # the content type
    status: int = 200

    @classmethod
    def text(cls, words: str, status: int = 200) -> Self:
        """Plain text."""
        return cls(words.encode(), "text/plain; charset=utf-8", status)

    @classmethod
    def json(cls, value: Mapping[str, Any]) -> Self:
        """A JSON object; raises ValueError for a number that JSON has not."""
        words = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return cls(words.encode(), "application/json")


class Malformed(ValueError):
    """A field is missing or of the wrong type; its name goes into the 400."""

    def __init__(self, field: str, problem: str = "is missing") -> None:
        super().__init__(f"{field} {problem}")
        self.field = field


class Aggregator(Protocol):
    """What web.py asks of ``Aggregator(settings, code, country)`` in each file."""

    name: str
    formats: frozenset[str]  # those of Callback.format it speaks

    @property
    def settings(self) -> AggregatorSettings:
        """Its own settings class."""
        ...

    def recognises(self, callback: Callback, /) -> bool:
        """Whether this request is in one of our formats, judged by its field names alone."""
        ...

    def parse(self, callback: Callback, /) -> Turn:
        """The hop or the notice that the dialogue is over; raises Malformed."""
        ...

    def render(self, turn: Turn, reply: Reply, /) -> Response:
        """The screen in the format the turn came in."""
        ...

    def acknowledge(self, turn: Turn, /) -> Response:
        """The answer to a notice: it was heard, and there is nothing to show."""
        ...

    def refuse(self, callback: Callback, problem: Malformed, /) -> Response:
        """The answer to a malformed request: 400 with the field's name, or what the format demands instead."""
        ...


def required(fields: Mapping[str, Any], name: str) -> str:
    """An id that must be there as a non-empty string (numbers are taken as written); raises Malformed."""
    value = optional(fields, name).strip()
    if not value:
        raise Malformed(name)
    if len(value) > ID_CHARS_MAX or not value.isprintable():
        raise Malformed(name, f"must be at most {ID_CHARS_MAX} printable characters")
    return value


def optional(fields: Mapping[str, Any], name: str) -> str:
    """A member that may be absent or null, as a string; raises Malformed where it is a list, an object or a boolean."""
    value = fields.get(name)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Malformed(name, "must be a string")
    text = str(value)
    # JSON can spell half a surrogate pair, which no encoding can carry back.
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise Malformed(name, "is no valid text")
    return text


def number(subscriber: str, country: str) -> Msisdn | None:
    """The subscriber id as a mobile number, or None where it is masked or otherwise none (design.md law 2)."""
    try:
        return msisdn.parse(subscriber, country)
    except InvalidMsisdn:
        return None
