"""Compiles checked menus: one state machine and one set of templates, shared by every dialogue."""

from collections.abc import Iterable
from datetime import UTC, tzinfo
from pathlib import Path

from transitions import Machine

from ussd_app.menus.check import examine
from ussd_app.menus.draft import Draft
from ussd_app.menus.faults import MenuFaults
from ussd_app.menus.model import HOME_FLOW, Choose, Do, Flow, Limits, Menus, Options, Screen
from ussd_app.menus.paths import edges
from ussd_app.menus.screens import Resolver
from ussd_app.menus.signature import resolve
from ussd_app.menus.template import placeholders
from ussd_app.menus.text import Templates


def load(directory: Path, *, limits: Limits | None = None, actions: Resolver = resolve, zone: tzinfo = UTC) -> Menus:
    """The menus of a directory, checked for screens of ``limits``; dates are shown in ``zone``. Raises MenuFaults."""
    limits = limits or Limits()
    draft = examine(directory, limits, actions)
    if draft.faults:
        raise MenuFaults(draft.faults)
    septets = {name: shape.septets for name, shape in draft.variables.items()}
    return Menus(
        flows=draft.flows,
        codes={flow.code: flow for flow in draft.flows.values() if flow.code},
        screens=draft.screens,
        machine=_machine(draft.screens.values(), tuple(draft.flows.values())),
        texts=Templates(draft.english, draft.catalogs, septets, zone),
        sms=draft.sms,
        digest=draft.digest,
        limits=limits,
        bundles=draft.bundles,
        home_needs=_home_needs(draft),
    )


def _home_needs(draft: Draft) -> frozenset[str]:
    """What the home flow's words, conditions and actions ask for."""
    screens = [screen for screen in draft.screens.values() if screen.flow == HOME_FLOW]
    said = (text.words for text in draft.texts.values() if text.screen and draft.screens[text.screen].flow == HOME_FLOW)
    conditions = [option.when for screen in screens if isinstance(screen, Options) for option in screen.options]
    conditions += [flow.when for flow in draft.flows.values()]
    given = (screen.action.parameters for screen in screens if isinstance(screen, Do | Choose))
    return frozenset(
        {placeholder.name for words in said for placeholder in placeholders(words)}
        | {when for when in conditions if when}
        | {name for parameters in given for name in parameters}
    )


def _machine(screens: Iterable[Screen], flows: tuple[Flow, ...]) -> Machine:
    """Wiring only, no model and no callbacks: dialogues are moved by firing its events on them, never registered."""
    screens = tuple(screens)
    return Machine(
        model=None,
        states=[screen.state for screen in screens],
        transitions=[[edge.trigger, screen.state, edge.target] for screen in screens for edge in edges(screen, flows)],
        initial=None,
        auto_transitions=False,
        queued=False,
        send_event=False,
    )
