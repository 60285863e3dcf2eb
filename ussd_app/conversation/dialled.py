"""What a dial string may answer: never a PIN, and nothing that at once asks for money or writes (design.md law 5)."""

import re
from collections.abc import Iterable, Sequence

from ussd_app.menus.model import HOME_FLOW, Ask, Choose, Do, Menus, Options, Screen
from ussd_app.menus.paths import edges

CHARS_MAX = 182  # of one USSD string (3GPP TS 23.038: 160 octets of seven bits each)
TOKENS_MAX = CHARS_MAX // 2  # of that many: what a longer one says is not walked to its end


def may_be_answered(menus: Menus, screen: Screen, token: str) -> bool:
    """Whether this answer may be taken: at home only a flow's code, elsewhere none where any would have an effect."""
    match screen:
        case Options(lists_flows=True):
            flow = menus.codes.get(token)
            return flow is not None and not _acts(menus, [flow.entry])
        case Ask():
            return screen.type != "pin" and not _acts(menus, [screen.next, *screen.fixed.values()])
        case Options():
            return not screen.by_hand and not _acts(menus, [option.next for option in screen.options])
        case Choose():
            return not _acts(menus, [screen.next])
        case _:
            return False


def may_be_kept(menus: Menus, tokens: Sequence[str]) -> list[str]:
    """The beginning of a dial string that holds no PIN, whatever way it leads: the rest may not be stored (law 4).

    What leads home again could go on anywhere, and nobody dials so.
    """
    if len("*".join(tokens)) > CHARS_MAX or not tokens or tokens[0] not in menus.codes:
        return []
    states = {menus.codes[tokens[0]].entry}
    for index in range(1, len(tokens)):
        screens = [menus.screens[state] for state in _at_once(menus, states)]
        if any(screen.flow == HOME_FLOW or (isinstance(screen, Ask) and screen.type == "pin") for screen in screens):
            return list(tokens[:index])
        states = {edge.target for screen in screens for edge in edges(screen, ()) if not edge.by_itself}
    return list(tokens)


def code_of_an_sms(menus: Menus, tokens: Sequence[str]) -> list[str]:
    """A flow and the eight digits it is to find, as an SMS has named them; nothing else."""
    kept = list(tokens[:2])
    is_code = len(kept) > 1 and re.fullmatch(r"[0-9]{8}", kept[1]) is not None
    return may_be_kept(menus, kept) if is_code else []


def _acts(menus: Menus, states: Iterable[str]) -> bool:
    screens = (menus.screens[state] for state in _at_once(menus, states))
    return any(isinstance(screen, Do) and (screen.action.collects or screen.action.writes) for screen in screens)


def _at_once(menus: Menus, states: Iterable[str]) -> set[str]:
    """These states, and those that code alone leads on to."""
    found: set[str] = set()
    waiting = list(states)
    while waiting:
        state = waiting.pop()
        if state not in found:
            found.add(state)
            waiting += [edge.target for edge in edges(menus.screens[state], ()) if edge.by_itself]
    return found
