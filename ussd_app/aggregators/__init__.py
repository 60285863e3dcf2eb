"""USSD aggregators: one file each, turning their request into a Turn and our Reply into their response."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from pydantic import SecretStr
from pydantic_settings import NoDecode
from starlette.responses import Response

from ussd_app.config import Environment
from ussd_app.ussd import Reply, Turn


class AggregatorSettings(Environment):
    """What every aggregator can be told; each file subclasses it with its own ``env_prefix``."""

    ussd_secret: SecretStr | None = None  # last path segment of its callback address
    ussd_allowed_ips: Annotated[tuple[str, ...], NoDecode] = ()  # CIDR ranges its callbacks come from
    repeat_window_ms: int = 1_000  # design.md law 3
    screen_septets: int = 160
    opening_septets: int = 140


@dataclass(frozen=True, slots=True)
class Callback:
    """A request's decoded body (or query), before anyone knows what it means."""

    format: str  # "form" | "json" | "query" | "xml"
    fields: Mapping[str, Any]


class Malformed(ValueError):
    """A field is missing or of the wrong type; its name goes into the 400."""

    def __init__(self, field: str, problem: str = "is missing") -> None:
        super().__init__(f"{field} {problem}")
        self.field = field


class Aggregator(Protocol):
    """What web.py asks of ``Aggregator(settings, code, country)`` in each file."""

    name: str
    settings: AggregatorSettings

    def recognises(self, callback: Callback) -> bool:
        """Whether this request is in one of our formats, judged by its field names alone."""
        ...

    def parse(self, callback: Callback) -> Turn:
        """The hop; raises Malformed."""
        ...

    def render(self, turn: Turn, reply: Reply) -> Response:
        """The screen in the format the turn came in."""
        ...

    def refuse(self, callback: Callback, problem: Malformed) -> Response:
        """The answer to a malformed request: 400 with the field's name, or what the format demands instead."""
        ...


def required(fields: Mapping[str, Any], name: str) -> str:
    """A member that must be there as a non-empty string (numbers are taken as written); raises Malformed."""
    value = optional(fields, name)
    if not value:
        raise Malformed(name)
    return value


def optional(fields: Mapping[str, Any], name: str) -> str:
    """A member that may be absent or null, as a string; raises Malformed where it is a list, an object or a boolean."""
    value = fields.get(name)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Malformed(name, "must be a string")
    return str(value)
