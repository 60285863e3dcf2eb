"""One turn of a dialogue: what is remembered and what was typed in, a screen out. The only driver of the menus.

A hop reads the answer, which fires the menus' state machine (``_read``); it runs whatever code the machine then stands
on, until it stands on a screen (``_settle``); and it draws that screen (``_show``). Everything else here is about where
a dialogue begins, and about the keys that work everywhere: 0 back, 00 home, 98 more.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ussd_app.actions import Call, Pin, Services, outcome_key
from ussd_app.conversation import answers, dialled
from ussd_app.conversation.dialogue import Dialogue
from ussd_app.conversation.drawing import GO_ON, START_AGAIN, Drawing
from ussd_app.conversation.performing import perform
from ussd_app.menus.model import BACK, HOME, HOME_FLOW, MORE, Ask, Choose, Do, End, Flow, Menus, Options, Screen
from ussd_app.sessions import Hop
from ussd_app.ussd import INPUT_CHARS_MAX, Effects, Event, Reply, Turn

HOP_SECONDS = 5.0  # design.md law 6
TRIES_MAX = 3
ACTIONS_MAX = 8  # one after another, in one hop


@dataclass(frozen=True, slots=True)
class Answer:
    """What the phone shows, and what to remember until its next hop (None: the dialogue is over)."""

    reply: Reply
    dialogue: dict[str, Any] | None


class Conversation:
    """Answers hops. ``menus`` gives those in force, ``new_run`` ids that are never given twice."""

    def __init__(self, menus: Callable[[], Menus], services: Services, new_run: Callable[[], str]) -> None:
        self.menus = menus
        self.services = services
        self.new_run = new_run

    async def turn(self, hop: Hop, turn: Turn, effects: Effects) -> Answer:
        """The answer to one hop; ``effects`` knows at any moment whether something may have been committed."""
        return await _Talk(self, hop, turn, effects).answer()

    def word(self, name: str, language: str | None) -> str:
        """A sentence of the system's own (main.toml, words), in a language or else in English."""
        menus = self.menus()
        return menus.texts.render(f"words.{name}", _spoken(menus, language) or "en", {})


class _Talk:
    """One hop of one dialogue."""

    def __init__(self, conversation: Conversation, hop: Hop, turn: Turn, effects: Effects) -> None:
        self.menus = conversation.menus()
        self.new_run = conversation.new_run
        self.hop = hop
        self.turn = turn
        self.effects = effects
        services = conversation.services
        self.call = Call(services, turn, "", "", services.clock.monotonic() + HOP_SECONDS, effects)
        self.given_language: str | None = None  # by the aggregator, to a dialogue that begins
        self.pins: dict[str, Pin] = {}  # for the actions of this hop, and gone with it
        self.last_word: str | None = None  # the dialogue ends with this sentence
        self.dialogue: Dialogue

    async def answer(self) -> Answer:
        """Go where this hop leads, and draw what is there."""
        stored = self._stored()
        if self.hop.first or stored is None:
            unknown_reply = self.turn.event is Event.REPLY and not self.turn.cumulative
            await self._open(stored)
            return self._show("lost" if unknown_reply or not self.hop.first else None)
        self.dialogue = stored
        typed = self.hop.input[:INPUT_CHARS_MAX].strip()
        if self.hop.diverged or not typed:
            return self._show()
        wrong = await self._take(typed)
        await self._catch_up()
        return self._show(wrong)

    # Where a dialogue begins

    async def _open(self, left: Dialogue | None) -> None:
        """What the home flow finds urgent, else what was dialled, else what was left unfinished, else home."""
        self.given_language = _spoken(self.menus, self.turn.language)
        self.dialogue = self._fresh()
        await self._settle()
        self.given_language = None
        if not self._at_home():
            # Whoever is asked their name first lands where they dialled; a menu in the way lets them say where to go,
            # but a code out of an SMS, which no menu offers, is gone on with.
            named = isinstance(self.screen, Ask | Choose)
            keep = dialled.may_be_kept if named else dialled.code_of_an_sms
            self.dialogue.ahead = keep(self.menus, self.hop.pretyped)
        elif self.hop.pretyped:
            await self._type_ahead(self.hop.pretyped)
        elif left and self._may_resume(left):
            fresh, self.dialogue = self.dialogue, left
            left.language, left.home, left.known = fresh.language, fresh.home, fresh.known
            left.resuming = self._flow(left).resume == "ask"

    def _fresh(self) -> Dialogue:
        entry = self.menus.flows[HOME_FLOW].entry
        return Dialogue(entry, self.new_run(), self.given_language or "en", self.menus.digest)

    def _stored(self) -> Dialogue | None:
        """The dialogue that was stored, unless the menus have since changed so that it cannot go on."""
        try:
            stored = Dialogue.load(self.hop.dialogue or {})
        except (TypeError, ValueError):
            return None
        known_screen = stored.state in self.menus.screens
        return stored if known_screen and (stored.menus == self.menus.digest or self._adopts(stored)) else None

    def _adopts(self, stored: Dialogue) -> bool:
        """Whether a dialogue begun under other menus knows all that its screen says now; it goes on under these."""
        self.dialogue = stored
        stored.menus = self.menus.digest
        try:
            self._show()
        except Exception:  # noqa: BLE001 - whatever the new words miss, the answer is the same: begin again
            return False
        return True

    def _may_resume(self, left: Dialogue) -> bool:
        """Only what is no mere look at home, and never past a PIN (law 2); sessions keep to the same aggregator."""
        flow = self._flow(left)
        return self.hop.redial and not left.pin_given and flow.name != HOME_FLOW and flow.resume != "restart"

    def _flow(self, dialogue: Dialogue) -> Flow:
        return self.menus.flows[self.menus.screens[dialogue.state].flow]

    async def _catch_up(self) -> None:
        """Once home is reached, enter what was dialled before it could be."""
        if self.dialogue.ahead and self._at_home():
            tokens, self.dialogue.ahead = self.dialogue.ahead, []
            await self._type_ahead(tokens)

    async def _type_ahead(self, tokens: Sequence[str]) -> None:
        """Enter what was dialled behind the code: a flow's code, then answers, up to what only a person may say."""
        for token in tokens[: dialled.TOKENS_MAX]:
            if token in {BACK, HOME, MORE} or self.last_word:
                return
            if not dialled.may_be_answered(self.menus, self.screen, token) or await self._read(token):
                return

    # One entry

    async def _take(self, typed: str) -> str | None:
        """Act on one entry; the name of the sentence to show above the next screen, or None."""
        screen, page = self.screen, self.dialogue.page
        wrong = None
        if self.dialogue.resuming:
            wrong = await self._decide_to_resume(typed)
        elif typed in {BACK, HOME} and self._may_leave():
            await (self._go_home() if typed == HOME else self._go_back())
        elif typed == MORE and isinstance(screen, Choose) and page and page.more is not None:
            await self._turn_page(screen, page.more)
        else:
            wrong = await self._read(typed)
        self.dialogue.tries = self.dialogue.tries + 1 if wrong else 0
        if self.dialogue.tries >= TRIES_MAX:
            self.last_word = "too_many"
        return wrong

    async def _decide_to_resume(self, typed: str) -> str | None:
        if typed not in {GO_ON, START_AGAIN, BACK, HOME}:
            return "wrong_option"
        self.dialogue.resuming = False
        if typed != GO_ON:
            await self._go_home()
        return None

    async def _read(self, typed: str) -> str | None:
        """Take one answer to the present screen and move on; the name of the reason where it is wrong."""
        screen = self.screen
        trigger = self._trigger(screen, typed)
        if trigger is None:
            return f"wrong_{screen.type}" if isinstance(screen, Ask) else "wrong_option"
        self.dialogue.visited(screen.state)
        self._fire(trigger)
        await self._settle()
        return None

    def _trigger(self, screen: Screen, typed: str) -> str | None:
        """What the machine makes of an answer, which is kept; None where it is wrong."""
        match screen:
            case Ask():
                return self._trigger_of_ask(screen, typed)
            case Options():
                chosen = next((option for option in self.drawing.offered(screen) if option.key == typed), None)
                if chosen is None:
                    return None
                self._remember(chosen.set)
                return f"key_{typed}"
            case Choose():
                pair = self.dialogue.page.pair(typed) if self.dialogue.page else None
                if pair is None:
                    return None
                self._remember({screen.keep: pair[0], f"{screen.keep}_label": pair[1]})
                return "answer"
            case _:
                raise TypeError(f"{screen.state} takes no answer")

    def _trigger_of_ask(self, screen: Ask, typed: str) -> str | None:
        if typed in screen.fixed:
            return f"key_{typed}"
        try:
            value = answers.read(screen.type, typed, self.call.services.settings.country)
        except ValueError:
            return None
        if isinstance(value, Pin):
            self.pins[screen.keep] = value
            self.dialogue.pin_given = True
        else:
            self._remember({screen.keep: value})
        return "answer"

    # Moving

    @property
    def screen(self) -> Screen:
        """Where the dialogue stands."""
        return self.menus.screens[self.dialogue.state]

    @property
    def drawing(self) -> Drawing:
        """The dialogue's screens, as this hop draws them."""
        limits = self.menus.limits
        room = limits.opening_septets if self.hop.first else limits.screen_septets
        return Drawing(self.menus, self.dialogue, room, leave=self._may_leave())

    def _fire(self, trigger: str) -> None:
        """Let the machine move the dialogue; into another flow it takes nothing along."""
        flow = self.screen.flow
        self.menus.machine.events[trigger].trigger(self.dialogue)
        self.dialogue.page = None
        if self.screen.flow != flow:
            self._start_flow()

    def _start_flow(self) -> None:
        """A new run; the home screen, once reached, is come back to without asking anyone."""
        self.pins = {}
        self.dialogue.start()
        home = self.dialogue.home
        if home and home in self.menus.screens and self.dialogue.state == self.menus.flows[HOME_FLOW].entry:
            self.dialogue.state, self.dialogue.answers = home, dict(self.dialogue.known)

    async def _settle(self) -> None:
        """Run the actions the dialogue stands on, until it stands on a screen that can be shown."""
        for _ in range(ACTIONS_MAX + 1):
            screen = self.screen
            if self.turn.msisdn is None and screen.flow != HOME_FLOW:
                self.last_word = "no_number"
                return
            if isinstance(screen, Do):
                if not await self._do(screen):
                    return
            elif isinstance(screen, Choose) and not await self._list(screen, None):
                self._fire("empty")
            else:
                if self._at_home():
                    self.dialogue.reached_home(self.menus.home_needs)
                return
        raise RuntimeError(f"more than {ACTIONS_MAX} actions in one hop, at {self.dialogue.state}")

    async def _do(self, screen: Do) -> bool:
        """Call an action; its outcome's fields become answers, its name moves on. False where the dialogue ends."""
        self.dialogue.actions += 1
        outcome = await perform(self._ready(), screen, self._given(screen))
        if outcome is None:
            self.last_word = "not_done"
            return False
        self._remember({field.name: getattr(outcome, field.name) for field in fields(outcome)})
        if self.effects.may_have_effect:
            self.dialogue.history = []  # what is done cannot be gone back behind
        self._fire(f"on_{outcome_key(type(outcome))}")
        return True

    async def _list(self, screen: Choose, after: str | None) -> bool:
        """Fetch the page of a list that begins after a value; False where there is nothing on it."""
        choices = await screen.action.function(self._ready(), after, **self._given(screen))
        self.dialogue.page = self.drawing.page_of(screen, choices, turned=after is not None)
        return bool(choices.items)

    async def _turn_page(self, screen: Choose, after: str) -> None:
        """The page behind a value; the first one again, where nothing is left behind it."""
        if not await self._list(screen, after):
            await self._settle()

    def _ready(self) -> Call:
        self.call.run, self.call.language = self.dialogue.run, self.dialogue.language
        # A copy of this hop begins where it began, and so comes to the same number.
        self.call.key = f"{self.dialogue.run}.{self.dialogue.actions}"
        return self.call

    def _given(self, screen: Do | Choose) -> dict[str, Any]:
        known = self.dialogue.answers | self.pins
        return {name: known[name] for name in screen.action.parameters}

    def _remember(self, values: Mapping[str, Any]) -> None:
        """Keep answers; one named ``language`` is spoken from now on, unless the aggregator has just named another."""
        self.dialogue.answers.update(values)
        if "language" in values:
            self.dialogue.language = self.given_language or _spoken(self.menus, values["language"]) or "en"

    async def _go_home(self) -> None:
        self.dialogue.state, self.dialogue.page = self.menus.flows[HOME_FLOW].entry, None
        self._start_flow()
        await self._settle()

    async def _go_back(self) -> None:
        """To a list's first page, else to the last screen that was answered, else home; no action is repeated."""
        if not (self.dialogue.page and self.dialogue.page.turned):
            state = self.dialogue.leave(self.menus.screens)
            if state is None:
                return await self._go_home()
            self.dialogue.state = state
        self.dialogue.page = None
        return await self._settle()

    def _at_home(self) -> bool:
        screen = self.screen
        return isinstance(screen, Options) and screen.lists_flows

    def _may_leave(self) -> bool:
        """Whether there is anywhere to go back to: not from an opening screen, nor from the question on a redial."""
        return not self.dialogue.resuming and (self.screen.flow != HOME_FLOW or bool(self.dialogue.history))

    def _show(self, notice: str | None = None) -> Answer:
        """Draw where the dialogue stands, below a sentence named ``notice``."""
        self.effects.flow, self.effects.language = self.screen.flow, self.dialogue.language
        drawing, screen = self.drawing, self.screen
        if self.last_word:
            return Answer(Reply(drawing.word(self.last_word), close=True), None)
        if isinstance(screen, End):
            return Answer(Reply(drawing.text(screen.state), close=True), None)
        return Answer(Reply(drawing.screen(screen, notice)), self.dialogue.dump())


def _spoken(menus: Menus, language: str | None) -> str | None:
    """A language as the menus name it (``fr`` for ``fr-FR``), or None where they do not speak it."""
    code = (language or "").lower().replace("_", "-").split("-")[0]
    return code if code in menus.texts.languages else None
