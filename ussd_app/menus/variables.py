"""What is known on every screen, by every way there; and whether texts and actions ask for no more than that."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ussd_app.actions import Pin
from ussd_app.menus.draft import Draft, FlowDraft, Text
from ussd_app.menus.faults import Fault
from ussd_app.menus.kinds import KINDS, kind_of
from ussd_app.menus.model import Ask, Choose, Do, Options
from ussd_app.menus.paths import Paths
from ussd_app.menus.template import NotAllowed, Placeholder, placeholders
from ussd_app.menus.translations import is_lossy

Types = Mapping[str, type]


UNFILTERED = (str, int)  # what may be shown as it is, cut to its maximum


class Mixed:
    """The type of a variable that is of one type by one way, and of another by another."""


NEVER_SHOWN: Mapping[type, str] = {
    Mixed: "is not of the same type on every way here",
    Pin: "is a PIN: it is never shown",
    bool: "is a yes or no: it cannot be shown",
}


@dataclass(frozen=True, slots=True)
class Known:
    """What a screen knows: ``always`` by every way that leads there, ``sometimes`` by one at least."""

    always: Types
    sometimes: Mapping[str, frozenset[type]]


class Variables:
    """The variables of every sound flow of a draft."""

    def __init__(self, draft: Draft, paths: Paths) -> None:
        self.draft = draft
        self.paths = paths
        self.known: dict[str, Known] = {}
        for flow in draft.drafts.values():
            if flow.sound:
                self.known |= self._flow(flow)

    def faults(self) -> Iterator[Fault]:
        """Every text and action that asks for what is not known where it stands."""
        for text in self.draft.texts.values():
            yield from self._text(text)
        for state in self.known:
            yield from self._screen(state)
        for flow in self.draft.flows.values():
            yield from self._listed(flow.name)

    # What is known where

    def _flow(self, flow: FlowDraft) -> dict[str, Known]:
        """Walk every way through one flow until nothing more is learnt; each begins with nothing known."""
        entry = self.draft.flows[flow.name].entry
        always: dict[str, dict[str, type]] = {entry: {}}
        sometimes: dict[str, dict[str, frozenset[type]]] = {entry: {}}
        waiting = [entry]
        while waiting:
            state = waiting.pop()
            for edge in self.paths.edges[state]:
                if self.draft.screens[edge.target].flow != flow.name:
                    continue  # answers are dropped on the way
                kept = isinstance(self.draft.screens[edge.target], Do)
                brought = _without_pins({**always[state], **edge.sets}, kept=kept)
                met = _meet(always[edge.target], brought) if edge.target in always else brought
                seen = _join(sometimes.get(edge.target, {}), sometimes[state], edge.sets)
                if always.get(edge.target) != met or sometimes.get(edge.target) != seen:
                    always[edge.target], sometimes[edge.target] = met, seen
                    waiting.append(edge.target)
        return {state: Known(types, sometimes[state]) for state, types in always.items()}

    def _types(self, text: Text) -> Types | None:
        """The types of what a text may show; None where its flow is not understood."""
        if text.id.startswith("sms."):
            if "variables" in self.draft.unreadable:
                return None
            return {name: KINDS[shape.type].types[0] for name, shape in self.draft.variables.items()}
        if text.screen is None:
            return {}
        known = self.known.get(text.screen)
        if known is None:
            return None
        flow = self.draft.screens[text.screen].flow
        asks = (screen for screen in self.draft.screens.values() if isinstance(screen, Ask) and screen.flow == flow)
        pins = {ask.keep: Pin for ask in asks if ask.type == "pin"}
        beside = self._beside(flow, text.when) if text.when else {}
        return {**pins, **beside, **known.always}

    def _beside(self, flow: str, when: str) -> Types:
        """What is known wherever ``when`` is: whatever sets it sets these too, or knew them before."""
        beside: dict[str, type] | None = None
        for source, known in self.known.items():
            if self.draft.screens[source].flow != flow:
                continue
            for edge in self.paths.edges[source]:
                if when in edge.sets:
                    brought = {**known.always, **edge.sets}
                    beside = brought if beside is None else _meet(beside, brought)
        return _without_pins(beside or {}, kept=False)

    # What is asked for

    def _text(self, text: Text) -> Iterator[Fault]:
        if is_lossy(text.words):
            yield text.fault(f"{text.id} has a letter that GSM-7 cannot show")
        try:
            wanted = placeholders(text.words)
        except NotAllowed as error:
            yield text.fault(str(error))
            return
        types = self._types(text)
        for placeholder in sorted(wanted, key=str):
            if placeholder.name in self.draft.doubtful:
                continue
            if placeholder.filter and placeholder.filter not in KINDS:
                yield text.fault(f"{placeholder}: there is no such filter, only {', '.join(KINDS)}")
            elif types is not None and (problem := self._problem(placeholder, types, sms=text.id.startswith("sms."))):
                yield text.fault(f"{placeholder} {problem}")

    def _problem(self, placeholder: Placeholder, types: Types, *, sms: bool) -> str | None:
        type_ = types.get(placeholder.name)
        if type_ is None:
            return "is not in variables.toml" if sms else "is not set on every way here"
        if type_ in NEVER_SHOWN:
            return NEVER_SHOWN[type_]
        if type_ not in (KINDS[placeholder.filter].types if placeholder.filter else UNFILTERED):
            return f"is a {type_.__name__}: write {Placeholder(placeholder.name, kind_of(type_))}"
        shape = self.draft.variables.get(placeholder.name)
        if shape and type_ not in KINDS[shape.type].types:
            return f"is a {type_.__name__} here, and variables.toml calls it {shape.type}"
        return None

    def _screen(self, state: str) -> Iterator[Fault]:
        screen, always = self.draft.screens[state], self.known[state].always
        if isinstance(screen, Do | Choose):
            action, key = screen.action, "do" if isinstance(screen, Do) else "from"
            for name, wanted in action.parameters.items():
                given = always.get(name)
                if given is None:
                    yield self._fault(state, f"{action.name} takes `{name}`, which is not set on every way here", key)
                elif given is not wanted:
                    message = f"{action.name} takes `{name}` as {wanted.__name__}, and it is {given.__name__} here"
                    yield self._fault(state, message, key)
        elif isinstance(screen, Options):
            for index, option in enumerate(screen.options):
                if option.when and not self._is_condition(state, option.when):
                    yield self._fault(state, f"`when`: {option.when} is no yes or no here", "options", index)

    def _listed(self, flow: str) -> Iterator[Fault]:
        """A flow's ``when`` is asked on the home screen."""
        when = self.draft.flows[flow].when
        homes = [state for state in self.known if getattr(self.draft.screens[state], "lists_flows", False)]
        if when and homes and not self._is_condition(homes[0], when):
            yield self.draft.drafts[flow].source.fault(f"`when`: {when} is no yes or no of the home screen", "when")

    def _is_condition(self, state: str, name: str) -> bool:
        return self.known[state].sometimes.get(name) == frozenset({bool})

    def _fault(self, state: str, message: str, *path: str | int) -> Fault:
        flow = self.draft.drafts[self.draft.screens[state].flow]
        return flow.source.fault(message, state.removeprefix(f"{flow.name}."), *path)


def _without_pins(types: Types, *, kept: bool) -> dict[str, type]:
    """A PIN lives as long as its hop: the code that follows at once has it, the next screen has not."""
    return {name: type_ for name, type_ in types.items() if kept or type_ is not Pin}


def _meet(one: Types, other: Types) -> dict[str, type]:
    return {name: type_ if type_ is other[name] else Mixed for name, type_ in one.items() if name in other}


def _join(
    known: Mapping[str, frozenset[type]], before: Mapping[str, frozenset[type]], sets: Types
) -> dict[str, frozenset[type]]:
    brought = {**before, **{name: frozenset({type_}) for name, type_ in sets.items()}}
    return {name: known.get(name, frozenset()) | brought.get(name, frozenset()) for name in {*known, *brought}}
