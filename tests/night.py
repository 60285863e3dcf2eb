"""A country on its worst night: many people place orders on the whole application while everything goes wrong.

What nobody could find out, a person reads in the operators' books in the morning.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import httpx2 as httpx
from later import LaterClock, move, settle
from redis.asyncio import Redis
from sqlalchemy import Row as TupleRow
from sqlalchemy import TextClause, select

from ussd_app.app import Application
from ussd_app.errors import ProviderError
from ussd_app.money import Money
from ussd_app.movement import Failed, Kind, Pending, Status
from ussd_app.msisdn import CURRENCIES, Msisdn
from ussd_app.orders import Placed, send_money
from ussd_app.payments import floats
from ussd_app.payments.decisions import Decision, in_doubt
from ussd_app.providers import airtel
from ussd_app.store import Row
from ussd_app.tables import audit, callbacks, payment_events, payments

# Whose numbers begin how; each of them has PEOPLE.
COUNTRIES: Mapping[str, Mapping[str, str]] = {
    "KE": {"daraja": "+254700000", "airtel": "+254730000"},
    "UG": {"mtn_momo": "+256770000", "airtel": "+256700000"},
    "GH": {"mtn_momo": "+233240000"},
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
    ("firewall", (*MOVES, *ASKS, "token"), 0.01, {}),
    ("firewall", (*MOVES, *ASKS), 0.01, {"status": 200}),
    ("gateway_404", MOVES, 0.02, {}),
    ("gateway_404", ASKS, 0.01, {}),
    ("token_expired", (*MOVES, *ASKS), 0.05, {}),
    ("lost_callback", (*MOVES, *ASKS), 0.2, {}),
    ("late_callback", (*MOVES, *ASKS), 0.2, {"seconds": 0.5}),
    ("late_callback", MOVES, 0.05, {"seconds": 4}),  # when the operator has long been asked
    ("doubled_callback", (*MOVES, *ASKS), 0.2, {"copies": 3}),
    ("callback_first", MOVES, 0.1, {}),
    ("late_success", MOVES, 0.1, {"seconds": 0.5}),
    ("queued_for_ever", MOVES, 0.02, {}),
    ("failed_after_accepted", MOVES, 0.02, {"body": "26"}),
)
# What an operator's half of the sandbox does not play.
NOT_PLAYED: Mapping[str, tuple[str, ...]] = {
    "daraja": (),
    "airtel": ("queued_for_ever", "failed_after_accepted"),
    "mtn_momo": ("failed_after_accepted",),
}
# Where an operator tells two stories of one movement, to whom asks and in its callback; others have but one to tell.
TWO_STORIES: Mapping[str, tuple[str, ...]] = {"daraja": ("collection",), "airtel": ("collection",), "mtn_momo": MOVES}
CONTRADICTIONS = (("query_denies", 0.02), ("callback_boasts", 0.1), ("callback_denies", 0.02))
# What is answered to what has just been done, and says neither that nor the contrary: Airtel's field validation and its
# refusal inside HTTP 200, and of the others a word where an object is due.
VALIDATION = {"code": "200", "message": "Field validation error", "result_code": "ESB000008", "success": False}
INSIDE = {"code": "200", "message": "Request failed", "result_code": "ESB000011", "success": False}
AMBIGUOUS: Mapping[str, tuple[tuple[tuple[str, ...], object], ...]] = {
    "airtel": (
        (MOVES, {"status": VALIDATION}),
        *(
            (points, {"data": {"transaction": {"status": "FAILED"}}, "status": {**INSIDE, "response_code": code}})
            for points, code in ((("collection", "refund"), "DP00800001006"), (("disbursement",), "DP00900001006"))
        ),
    ),
    "daraja": ((MOVES, "Accepted."),),
    "mtn_momo": ((MOVES, "Accepted."),),
}
# What people do with a prompt.
ANSWERS = ("approve",) * 8 + ("reject", "ignore")
SWITCHES: Mapping[str, dict[str, Any]] = {
    "daraja": {"prompt_seconds": 2, "queue_seconds": 0.3, "outcomes_by_number": False},
    "airtel": {"prompt_seconds": 2, "outcomes_by_number": False},
    "mtn_momo": {"prompt_seconds": 2},
}
# Switches that differ from night to night, so that nights of four seeds in a row meet every word of each.
VARIED: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "daraja": {"pending": ("500.001.1001", "4999"), "unanswered": ("1037", "1032", "1019")},
    "airtel": {
        "enquiry_code": ("own", "call", "short", "none"),
        "pending_word": ("TIP", "TI", "TP"),
        "callback_code": (False, True),
        "accepted_code": ("006", "001"),
    },
    "mtn_momo": {"reason": ("text", "object")},
}
# How a callback that says paid is known in the body as it came.
SAYS_PAID = {"daraja": b'"ResultCode":0,', "airtel": b'"status_code":"TS"', "mtn_momo": b'"status":"SUCCESSFUL"'}
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
LOOK_SECONDS = 0.4  # from one look at all phones to the next: it is much work for the sandbox
LOOKS = 20_000
ASKED = 40  # times a person asks an operator that does not answer


@dataclass
class Night:
    """One country, its people, and what becomes of their orders."""

    application: Application
    http: httpx.AsyncClient
    redis: Redis
    chance: random.Random
    refused: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)  # what a person found out, and of what

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
            async with self.application.store.work() as connection:
                money = Money.of(FLOAT, self.currency)
                await floats.put(connection, account, money, note="a bank", at=self.later.now())
        await self.tell("books", {name: {self.currency: str(FLOAT)} for name in self.operators})
        await self.tell("switches", {name: SWITCHES[name] | self.varied(name, seed) for name in self.operators})
        for name in self.operators:
            for number in self.numbers(name):
                if told := self.somebody(name):
                    await self.tell(f"handsets/{number.digits}", told)
        plan = [fault for name in self.operators for fault in faults(name)]
        await self.tell("faults", [{**each, "seed": seed * 1000 + at} for at, each in enumerate(plan)])

    def varied(self, operator: str, seed: int) -> dict[str, Any]:
        """Its switches that differ, of this country in the night of this seed."""
        turn = seed + list(COUNTRIES).index(self.application.settings.country)
        return {name: words[turn % len(words)] for name, words in VARIED[operator].items()}

    def numbers(self, operator: str) -> list[Msisdn]:
        """Everybody in the range of this operator."""
        return [Msisdn(f"{self.operators[operator]}{number:03d}") for number in range(1, PEOPLE + 1)]

    def somebody(self, operator: str) -> dict[str, Any]:
        """One in twenty each has moved to another network, if there is one, cannot be paid, has no wallet, no money."""
        ported = [{"network": NETWORKS[other]} for other in self.operators if other != operator]
        poor = {"balances": {self.currency: "700"}}
        rare: list[dict[str, Any]] = [*ported, {"can_receive": False}, {"active": False}, poor]
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
            await asyncio.sleep(LOOK_SECONDS)

    async def pass_by(self) -> None:
        """All the time there is."""
        for step in STEPS:
            await move(self.application.store, self.redis, self.later, step)
            await asyncio.sleep(STEP_SECONDS if step < SOON else 0)
            await settle(self.application.store, self.later, LOOKS)

    async def look(self) -> None:
        """A person reads the operators' books, about what is parked, in doubt, or failed as far as we know."""
        movements = await self.movements()
        async with self.application.store.look() as connection:
            query = select(payments, in_doubt().label("doubted")).where(payments.c.state.in_(("parked", "failed")))
            open_ones = (await connection.execute(query)).mappings().all()
        for row in open_ones:
            ended = [each["status"] for each in movements if is_of(each, row)]
            if row["state"] == "parked" or row["doubted"]:
                await self.decide(row, ended)
            elif "succeeded" in ended:
                assert not await self.is_claimed(row), dict(row)  # else somebody should have been told
                await self.decide(row, ended)

    async def decide(self, row: Row, ended: list[str]) -> None:
        """Have a person say what the books show; nobody else must have been able to."""
        said, boasted = await self.answered(row), await self.is_claimed(row)
        assert unknowable(row, ended, said, claimed=boasted), (dict(row), ended, said, boasted)
        how = "doubted" if row["state"] == "failed" and row["doubted"] else row["state"]
        why = "contradicted" if contradicts(ended, said, claimed=boasted) else "unanswered"
        self.found[f"{row['operator']} {row['kind']} {how} {why}: {' '.join(ended) or 'unheard of'}"] += 1
        receipt = await self.receipt(row) if "succeeded" in ended else None
        undecided = await self.application.orders.decide(row["id"], Decision("a person", receipt))
        assert undecided is None, (dict(row), ended, undecided)

    async def answered(self, row: Row) -> Status | None:
        """What the operator says of a payment to whom asks again and again; None where it has nothing to say."""
        paying, said = self.application.payments, None
        for _ in range(0 if paying.mute(row) else ASKED):
            with suppress(ProviderError):
                said = await paying.operators[row["operator"]].check(paying._request(row))
                if not isinstance(said, Pending):
                    return said
        return said

    async def is_claimed(self, row: Row) -> bool:
        """Whether a callback that we have kept says of a payment that it was made."""
        c = callbacks.c
        about = c.payment == row["id"]
        if row["external_id"]:
            about |= c.external_id == row["external_id"]
        # What a question about a payout is answered with stands apart.
        query = select(c.body).where(c.provider == row["operator"], about, ~c.path.endswith("/status"))
        async with self.application.store.look() as connection:
            bodies = (await connection.execute(query)).scalars().all()
        return any(SAYS_PAID[row["operator"]] in bytes(body) for body in bodies)

    async def receipt(self, row: Row) -> str:
        """What the person writes down: the receipt of the alert, where it has one."""
        alerts = [each["detail"] for each in await self.rows(audit) if each["event"] == "alert"]
        claimed = [each.get("claimed") for each in alerts if each.get("payment") == str(row["id"])]
        return str(row["receipt"] or next(filter(None, claimed), None) or f"of {row['id']}")

    async def idle(self) -> set[str]:
        """The faults that have struck nowhere."""
        struck: Counter[str] = Counter()
        for fault in (await self.http.get(f"{self.sandbox}/faults")).json():
            struck[fault["name"]] += fault["fired"]
        return {name for name, times in struck.items() if not times}

    async def movements(self) -> list[dict[str, str]]:
        """Everything the operators were asked for."""
        books = (await self.http.get(f"{self.sandbox}/books")).json()["operators"]
        return [{**each, "operator": name} for name in self.operators for each in books[name]["movements"]]

    async def rows(self, table: Any) -> list[Row]:  # noqa: ANN401 - of either table
        """A whole table."""
        async with self.application.store.look() as connection:
            return list((await connection.execute(select(table))).mappings().all())

    async def told(self) -> int:
        """How much has happened to payments."""
        return len(await self.rows(payment_events))

    async def alerts(self) -> list[str]:
        """What a person was told to look at."""
        return [row["detail"]["what"] for row in await self.rows(audit) if row["event"] == "alert"]

    async def all(self, query: TextClause) -> list[TupleRow[Any]]:
        """What the ledger has."""
        async with self.application.store.look() as connection:
            return list((await connection.execute(query)).all())

    @property
    def sandbox(self) -> str:
        """The control API."""
        return f"{self.application.settings.public_url}/sandbox"

    async def tell(self, path: str, body: object) -> None:
        """Put something there."""
        (await self.http.put(f"{self.sandbox}/{path}", json=body)).raise_for_status()


def is_of(movement: Mapping[str, str], row: Row) -> bool:
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


def faults(operator: str) -> list[dict[str, Any]]:
    """All that goes wrong at one operator."""
    plan = [each for each in FAULTS if each[0] not in NOT_PLAYED[operator]]
    plan += [(name, TWO_STORIES[operator], share, {}) for name, share in CONTRADICTIONS]
    plan += [("accepted_then_answer", points, 0.02, {"body": json.dumps(said)}) for points, said in AMBIGUOUS[operator]]
    return [
        {"name": name, "target": f"{operator}.{point}", "share": share, **more}
        for name, points, share, more in plan
        for point in points
    ]


def contradicts(ended: list[str], said: Status | None, *, claimed: bool) -> bool:
    """Whether an operator denies what it has done, or has called back to say paid of what it says has failed."""
    return isinstance(said, Failed) and ("succeeded" in ended or claimed)


def unknowable(row: Row, ended: list[str], said: Status | None, *, claimed: bool) -> bool:
    """Whether nobody but a person can find out what became of a payment whose movements ``ended`` so.

    An operator may contradict itself, may have a movement under way for ever, and may hear yet of what it has never
    heard of. M-PESA cannot be asked about what it has not named, and what it says of a payout is final only where it
    was paid (wire/momo.md sections 3.3 and 3.4).
    """
    if contradicts(ended, said, claimed=claimed) or (isinstance(said, Pending) and ended == ["pending"]):
        return True
    if row["state"] == "failed":
        return False
    if row["operator"] != "daraja":
        return not ended
    if row["kind"] == Kind.COLLECTION:
        return row["external_id"] is None
    return "succeeded" not in ended or (row["kind"] == Kind.REFUND and row["external_id"] is None)
