"""One hop, from an aggregator's request to its response, in time and well-formed whatever happens inside."""

import asyncio
import logging
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from traceback import extract_tb
from typing import Any, Protocol

from prometheus_client import Counter

from ussd_app import log, metrics
from ussd_app.aggregators import Aggregator, Callback, Malformed, Response
from ussd_app.clock import Clock
from ussd_app.msisdn import mask
from ussd_app.promises import STUB, Promise
from ussd_app.promises.keeper import Keeper
from ussd_app.sessions import Copy, Hop, Late, SessionsAway
from ussd_app.ussd import Effects, Event, Reply, Turn
from ussd_app.web.gate import Gate

NOTICES = frozenset({Event.END, Event.TIMEOUT})
REFUSED = "refused"
SHORT = 5  # digits of a subscriber id that may stand in any session id by chance
KEEP_SECONDS = 1.0  # for storing the last words of a hop that failed

logger = log.get(__name__)


class Sessions(Protocol):
    """What is asked of sessions.py."""

    async def begin(self, turn: Turn, repeat_window_ms: int, /) -> Hop | Copy | Late:
        """Take the dialogue's lock; raises SessionsAway."""
        ...

    async def commit(self, hop: Hop, dialogue: dict[str, Any] | None, reply: Reply, /) -> bool:
        """Keep the outcome, False where a redial was faster; raises SessionsAway."""
        ...

    async def end(self, turn: Turn, /) -> None:
        """Mark a dialogue as over; raises SessionsAway."""
        ...


class Answer(Protocol):
    """A screen and the dialogue to keep for the next."""

    @property
    def reply(self) -> Reply:
        """The screen."""
        ...

    @property
    def dialogue(self) -> dict[str, Any] | None:
        """None where nothing is left to resume."""
        ...


class Conversation(Protocol):
    """What is asked of conversation.py."""

    async def turn(self, hop: Hop, turn: Turn, effects: Effects, /) -> Answer:
        """The next screen; tells ``effects`` before it commits anything."""
        ...

    def word(self, name: str, language: str | None, /) -> str:
        """A sentence of the system's own."""
        ...


@dataclass(slots=True)
class Visit:
    """One hop as far as it has come, told while it runs to whoever must answer for it when it is cut short."""

    aggregator: Aggregator | None = None
    turn: Turn | None = None  # None while its request is being read
    begun: Hop | None = None
    effects: Effects = field(default_factory=Effects)
    started: float = 0.0  # at the request's last byte, by the clock


class Hops:
    """Answers hops: one lock, one turn, one commit, and last words where any of them fails."""

    def __init__(
        self, sessions: Sessions, conversation: Conversation, clock: Clock, keeper: Keeper, gate: Gate | None = None
    ) -> None:
        self.sessions = sessions
        self.conversation = conversation
        self.clock = clock
        self.keeper = keeper
        self.gate = gate or Gate(clock)
        self._counts: dict[tuple[str, str, str], Counter] = {}

    async def answer(self, visit: Visit, aggregator: Aggregator, callback: Callback) -> Response:
        """The response to one request, where nothing fails and nothing hangs; else see rescue."""
        visit.started = self.clock.monotonic()
        try:
            turn = aggregator.parse(callback)
        except Malformed as problem:
            self._count(aggregator.name, "", "malformed")
            return aggregator.refuse(callback, problem)
        visit.aggregator, visit.turn = aggregator, turn
        visit.effects.language = turn.language
        if turn.event in NOTICES:
            return await self._notice(visit, aggregator, turn)
        reply, outcome = await self._reply(visit, turn, aggregator.settings.repeat_window_ms)
        return self._told(visit, aggregator.render(turn, reply), outcome)

    async def rescue(self, visit: Visit, failure: BaseException) -> Response:
        """The response where a hop failed or was cut short, within a second."""
        aggregator, turn = visit.aggregator, visit.turn
        if aggregator is None or turn is None:
            raise failure
        if turn.event in NOTICES:
            return self._told(visit, aggregator.acknowledge(turn), "notice")
        logger.error("hop failed", session_id=_session(turn), **fault(failure))
        reply, outcome = await self._last_words(turn, visit.begun, visit.effects, failure)
        return self._told(visit, aggregator.render(turn, reply), outcome)

    async def _notice(self, visit: Visit, aggregator: Aggregator, turn: Turn) -> Response:
        """Hear that a dialogue is over. Where Redis is away it is forgotten anyway, so the answer is the same."""
        try:
            await self.sessions.end(turn)
        except Exception as error:  # noqa: BLE001 - a notice is answered 200 whatever happened inside
            logger.warning("notice not kept", session_id=_session(turn), **fault(error))
        return self._told(visit, aggregator.acknowledge(turn), "notice")

    def _told(self, visit: Visit, response: Response, outcome: str) -> Response:
        """One count and one line for each hop; of those refused in a crowd the gate tells."""
        turn, effects = visit.turn, visit.effects
        seconds = self.clock.monotonic() - visit.started
        if turn is None or outcome == REFUSED:
            return response
        self._count(turn.aggregator, effects.flow, outcome)
        metrics.HOP_SECONDS.observe(seconds)
        if logger.is_enabled_for(logging.INFO):
            logger.info(
                "hop",
                session_id=_session(turn),
                msisdn=mask(turn.msisdn or turn.subscriber),
                aggregator=turn.aggregator,
                flow=effects.flow,
                outcome=outcome,
                ms=round(seconds * 1000, 1),
            )
        return response

    def _count(self, aggregator: str, flow: str, outcome: str) -> None:
        labels = aggregator, flow, outcome
        count = self._counts.get(labels)
        if count is None:
            count = self._counts[labels] = metrics.HOPS.labels(*labels)
        count.inc()

    async def _reply(self, visit: Visit, turn: Turn, repeat_window_ms: int) -> tuple[Reply, str]:
        """The screen, and in a word how it came about. In a crowd a dial waits for its turn before it begins."""
        if turn.event is not Event.BEGIN:
            if self.gate.passes():
                return await self._turn(visit, turn, repeat_window_ms)
            return self._end("failed", visit.effects), REFUSED
        may_begin = self.gate.enter()
        if not (may_begin if isinstance(may_begin, bool) else await may_begin):
            return self._end("busy", visit.effects), REFUSED
        try:
            return await self._turn(visit, turn, repeat_window_ms)
        finally:
            self.gate.leave()

    async def _turn(self, visit: Visit, turn: Turn, repeat_window_ms: int) -> tuple[Reply, str]:
        effects = visit.effects
        hop = await self.sessions.begin(turn, repeat_window_ms)
        if isinstance(hop, Copy):
            return hop.reply, "copy"
        if isinstance(hop, Late):
            return self._end("ended", effects), "late"
        visit.begun = hop
        if hop.dialogue and STUB in hop.dialogue:
            left = Promise.left_in(hop.dialogue)
            if left:  # so that whoever was promised an SMS sees by no dial less than it will say
                await self.keeper.keep(left)
        answer = await self.conversation.turn(hop, turn, effects)
        if await self.sessions.commit(hop, answer.dialogue, answer.reply):
            return answer.reply, "end" if answer.reply.close else "continue"
        reply = self._end("we_will_sms" if effects.may_have_effect else "ended", effects)
        await self._keep(turn, None, effects, reply)
        return reply, "superseded"

    async def _last_words(
        self, turn: Turn, hop: Hop | None, effects: Effects, failure: BaseException
    ) -> tuple[Reply, str]:
        """The END of a hop that failed; "nothing was charged" only where not even begin came through (law 6)."""
        if effects.may_have_effect:
            word = "we_will_sms"
        elif hop is None and isinstance(failure, SessionsAway):
            word = "busy"
        else:
            word = "failed"
        reply = self._end(word, effects)
        await self._keep(turn, None if isinstance(failure, SessionsAway) else hop, effects, reply)
        return reply, word

    async def _keep(self, turn: Turn, hop: Hop | None, effects: Effects, reply: Reply) -> None:
        """Store the last words in the dialogue, where it is this hop's still, and the promise that is in them."""
        stored: list[Awaitable[object]] = []
        promise = self._promise(turn, effects)
        if promise:
            stored.append(self.keeper.make(promise))
        if hop:
            # So that a copy gets the same bytes, and a redial goes on where this hop began unless it had an effect.
            begun = None if effects.may_have_effect else hop.dialogue
            stored.append(self.sessions.commit(hop, {STUB: promise.dump()} if promise else begun, reply))
        outcomes: list[object] = []
        try:
            async with asyncio.timeout(KEEP_SECONDS):
                outcomes = await asyncio.gather(*stored, return_exceptions=True)
        except TimeoutError as slow:
            outcomes = [slow]
        for error in outcomes:
            if isinstance(error, Exception):  # the reply stands, kept or not
                logger.warning("last words not kept", session_id=_session(turn), **fault(error))

    def _promise(self, turn: Turn, effects: Effects) -> Promise | None:
        """What is to be told by SMS, if anything may have been done for anybody whose number we know."""
        if not effects.may_have_effect or not effects.key or turn.msisdn is None:
            return None
        return Promise(effects.key, effects.run, turn.msisdn, effects.language or "en", self.clock.now())

    def _end(self, word: str, effects: Effects) -> Reply:
        return Reply(self.conversation.word(word, effects.language), close=True)


def _session(turn: Turn) -> str:
    """The aggregator's session id; some name it after the subscriber, whose number no log shows."""
    number = turn.subscriber.lstrip("+")[-9:]
    return turn.session_id.replace(number, "****") if len(number) > SHORT else turn.session_id


def fault(error: BaseException) -> dict[str, str]:
    """What failed and where, for the log; without the exception's words, which may quote what a person typed."""
    frames = extract_tb(error.__traceback__)[-3:]
    return {
        "error": type(error).__name__,
        "where": " > ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames),
    }
