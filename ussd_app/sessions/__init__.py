"""Dialogues: which hop this is, whose turn it is, and what was answered (design.md laws 1 to 5).

A dialogue is one Redis hash per handset. A hop is two scripts on that one key: begin recognises a copy and takes the
lock, commit keeps the reply if no later hop took over. What a person pressed may hold a PIN, so only its length and a
keyed digest are kept. Lock and repeat window go by the web processes' clocks, which NTP must hold together.
"""

import hashlib
import json
from binascii import b2a_base64
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from redis.exceptions import RedisError

from ussd_app.clock import Clock
from ussd_app.redis_client import Client, Script, hot
from ussd_app.ussd import Event, Reply, Turn

DIALOGUE_BYTES_MAX = 4096
WAIT_SECONDS = 4.5  # for the hop that is being answered, inside the 5 s an aggregator gives us
POLL_SECONDS = (0.02, 0.25)  # between two looks: first, and at most
PREFIXES_MAX = 512  # ends of the previous input considered; one more than the longest entry has characters
URL_SAFE = bytes.maketrans(b"+/", b"-_")
DIGEST_BYTES = 8  # keyed, so that nobody can look for two that are alike; begin.lua counts their 11 letters

BEGIN = Script.of(files("ussd_app.sessions").joinpath("begin.lua").read_text())
COMMIT = Script.of(files("ussd_app.sessions").joinpath("commit.lua").read_text())


_JSON = json.JSONEncoder(separators=(",", ":"))


class SessionsAway(Exception):
    """Redis could not be reached in time; nothing is known of the dialogue."""


@dataclass(frozen=True, slots=True)
class Hop:
    """A hop that holds its handset's lock and may go on. Prints nothing that was typed."""

    key: str
    fence: int
    session_id: str
    first: bool  # a dialogue begins: new, redialled, or its session was lost
    redial: bool  # one was left behind that may be resumed: ``dialogue`` is it
    diverged: bool  # the input does not follow from the one before: show the current screen
    pretyped: tuple[str, ...] = field(repr=False)  # law 5: a flow's code, then answers; only on a first hop
    input: str = field(repr=False)  # the new entry; empty where there is none to act on
    dialogue: dict[str, Any] | None = field(repr=False)
    mark: str = field(repr=False)  # what a copy of this hop is known by


@dataclass(frozen=True, slots=True)
class Copy:
    """A hop that was answered before: say the same again."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Late:
    """A hop nobody waits for any more (its session is superseded or over), or a copy that waited in vain."""


class Sessions:
    """The dialogues of one service code, keyed by handset."""

    def __init__(
        self, redis: Client, clock: Clock, key: bytes, code: str, *, ttl_seconds: int = 300, lock_seconds: int = 10
    ) -> None:
        self._scripts = hot(redis)
        self._clock = clock
        self._secret = key
        self._code = code
        self._ttl = ttl_seconds * 1000
        self._lock = lock_seconds * 1000

    async def begin(self, turn: Turn, repeat_window_ms: int) -> Hop | Copy | Late:
        """Take the handset's lock for this hop, or say why not; raises SessionsAway.

        While another hop of the session is being answered it waits: a copy for the reply, any other for its turn.
        """
        who = self._digest(turn.aggregator, turn.session_id)
        reading, mark, prefixes = self._read(turn, who)
        event = "doubtful" if turn.doubtful_end else turn.event.value
        asked = (who, turn.aggregator, event, reading, mark, repeat_window_ms, prefixes)
        deadline = self._clock.monotonic() + WAIT_SECONDS
        pause, waited = POLL_SECONDS[0], 0
        while True:
            outcome, *rest = await self._run(BEGIN, self._key(turn), self._now(), self._lock, self._ttl, *asked, waited)
            if outcome == b"hop":
                return self._hop(turn, mark, *rest)
            if outcome == b"copy":
                return Copy(Reply(rest[0].decode(), close=rest[1] == b"1"))
            if outcome == b"late" or self._clock.monotonic() >= deadline:
                return Late()
            waited = rest[0]
            await self._clock.sleep(pause)
            pause = min(pause * 1.5, POLL_SECONDS[1])

    async def commit(self, hop: Hop, dialogue: dict[str, Any] | None, reply: Reply) -> bool:
        """Keep the reply and what the next hop needs; False where a later hop took over. Raises SessionsAway.

        Raises ValueError where the dialogue is over 4 KB.
        """
        stored = "" if dialogue is None else _JSON.encode(dialogue)
        if len(stored) > DIALOGUE_BYTES_MAX:
            raise ValueError(f"a dialogue of {len(stored)} bytes; {DIALOGUE_BYTES_MAX} are allowed")
        words = reply.text.encode(errors="replace")
        answered = (hop.mark, words, int(reply.close), stored)
        return bool(await self._run(COMMIT, hop.key, hop.fence, self._now(), self._ttl, *answered))

    async def end(self, turn: Turn) -> None:
        """Hear that a session is over: hops of it that still come are late. Its dialogue may be resumed until the TTL.

        A notice of any other session than the live one changes nothing. Raises SessionsAway.
        """
        who = self._digest(turn.aggregator, turn.session_id)
        asked = (who, turn.aggregator, "end", "newest", "", 0, "", 0)
        await self._run(BEGIN, self._key(turn), self._now(), self._lock, self._ttl, *asked)

    def _hop(self, turn: Turn, mark: str, fence: int, base: bytes, diverged: int, dialogue: bytes) -> Hop:
        first = not base
        entry = ""
        pretyped: tuple[str, ...] = ()
        if first and (turn.cumulative or turn.event is Event.BEGIN):
            pretyped = tuple(turn.text.split("*")) if turn.text else ()
        elif not first and not diverged:
            entry = _after(base, turn.text) if turn.cumulative else turn.text
        return Hop(
            key=self._key(turn),
            fence=fence,
            session_id=turn.session_id,
            first=first,
            redial=first and bool(dialogue),
            diverged=bool(diverged),
            pretyped=pretyped,
            input=entry,
            dialogue=json.loads(dialogue) if dialogue else None,
            mark=mark,
        )

    def _read(self, turn: Turn, who: str) -> tuple[str, str, str]:
        """How hops are told apart, this hop's mark, and the marks of every input it may follow from."""
        if not turn.cumulative:
            if turn.hop_id:
                return "numbered", self._digest(who, turn.hop_id), ""
            return "newest", f"{len(turn.text)}:{self._digest(who, turn.event, turn.text)}", ""
        raw = _raw(turn.text)
        ends = [0, *[index for index, byte in enumerate(raw) if byte == ord("*")][-PREFIXES_MAX:], len(raw)]
        hashed = hashlib.blake2b(_raw(who), key=self._secret, digest_size=DIGEST_BYTES)
        marks, start = [], 0
        for end in ends:
            hashed.update(raw[start:end])
            marks.append(f"{end}:{_rendered(hashed.digest())}")
            start = end
        return "cumulative", marks[-1], " ".join(marks[:-1])

    def _key(self, turn: Turn) -> str:
        if turn.msisdn:
            return f"ussd:{{{self._code}:{turn.msisdn.digits}}}"
        # Whatever stands for the number there, it is only that aggregator's name for the person.
        return f"ussd:{{{self._code}:{turn.aggregator}:{self._digest(turn.subscriber)}}}"

    def _digest(self, *words: str) -> str:
        digest = hashlib.blake2b(_raw("\0".join(words)), key=self._secret, digest_size=DIGEST_BYTES)
        return _rendered(digest.digest())

    def _now(self) -> int:
        return round(self._clock.now().timestamp() * 1000)

    async def _run(self, script: Script, key: str, *arguments: str | bytes | int) -> Any:  # noqa: ANN401 - a script's
        try:
            return await self._scripts.run(script, key, *arguments)
        except RedisError as error:
            raise SessionsAway(type(error).__name__) from error


def _after(base: bytes, text: str) -> str:
    """What was typed since the input marked ``base`` (wire/ussd.md section 2.2)."""
    length = int(base.partition(b":")[0])
    return _raw(text)[length + 1 :].decode(errors="surrogatepass") if length else text


def _rendered(digest: bytes) -> str:
    """In URL-safe base64, without its padding."""
    return b2a_base64(digest, newline=False).translate(URL_SAFE, b"=").decode()


def _raw(text: str) -> bytes:
    return text.encode(errors="surrogatepass")
