"""The whole application as processes of its own: a server with the sandbox, workers that die, a control desk."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2 as httpx
from sqlalchemy import select, text

from ussd_app import ledger
from ussd_app.config import Settings
from ussd_app.sandbox import environment
from ussd_app.store import Store
from ussd_app.tables import messages, payments

HERE = Path(__file__).parent
ROOT = HERE.parent
START_SECONDS = 120.0  # on a machine that others use too
SERVE = ["-m", "ussd_app"]
LEFT = (
    "SELECT kind, state, attempts, tries, checks, doubtful, submitted_at FROM payments WHERE final_at IS NULL",
    "SELECT task_name, status, attempts, scheduled_at FROM procrastinate_jobs WHERE status <> 'succeeded' LIMIT 100",
)


@dataclass
class Town:
    """A running server on 127.0.0.1, and what a test does with it."""

    url: str
    env: Mapping[str, str]
    store: Store
    http: httpx.AsyncClient
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def work(self, *point: str) -> "subprocess.Popen[bytes]":
        """Start a worker; with a point (and after how many passes) it kills itself there."""
        return self.start([sys.executable, str(HERE / "dying_worker.py"), *point])

    def treasurer(self, point: str, payment: str) -> "subprocess.Popen[bytes]":
        """Have a treasurer say of a payment that it is unpaid, who is killed at that point."""
        return self.start([sys.executable, str(HERE / "dying_treasurer.py"), point, payment])

    def start(self, command: list[str], **given: str) -> "subprocess.Popen[bytes]":
        """Start any process of the town's, with these variables beside its own, where nobody keeps a ``.env``."""
        self.processes.append(subprocess.Popen(command, env={**self.env, **given}, cwd=HERE / "journeys"))
        return self.processes[-1]

    async def handset(self, msisdn: str) -> dict[str, Any]:
        """Balances, prompts and inbox of a handset."""
        answer = await self.http.get(f"{self.url}/sandbox/handsets/{msisdn}")
        found: dict[str, Any] = answer.json()
        return found

    async def set_handset(self, msisdn: str, **values: Any) -> None:  # noqa: ANN401 - JSON
        """Change a handset."""
        answer = await self.http.put(f"{self.url}/sandbox/handsets/{msisdn}", json=values)
        assert answer.is_success, answer.text

    async def faults(self, *faults: Mapping[str, Any]) -> None:
        """Have the sandbox's services misbehave."""
        answer = await self.http.put(f"{self.url}/sandbox/faults", json=list(faults))
        assert answer.is_success, answer.text

    async def until(self, query: str, seconds: float = 60) -> None:
        """Wait until a query's one value is true."""
        deadline = time.monotonic() + seconds
        while True:
            async with self.store.look() as connection:
                if (await connection.execute(text(query))).scalar_one():
                    return
            assert time.monotonic() < deadline, f"{query}\n{await self.left()}"
            await asyncio.sleep(0.1)

    async def left(self) -> list[dict[str, Any]]:
        """The payments that are open, and the jobs, for a person who wonders why."""
        async with self.store.look() as connection:
            found = [(await connection.execute(text(query))).mappings().all() for query in LEFT]
        return [dict(row) for rows in found for row in rows]

    async def all_final(self, seconds: float = 60) -> None:
        """Wait until no payment and no order is open and no SMS waits."""
        await self.until(
            "SELECT NOT EXISTS (SELECT FROM payments WHERE final_at IS NULL)"
            " AND NOT EXISTS (SELECT FROM orders WHERE finished_at IS NULL)"
            " AND NOT EXISTS (SELECT FROM messages WHERE state IN ('waiting', 'sending'))",
            seconds,
        )

    async def books_agree(self) -> None:
        """The sandbox holds for us what our ledger says, movement by movement, and nothing is pending."""
        books = (await self.http.get(f"{self.url}/sandbox/books")).json()
        async with self.store.look() as connection:
            sums = await ledger.sums(connection, "float:mtn_momo", "GHS")
            assert await ledger.imbalance(connection) == {"GHS": 0}
            made = select(payments.c.id, payments.c.amount).where(payments.c.state.in_(["succeeded", "late"]))
            ours = {str(row.id): Decimal(row.amount) / 100 for row in await connection.execute(made)}
            pending = "SELECT coalesce(sum(debits_pending + credits_pending), 0) FROM accounts"
            assert (await connection.execute(text(pending))).scalar_one() == 0
        operator = books["operators"]["mtn_momo"]
        moved = [m for m in operator["movements"] if m["status"] == "succeeded"]
        theirs = {m["reference"]: Decimal(m["amount"]) for m in moved}
        assert len(theirs) == len(moved), "the operator moved one reference twice"
        assert ours == theirs
        held = Decimal(operator["balances"].get("GHS", "0"))
        assert held == Decimal(sums.debits_posted - sums.credits_posted) / 100

    async def sms_rows(self) -> list[tuple[str, str]]:
        """Template and number of every message row."""
        async with self.store.look() as connection:
            rows = await connection.execute(select(messages.c.template, messages.c.msisdn))
            return [(row.template, row.msisdn) for row in rows]

    def end(self, process: "subprocess.Popen[bytes]") -> None:
        """Stop one process."""
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@asynccontextmanager
async def open_town(store: Store, database: str, redis_url: str, **given: str) -> AsyncIterator[Town]:
    """Start a server with the sandbox; end it and every worker afterwards."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = {
        **os.environ,
        "PUBLIC_URL": url,
        "SANDBOX": "1",
        "SECRET_KEYS": "of the tests",
        "DATABASE_URL": database.replace("+psycopg", ""),
        "REDIS_URL": redis_url,
        "PROMPT_DELAY_MS": "0",
        "DAILY_LIMIT": "1000000",
        "PAYMENTS_PER_HOUR": "100000",
        "NEW_RECIPIENTS_PER_DAY": "100000",
        "LOG_LEVEL": "ERROR",
        **environment(Settings(public_url=url)),
        **given,
    }
    command = [sys.executable, *SERVE, "serve", "--port", str(port)]
    async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
        town = Town(url, env, store, http)
        town.start(command)
        try:
            await until_ready(http, url)
            yield town
        finally:
            for process in reversed(town.processes):
                town.end(process)


async def until_ready(http: httpx.AsyncClient, url: str) -> None:
    """Wait until a server there answers."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            if (await http.get(f"{url}/ready")).is_success:
                return
        except httpx.HTTPError:
            await asyncio.sleep(0.1)
    raise TimeoutError("the server did not come up")


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
