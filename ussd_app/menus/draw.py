"""The menus as a mermaid flowchart, drawn from the wiring of the machine that runs them."""

from collections import defaultdict

from ussd_app.menus.model import Ask, Choose, Do, End, Menus, Screen
from ussd_app.menus.paths import edges

SHAPES = {Do: ("[[", "]]"), Choose: ("[/", "/]"), Ask: ("([", "])"), End: ("((", "))")}


def draw(menus: Menus) -> str:
    """Mermaid text, the same for the same menus: flows as boxes, keys and outcomes as arrows."""
    lines = ["flowchart TD"]
    for flow in menus.flows.values():
        title = menus.texts.render(flow.title, "en", {}) if flow.code else flow.name
        lines.append(f'  subgraph flow_{flow.name}["{_quoted(f"{flow.code} {title}" if flow.code else title)}"]')
        lines += [f"    {_node(screen)}" for screen in menus.screens.values() if screen.flow == flow.name]
        lines.append("  end")
    arrows: dict[tuple[str, str], list[str]] = defaultdict(list)
    for screen in menus.screens.values():
        for edge in edges(screen, menus.flows.values()):
            arrows[screen.state, edge.target].append(_label(edge.trigger))
    for (source, target), labels in arrows.items():
        lines.append(f'  {_id(source)} -->|"{", ".join(labels)}"| {_id(target)}')
    return "\n".join(lines) + "\n"


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
