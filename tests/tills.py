"""A till at an order desk: a scripted operator that is asked about deposits, and what may come to it."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import UUID

import pytest
from conftest import FakeClock
from desk import Desk, ScriptedOperator, open_desk
from groups import phone
from sqlalchemy import select

from ussd_app import worker
from ussd_app.callbacks import Callbacks
from ussd_app.config import Settings
from ussd_app.errors import ProviderError, Reason
from ussd_app.groups.model import Group
from ussd_app.messages import Messages
from ussd_app.money import Money
from ussd_app.movement import CallbackNote, Deposit, Failed, Kind, Pending, Status, Succeeded
from ussd_app.orders import till_back, till_in
from ussd_app.store import Store
from ussd_app.tables import audit, deposits
from ussd_app.till import Tills

RECEIPT, DIGITS = "UA50DEMO900", "50900"
AMA, KOFI = phone(1), phone(2)
WHOLE, MASKED = AMA.digits, f"{AMA.digits[:4]}*****{AMA.digits[-3:]}"
HASHED = hashlib.sha256(AMA.digits.encode()).hexdigest()
HOUR = 3_600


def cedis(amount: str) -> Money:
    """So many."""
    return Money.of(amount, "GHS")


@dataclass
class TillOperator(ScriptedOperator):
    """The scripted operator with a till, of which it answers no question but by callback."""

    looked_up: list[tuple[Deposit, str]] = field(default_factory=list)
    trouble: ProviderError | None = None  # what every question meets
    believed: int = 1_000_000  # minor units
    unqueried: frozenset[Kind] = frozenset()

    async def look_up(self, deposit: Deposit, callback_url: str) -> None:
        """It is taken note of."""
        self.looked_up.append((deposit, callback_url))
        if self.trouble:
            raise self.trouble

    def believed_up_to(self, currency: str) -> Money:
        """The largest amount of which an unsigned callback is proof."""
        return Money(self.believed, currency)

    def parse_callback(self, path: str, body: bytes) -> CallbackNote:
        """``confirmation``: receipt, amount, payer and label; ``deposit/<receipt>``: receipt and amount."""
        words = body.decode().split("|")
        kind, _, about = path.partition("/")
        if kind == "deposit":
            status: Status = Succeeded(words[0], cedis(words[1])) if len(words) > 1 else Failed(Reason.PARTY_NOT_FOUND)
            return CallbackNote(None, status, about)
        return CallbackNote(None, Pending(), deposit=Deposit(words[0], cedis(words[1]), words[2], words[3]))


@dataclass
class Shop:
    """A desk with a till, and everything that may come to it."""

    desk: Desk
    operator: TillOperator
    tills: Tills

    async def callback(self, path: str, *words: str) -> None:
        """A callback is kept."""
        await Callbacks(self.desk.payments, self.tills).keep("scripted", path, "text/plain", "|".join(words).encode())

    async def told(self, amount: str = "500", payer: str = WHOLE, receipt: str = RECEIPT, label: str = "") -> None:
        """The operator, or whoever knows its address, tells of a payment; whoever is asked is asked at once."""
        await self.callback("confirmation", receipt, amount, payer, label)
        await self.desk.run()

    async def answered(self, amount: str = "500", receipt: str = RECEIPT) -> None:
        """The operator confirms it."""
        await self.callback(f"deposit/{receipt}", receipt, amount)

    async def paid(self, amount: str = "500", payer: str = WHOLE, receipt: str = RECEIPT) -> UUID:
        """Money is at the till, and in the books; its id."""
        await self.told(amount, payer, receipt)
        await self.answered(amount, receipt)
        return UUID(str((await self.row(receipt)).id))

    async def row(self, receipt: str = RECEIPT) -> Any:  # noqa: ANN401 - a row
        """The deposit as it is kept."""
        async with self.desk.store.look() as connection:
            return (await connection.execute(select(deposits).where(deposits.c.receipt == receipt))).one()

    async def alerts(self) -> list[str]:
        """What a person must look at, but how low the float is: it holds what was paid to the till alone."""
        query = select(audit.c.detail["what"].astext).where(audit.c.event == "alert").order_by(audit.c.id)
        async with self.desk.store.look() as connection:
            said = list((await connection.execute(query)).scalars())
        return [what for what in said if not what.startswith("float ")]

    async def books(self, *, held: str, waiting: str) -> None:
        """What the operator holds for us, and what of it is nobody's yet."""
        assert await self.desk.balance("float:scripted") == held
        assert (await self.desk.balance("suspense")).replace("-", "") == waiting

    async def back(self, deposit: UUID, run: str = "run-1", msisdn: Any = AMA) -> Any:  # noqa: ANN401 - place's own
        """It is to be sent back."""
        return await till_back.place(self.desk.orders, run=run, msisdn=msisdn, language="en", deposit=deposit)

    async def put(self, deposit: UUID, group: Group, run: str = "run-1", msisdn: Any = AMA) -> Any:  # noqa: ANN401 - place's own
        """It is to go into a group."""
        return await till_in.place(
            self.desk.orders, run=run, msisdn=msisdn, language="en", deposit=deposit, group_id=group.id
        )


@pytest.fixture
async def shop(store: Store, database: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    """A till, and its desk."""
    monkeypatch.setattr("desk.ScriptedOperator", TillOperator)
    async with open_desk(store, database, clock) as desk:
        operator = desk.operator
        assert isinstance(operator, TillOperator)
        tills = Tills(desk.payments, cast("Messages", desk.outbox), Settings())
        worker.register_till(desk.app, tills)
        yield Shop(desk, operator, tills)
