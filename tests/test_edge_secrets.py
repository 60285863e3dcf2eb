"""Who looks over our shoulder: logs, jobs, audit, metrics, Redis and error pages, while every journey is played."""

import asyncio
import errno
import io
import json
import logging
import re
import subprocess
import sys
import time
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import structlog
from edge import CODE, FORMATS, Edge, rows
from journey import Live
from player import Handset, play
from redis.asyncio import Redis
from script import country
from sqlalchemy import text
from test_journeys import agree, application, phones  # noqa: F401 - application is a fixture

from ussd_app import log
from ussd_app.aggregators import Callback, africastalking, mtn
from ussd_app.app import Application
from ussd_app.config import load
from ussd_app.msisdn import mask
from ussd_app.operators import mtn_momo

JOURNEYS = sorted((Path(__file__).parent / "journeys").glob("*.txt"))
WORDS = {path: path.read_text() for path in JOURNEYS}
LANGUAGES = {"en": "1", "fr": "2", "sw": "3", "tw": "4"}
CHOICE = "Language / Langue / Lugha"
# Played in every language by `make test`: a registration, a PIN that is set and changed, a payment and its refund.
BRIEF = {"account", "refunded"}
# A PIN by itself: not within a number, an id, a time or an amount.
PIN = re.compile(r"(?<![\w.:+-])(2580|2581|7391|9731)(?![\w.:-])")
TYPED_PIN = re.compile(r"\*(2580|2581|7391|9731)\b")
MSISDN = re.compile(r"(?<!\d)(\+?233|0)2[0-9]{8}(?!\d)")
NUMBER = re.compile(r"(?<!\d)(?:254|256|233|0)([1-9]\d{8})(?!\d)")
DIAL_STRING = re.compile(rf"{re.escape(CODE.removesuffix('#'))}[*\d]*#")
VOUCHER = "user ama7 pass 4711"
OPEN = "SELECT EXISTS (SELECT FROM payments WHERE final_at IS NULL)"
PATIENCE_SECONDS = 3.0  # with a payment that stays open, as some journeys leave one


class Watched(Live):
    """Phones whose holders read one language, and whose every hop is followed by a look into Redis."""

    application: Application
    redis: Redis
    key: str

    def watch(self, application: Application, redis: Redis, language: str) -> None:
        """Begin."""
        self.application, self.redis, self.key = application, redis, LANGUAGES[language]
        self.found: list[str] = []
        self.tokens: set[str] = set()
        self._choosing: set[str] = set()

    async def enter(self, handset: Handset, typed: str) -> str:
        """Choose that language wherever one is chosen, but English, in which journeys are written."""
        chooses = self.key != LANGUAGES["en"] and handset.msisdn in self._choosing and typed in LANGUAGES.values()
        screen = await super().enter(handset, self.key if chooses else typed)
        self._choosing = self._choosing - {handset.msisdn} | ({handset.msisdn} if CHOICE in screen else set())
        return screen

    async def inbox(self, msisdn: str) -> list[str]:
        """What is on the handset once no payment is open, since its words do not tell which has been heard of."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (await rows(self.application, OPEN))[0][0] and time.monotonic() < deadline:  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(0.05)
        await self.look_for_tokens()
        return await super().inbox(msisdn)

    async def look_for_tokens(self) -> None:
        """Remember every token that is kept now: none outlives a day, which some journeys let pass."""
        # Not the claims of those who fetch one, whose names end otherwise.
        kept = [await self.redis.get(name) async for name in self.redis.scan_iter("token:*}")]
        self.tokens |= {json.loads(each)["value"] for each in kept if each}

    async def _hop(self, **body: Any) -> str:  # noqa: ANN401 - httpx's own
        screen = await super()._hop(**body)
        kept = str([(key, await _value(self.redis, key)) async for key in self.redis.scan_iter()])
        raw = body.get("data", {}).get("text", "")
        own = DIAL_STRING.sub("", kept)  # what screens tell to dial, whose digits may be those that were typed
        assert "*" not in raw or raw not in own, "what was typed is kept as it was sent"
        self.found.append(kept)
        return screen


async def _value(redis: Redis, key: bytes) -> object:
    """What a key holds, of whatever type; None where it has gone meanwhile."""
    match await redis.type(key):
        case b"string":
            return await redis.get(key)
        case b"hash":
            return await redis.hgetall(key)
        case b"list":
            return await redis.lrange(key, 0, -1)
        case b"set":
            return await redis.smembers(key)
        case b"zset":
            return await redis.zrange(key, 0, -1)
        case b"none":
            return None
        case kind:
            raise AssertionError(f"a look into a {kind!r} has to be written")


def spoken_in(path: Path) -> tuple[str, ...]:
    """The languages a journey is played in: English, and each of the others in its turn.

    What is looked for is what code writes down, and that is the same code in every language: a second one is for what
    a translated text may print, and each of them has a third of the journeys for that.
    """
    first, *others = LANGUAGES
    turn = JOURNEYS.index(path) % len(others)
    return tuple(LANGUAGES) if path.stem in BRIEF else (first, others[turn])


PLAYED = [
    pytest.param(
        country(path), path, language, id=f"{path.stem}-{language}",
        marks=[] if path.stem in BRIEF else [pytest.mark.long],
    )
    for path in JOURNEYS for language in spoken_in(path)
]  # fmt: skip


@pytest.mark.parametrize(("application", "path", "language"), PLAYED, indirect=["application"])
async def test_journeys_leave_no_number_pin_or_token_behind(
    application: Application,
    redis: Redis,
    capfd: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
    path: Path,
    language: str,
) -> None:
    """Every journey in two languages, logged at DEBUG, which holds all that INFO does; then all is searched."""
    words = WORDS[path]
    _listen(request, "DEBUG")
    async with application.store.work() as connection:
        for statement in REMEMBER_JOBS:
            await connection.execute(text(statement))
    async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
        world = phones(application, redis, http, Watched)
        assert isinstance(world, Watched)
        world.watch(application, redis, language)
        await play(path, world, translated=language != "en")
        await agree(application, http)
        page = (await http.get(f"{application.settings.public_url}/metrics")).text
    logged = capfd.readouterr().err
    jobs = str(await rows(application, "SELECT args FROM seen_jobs"))
    audit = str(await rows(application, "SELECT event, detail FROM audit"))
    await world.look_for_tokens()
    assert world.tokens or "\napprove" not in words
    secrets = [*world.tokens, *(application.callback_urls[name].rpartition("/")[2] for name in application.operators)]
    numbers = {found[1] for found in NUMBER.finditer(words)}
    for where in (logged, page, jobs, audit):
        for hidden in (*secrets, *numbers, VOUCHER):
            assert hidden not in where
        assert not MSISDN.search(where), MSISDN.search(where)
    for where in (logged, page, jobs, audit, *world.found):
        assert not PIN.search(where), PIN.search(where)
        assert not TYPED_PIN.search(where)
    assert logged.count('"hop"') >= len(world.found) > 0
    spoken = set((await rows(application, "SELECT array_agg(language) FROM subscribers"))[0][0])
    assert language in spoken


REMEMBER_JOBS = (
    "CREATE TABLE seen_jobs (args text)",
    """CREATE FUNCTION remember() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO seen_jobs VALUES (NEW.args::text || coalesce(NEW.lock, '')); RETURN NEW; END $$""",
    "CREATE TRIGGER remember AFTER INSERT ON procrastinate_jobs FOR EACH ROW EXECUTE FUNCTION remember()",
)


def _listen(request: pytest.FixtureRequest, level: str = "INFO") -> None:
    """Log as in production, but so that the next test may do otherwise."""
    handlers, logging.root.handlers = logging.root.handlers, []  # pytest's, beside which ours would not be added
    request.addfinalizer(lambda: setattr(logging.root, "handlers", handlers))
    request.addfinalizer(structlog.reset_defaults)
    log.configure(level)
    structlog.configure(cache_logger_on_first_use=False)


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """A client."""
    async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
        yield http


# What is printed when something breaks


@pytest.mark.usefixtures("redis")
@pytest.mark.parametrize("name", FORMATS)
async def test_failed_hop_says_nothing_of_what_was_typed(
    application: Application,
    http: httpx.AsyncClient,
    capfd: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
    name: str,
) -> None:
    """A statement that fails with the row's number in its words, on the hop of a PIN: neither is shown or logged."""
    _listen(request, "DEBUG")
    phone = Edge(http, application.settings.public_url, name, "233240000301")
    await phone.enrol()
    await phone.dial()
    for entry in ("5", "3", "2580"):
        await phone.press(entry)
    async with application.store.work() as connection:
        await connection.execute(text("ALTER TABLE subscribers ADD CONSTRAINT refuse CHECK (pin_hash IS NULL)"))
    shown = phone.read(await phone.press("2580"))
    assert shown == "END We will SMS you the result. Do not pay again."
    logged = capfd.readouterr().err
    assert '"error": "CheckViolation"' in logged
    assert not MSISDN.search(logged)
    assert not PIN.search(logged)


@pytest.mark.usefixtures("redis")
async def test_database_errors_in_jobs_hide_whose_they_are(
    application: Application,
    http: httpx.AsyncClient,
    capfd: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    """A statement that the database refuses carries its parameters into the exception, and a worker logs that."""
    _listen(request)
    async with application.store.work() as connection:
        await connection.execute(text("ALTER TABLE messages ADD CONSTRAINT refuse CHECK (state = 'waiting')"))
    phone = Edge(http, application.settings.public_url, "africastalking", "233240000302")
    await phone.enrol()
    await phone.confirm_screen()
    await phone.press("1")
    live = Live(http, application.settings.public_url)
    async with asyncio.timeout(20):
        while not await live.answer("233240000302", "reject"):  # noqa: ASYNC110 - a prompt has no event for it
            await asyncio.sleep(0.1)
        logged = ""
        while "procrastinate" not in logged:
            await asyncio.sleep(0.1)
            logged += capfd.readouterr().err
    assert "refuse" in logged
    assert not MSISDN.search(logged), MSISDN.search(logged)


def test_what_a_library_logs_is_masked_too() -> None:
    """Procrastinate and psycopg speak through logging, and quote what the database told them."""
    script = (
        "import logging; from ussd_app import log; log.configure(); l = logging.getLogger('procrastinate.worker')\n"
        "try: raise ValueError('Key (msisdn)=(+233240000001) already exists')\n"
        "except ValueError: l.exception('Job failed for 233240000002')"
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stderr
    assert "ValueError" in printed
    assert not MSISDN.search(printed), printed


@pytest.mark.parametrize("number", ["240000001", "0240000001", "233240000001", "+233240000001"])
def test_masked_number_cannot_be_guessed(number: str) -> None:
    """At least four digits are hidden, however short the number."""
    shown = sum(char.isdigit() for char in mask(number))
    assert len(number.lstrip("+")) - shown >= 4


@pytest.mark.usefixtures("redis")
async def test_session_id_made_of_a_number_is_masked(
    application: Application,
    http: httpx.AsyncClient,
    capfd: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    """Some aggregators name a session after its subscriber."""
    _listen(request)
    for session in ("233240000303", "233240000303-17000001", "S233240000303"):
        fields = {"sessionId": session, "phoneNumber": "+233240000303", "serviceCode": "*920*55#", "text": ""}
        assert (await http.post(f"{application.settings.public_url}/ussd/callback", data=fields)).status_code == 200
    logged = capfd.readouterr().err
    assert logged.count('"event": "hop"') == 3
    assert "240000303" not in logged


class Full(io.StringIO):
    """A stream on a disk that is full."""

    def write(self, _text: str) -> int:
        """Fail, as print() would see it."""
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.usefixtures("redis")
@pytest.mark.parametrize("name", FORMATS)
async def test_log_that_cannot_be_written_fails_no_hop(
    application: Application,
    http: httpx.AsyncClient,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """A full disk or a log reader that has gone: the money is placed, and the person must hear of it."""
    phone = Edge(http, application.settings.public_url, name, "233240000304")
    await phone.enrol()
    await phone.confirm_screen()
    with monkeypatch.context() as broken:
        broken.setattr("sys.stderr", Full())
        _listen(request)
        answer = await phone.press("1")
        structlog.reset_defaults()
    assert "END Now approve" in phone.read(answer)


def test_turn_and_callback_print_nothing_that_was_typed() -> None:
    """They are locals of every hop, and a traceback with locals, an assertion or a careless log line prints them."""
    at = {"sessionId": "a", "phoneNumber": "+233240000001", "serviceCode": "*920*55#", "text": "5*3*2580"}
    madapi = {
        "sessionId": "m",
        "messageType": "1",
        "msisdn": "233240000001",
        "serviceCode": "920",
        "ussdString": "2580",
    }
    for module, form, fields in ((africastalking, "form", at), (mtn, "json", madapi)):
        callback = Callback(form, fields)
        turn = module.Aggregator(load(module.Settings), "920*55", "GH").parse(callback)
        for printed in (repr(callback), repr(turn)):
            assert "2580" not in printed


@pytest.mark.usefixtures("redis")
async def test_nothing_built_prints_a_secret(application: Application) -> None:
    """Settings, doors, operators and senders, in a repr or in a traceback with locals."""
    secret = application.callback_urls["mtn_momo"].rpartition("/")[2]
    built: list[object] = [
        application.settings, *application.operators.values(), *application.senders.values(),
        *application.aggregators.values(), *(each.settings for each in application.aggregators.values()),
        application._door("operators", "mtn_momo"),
        *(each.settings for each in application.operators.values() if hasattr(each, "settings")),
        application.redis, application.store,
    ]  # fmt: skip

    def broken() -> None:
        held = built
        raise ValueError(len(held))

    try:
        broken()
    except ValueError as error:
        inner = error.__traceback__ and error.__traceback__.tb_next  # not this test's own frame, which holds the secret
        told = "".join(traceback.TracebackException(type(error), error, inner, capture_locals=True).format())
    for hidden in (
        "of the tests",
        secret,
        load(mtn_momo.Settings).credential("collection", "api_key"),
    ):
        assert hidden not in repr(built)
        assert hidden not in told
