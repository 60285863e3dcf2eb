"""Makes screens of what the files say: actions found, targets resolved, keys given."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

from ussd_app.menus.draft import Draft, FlowDraft, Text
from ussd_app.menus.faults import Fault
from ussd_app.menus.model import HOME_FLOW, Action, Ask, Choose, Do, End, Flow, Option, Options, Screen
from ussd_app.menus.schema import AskShape, ChooseShape, DoShape, EndShape, OptionsShape, ScreenShape
from ussd_app.menus.signature import BadAction

OPTIONS_MAX = 8  # on one screen

Resolver = Callable[[str], Action | None]


def build(draft: Draft, actions: Resolver) -> None:
    """Fill in the draft's flows, screens and texts; what is missing goes among its faults."""
    for flow in draft.drafts.values():
        _flow(draft, flow)
    for flow in draft.drafts.values():
        builder = _Builder(draft, flow, actions)
        for name, shape in flow.shapes.items():
            if screen := builder.screen(name, shape):
                draft.screens[screen.state] = screen
    _home(draft)


def _flow(draft: Draft, flow: FlowDraft) -> None:
    head, source = flow.head, flow.source
    if not flow.screens:
        draft.faults.append(source.fault("the flow has no screen"))
        flow.sound = False
    if head.title is None and flow.name != HOME_FLOW and flow.sound:
        draft.faults.append(source.fault("`title` is missing"))
    if head.code and flow.name == HOME_FLOW:
        draft.faults.append(source.fault("`code`: the home flow is dialled without one", "code"))
    if not head.listed and not head.code:
        draft.faults.append(source.fault("`listed`: a flow that is not shown needs a code to be dialled", "listed"))
    for other in draft.flows.values():
        if head.code and head.code == other.code:
            draft.faults.append(source.fault(f"code {head.code} is that of {other.name} already", "code"))
    title = Text(f"{flow.name}.title", head.title or flow.name, source.file, source.line("title"))
    if head.title:
        draft.add(title)
    entry = flow.state(next(iter(flow.shapes), ""))
    draft.flows[flow.name] = Flow(flow.name, title.id, head.code, head.resume, entry, head.when, head.listed)


def _home(draft: Draft) -> None:
    """The flows are listed on one screen of main; they share its keys and its eight lines."""
    homes = [screen for screen in draft.screens.values() if isinstance(screen, Options) and screen.lists_flows]
    codes = {flow.code: flow for flow in draft.flows.values() if flow.code}
    home = draft.drafts.get(HOME_FLOW)
    if home and home.sound and not homes:
        draft.faults.append(home.source.fault("no screen lists the flows: one needs `flows = true`"))
    for screen in homes:
        flow = draft.drafts[screen.flow]
        name = screen.state.removeprefix(f"{flow.name}.")
        if flow.name != HOME_FLOW or screen is not homes[0]:
            draft.faults.append(flow.source.fault("`flows`: one screen of main.toml lists the flows, no other", name))
        for index, option in enumerate(screen.options):
            if other := codes.get(option.key):
                message = f"key {option.key} is the code of {other.name}"
                draft.faults.append(flow.source.fault(message, name, "options", index))
        listed = [other for other in codes.values() if other.listed]
        if len(screen.options) + len(listed) > OPTIONS_MAX:
            draft.faults.append(flow.source.fault(_too_many(len(screen.options) + len(listed)), name, "flows"))
        for other in listed:
            _title(draft, other, screen)


def _title(draft: Draft, flow: Flow, home: Screen) -> None:
    """A title is a line of the home screen; nowhere else is known what it may show there."""
    title = draft.texts.get(flow.title)
    if title is None:
        return
    draft.add(replace(title, screen=home.state, when=flow.when))
    if flow.resume != "restart" and "{" in title.words:
        message = "`resume`: a title with variables can be shown at home only, so this must be restart"
        draft.faults.append(draft.drafts[flow.name].source.fault(message, "resume"))


def _too_many(count: int) -> str:
    return f"{count} options, and no more than {OPTIONS_MAX} fit a screen: a longer list is a choose"


class _Builder:
    """The screens of one flow."""

    def __init__(self, draft: Draft, flow: FlowDraft, actions: Resolver) -> None:
        self.draft = draft
        self.flow = flow
        self.actions = actions

    def screen(self, name: str, shape: ScreenShape) -> Screen | None:
        """The screen, or None where its action is not known."""
        base = (self.flow.state(name), self.flow.name, self.flow.source.line(name))
        match shape:
            case AskShape():
                self._text(shape.text, name, "text")
                fixed = {key: self._target(target, name, "on", key) for key, target in shape.on.items()}
                return Ask(*base, shape.ask, shape.keep or name, self._target(shape.next, name, "next"), fixed)
            case OptionsShape():
                self._text(shape.text, name, "text")
                options = self._options(name, shape)
                return Options(*base, options, lists_flows=bool(shape.flows), by_hand=bool(shape.by_hand))
            case ChooseShape():
                self._text(shape.text, name, "text")
                onward, empty = self._target(shape.next, name, "next"), self._target(shape.empty, name, "empty")
                action = self._action(shape.from_, name, "from", lists=True)
                return Choose(*base, action, shape.keep or name, onward, empty) if action else None
            case DoShape():
                on = {key: self._target(target, name, "on", key) for key, target in shape.on.items()}
                action = self._action(shape.do, name, "do", lists=False)
                if action:
                    self._outcomes(action, on, name)
                return Do(*base, action, on) if action else None
            case EndShape():
                self._text(shape.end, name, "end")
                return End(*base)

    def _options(self, name: str, shape: OptionsShape) -> tuple[Option, ...]:
        options = []
        if not shape.options and not shape.flows:
            self._fault("`options` is empty", name, "options")
        if len(shape.options) > OPTIONS_MAX:
            self._fault(_too_many(len(shape.options)), name, "options")
        for index, option in enumerate(shape.options):
            path = (name, "options", index)
            if shape.flows and option.key is None:
                self._fault("`key` is missing: beside the flows' codes an option has its own", *path)
            key = option.key or str(index + 1)
            self._text(option.text, *path, "text", key=key, when=option.when)
            target = self._target(option.next, *path, "next")
            text_id = f"{self.flow.state(name)}.{key}"
            options.append(Option(key, text_id, target, option.when, option.set_))
        for key, count in Counter(option.key for option in options).items():
            if count > 1:
                self._fault(f"key {key} is given to {count} options", name, "options")
        return tuple(options)

    def _text(self, words: str, *path: str | int, key: str | None = None, when: str | None = None) -> None:
        state = self.flow.state(str(path[0]))
        text_id = f"{state}.{key}" if key else state
        source = self.flow.source
        self.draft.add(Text(text_id, words, source.file, source.line(*path), state, when))

    def _target(self, target: str, *path: str | int) -> str:
        """The state it names; empty, and told, where there is none."""
        other = target.removeprefix("flow:")
        if target.startswith("flow:"):
            if other in self.draft.flows:
                return self.draft.flows[other].entry
            known, message = other in self.draft.unreadable, f"there is no flow `{other}`"
        else:
            if target in self.flow.shapes:
                return self.flow.state(target)
            known, message = target in self.flow.screens, f"there is no screen `{target}`"
        self.flow.sound = False
        if not known:
            self.draft.faults.append(self.flow.source.fault(message, *path))
        return ""

    def _action(self, name: str, *path: str, lists: bool) -> Action | None:
        try:
            action = self.actions(name)
        except BadAction as error:
            self._fault(str(error), *path)
            return None
        if action is None:
            self._fault(f"there is no action `{name}`", *path)
        elif lists == bool(action.outcomes):
            self._fault(f"{name} {'returns no Choices' if lists else 'is the action of a list'}", *path)
        else:
            return action
        return None

    def _outcomes(self, action: Action, on: Mapping[str, str], screen: str) -> None:
        for key in action.outcomes:
            if key not in on:
                self._fault(f"`on.{key}` is missing: {action.name} may return it", screen, "do")
        for key in on:
            if key not in action.outcomes:
                self._fault(f"`on.{key}`: {action.name} never returns it", screen, "on", key)

    def _fault(self, message: str, *path: str | int) -> None:
        self.flow.sound = False
        self.draft.faults.append(Fault(self.flow.source.file, self.flow.source.line(*path), message))
