"""One hop, from an aggregator's request to its response, in time and well-formed whatever happens inside."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from traceback import extract_tb
from typing import Any, Protocol

from starlette.responses import Response

from ussd_app import log, metrics
from ussd_app.aggregators import Aggregator, Callback, Malformed
from ussd_app.clock import Clock
from ussd_app.msisdn import mask
from ussd_app.promises import STUB, Promise
from ussd_app.promises.keeper import Keeper
from ussd_app.sessions import Copy, Hop, Late, SessionsAway
from ussd_app.ussd import Effects, Event, Reply, Turn

HOP_SECONDS = 5.0  # from the request's first byte; no network waits longer than 10 s
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


class Hops:
    """Answers hops: one lock, one turn, one commit, and last words where any of them fails."""

    def __init__(self, sessions: Sessions, conversation: Conversation, clock: Clock, keeper: Keeper) -> None:
        self.sessions = sessions
        self.conversation = conversation
        self.clock = clock
        self.keeper = keeper
        self._cut_short: set[asyncio.Task[tuple[Reply, str]]] = set()

    async def answer(self, aggregator: Aggregator, callback: Callback, deadline: float) -> Response:
        """The response to one request, at the latest a second after ``deadline`` (the event loop's time)."""
        started = self.clock.monotonic()
        try:
            turn = aggregator.parse(callback)
        except Malformed as problem:
            metrics.HOPS.labels(aggregator.name, "", "malformed").inc()
            return aggregator.refuse(callback, problem)
        effects = Effects(language=turn.language)
        if turn.event in {Event.END, Event.TIMEOUT}:
            response, outcome = await self._notice(aggregator, turn), "notice"
        else:
            reply, outcome = await self._reply(turn, aggregator.settings.repeat_window_ms, effects, deadline)
            response = aggregator.render(turn, reply)
        seconds = self.clock.monotonic() - started
        metrics.HOPS.labels(aggregator.name, effects.flow, outcome).inc()
        metrics.HOP_SECONDS.observe(seconds)
        logger.info(
            "hop",
            session_id=_session(turn),
            msisdn=mask(turn.msisdn or turn.subscriber),
            aggregator=aggregator.name,
            flow=effects.flow,
            outcome=outcome,
            ms=round(seconds * 1000, 1),
        )
        return response

    async def _notice(self, aggregator: Aggregator, turn: Turn) -> Response:
        """Hear that a dialogue is over. Where Redis is away it is forgotten anyway, so the answer is the same."""
        try:
            await self.sessions.end(turn)
        except Exception as error:  # noqa: BLE001 - a notice is answered 200 whatever happened inside
            logger.warning("notice not kept", session_id=_session(turn), **fault(error))
        return aggregator.acknowledge(turn)

    async def _reply(self, turn: Turn, repeat_window_ms: int, effects: Effects, deadline: float) -> tuple[Reply, str]:
        """The screen, and in a word how it came about."""
        begun: list[Hop] = []
        # A task of its own: what is stuck would not let go of us even when cancelled, and the handset waits.
        task = asyncio.create_task(self._turn(turn, repeat_window_ms, effects, begun))
        await asyncio.wait({task}, timeout=deadline - asyncio.get_running_loop().time())
        failure: BaseException | None
        if not task.done():
            failure = TimeoutError()
            self._cut_short.add(task)
            task.add_done_callback(self._forget)
            task.cancel()
        else:
            failure = asyncio.CancelledError() if task.cancelled() else task.exception()
        if failure is None:
            return task.result()
        logger.error("hop failed", session_id=_session(turn), **fault(failure))
        return await self._last_words(turn, begun[0] if begun else None, effects, failure)

    async def _turn(self, turn: Turn, repeat_window_ms: int, effects: Effects, begun: list[Hop]) -> tuple[Reply, str]:
        hop = await self.sessions.begin(turn, repeat_window_ms)
        if isinstance(hop, Copy):
            return hop.reply, "copy"
        if isinstance(hop, Late):
            return self._end("ended", effects), "late"
        begun.append(hop)
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

    def _forget(self, task: asyncio.Task[tuple[Reply, str]]) -> None:
        """Let go of a hop that was cut short; looking at its exception keeps asyncio from printing it."""
        self._cut_short.discard(task)
        if not task.cancelled():
            task.exception()


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
