"""`ussd-app bench`: what a dial, a crowd and a payment cost on this machine, beside an app that does only the I/O.

Everything runs on 127.0.0.1 and shares these cores: read the ratios, and compare figures of one machine and one hour.
What people do is measured, so dials count.
"""

import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from ussd_app import app
from ussd_app.bench import crowd, dialogues, outage, payments, postings, statements
from ussd_app.bench.figures import Figure, at_most
from ussd_app.bench.stage import Stage, open_stage, paying, talking
from ussd_app.commands.alone import alone

MEGABYTES_MAX, HELP_SECONDS_MAX = 90.0, 0.7
SOCKETS_WANTED = 8192
MEMORY = "import resource, ussd_app.app; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"


@dataclass(frozen=True, slots=True)
class Load:
    """How much is measured: ``seconds`` for each rate, from ``phones`` at once."""

    seconds: float = 5.0
    phones: int = 32
    deep: int = 100  # dialogues of dialogues.LATE hops
    placings: int = 200
    paid: int = 96  # with so many at once, each time
    at_once: tuple[int, ...] = payments.AT_ONCE
    senders: int = crowd.SENDERS
    diallers: int = crowd.DIALLERS


QUICK = Load(seconds=0.5, phones=16, deep=10, placings=16, paid=4, at_once=(1, 8), senders=50, diallers=250)


def run(load: Load, outage_seconds: float = 0.0) -> int:
    """Measure, and print; 1 where a target was missed. An outage of so many seconds is measured too, if any."""
    console = Console(highlight=False)
    console.print(
        f"{os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}, load "
        f"{os.getloadavg()[0]:.1f} before. Stores, web, worker, sandbox, floor app and phones share these cores."
    )
    _allow_sockets()
    started, missed = time.perf_counter(), False
    table = Table("what", "measured", "at least")
    given = {"MENUS_DIR": str(app.menus_dir().resolve())}
    with (
        tempfile.TemporaryDirectory(prefix="ussd-") as directory,
        alone(Path(directory), given),
        open_stage(Path(directory)) as stage,
    ):
        for figure in measure(stage, load, outage_seconds):
            missed = missed or figure.missed
            table.add_row(figure.what, figure.measured, figure.target, style="red" if figure.missed else "")
    console.print(table)
    console.print(f"{time.perf_counter() - started:.0f} s in all")
    return int(missed)


def measure(stage: Stage, load: Load, outage_seconds: float = 0.0) -> Iterator[Figure]:
    """Every figure in turn; one part that breaks is a line of its own, and the others are still measured."""
    yield from _part(lambda: _talks(stage, load))
    yield from _part(lambda: _pays(stage, load))
    yield from _part(lambda: [uvloop.run(postings.measure(stage, load.seconds))])
    yield from _part(lambda: [uvloop.run(outage.cost(stage.stores.redis_url))])
    yield from _part(starting)
    if outage_seconds:
        database = stage.database("outage")
        yield from _part(lambda: uvloop.run(outage.measure(stage.stores.redis_url, database, outage_seconds)))


def _talks(stage: Stage, load: Load) -> Iterator[Figure]:
    with talking(stage) as scene:
        yield from _part(lambda: uvloop.run(dialogues.measure(scene, load.seconds, load.phones, load.deep)))
        yield from _part(lambda: uvloop.run(dialogues.placing(scene, load.placings, load.phones // 4 or 1)))
        yield from _part(lambda: uvloop.run(crowd.measure(scene, load.senders, load.diallers)))


def _pays(stage: Stage, load: Load) -> Iterator[Figure]:
    with paying(stage) as scene:
        yield from _part(lambda: uvloop.run(payments.measure(scene, load.paid, load.at_once)))
        with statements.kept(stage.stores.conninfo):
            log = statements.StatementLog(stage.stores.postgres_log, scene.database)
            yield from _part(lambda: uvloop.run(payments.costs(scene, log)))


def _part(measured: Callable[[], Iterable[Figure]]) -> Iterator[Figure]:
    """What one part measures, or the line that says what broke it."""
    try:
        yield from measured()
    except Exception as error:  # noqa: BLE001 - whatever it was, the other parts are wanted all the same
        where = traceback.extract_tb(error.__traceback__)[-1]
        said = f"{Path(where.filename).name}:{where.lineno}: {type(error).__name__}: {error}"
        yield Figure("not measured", said, missed=True)


def starting() -> list[Figure]:
    """What a process needs before it does anything: memory once all is imported, and the time of ``--help``."""
    kilobytes = float(_printed("-c", MEMORY))
    started = time.perf_counter()
    _printed("-m", "ussd_app", "--help")
    seconds = time.perf_counter() - started
    # On a Mac it is told in bytes.
    megabytes = kilobytes / (1e6 if sys.platform == "darwin" else 1e3)
    return [
        at_most("memory after import", megabytes, MEGABYTES_MAX, " MB"),
        at_most("ussd-app --help", seconds, HELP_SECONDS_MAX, " s"),
    ]


def _printed(*words: str) -> str:
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)  # noqa: S603 - our own
    return done.stdout


def _allow_sockets() -> None:
    """Open as many as the machine lets us: each phone of a crowd has a connection of its own, at both ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = SOCKETS_WANTED if hard == resource.RLIM_INFINITY else min(SOCKETS_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
