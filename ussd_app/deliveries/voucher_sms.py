"""Codes and credentials out of our own stock, told to the person by SMS: ``request.item`` names the ``product``.

Nobody outside is asked. A code belongs to the first reference that takes it, for ever, and rests encrypted.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated
from uuid import uuid4

import httpx2 as httpx
from psycopg import Error, IntegrityError
from pydantic import SecretStr
from pydantic_settings import NoDecode
from redis.asyncio import Redis
from sqlalchemy import select, update

from ussd_app import gsm
from ussd_app.clock import Clock
from ussd_app.config import Environment
from ussd_app.errors import Reason, Rejected, Unknown
from ussd_app.movement import CallbackNote, Kind, Pending, Request, Status, Succeeded
from ussd_app.seals import Seals, Unreadable
from ussd_app.store import Look, Row, Store, Work
from ussd_app.tables import vouchers

CODE_SEPTETS_MAX = 40  # what an SMS's text variable shows whole
PURPOSE = "vouchers"  # what the secret keys are bound to


class BadLine(Exception):
    """A code cannot be stocked; ``line`` counts from 1, and the code itself is in no message."""

    why = ""

    def __init__(self, line: int) -> None:
        super().__init__(f"line {line}: {self.why}")
        self.line = line


class StockedTwice(BadLine):
    """It is in the stock of its product already, or twice among those to add."""

    why = "this code is in stock already, or was"


class TooLong(BadLine):
    """An SMS would cut it, or change a letter of it."""

    why = "an SMS shows 40 septets of GSM-7 of a code, and would cut this one"


class Settings(Environment):
    """The application's own SECRET_KEYS: handed in where it has made one itself."""

    secret_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()


class Delivery:
    """One code of a product, once for each reference."""

    name = "voucher_sms"
    deduplicates = frozenset({Kind.DELIVERY})
    one_float = True

    def __init__(self, settings: Settings, _http: httpx.AsyncClient, _redis: Redis, clock: Clock, store: Store) -> None:
        self._seals = Seals(settings.secret_keys, PURPOSE)
        self._clock = clock
        self._store = store

    async def submit(self, request: Request) -> Status:
        """Take the oldest code of the product, or tell again the one this reference has taken."""
        try:
            async with self._store.work() as connection:
                return await self._taken(connection, request) or await self._take(connection, request)
        except Error as error:
            # The commit may have come through; or another worker takes one for the same reference right now.
            raise _silent(error) from error

    async def check(self, request: Request) -> Status:
        """The code this reference has taken; raises Unknown where it has none."""
        try:
            async with self._store.look() as connection:
                taken = await self._taken(connection, request)
        except Error as error:
            raise _silent(error) from error
        if taken is None:
            raise Unknown("this reference has taken nothing")
        return taken

    def parse_callback(self, _path: str, _body: bytes) -> CallbackNote:
        """Nobody is expected to call."""
        return CallbackNote(None, Pending())

    async def _taken(self, connection: Look, request: Request) -> Status | None:
        query = select(vouchers).where(vouchers.c.reference == request.reference)
        row = (await connection.execute(query)).mappings().one_or_none()
        try:
            return self._handed_over(row, request) if row else None
        except Unreadable as error:
            raise Unknown("sealed under a key that is not among SECRET_KEYS") from error

    async def _take(self, connection: Work, request: Request) -> Status:
        stock = vouchers.c.product == request.item.get("product"), vouchers.c.reference.is_(None)
        oldest = select(vouchers).where(*stock).order_by(vouchers.c.added_at, vouchers.c.id).limit(1)
        row = (await connection.execute(oldest.with_for_update(skip_locked=True))).mappings().one_or_none()
        if row is None:
            raise Rejected(Reason.OUT_OF_STOCK, f"no {request.item.get('product')} left")
        values = {"reference": request.reference, "taken_at": self._clock.now()}
        await connection.execute(update(vouchers).where(vouchers.c.id == row["id"]).values(values))
        try:
            return self._handed_over(row, request)
        except Unreadable as error:  # which also gives it back
            raise Rejected(Reason.PROVIDER_CONFIG, "sealed under a key that is not among SECRET_KEYS") from error

    def _handed_over(self, row: Row, request: Request) -> Status:
        return Succeeded(str(row["id"]), request.amount, self._seals.unseal(row["sealed"]))


async def stock(store: Store, seals: Seals, product: str, codes: Iterable[str], at: datetime) -> int:
    """Add codes, one a line, in one commit, and say how many; blank lines are none. Raises BadLine."""
    digests: dict[bytes, int] = {}  # under every key: a code stocked before the newest came is met as well
    rows: list[dict[str, object]] = []
    for number, code in enumerate((line.strip() for line in codes), start=1):
        if code:
            if (gsm.septets(code) or 999) > CODE_SEPTETS_MAX:
                raise TooLong(number)
            ours = seals.digests(code)
            if ours[0] in digests:
                raise StockedTwice(number)
            digests |= dict.fromkeys(ours, number)
            rows.append({
                "id": uuid4(), "product": product, "sealed": seals.seal(code), "digest": ours[0], "added_at": at,
            })  # fmt: skip
    async with store.work() as connection:
        known = select(vouchers.c.digest).where(vouchers.c.product == product, vouchers.c.digest.in_(digests))
        found = (await connection.execute(known)).scalars().all()
        if found:
            raise StockedTwice(min(digests[digest] for digest in found))
        if rows:
            await connection.execute(vouchers.insert().values(rows))
    return len(rows)


def _silent(error: Error) -> Unknown:
    # Of a copy that took a code at the same moment the other one tells; a stock that is away is asked again.
    return Unknown(f"the stock did not answer: {type(error).__name__}", outage=not isinstance(error, IntegrityError))
