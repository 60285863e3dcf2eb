"""Reads an action's own signature, so that a flow can be proved without running it."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from functools import cache
from importlib import import_module
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from ussd_app.actions import Call, Choices, Pin, outcome_key
from ussd_app.menus.kinds import VARIABLE_TYPES
from ussd_app.menus.model import Action


class BadAction(ValueError):
    """A function is not written as an action must be; the message says what is wrong with it."""


@cache
def resolve(name: str) -> Action | None:
    """The action ``module.function`` of ussd_app/actions/, or None where there is none; raises BadAction."""
    module_name, _, function_name = name.partition(".")
    full_name = f"ussd_app.actions.{module_name}"
    try:
        module = import_module(full_name)
    except ModuleNotFoundError as error:
        if error.name != full_name:
            raise
        return None
    function = getattr(module, function_name, None)
    return read(name, function) if getattr(function, "__action__", False) else None


def read(name: str, function: Any) -> Action:  # noqa: ANN401 - whatever a module holds under that name
    """The action as its signature tells it; raises BadAction."""
    hints = _hints(name, function)
    returned = hints.pop("return", None)
    parameters = list(inspect.signature(function).parameters)
    if not inspect.iscoroutinefunction(function) or parameters[:1] != ["call"] or hints.get("call") is not Call:
        raise BadAction(f"{name} must be `async def` and take `call: Call` first")
    lists = returned is Choices
    if lists and parameters[1:2] != ["after"]:
        raise BadAction(f"{name} returns Choices, so it takes `after` second")
    answers = {parameter: hints.get(parameter) for parameter in parameters[2 if lists else 1 :]}
    for parameter, type_ in answers.items():
        if type_ not in VARIABLE_TYPES | {Pin}:
            raise BadAction(f"{name} takes `{parameter}`, which is of no type an answer can have")
    outcomes = {} if lists else _outcomes(name, returned)
    collects, writes = (bool(getattr(function, mark, False)) for mark in ("__collects__", "__writes__"))
    return Action(name, function, answers, outcomes, collects, writes)  # type: ignore[arg-type]  # None was refused above


def outcome_fields(outcome: type) -> dict[str, type]:
    """The variables an outcome sets, with their types."""
    return dict(get_type_hints(outcome))


def places(action: Action) -> frozenset[str]:
    """The outcomes that mean something was placed: those with a reference."""
    return frozenset(key for key, outcome in action.outcomes.items() if "reference" in outcome_fields(outcome))


def _hints(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function)
    except (NameError, TypeError) as error:
        raise BadAction(f"{name} has types that cannot be read: {error}") from None


def _outcomes(name: str, returned: Any) -> dict[str, type]:  # noqa: ANN401 - an annotation can be anything
    found: dict[str, type] = {}
    for outcome in _members(returned):
        if not _is_frozen(outcome):
            raise BadAction(f"{name} must return frozen dataclasses, not {getattr(outcome, '__name__', outcome)}")
        if outcome_key(outcome) in found:
            raise BadAction(f"{name} returns two outcomes called {outcome_key(outcome)}")
        hints = get_type_hints(outcome)
        for field in fields(outcome):
            if hints[field.name] not in VARIABLE_TYPES:
                raise BadAction(f"{name}: `{field.name}` of {outcome.__name__} is of no type a variable can have")
        found[outcome_key(outcome)] = outcome
    return found


def _is_frozen(outcome: Any) -> bool:  # noqa: ANN401 - an annotation can be anything
    # Python keeps a dataclass's own settings under this name; it is not in the type of a class.
    return is_dataclass(outcome) and bool(getattr(outcome, "__dataclass_params__").frozen)  # noqa: B009 - the same


def _members(returned: Any) -> Iterable[Any]:  # noqa: ANN401 - an annotation can be anything
    return get_args(returned) if get_origin(returned) in {Union, UnionType} else (returned,)
