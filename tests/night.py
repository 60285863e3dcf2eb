"""A country on its worst night: many people place orders on the whole application while everything goes wrong.

What nobody could find out, a person reads in the operators' books in the morning.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import httpx2 as httpx
from later import LaterClock, move, settle
from redis.asyncio import Redis
from sqlalchemy import Row, RowMapping, TextClause, select

from ussd_app.app import Application
from ussd_app.money import Money
from ussd_app.movement import Kind
from ussd_app.msisdn import CURRENCIES, Msisdn
from ussd_app.orders import Placed, send_money
from ussd_app.payments import floats
from ussd_app.payments.decisions import Decision
from ussd_app.providers import airtel
from ussd_app.tables import audit, payment_events, payments

# Whose numbers begin how; each of them has PEOPLE.
COUNTRIES: Mapping[str, Mapping[str, str]] = {
    "KE": {"daraja": "+254700000", "airtel": "+254730000"},
    "UG": {"mtn_momo": "+256770000", "airtel": "+256700000"},
}
NETWORKS = {"daraja": "Safaricom", "airtel": "Airtel", "mtn_momo": "MTN"}
PEOPLE = 150
SMALLEST = 600  # every order's amount is another one, so that no two movements are alike
FLOAT = 10_000_000

MOVES, ASKS = ("collection", "disbursement", "refund"), ("status",)
# What goes wrong, where, on what share of the occasions.
FAULTS: tuple[tuple[str, tuple[str, ...], float, dict[str, Any]], ...] = (
    ("accepted_then_timeout", MOVES, 0.3, {}),
    ("accepted_then_500", (*MOVES, *ASKS), 0.03, {}),
    ("invalid_json", (*MOVES, *ASKS), 0.02, {}),
    ("html_200", (*MOVES, *ASKS, "token"), 0.02, {}),
    ("lost_request", (*MOVES, *ASKS, "token"), 0.02, {}),
    ("answer", (*MOVES, *ASKS), 0.02, {"body": '{"status": "ODD", "errorCode": "999.9", "ResponseCode": "77"}'}),
    ("500", (*MOVES, *ASKS, "token"), 0.02, {}),
    ("503", (*MOVES, *ASKS), 0.02, {}),
    ("429", (*MOVES, *ASKS), 0.03, {}),
    ("slow", (*MOVES, *ASKS, "token"), 0.1, {"seconds": 0.01}),
    ("token_expired", (*MOVES, *ASKS), 0.05, {}),
    ("lost_callback", (*MOVES, *ASKS), 0.2, {}),
    ("late_callback", (*MOVES, *ASKS), 0.2, {"seconds": 0.5}),
    ("doubled_callback", (*MOVES, *ASKS), 0.2, {"copies": 3}),
    ("callback_first", MOVES, 0.1, {}),
    ("late_success", MOVES, 0.1, {"seconds": 0.5}),
    ("queued_for_ever", MOVES, 0.02, {}),
    ("failed_after_accepted", MOVES, 0.02, {"body": "26"}),
)
# What people do with a prompt.
ANSWERS = ("approve",) * 8 + ("reject", "ignore")
SWITCHES: Mapping[str, dict[str, Any]] = {
    "daraja": {"prompt_seconds": 2, "queue_seconds": 0.3, "outcomes_by_number": False},
    "airtel": {"prompt_seconds": 2, "outcomes_by_number": False},
    "mtn_momo": {"prompt_seconds": 2},
}
# How time passes, step by step, to the end of every patience.
STEPS = (
    *(timedelta(seconds=10),) * 8,
    *(timedelta(minutes=1),) * 6,
    *(timedelta(minutes=10),) * 3,
    *(timedelta(hours=9),) * 12,
    *(timedelta(days=12),) * 3,
)
SOON = timedelta(hours=1)  # shorter steps than this wait a while for what the sandbox does by itself
STEP_SECONDS = 0.1
LOOKS = 20_000


@dataclass
class Night:
    """One country, its people, and what becomes of their orders."""

    application: Application
    http: httpx.AsyncClient
    redis: Redis
    chance: random.Random
    refused: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)  # what a person found out of what was parked

    @property
    def later(self) -> LaterClock:
        """The time, which is moved."""
        assert isinstance(self.application.clock, LaterClock)
        return self.application.clock

    @property
    def operators(self) -> Mapping[str, str]:
        """And how the numbers of each begin."""
        return COUNTRIES[self.application.settings.country]

    @property
    def currency(self) -> str:
        """Of the country."""
        return CURRENCIES[self.application.settings.country]

    async def begin(self, seed: int) -> None:
        """Floats on both sides, people of all kinds, and the plan of faults."""
        paying = self.application.payments
        for name in self.operators:
            account = paying.float_account(name, Kind.DISBURSEMENT)
            async with self.application.engine.begin() as connection:
                money = Money.of(FLOAT, self.currency)
                await floats.put(connection, account, money, note="a bank", at=self.later.now())
        await self.tell("books", {name: {self.currency: str(FLOAT)} for name in self.operators})
        await self.tell("switches", {name: SWITCHES[name] for name in self.operators})
        for name in self.operators:
            for number in self.numbers(name):
                if told := self.somebody(name):
                    await self.tell(f"handsets/{number.digits}", told)
        plan = [
            {"name": fault, "target": f"{name}.{point}", "share": share, **more}
            for name in self.operators
            for fault, points, share, more in FAULTS
            for point in points
        ]
        await self.tell("faults", [{**each, "seed": seed * 1000 + at} for at, each in enumerate(plan)])

    def numbers(self, operator: str) -> list[Msisdn]:
        """Everybody in the range of this operator."""
        return [Msisdn(f"{self.operators[operator]}{number:03d}") for number in range(1, PEOPLE + 1)]

    def somebody(self, operator: str) -> dict[str, Any]:
        """One in twenty has moved to the other network, one cannot be paid, one has no wallet, one has no money."""
        other = next(name for name in self.operators if name != operator)
        ported, poor = {"network": NETWORKS[other]}, {"balances": {self.currency: "700"}}
        rare: list[dict[str, Any]] = [ported, {"can_receive": False}, {"active": False}, poor]
        return self.chance.choice([*rare, *({},) * 16])

    async def place(self, number: int) -> None:
        """One order of anybody's to anybody else."""
        sender, recipient = (
            self.chance.choice(self.numbers(self.chance.choice(list(self.operators)))) for _ in range(2)
        )
        if sender == recipient:
            return
        placed = await send_money.place(
            self.application.orders, run=uuid4().hex, msisdn=sender, sender_name="Ama", recipient=recipient,
            recipient_name="Kofi", amount=Money.of(SMALLEST + number, self.currency), language="en",
        )  # fmt: skip
        if not isinstance(placed, Placed):
            self.refused[type(placed).__name__] += 1

    async def answer(self) -> None:
        """Everybody looks at their phone again and again."""
        while True:
            handsets = (await self.http.get(f"{self.sandbox}/handsets")).json()
            prompts = [(each["msisdn"], prompt["id"]) for each in handsets for prompt in each["prompts"]]
            for msisdn, prompt in prompts:
                answer = {"answer": self.chance.choice(ANSWERS)}
                await self.http.post(f"{self.sandbox}/handsets/{msisdn}/prompts/{prompt}", json=answer)
            await asyncio.sleep(0.1)

    async def pass_by(self) -> None:
        """All the time there is."""
        for step in STEPS:
            await move(self.application.engine, self.redis, self.later, step)
            await asyncio.sleep(STEP_SECONDS if step < SOON else 0)
            await settle(self.application.engine, self.later, LOOKS)

    async def look(self) -> list[RowMapping]:
        """A person reads the operators' books about every payment that is parked, and says what they found."""
        async with self.application.engine.connect() as connection:
            query = select(payments).where(payments.c.state == "parked")
            parked = (await connection.execute(query)).mappings().all()
        movements = await self.movements()
        for row in parked:
            ended = [each["status"] for each in movements if is_of(each, row)]
            assert unknowable(row, ended), dict(row)
            self.found[f"{row['operator']} {row['kind']} {' '.join(ended) or 'unheard of'}"] += 1
            receipt = row["receipt"] or f"of {row['id']}" if "succeeded" in ended else None
            assert await self.application.orders.decide(row["id"], Decision("a person", receipt)) is None
        return list(parked)

    async def movements(self) -> list[dict[str, str]]:
        """Everything the operators were asked for."""
        books = (await self.http.get(f"{self.sandbox}/books")).json()["operators"]
        return [{**each, "operator": name} for name in self.operators for each in books[name]["movements"]]

    async def rows(self, table: Any) -> list[RowMapping]:  # noqa: ANN401 - of either table
        """A whole table."""
        async with self.application.engine.connect() as connection:
            return list((await connection.execute(select(table))).mappings().all())

    async def told(self) -> int:
        """How much has happened to payments."""
        return len(await self.rows(payment_events))

    async def alerts(self) -> list[str]:
        """What a person was told to look at."""
        return [row["detail"]["what"] for row in await self.rows(audit) if row["event"] == "alert"]

    async def all(self, query: TextClause) -> list[Row[Any]]:
        """What the ledger has."""
        async with self.application.engine.connect() as connection:
            return list((await connection.execute(query)).all())

    @property
    def sandbox(self) -> str:
        """The control API."""
        return f"{self.application.settings.public_url}/sandbox"

    async def tell(self, path: str, body: object) -> None:
        """Put something there."""
        (await self.http.put(f"{self.sandbox}/{path}", json=body)).raise_for_status()


def is_of(movement: Mapping[str, str], row: RowMapping) -> bool:
    """Whether an operator's movement is that of a payment of ours: by its reference, or by who paid and how much.

    The second as a person would, where an answer was lost that had M-PESA's own id. Amounts are all different.
    """
    if movement["operator"] != row["operator"]:
        return False
    known = {str(row["id"]), airtel.written(row["id"]), row["external_id"]}
    if row["kind"] == Kind.REFUND:
        known.add(row["item"].get("receipt"))
    if movement["reference"] in known:
        return movement["kind"] == row["kind"] or (row["kind"], movement["kind"]) == ("refund", "disbursement")
    if row["operator"] != "daraja" or row["external_id"]:
        return False
    mine = row["kind"], row["msisdn"].removeprefix("+"), Money(row["amount"], row["currency"]).decimal
    return (movement["kind"], movement["msisdn"], Decimal(movement["amount"])) == mine


def unknowable(row: RowMapping, ended: list[str]) -> bool:
    """Whether nobody but a person can find out what became of a payment whose movements ``ended`` so.

    An operator that has never heard of it may hear of it yet. M-PESA cannot be asked about what it has not named, and
    what it says of a payout is final only where it was paid (wire/momo.md sections 3.3 and 3.4).
    """
    if row["operator"] != "daraja":
        return not ended
    if row["kind"] == Kind.COLLECTION:
        return row["external_id"] is None or ended == ["pending"]
    return "succeeded" not in ended or (row["kind"] == Kind.REFUND and row["external_id"] is None)
