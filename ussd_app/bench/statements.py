"""What is sent to Postgres, read from the server's own log: whoever sends it, through whatever client.

Each line of the log names the connection's database and application (``app.py`` names ours), so that Procrastinate's
own work is told apart from ours. BEGIN and ROLLBACK are no statements here, and a COMMIT is counted by itself.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import psycopg
from psycopg import sql

from ussd_app import app

PREFIX = "[%d|%a] "
LINE = re.compile(
    r"\[(?P<database>[^|\]]*)\|(?P<application>[^\]]*)\] LOG:  (?:statement|execute [^:]+): (?P<text>.*)", re.DOTALL
)
LOGGED = re.compile(r"^\[[^|\]]*\|[^\]]*\] ", re.MULTILINE)  # where an entry of the log begins
JOBS = "procrastinate_"  # in the name of all that is Procrastinate's: tables, functions, types
OURS, OURS_OF_JOBS = app.NAME, f"{app.NAME} jobs"  # the names of our connections; whoever else looks on has none
UNCOUNTED = ("BEGIN", "ROLLBACK", "DEALLOCATE")


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent meanwhile: our statements and commits, and Procrastinate's statements apart."""

    texts: tuple[str, ...] = field(default=(), repr=False)
    commits: int = 0
    jobs: int = 0

    @property
    def statements(self) -> int:
        """Ours, in number."""
        return len(self.texts)


class StatementLog:
    """The log of one embedded PostgreSQL, of which the statements of one database are read."""

    def __init__(self, path: Path, database_url: str) -> None:
        self._path = path
        self._database = database_url.rpartition("/")[2].partition("?")[0]
        self._from = 0

    def begin(self) -> None:
        """Count from here."""
        self._from = self._path.stat().st_size

    def sent(self) -> Sent:
        """What was sent since ``begin``; whoever sent it has had its answer."""
        texts, commits, jobs = list[str](), 0, 0
        for application, text in self._statements():
            if JOBS in text or application == OURS_OF_JOBS:
                jobs += not text.startswith((*UNCOUNTED, "COMMIT"))
            elif text.startswith("COMMIT"):
                commits += 1
            elif not text.startswith(UNCOUNTED):
                texts.append(text)
        return Sent(tuple(texts), commits, jobs)

    def _statements(self) -> Iterator[tuple[str, str]]:
        with self._path.open("rb") as log:
            log.seek(self._from)
            written = log.read().decode(errors="replace")
        edges = [*(found.start() for found in LOGGED.finditer(written)), len(written)]
        for start, end in pairwise(edges):
            line = LINE.match(written[start:end].rstrip())
            if line and line["database"] == self._database and line["application"] in {OURS, OURS_OF_JOBS}:
                yield line["application"], " ".join(line["text"].split())


@contextmanager
def kept(conninfo: str) -> Iterator[None]:
    """Have a server write down all that is sent meanwhile, on every connection; its parameters stay unwritten."""
    settings = {"log_line_prefix": PREFIX, "log_parameter_max_length": "0", "log_statement": "all"}
    with psycopg.connect(conninfo, autocommit=True) as connection:
        for name, value in settings.items():
            set_ = sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value))
            connection.execute(set_)
        connection.execute("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            for name in settings:
                connection.execute(sql.SQL("ALTER SYSTEM RESET {}").format(sql.Identifier(name)))
            connection.execute("SELECT pg_reload_conf()")
