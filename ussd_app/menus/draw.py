"""The menus as a mermaid flowchart, drawn from the wiring of the machine that runs them."""

from collections import defaultdict

from jinja2 import UndefinedError

from ussd_app.menus.model import Ask, Choose, Do, End, Flow, Menus, Screen
from ussd_app.menus.paths import edges

SHAPES = {Do: ("[[", "]]"), Choose: ("[/", "/]"), Ask: ("([", "])"), End: ("((", "))")}


def draw(menus: Menus) -> str:
    """Mermaid text, the same for the same menus: flows as boxes, keys and outcomes as arrows."""
    lines = ["flowchart TD"]
    for flow in menus.flows.values():
        lines.append(f'  subgraph flow_{flow.name}["{_quoted(_title(menus, flow))}"]')
        lines += [f"    {_node(screen)}" for screen in menus.screens.values() if screen.flow == flow.name]
        lines.append("  end")
    arrows: dict[tuple[str, str], list[str]] = defaultdict(list)
    for screen in menus.screens.values():
        for edge in edges(screen, menus.flows.values()):
            arrows[screen.state, edge.target].append(_label(edge.trigger))
    for (source, target), labels in arrows.items():
        lines.append(f'  {_id(source)} -->|"{", ".join(labels)}"| {_id(target)}')
    return "\n".join(lines) + "\n"


def _title(menus: Menus, flow: Flow) -> str:
    """Its code and title; its name, where the title says what is known only of a person."""
    if not flow.code:
        return flow.name
    try:
        return f"{flow.code} {menus.texts.render(flow.title, 'en', {})}"
    except UndefinedError:
        return f"{flow.code} {flow.name}"


def _node(screen: Screen) -> str:
    opening, closing = SHAPES.get(type(screen), ("[", "]"))
    name = screen.state.removeprefix(f"{screen.flow}.")
    said = screen.action.name if isinstance(screen, Do | Choose) else name
    return f'{_id(screen.state)}{opening}"{said}"{closing}'


def _id(state: str) -> str:
    return state.replace(".", "__")


def _label(trigger: str) -> str:
    return trigger.removeprefix("key_").removeprefix("on_")


def _quoted(words: str) -> str:
    return words.replace('"', "'")
