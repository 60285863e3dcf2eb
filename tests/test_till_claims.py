"""Claiming what was paid to our till: whose it is, sending it back, and putting it into a group."""

import asyncio
import hashlib
from typing import Any

import pytest
from groups import Circle, circle, phone
from sqlalchemy import func, select
from tills import AMA, DIGITS, HASHED, HOUR, KOFI, MASKED, WHOLE, Shop, TillOperator, cedis, shop

from ussd_app import ledger, till
from ussd_app.errors import Reason
from ussd_app.groups import books
from ussd_app.movement import Failed, Kind
from ussd_app.orders import Placed
from ussd_app.orders.contribution import NotMember, NotOpen
from ussd_app.orders.steps import PayoutsPaused
from ussd_app.orders.till_back import Gone, NotSentBack
from ussd_app.payments import floats
from ussd_app.tables import orders
from ussd_app.till import agrees

__all__ = ["circle", "shop"]


# --- whose it is


@pytest.mark.parametrize(
    ("payer", "whose"),
    [
        (WHOLE, True),
        (f"+{WHOLE}", True),
        (MASKED, True),
        ("2332 ***** 001", True),
        (HASHED, True),
        (HASHED.upper(), True),
        (KOFI.digits, False),
        (f"{KOFI.digits[:4]}*****002", False),
        (hashlib.sha256(KOFI.digits.encode()).hexdigest(), False),
        ("2332****001", False),  # another length
        ("************", False),  # anybody's
        ("23*******001", False),
        ("", False),
    ],
)
def test_a_number_agrees_with_what_the_operator_shows(payer: str, whose: bool) -> None:  # noqa: FBT001 - a row's
    """Equal, or equal where it is not masked, or its hash."""
    assert agrees(payer, AMA) is whose


async def test_whoever_is_shown_whole_is_told_what_to_dial(shop: Shop) -> None:
    """Nobody can be told whose number is masked or hashed; nobody is told before it is booked."""
    await shop.told()
    assert shop.desk.outbox.sent == {}
    await shop.answered()
    await shop.paid(payer=MASKED, receipt="UA50DEMO901")
    await shop.paid(payer=HASHED, receipt="UA50DEMO902")
    assert list(shop.desk.outbox.sent.values()) == [("till_received", AMA)]
    assert shop.desk.outbox.said["till_received"] == {"amount": cedis("500"), "ussd": "920*55", "digits": DIGITS}


async def test_a_receipt_without_digits_is_claimed_by_typing_it(shop: Shop) -> None:
    """There is nothing to dial, and nobody is told to."""
    await shop.paid(receipt="ABCDEFGHIJ")
    assert shop.desk.outbox.sent == {}
    async with shop.desk.store.look() as connection:
        assert [len(await till.find(connection, AMA, typed)) for typed in ("abcd efghij", "", "0")] == [1, 0, 0]


# --- sending it back


@pytest.mark.parametrize("payer", [WHOLE, MASKED, HASHED])
async def test_it_goes_back_to_whoever_paid_it(shop: Shop, payer: str) -> None:
    """Once a run, and once at all; nobody else's number gets it."""
    deposit = await shop.paid(payer=payer)
    assert await shop.back(deposit, msisdn=KOFI) == Gone()
    placed = await shop.back(deposit)
    assert isinstance(placed, Placed)
    assert [await shop.back(deposit), await shop.back(deposit, "run-2")] == [placed, Gone()]
    await shop.desk.run(30)
    (sent,) = shop.operator.submissions
    assert (sent.kind, sent.msisdn, sent.amount) == (Kind.DISBURSEMENT, AMA, cedis("500"))
    await shop.books(held="0.00", waiting="0.00")
    assert shop.desk.outbox.templates[-1] == "till_sent_back"
    row = await shop.row()
    assert (row.claimed_by, await shop.desk.order_states()) == (AMA, ["done"])
    (moved,) = await shop.desk.orders.movements(AMA)
    assert (moved.label, moved.money, moved.party) == ("received", cedis("500"), "Scripted")


async def test_what_cannot_be_sent_back_can_be_claimed_again(shop: Shop) -> None:
    """The hold is given up and the payer told; the next try finds it."""
    deposit = await shop.paid()
    shop.operator.states[Kind.DISBURSEMENT] = Failed(Reason.PARTY_NOT_FOUND)
    await shop.back(deposit)
    await shop.desk.run(30)
    assert shop.desk.outbox.templates == ["till_received", "till_not_sent_back"]
    assert shop.desk.outbox.said["till_not_sent_back"]["digits"] == DIGITS
    await shop.books(held="500.00", waiting="500.00")
    row = await shop.row()
    assert (row.claimed_at, row.claimed_by, row.order_id) == (None, None, None)
    shop.operator.states.clear()
    assert isinstance(await shop.back(deposit, "run-2"), Placed)
    await shop.desk.run(30)
    await shop.books(held="0.00", waiting="0.00")


async def test_what_arrives_after_its_failure_is_claimed_no_more(shop: Shop) -> None:
    """It still waited in suspense, and is booked from there."""
    deposit = await shop.paid()
    await shop.paid(receipt="UA50DEMO901", payer=KOFI.digits)
    shop.operator.states[Kind.DISBURSEMENT] = Failed(Reason.INTERNAL)
    await shop.back(deposit)
    await shop.desk.run(30)
    shop.operator.states.clear()
    await shop.desk.run(24 * HOUR)
    await shop.books(held="500.00", waiting="500.00")  # Kofi's
    assert await shop.back(deposit, "run-2") == Gone()
    assert (await shop.row()).claimed_by == AMA


async def test_what_arrives_after_it_was_claimed_again_is_owed_to_us_and_costs_nobody_theirs(shop: Shop) -> None:
    """Sent twice: Kofi's money, in the same suspense, does not pay for it."""
    deposit = await shop.paid()
    kofis = await shop.paid(receipt="UA50DEMO901", payer=KOFI.digits)
    shop.operator.states[Kind.DISBURSEMENT] = Failed(Reason.INTERNAL)
    await shop.back(deposit)
    await shop.desk.run(30)
    shop.operator.states.clear()
    assert isinstance(await shop.back(deposit, "run-2"), Placed)
    await shop.desk.run(24 * HOUR)
    assert "paid out twice" in await shop.alerts()
    await shop.books(held="0.00", waiting="500.00")
    assert await shop.desk.balance(ledger.RECEIVABLE) == "500.00"
    assert await shop.back(kofis, "run-3", KOFI) == PayoutsPaused("Scripted")
    async with shop.desk.store.work() as connection:
        await floats.put(connection, "float:scripted", cedis("500"), note="from the bank", at=shop.desk.clock.now())
    assert isinstance(await shop.back(kofis, "run-3", KOFI), Placed)
    await shop.desk.run(30)
    await shop.books(held="0.00", waiting="0.00")


async def test_what_the_operator_cannot_move_is_not_sent_back(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written of it."""
    deposit = await shop.paid("500.50")
    monkeypatch.setattr(TillOperator, "step", lambda *_: 100)
    assert await shop.back(deposit) == NotSentBack()
    assert (await shop.row()).claimed_at is None


async def test_where_the_float_is_too_low_it_waits(shop: Shop) -> None:
    """The shortcode that pays out has money of its own."""
    shop.operator.one_float = False
    deposit = await shop.paid()
    assert await shop.back(deposit) == PayoutsPaused("Scripted")
    assert ((await shop.row()).claimed_at, await shop.desk.order_states()) == (None, [])


# --- putting it into a group


async def test_it_goes_into_a_group_as_a_contribution_of_theirs(shop: Shop, circle: Circle) -> None:
    """In one commit and with no prompt; what is over waits for the next round, and the books are exact."""
    group = await circle.found(5)
    await circle.cycle(group, 5)
    deposit = await shop.paid("70")
    placed = await shop.put(deposit, group)
    assert isinstance(placed, Placed)
    assert [await shop.put(deposit, group), await shop.put(deposit, group, "run-2")] == [placed, Gone()]
    assert shop.operator.submissions == []
    assert await shop.desk.order_states() == ["done"]
    (paid,) = await circle.events(group, "contribution")
    assert (paid.amount, paid.code, paid.details["source"], paid.details["over"]) == (
        7_000, placed.reference, "wallet", 2_000,
    )  # fmt: skip
    member = await circle.member(group, 1)
    advance = await shop.desk.balance(books.account(group.id, books.member_part(member.id)))
    assert advance == "-20.00"
    await shop.books(held="70.00", waiting="0.00")
    (moved,) = await shop.desk.orders.movements(AMA)
    assert (moved.label, moved.party) == ("sent", group.name)


async def test_a_group_that_takes_nothing_or_is_not_theirs_gets_nothing(shop: Shop, circle: Circle) -> None:
    """It stays claimable."""
    forming, running = await circle.found(5), await circle.found(5, called="OTHER")
    await circle.cycle(running, 5)
    deposit = await shop.paid(payer=phone(9).digits)
    assert await shop.put(deposit, running, msisdn=phone(9)) == NotMember()
    amas = await shop.paid(receipt="UA50DEMO901")
    assert await shop.put(amas, forming) == NotOpen()
    assert await shop.put(deposit, running) == Gone()
    await shop.books(held="1000.00", waiting="1000.00")
    assert await shop.desk.order_states() == []


async def test_of_two_at_once_one_has_it(shop: Shop, circle: Circle) -> None:
    """Two phones, two ways: whatever the order of their locks, it is spent once and nobody waits for ever."""
    group = await circle.found(5)
    await circle.cycle(group, 5)
    for number in range(5):
        deposit = await shop.paid("50", receipt=f"UA50DEMO{number}")
        ways = [
            shop.back(deposit, f"a{number}"),
            shop.put(deposit, group, f"b{number}"),
            shop.back(deposit, f"c{number}"),
            shop.back(deposit, f"a{number}"),
            shop.desk.run(),
        ]
        done: list[Any] = (await asyncio.gather(*ways))[:-1]
        placed = [each for each in done if isinstance(each, Placed)]
        assert len({each.reference for each in placed}) == 1
        assert all(isinstance(each, Placed | Gone) for each in done)
    await shop.desk.run(30)
    async with shop.desk.store.look() as connection:
        count = (await connection.execute(select(func.count()).select_from(orders))).scalar_one()
    assert count == 5
    assert await shop.desk.balance("suspense") == "0.00"
