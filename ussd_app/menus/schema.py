"""The shape of every table in menus/: which keys it has and what each may hold."""

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
)

from ussd_app.menus.faults import Fault
from ussd_app.menus.kinds import ASKED, KINDS
from ussd_app.menus.model import BACK, HOME, MORE
from ussd_app.menus.source import Source

NAME = r"^[a-z][a-z0-9_]{0,39}$"
TEXT_CHARS_MAX = 1_000


def _free(key: str) -> str:
    if not re.fullmatch(r"[0-9]{1,4}", key):
        raise ValueError(f"{key!r} is no key of a phone: digits only, four at most")
    if key in {BACK, HOME, MORE}:
        raise ValueError(f"{key} is a key of the framework")
    return key


def one_of(*allowed: str) -> AfterValidator:
    """A value that is one of these words."""

    def check(value: str) -> str:
        if value not in allowed:
            raise ValueError(f"{value!r} is none of {', '.join(allowed)}")
        return value

    return AfterValidator(check)


Name = Annotated[str, StringConstraints(pattern=NAME)]
Key = Annotated[str, AfterValidator(_free)]
Target = Annotated[str, StringConstraints(pattern=r"^(flow:)?[a-z][a-z0-9_]{0,39}$")]
ActionName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")]
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=TEXT_CHARS_MAX)]
Constant = Annotated[str, StringConstraints(min_length=1, max_length=40)]


class Shape(BaseModel):
    """A table: no key it does not know, no value of another type than written."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class FlowShape(Shape):
    """The keys above a flow's first screen."""

    title: Words | None = None
    code: Key | None = None
    resume: Annotated[str, one_of("ask", "restart", "silent")] = "restart"
    when: Name | None = None
    listed: bool = True


class AskShape(Shape):
    """One answer."""

    ask: Annotated[str, one_of(*ASKED)]
    text: Words
    next: Target
    keep: Name | None = None
    on: dict[Key, Target] = {}


class OptionShape(Shape):
    """One line of a menu."""

    text: Words
    next: Target
    key: Key | None = None
    when: Name | None = None
    set_: dict[Name, Constant] = Field({}, alias="set")


class OptionsShape(Shape):
    """A numbered menu."""

    text: Words
    options: list[OptionShape] = []
    flows: Literal[True] | None = None
    by_hand: Literal[True] | None = None


class ChooseShape(Shape):
    """A list only known now."""

    text: Words
    from_: ActionName = Field(alias="from")
    keep: Name | None = None
    next: Target
    empty: Target


class DoShape(Shape):
    """A call to code."""

    do: ActionName
    on: dict[Name, Target] = {}


class EndShape(Shape):
    """The last words."""

    end: Words


ScreenShape = AskShape | OptionsShape | ChooseShape | DoShape | EndShape

# The key that says which kind a screen is.
SHAPES: dict[str, type[ScreenShape]] = {
    "ask": AskShape,
    "options": OptionsShape,
    "flows": OptionsShape,
    "from": ChooseShape,
    "do": DoShape,
    "end": EndShape,
}


# What pydantic finds, in an editor's words.
SAID = {
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "string_too_short": "is empty",
    "string_type": "is no text in quotes",
    "string_pattern_mismatch": "is not written like a name here",
    "model_type": "is no table",
}


class SmsShape(Shape):
    """One SMS."""

    priority: Annotated[str, one_of("code", "receipt", "notice", "reminder", "bulk")]
    text: Words
    parts: Annotated[int, Field(ge=1, le=6)] = 1
    validity_minutes: Annotated[int, Field(ge=1, le=4_320)] | None = None  # three days: no operator keeps one longer


class VariableShape(Shape):
    """How a variable is shown at most: its type's own maximum, or ``max`` septets."""

    type: Annotated[str, one_of(*KINDS)]
    max: Annotated[int, Field(ge=2)] | None = None

    @field_validator("max")
    @classmethod
    def _within_its_type(cls, value: int | None, info: ValidationInfo) -> int | None:
        kind = KINDS.get(info.data.get("type", ""))
        if kind and value and value > kind.septets:
            raise ValueError(f"a {info.data['type']} takes {kind.septets} septets at most everywhere")
        if kind and value and not kind.cut:
            raise ValueError(f"a {info.data['type']} is never cut")
        return value

    @property
    def septets(self) -> int:
        """The most it ever prints."""
        return self.max or KINDS[self.type].septets


def words_of(names: Iterable[str]) -> type[Shape]:
    """The shape of a table that holds exactly these sentences."""
    fields: dict[str, Any] = dict.fromkeys(sorted(names), (Words, ...))
    return create_model("WordsShape", __base__=Shape, **fields)


AnyShape = TypeVar("AnyShape", bound=Shape)


def shaped(shape: type[AnyShape], source: Source, data: Any, faults: list[Fault], *path: str) -> AnyShape | None:  # noqa: ANN401 - TOML can hold anything there
    """A table in its shape, or None with every reason among the faults."""
    try:
        return shape.model_validate(data)
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            place = [*path, *(part for part in problem["loc"] if part != "[key]")]
            faults.append(source.fault(_said(problem, str(place[-1])), *place))
        return None


def _said(problem: Any, key: str) -> str:  # noqa: ANN401 - pydantic's own record
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "value_error":
        return f"`{key}`: {context['error']}"
    if kind == "string_too_long":
        return f"`{key}` is longer than {context['max_length']:,} characters"
    return f"`{key}` {SAID[kind]}" if kind in SAID else f"`{key}`: {problem['msg'][0].lower()}{problem['msg'][1:]}"
