"""Measures every screen and SMS in every language at its longest: each placeholder as wide as it ever prints."""

from collections.abc import Iterator
from dataclasses import dataclass

from ussd_app.actions import LABEL_SEPTETS_MAX, WORD_SEPTETS_MAX
from ussd_app.gsm import parts, septets, to_gsm
from ussd_app.menus.draft import Draft
from ussd_app.menus.faults import Fault
from ussd_app.menus.kinds import KINDS
from ussd_app.menus.model import (
    BACK,
    HOME,
    MORE,
    Ask,
    Choose,
    Do,
    End,
    Flow,
    Limits,
    Options,
    Screen,
)
from ussd_app.menus.paths import Paths
from ussd_app.menus.template import NotAllowed, Placeholder, pieces
from ussd_app.menus.translations import Catalog
from ussd_app.menus.words import SCREENS, STATES

WIDE = "W"  # one septet, and easy to see where a test prints it
FIRST = ", where it may be the first of a session"


def measure(draft: Draft, paths: Paths, limits: Limits) -> Iterator[Fault]:
    """What is too long, in English and in each translation."""
    openings = paths.openings()
    for catalog in (None, *draft.catalogs):
        ruler = _Ruler(draft, catalog)
        for screen in draft.screens.values():
            if not isinstance(screen, Do):
                yield from ruler.screen(screen, limits, opening=screen.state in openings)
        yield from ruler.words(limits)
        yield from ruler.sms()


def widest(text: str, draft: Draft) -> str:
    """A text with every placeholder at its longest; raises NotAllowed."""
    return "".join(piece if isinstance(piece, str) else WIDE * _width(piece, draft) for piece in pieces(text))


def _width(placeholder: Placeholder, draft: Draft) -> int:
    """What its filter prints at most, of a value that is cut to its variable's own maximum before."""
    own = draft.variables.get(placeholder.name)
    kind = KINDS.get(placeholder.filter or "")
    limits = ([own.septets] if own else []) + ([kind.septets] if kind else [])
    return min(limits, default=KINDS["text"].septets)


def _listed(draft: Draft) -> Iterator[Flow]:
    return (flow for flow in draft.flows.values() if flow.code and flow.listed)


@dataclass(frozen=True, slots=True)
class _Ruler:
    """One language's texts at their longest."""

    draft: Draft
    catalog: Catalog | None

    @property
    def language(self) -> str:
        return self.catalog.language if self.catalog else "en"

    def screen(self, screen: Screen, limits: Limits, *, opening: bool) -> Iterator[Fault]:
        """A screen with the longest reason above it and the hints below; without both where it opens a session."""
        alone = "\n".join((self.text(screen.state), *self._lines(screen)))
        pieces_ = (self._reason(screen), alone, self._hints(screen))
        full = "\n".join(piece for piece in pieces_ if piece)
        fault = self._too_long(screen.state, full, limits.screen_septets)
        if fault is None and opening:
            fault = self._too_long(screen.state, alone, limits.opening_septets, FIRST)
        yield from (fault,) if fault else ()

    def words(self, limits: Limits) -> Iterator[Fault]:
        """The framework's own sentences, any of which may come first, and its words behind the lines of lists."""
        for name in STATES:
            text_id = f"words.{name}"
            if text_id in self.draft.texts:
                fault = self._too_long(text_id, self.text(text_id), WORD_SEPTETS_MAX)
                yield from (fault,) if fault else ()
        for name in SCREENS:
            text_id = f"words.{name}"
            if text_id in self.draft.texts:
                fault = self._too_long(text_id, self.text(text_id), limits.opening_septets, FIRST)
                yield from (fault,) if fault else ()
        for flow in self.draft.flows.values():
            if flow.resume == "ask" and "words.resume_ask" in self.draft.texts:
                title = self.text(flow.title) if flow.title in self.draft.texts else ""
                choices = (f"1 {self.text('words.resume_continue')}", f"2 {self.text('words.resume_restart')}")
                question = "\n".join((self.text("words.resume_ask"), title, *choices))
                note = f" with the title of {flow.name}{FIRST}"
                fault = self._too_long("words.resume_ask", question, limits.opening_septets, note)
                yield from (fault,) if fault else ()

    def sms(self) -> Iterator[Fault]:
        """Every SMS in its parts."""
        for template in self.draft.sms.values():
            words = self.text(template.text_id)
            count = parts(words).count if words else 0
            if count > template.parts:
                message = (
                    f"{template.text_id} takes {count} parts in {self.language} at its longest, not {template.parts}"
                )
                yield self._fault(template.text_id, message)

    def text(self, text_id: str) -> str:
        """The words at their longest; empty where they cannot be used (which is told elsewhere)."""
        translated = self.catalog.words(text_id) if self.catalog else None
        text = self.draft.texts.get(text_id)
        try:
            return widest(translated or to_gsm(text.words if text else ""), self.draft)
        except NotAllowed:
            return ""

    def _lines(self, screen: Screen) -> list[str]:
        if isinstance(screen, Choose):  # one choice at least, on a page that is not the last
            return [f"1 {WIDE * LABEL_SEPTETS_MAX}", f"{MORE} {self.text('words.more')}"]
        if not isinstance(screen, Options):
            return []
        lines = [f"{option.key} {self.text(option.text_id)}" for option in screen.options]
        if screen.lists_flows:
            lines += [f"{flow.code} {self.text(flow.title)}" for flow in _listed(self.draft)]
        return lines

    def _reason(self, screen: Screen) -> str:
        if isinstance(screen, End):
            return ""
        return self.text(f"words.wrong_{screen.type}" if isinstance(screen, Ask) else "words.wrong_option")

    def _hints(self, screen: Screen) -> str:
        if isinstance(screen, End) or (isinstance(screen, Options) and screen.lists_flows):
            return ""
        return f"{BACK} {self.text('words.back')} {HOME} {self.text('words.home')}"

    def _too_long(self, text_id: str, words: str, limit: int, note: str = "") -> Fault | None:
        cost = septets(words) or 0
        if cost <= limit:
            return None
        message = f"{text_id} takes {cost} of {limit} septets in {self.language} at its longest{note}"
        return self._fault(text_id, message)

    def _fault(self, text_id: str, message: str) -> Fault:
        if self.catalog and self.catalog.words(text_id):
            return Fault(self.catalog.file, self.catalog.entries[text_id].line, message)
        return self.draft.texts[text_id].fault(message)
