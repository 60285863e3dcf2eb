"""What a handset shows of a dialogue: the words, the lines that are for this person, and as much of them as fits."""

from collections.abc import Sequence

from ussd_app import gsm
from ussd_app.actions import LABEL_SEPTETS_MAX, Choice, Choices
from ussd_app.conversation.dialogue import Dialogue, Page
from ussd_app.menus.model import BACK, HOME, MORE, Choose, Menus, Option, Options, Screen

GO_ON, START_AGAIN = "1", "2"  # the answers to the question after a redial


class Drawing:
    """Draws one dialogue on screens of ``room`` septets; ``leave`` says whether 0 and 00 work here."""

    def __init__(self, menus: Menus, dialogue: Dialogue, room: int, *, leave: bool) -> None:
        self.menus = menus
        self.dialogue = dialogue
        self.room = room
        self.leave = leave

    @property
    def foot(self) -> str:
        """The keys that always work."""
        return f"{BACK} {self.word('back')} {HOME} {self.word('home')}" if self.leave else ""

    def word(self, name: str) -> str:
        """A sentence of the system's own."""
        return self.text(f"words.{name}")

    def text(self, text_id: str) -> str:
        """Any text, filled in with what the dialogue knows."""
        return self.menus.texts.render(text_id, self.dialogue.language, self.dialogue.answers).strip()

    def screen(self, screen: Screen, notice: str | None) -> str:
        """A screen that waits for an answer, below the sentence named ``notice``."""
        if self.dialogue.resuming:
            body = self._question(screen)
        elif isinstance(screen, Options):
            body = self._options(screen)
        elif isinstance(screen, Choose):
            body = self._list(screen)
        else:
            body = self.text(screen.state)
        return _dress(body, self.word(notice) if notice else "", self.foot, self.room)

    def offered(self, screen: Options) -> list[Option]:
        """The options that are for this person now; at home, the flows after them, under their codes.

        A flow that is not for them now is not shown, yet its code keeps its meaning: an SMS may have named it.
        """
        known = self.dialogue.answers
        options = [option for option in screen.options if option.when is None or known.get(option.when) is True]
        if screen.lists_flows:
            options += [
                each.shown if each.when is None or known.get(each.when) is True else each.hidden
                for each in self.menus.openings
            ]
        return options

    def page_of(self, screen: Choose, choices: Choices, *, turned: bool) -> Page:
        """As many choices of a list as one screen shows, also where a redial makes it the first of a session."""
        labels = [self._label(choice) for choice in choices.items]
        room = self.menus.limits.opening_septets - _size(f"\n{self.foot}")
        shown = _count(self.text(screen.state), _numbered(labels), self._more, room, further=choices.more)
        pairs = [[choice.value, label] for choice, label in zip(choices.items[:shown], labels, strict=False)]
        more = pairs[-1][0] if choices.more or shown < len(labels) else None
        return Page(pairs, more, turned)

    def _label(self, choice: Choice) -> str:
        """A line of a list; where it is long, its word is what stays whole."""
        if not choice.word:
            return gsm.one_line(choice.label, LABEL_SEPTETS_MAX)
        word = f", {self.word(choice.word)}"
        return gsm.one_line(choice.label, max(LABEL_SEPTETS_MAX - _size(word), 0)) + word

    def _options(self, screen: Options) -> str:
        lines = (f"{option.key} {self.text(option.text_id)}" for option in self.offered(screen) if option.listed)
        return "\n".join((self.text(screen.state), *lines))

    def _list(self, screen: Choose) -> str:
        page = self.dialogue.page or Page([])
        more = [self._more] if page.more is not None else []
        return "\n".join((self.text(screen.state), *_numbered([label for _, label in page.pairs]), *more))

    def _question(self, screen: Screen) -> str:
        lines = (
            self.word("resume_ask"),
            self.text(self.menus.flows[screen.flow].title),
            f"{GO_ON} {self.word('resume_continue')}",
            f"{START_AGAIN} {self.word('resume_restart')}",
        )
        return "\n".join(lines)

    @property
    def _more(self) -> str:
        return f"{MORE} {self.word('more')}"


def _numbered(labels: Sequence[str]) -> list[str]:
    return [f"{number} {label}" for number, label in enumerate(labels, 1)]


def _count(head: str, lines: Sequence[str], more: str, room: int, *, further: bool = False) -> int:
    """How many lines of a list one page of ``room`` septets shows, one at least.

    Where that is not all, or where ``further`` lines are known to exist, the line ``more`` closes it.
    """
    if not further and _size("\n".join((head, *lines))) <= room:
        return len(lines)
    left = room - _size(head) - _size(more) - 1
    shown = 0
    for line in lines:
        left -= _size(line) + 1
        if left < 0:
            break
        shown += 1
    return max(shown, 1)


def _dress(text: str, notice: str, foot: str, room: int) -> str:
    """The text with a notice above and the keys that always work below, as far as there is room for them."""
    for above, below in ((notice, foot), (notice, ""), ("", foot)):
        dressed = "\n".join(part for part in (above, text, below) if part)
        if _size(dressed) <= room:
            return dressed
    return gsm.cut(text, room)


def _size(text: str) -> int:
    """Septets of a text that is GSM-7, as all that is rendered is."""
    return gsm.septets(text) or len(text)
