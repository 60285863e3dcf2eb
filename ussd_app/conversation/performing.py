"""How a dialogue calls an action: under an idempotency key, and with what the hop has done so far kept in mind."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ussd_app import idempotency
from ussd_app.actions import Call
from ussd_app.menus.model import Do


async def perform(call: Call, screen: Do, given: Mapping[str, Any]) -> Any | None:  # noqa: ANN401 - an outcome's class
    """The outcome of an action; None where it came too late: the person has been told that it was not done."""
    before = replace(call.effects)
    call.effects.flow, call.effects.language = screen.flow, call.language
    try:
        with idempotency.under(call.key):
            outcome = await screen.action.function(call, **given)
    except idempotency.Void:
        call.may_have_effect = False
        outcome = None
    if before.may_have_effect and not call.may_have_effect:
        # What was done earlier in this hop no later refusal takes back.
        call.effects.may_have_effect, call.effects.run, call.effects.key = True, before.run, before.key
    return outcome
