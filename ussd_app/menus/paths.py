"""Where every key and outcome leads, and what that proves: reachable screens, no endless hop, safe ways to pay."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from ussd_app.menus.draft import Draft
from ussd_app.menus.faults import Fault
from ussd_app.menus.kinds import ASKED
from ussd_app.menus.model import HOME_FLOW, Ask, Choose, Do, End, Flow, Options, Screen
from ussd_app.menus.signature import outcome_fields, places

DO_MAX = 8  # calls to code in one hop


@dataclass(frozen=True, slots=True)
class Edge:
    """One way out of a screen, the variables it sets, and whether it is taken without anybody pressing a key."""

    trigger: str
    target: str
    sets: Mapping[str, type] = field(default_factory=dict)
    by_itself: bool = False


def edges(screen: Screen, flows: Iterable[Flow]) -> tuple[Edge, ...]:
    """Every way out of a screen; the home screen also leads to every flow that has a code."""
    match screen:
        case Ask():
            answer = Edge("answer", screen.next, {screen.keep: ASKED[screen.type]})
            return (answer, *(Edge(f"key_{key}", target) for key, target in screen.fixed.items()))
        case Options():
            own = (Edge(f"key_{o.key}", o.next, dict.fromkeys(o.set, str)) for o in screen.options)
            listed = (flow for flow in flows if flow.code) if screen.lists_flows else ()
            return (*own, *(Edge(f"key_{flow.code}", flow.entry) for flow in listed))
        case Choose():
            kept = {screen.keep: str, f"{screen.keep}_label": str}
            return (Edge("answer", screen.next, kept), Edge("empty", screen.empty, by_itself=True))
        case Do():
            return tuple(
                Edge(f"on_{key}", target, outcome_fields(screen.action.outcomes[key]), by_itself=True)
                for key, target in screen.on.items()
                if key in screen.action.outcomes
            )
    return ()


class Paths:
    """The graph of a draft's screens; ways to screens that are not there are left out."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        flows = tuple(draft.flows.values())
        self.edges = {
            state: tuple(edge for edge in edges(screen, flows) if edge.target in draft.screens)
            for state, screen in draft.screens.items()
        }

    def faults(self) -> Iterator[Fault]:
        """Everything wrong with where the screens lead."""
        yield from self._unreachable()
        yield from self._endless()
        yield from self._unsafe()

    def openings(self) -> set[str]:
        """Every screen that a dial string alone can lead to, or a redial: it may be the first of a session.

        Pre-typed input stops where a person must decide (design.md law 5); a ``silent`` flow resumes anywhere.
        """
        flows = self.draft.flows.values()
        dialled_for = [flow.entry for flow in flows if flow.code and not self._collect([flow.entry])]
        starts = [*dialled_for, *(flow.entry for flow in flows if flow.name == HOME_FLOW)]
        dialled = self._closure(starts, lambda state: () if self._decides(state) else self.edges[state])
        silent = {flow.name for flow in flows if flow.resume == "silent"}
        return dialled | {state for state, screen in self.draft.screens.items() if screen.flow in silent}

    def _decides(self, state: str) -> bool:
        """Whether an answer here is a PIN, a person's own yes, or leads at once to money being asked for."""
        screen = self.draft.screens[state]
        if isinstance(screen, Ask) and screen.type == "pin":
            return True
        if isinstance(screen, Options) and screen.by_hand:
            return True
        return isinstance(screen, Ask | Options) and self._collect(edge.target for edge in self.edges[state])

    def _collect(self, states: Iterable[str]) -> bool:
        """Whether any of these leads, with nobody pressing a key, to money being asked for."""
        at_once = self._closure(states, lambda passed: [edge for edge in self.edges[passed] if edge.by_itself])
        screens = (self.draft.screens[passed] for passed in at_once)
        return any(isinstance(passed, Do) and passed.action.collects for passed in screens)

    def _closure(self, starts: Iterable[str], onward: Callable[[str], Iterable[Edge]]) -> set[str]:
        found: set[str] = set()
        waiting = [state for state in starts if state in self.edges]
        while waiting:
            state = waiting.pop()
            if state not in found:
                found.add(state)
                waiting += [edge.target for edge in onward(state)]
        return found

    def _unreachable(self) -> Iterator[Fault]:
        draft = self.draft
        if not all(flow.sound for flow in draft.drafts.values()):
            return  # a way that is only misspelt would make its screens look lost
        coded = [flow.entry for flow in draft.flows.values() if flow.code or flow.name == HOME_FLOW]
        reached = self._closure(coded, self.edges.__getitem__)
        for flow in draft.drafts.values():
            lost = [screen for screen in flow.shapes if flow.state(screen) not in reached]
            if draft.flows[flow.name].entry not in reached:
                yield flow.source.fault("nothing leads to this flow, and it has no code")
                continue
            for screen in lost:
                yield flow.source.fault("nothing leads to this screen", screen)

    def _endless(self) -> Iterator[Fault]:
        """Loops of code alone, then chains of it that are too long for one hop."""
        onward = {
            state: sorted({edge.target for edge in ways if edge.by_itself})
            for state, ways in sorted(self.edges.items())
        }
        while True:
            try:
                order = tuple(TopologicalSorter(onward).static_order())
                break
            except CycleError as error:
                loop = error.args[1][:0:-1]  # each leads to the next
                first = min(range(len(loop)), key=lambda index: self._place(loop[index]))
                names = [*loop[first:], *loop[: first + 1]]
                yield self._fault(names[0], f"code calls code for ever: {' -> '.join(names)}")
                onward[names[0]] = []
        calls: dict[str, int] = {}
        for state in order:
            own = isinstance(self.draft.screens[state], Do)
            calls[state] = own + max((calls[target] for target in onward[state]), default=0)
            if own and calls[state] == DO_MAX + 1:
                yield self._fault(state, f"from here more than {DO_MAX} calls to code follow each other in one hop")

    def _unsafe(self) -> Iterator[Fault]:
        for screen in self.draft.screens.values():
            if not isinstance(screen, Do) or not screen.action.collects:
                continue
            for key in sorted(places(screen.action)):
                target = screen.on.get(key, "")
                if target in self.draft.screens and not isinstance(self.draft.screens[target], End):
                    message = f"`on.{key}` must lead to an end: the operator's prompt waits for it"
                    yield self._fault(screen.state, message, "on", key)

    def _place(self, state: str) -> tuple[str, int]:
        screen = self.draft.screens[state]
        return screen.flow, screen.line

    def _fault(self, state: str, message: str, *path: str) -> Fault:
        flow = self.draft.drafts[self.draft.screens[state].flow]
        return flow.source.fault(message, state.removeprefix(f"{flow.name}."), *path)
