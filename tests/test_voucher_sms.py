"""Codes out of our own stock: each is handed over once, and rests sealed."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import httpx2 as httpx
import pytest
from conftest import FakeClock
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import select, text

from ussd_app.clock import Clock
from ussd_app.config import load
from ussd_app.deliveries import Delivery, voucher_sms
from ussd_app.deliveries.voucher_sms import PURPOSE, Settings, StockedTwice, stock
from ussd_app.errors import Reason, Rejected, Unknown
from ussd_app.money import Money
from ussd_app.movement import CallbackNote, Kind, Pending, Request, Succeeded
from ussd_app.msisdn import Msisdn
from ussd_app.seals import Seals, Unreadable
from ussd_app.store import Store
from ussd_app.tables import vouchers

AMA = Msisdn("+233240000001")
PRICE = Money.of("12.00", "GHS")
OLD, NEW = "the-older-key", "the-newer-key"


class Shop:
    """A stock in a database, under any secret keys."""

    def __init__(self, store: Store, redis: Redis, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock
        self._redis = redis

    def delivery(self, *keys: str, store: Store | None = None) -> Delivery:
        """The delivery as the application makes it: keys are handed in where the environment names none."""
        settings = load(Settings, secret_keys=tuple(map(SecretStr, keys or (NEW,))))
        return voucher_sms.Delivery(settings, httpx.AsyncClient(), self._redis, self.clock, store or self.store)

    async def stock(self, *codes: str, product: str = "wifi-day", keys: tuple[str, ...] = (NEW,)) -> int:
        """Add codes, a moment after those before."""
        self.clock.advance(1)
        seals = Seals(tuple(map(SecretStr, keys)), PURPOSE)
        return await stock(self.store, seals, product, codes, self.clock.now())


@pytest.fixture
def shop(store: Store, redis: Redis, clock: FakeClock) -> Shop:
    """An empty stock."""
    return Shop(store, redis, clock)


def asking(product: str = "wifi-day") -> Request:
    """One voucher, under a reference of its own."""
    item = {"product": product} if product else {}
    return Request(uuid4(), Kind.DELIVERY, AMA, PRICE, "10000417", "Ref 10000417", "", item=item)


async def test_the_oldest_code_is_handed_over_once(shop: Shop) -> None:
    """By order of stocking, of the product alone; the same reference gets the same code, and is found by it."""
    assert await shop.stock("A-1\n") == 1
    await shop.stock("A-2", "", "  \n", product="other")
    await shop.stock("A-2 ")
    delivery, first, second = shop.delivery(), asking(), asking()
    given = await delivery.submit(first)
    assert isinstance(given, Succeeded)
    assert (given.amount, given.handed_over) == (PRICE, "A-1")
    assert await delivery.submit(first) == await delivery.check(first) == given
    later = await delivery.submit(second)
    assert isinstance(later, Succeeded)
    assert later.handed_over == "A-2"
    assert later.receipt != given.receipt
    with pytest.raises(Rejected) as refused:
        await delivery.submit(asking())
    assert refused.value.reason is Reason.OUT_OF_STOCK
    with pytest.raises(Rejected):
        await delivery.submit(asking(""))
    with pytest.raises(Unknown):
        await delivery.check(asking())
    async with shop.store.look() as connection:
        row = (await connection.execute(select(vouchers).where(vouchers.c.reference == first.reference))).one()
    assert row.taken_at - row.added_at == timedelta(seconds=2)
    assert str(row.id) == given.receipt
    assert b"A-1" not in row.sealed + row.digest


async def test_many_at_once_share_no_code(shop: Shop) -> None:
    """Twelve people and ten codes: ten get one each, and two are told that there is none."""
    await shop.stock(*(f"A-{number}" for number in range(10)))
    delivery = shop.delivery()
    results = await asyncio.gather(*(delivery.submit(asking()) for _ in range(12)), return_exceptions=True)
    codes = [result.handed_over for result in results if isinstance(result, Succeeded)]
    assert len(codes) == len(set(codes)) == 10
    assert sum(isinstance(result, Rejected) for result in results) == 2


async def test_two_workers_with_one_reference_take_one_code(shop: Shop) -> None:
    """Who loses the race does not know, asks again, and gets what the other took."""
    await shop.stock("A-1", "A-2", "A-3")
    delivery, request = shop.delivery(), asking()
    results = await asyncio.gather(*(delivery.submit(request) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(result, Succeeded | Unknown) for result in results)
    assert {r.handed_over for r in results if isinstance(r, Succeeded)} == {(await taken(delivery, request))}
    async with shop.store.look() as connection:
        gone = select(vouchers.c.id).where(vouchers.c.reference.is_not(None))
        assert len((await connection.execute(gone)).all()) == 1


async def taken(delivery: Delivery, request: Request) -> str:
    """The code a reference has taken."""
    status = await delivery.submit(request)
    assert isinstance(status, Succeeded)
    return status.handed_over


async def test_no_code_is_stocked_twice(shop: Shop) -> None:
    """Not in one file, not in two, not under a newer key, and not after it was sold; then nothing is added at all."""
    await shop.stock("A-1", keys=(OLD,))
    await shop.delivery(OLD).submit(asking())
    for codes in (("A-7", "A-1"), ("A-7", "", "A-1"), ("A-8", "A-9", "A-8")):
        with pytest.raises(StockedTwice) as twice:
            await shop.stock(*codes, keys=(NEW, OLD))
        assert twice.value.line == len(codes)
        assert str(twice.value) == f"line {len(codes)}: this code is in stock already, or was"
    assert await shop.stock("A-7", "A-8", keys=(NEW, OLD)) == 2
    assert await shop.stock(product="other") == 0


async def test_codes_outlive_a_change_of_keys(shop: Shop) -> None:
    """What was sealed before opens as long as its key is kept; without it nothing is handed over, and none is lost."""
    await shop.stock("A-1", keys=(OLD,))
    request = asking()
    with pytest.raises(Rejected) as refused:
        await shop.delivery(NEW).submit(request)
    assert refused.value.reason is Reason.PROVIDER_CONFIG
    assert await taken(shop.delivery(NEW, OLD), request) == "A-1"
    with pytest.raises(Unknown):
        await shop.delivery(NEW).submit(request)
    with pytest.raises(Unknown):
        await shop.delivery(NEW).check(request)


async def test_a_database_that_is_away_is_not_a_refusal(shop: Shop) -> None:
    """It may have committed: nobody knows until it is asked again, which is soon."""
    away = Store("postgresql+psycopg://nobody@127.0.0.1:1/nothing", Clock())
    delivery = shop.delivery(store=away)
    for call in (delivery.submit, delivery.check):
        with pytest.raises(Unknown) as silent:
            await call(asking())
        assert silent.value.outage


async def test_nobody_calls_back(shop: Shop) -> None:
    """Whatever comes names no movement."""
    assert shop.delivery().parse_callback("", b"anything") == CallbackNote(None, Pending())


async def test_the_table_defends_itself(shop: Shop) -> None:
    """One reference cannot take a second code, even by hand."""
    await shop.stock("A-1", "A-2")
    request = asking()
    await shop.delivery().submit(request)
    async with shop.store.look() as connection:
        with pytest.raises(Exception, match="uq_vouchers_reference"):
            await connection.execute(text(f"UPDATE vouchers SET reference = '{request.reference}'"))


def test_a_seal() -> None:
    """Never the same bytes twice; opened by any of its keys, by no other, for no other purpose, nor after a change."""
    old, new = SecretStr(OLD), SecretStr(NEW)
    seals = Seals([new, old], "a")
    first, second = seals.seal("Code 1"), seals.seal("Code 1")
    assert first != second
    assert seals.unseal(first) == seals.unseal(Seals([old], "a").seal("Code 1")) == "Code 1"
    assert seals.digests("Code 1")[1:] == Seals([old], "a").digests("Code 1")
    others = Seals([old], "a"), Seals([new], "b")
    for sealed, opener in ((first, others[0]), (first, others[1]), (b"A" + first[1:], seals), (b"", seals)):
        with pytest.raises(Unreadable):
            opener.unseal(sealed)


def test_the_keys_are_those_of_the_application(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the same variable, newest first, and never printed."""
    monkeypatch.setenv("SECRET_KEYS", f"{NEW},{OLD}")
    settings = load(Settings)
    assert [key.get_secret_value() for key in settings.secret_keys] == [NEW, OLD]
    assert NEW not in repr(settings)


async def test_a_code_no_sms_shows_whole_is_not_stocked(shop: Shop) -> None:
    """It would be cut, or a letter of it changed: what is sold must work."""
    for code in ("x" * 41, "[" * 21, "caf\u00eb"):
        with pytest.raises(voucher_sms.TooLong) as refused:
            await stock(shop.store, Seals((SecretStr(NEW),), PURPOSE), "wifi", ["fine", code], shop.clock.now())
        assert refused.value.line == 2
        assert code not in str(refused.value)
    async with shop.store.look() as connection:
        assert (await connection.execute(select(vouchers))).all() == []
