"""Money paid to our till without having been asked: what is told, what is confirmed, and what is booked."""

import asyncio

import pytest
from desk import ScriptedOperator
from sqlalchemy import update
from tills import AMA, HOUR, KOFI, MASKED, RECEIPT, WHOLE, Shop, cedis, shop

from ussd_app import till
from ussd_app.app import Application
from ussd_app.config import Settings, load
from ussd_app.errors import ProviderError, Reason, Throttled, Unknown
from ussd_app.movement import Deposit, Failed, Kind, Pending, Succeeded
from ussd_app.orders import Placed
from ussd_app.orders.till_back import Gone
from ussd_app.sandbox import environment
from ussd_app.tables import payments
from ussd_app.till import WAITS

__all__ = ["shop"]


# --- what the operator tells, and what it confirms


async def test_a_confirmation_alone_books_nothing(shop: Shop) -> None:
    """The operator is asked, at an address of the receipt's own; only its answer is booked."""
    await shop.told()
    (asked,) = shop.operator.looked_up
    assert asked == (
        Deposit(RECEIPT, cedis("500"), WHOLE, ""),
        f"http://127.0.0.1/callbacks/scripted/x/deposit/{RECEIPT}",
    )
    await shop.books(held="0.00", waiting="0.00")
    assert await shop.desk.orders.movements(AMA) == []
    await shop.answered()
    await shop.books(held="500.00", waiting="500.00")
    assert (await shop.row()).state == "confirmed"


async def test_doubled_confirmations_and_answers_book_once(shop: Shop) -> None:
    """In any order, and both of a kind at the same moment."""
    for _ in range(2):
        await asyncio.gather(shop.told(), shop.callback("confirmation", RECEIPT, "500", WHOLE, ""))
        await asyncio.gather(shop.answered(), shop.answered())
    await shop.books(held="500.00", waiting="500.00")
    assert (len(shop.operator.looked_up), await shop.alerts()) == (1, [])
    assert shop.desk.outbox.templates == ["till_received"]
    await shop.desk.run(100 * HOUR)
    assert len(shop.operator.looked_up) == 1


async def test_an_answer_about_a_receipt_nobody_told_of_books_nothing(shop: Shop) -> None:
    """Nor is it remembered."""
    await shop.answered()
    await shop.desk.run(HOUR)
    await shop.books(held="0.00", waiting="0.00")


async def test_another_amount_is_never_booked(shop: Shop) -> None:
    """Neither then nor when the right one is said later: a person looks."""
    await shop.told("5000")
    await shop.answered("500")
    assert await shop.alerts() == ["till money told and confirmed differently"]
    await shop.answered("5000")
    await shop.books(held="0.00", waiting="0.00")
    assert (await shop.row()).state == "disputed"


async def test_the_answer_must_be_about_this_receipt(shop: Shop) -> None:
    """Another one's success is none of this."""
    await shop.told()
    await shop.callback(f"deposit/{RECEIPT}", "UA50DEMO901", "500")
    await shop.books(held="0.00", waiting="0.00")
    assert await shop.alerts() == ["till money told and confirmed differently"]


async def test_one_receipt_told_in_two_ways_is_claimed_by_nobody(shop: Shop) -> None:
    """Whoever told of it first may have put another number into it; what is booked stays in suspense."""
    deposit = await shop.paid(payer=KOFI.digits)
    await shop.told(payer=WHOLE)
    assert (await shop.row()).state == "disputed"
    assert await shop.back(deposit, msisdn=KOFI) == await shop.back(deposit) == Gone()
    await shop.books(held="500.00", waiting="500.00")


async def test_one_told_differently_after_its_claim_is_only_an_alert(shop: Shop) -> None:
    """The claim stands: its money may have gone."""
    deposit = await shop.paid()
    assert isinstance(await shop.back(deposit), Placed)
    await shop.told(payer=KOFI.digits)
    assert ((await shop.row()).state, await shop.alerts()) == ("confirmed", ["one till receipt told in two ways"])


@pytest.mark.parametrize("trouble", [None, Unknown("timeout"), Throttled(5.0)])
async def test_who_gives_no_answer_is_asked_at_growing_intervals_and_then_a_person(
    shop: Shop, trouble: ProviderError | None
) -> None:
    """Two days at most; a late answer still counts, and nobody else's word does."""
    shop.operator.trouble = trouble
    await shop.told()
    await shop.callback(f"deposit/{RECEIPT}", "no such transaction")
    await shop.desk.run(50 * HOUR)
    assert len(shop.operator.looked_up) == len(WAITS)
    assert await shop.alerts() == ["till money that nobody confirms"]
    await shop.books(held="0.00", waiting="0.00")
    await shop.answered()
    await shop.books(held="500.00", waiting="500.00")


async def test_a_question_asked_twice_by_its_job_is_harmless(shop: Shop) -> None:
    """Its number tells."""
    await shop.told()
    await shop.tills.look_up((await shop.row()).id, 1)
    assert len(shop.operator.looked_up) == 1


async def test_an_operator_that_cannot_be_asked_leaves_it_to_a_person(shop: Shop) -> None:
    """Nothing is booked."""
    shop.desk.payments.operators = {"scripted": ScriptedOperator()}
    deposit = Deposit(RECEIPT, cedis("500"), WHOLE, "")
    async with shop.desk.store.work() as connection:
        await shop.tills.keep(connection, "scripted", deposit)
    await shop.desk.run(HOUR)
    assert await shop.alerts() == ["till money that nobody can be asked about"]
    await shop.books(held="0.00", waiting="0.00")


async def test_more_than_is_believed_unsigned_waits_for_a_person(shop: Shop) -> None:
    """Law 10: a callback is proof up to a configured amount."""
    shop.operator.believed = 50_000
    await shop.paid("500")
    await shop.paid("500.01", receipt="UA50DEMO901")
    await shop.books(held="500.00", waiting="500.00")
    assert await shop.alerts() == ["till money over what is believed unsigned"]


@pytest.mark.parametrize(
    ("receipt", "amount"), [("../secret", "500"), ("UA 50", "500"), ("", "500"), ("UA50", "0"), ("UA50", "1e12")]
)
async def test_what_cannot_be_kept_is_not(shop: Shop, receipt: str, amount: str) -> None:
    """A forged receipt stands in no address of ours, and a forged amount in no book."""
    await shop.told(amount, receipt=receipt)
    assert await shop.alerts() == ["till money that cannot be read"]
    assert shop.operator.looked_up == []


async def test_what_payer_and_label_hold_is_data(shop: Shop) -> None:
    """A NUL would cost us the callback, and a line break a log."""
    await shop.told(payer="2\x00547\n*****001" * 20, label="{{ 7*7 }}\x00\n" * 20)
    row = await shop.row()
    assert "\x00" not in row.payer + row.label
    assert len(row.payer) == till.PAYER_CHARS
    assert row.label.startswith("{{ 7*7 }} {{ 7*7 }}")


# --- what our own orders collect


async def test_the_notice_of_our_own_collection_is_no_deposit(shop: Shop) -> None:
    """M-PESA tells of prompts too, under the order's code; a second payment under that code is one."""
    shop.operator.states[Kind.COLLECTION] = Succeeded("", cedis("50.50"))
    placed = await shop.desk.send()
    assert isinstance(placed, Placed)
    await shop.desk.run(5)
    await shop.told("50.50", label=placed.reference)
    await shop.answered("50.50")
    assert (await shop.row()).state == "told"  # the prompt has not ended: it may have been paid by hand
    await shop.desk.run(30)
    assert await shop.desk.order_states() == ["done"]
    await shop.answered("50.50")
    assert (await shop.row()).state == "own"
    await shop.books(held="0.50", waiting="0.00")
    await shop.told("50.50", receipt="UA50DEMO901", label=placed.reference)
    assert (await shop.row("UA50DEMO901")).state == "told"


async def test_a_collection_is_known_by_its_receipt_too(shop: Shop) -> None:
    """Where the notice names no account, and comes when it is over."""
    await shop.desk.send()
    await shop.desk.run(30)
    await shop.told("50.50", receipt="R1R1")
    async with shop.desk.store.work() as connection:
        await connection.execute(update(payments).values(receipt="R1R1"))
    await shop.answered("50.50", receipt="R1R1")
    assert (await shop.row("R1R1")).state == "own"
    await shop.books(held="0.50", waiting="0.00")


async def test_what_may_be_a_collection_waits_until_its_receipt_is_known(shop: Shop) -> None:
    """Two payments of one amount by one person at one time: both count where there are two receipts, once where one."""
    shop.operator.states[Kind.COLLECTION] = Pending()
    await shop.desk.send()
    await shop.desk.run(5)
    await shop.told("50.50", payer=MASKED)
    await shop.answered("50.50")
    assert (await shop.row()).state == "told"
    async with shop.desk.store.work() as connection:
        await connection.execute(update(payments).values(receipt="UA50DEMO777"))
    await shop.answered("50.50")
    assert ((await shop.row()).state, await shop.alerts()) == ("confirmed", [])


async def test_money_for_a_collection_that_failed_is_an_alert(shop: Shop) -> None:
    """Its payment is looked at again; nothing is booked twice."""
    shop.operator.states[Kind.COLLECTION] = Failed(Reason.EXPIRED)
    placed = await shop.desk.send()
    assert isinstance(placed, Placed)
    await shop.desk.run(30)
    await shop.told("50.50", label=placed.reference)
    assert await shop.alerts() == ["till money for a collection that failed"]
    await shop.books(held="0.00", waiting="0.00")


# --- in the application


def test_an_application_has_a_worker_that_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that nobody runs would be a deposit that nobody confirms."""
    for name, value in environment(load(Settings)).items():
        monkeypatch.setenv(name, value)
    stores = {"redis_url": "redis://127.0.0.1:1", "database_url": "postgresql://127.0.0.1:1/x", "secret_keys": "k"}
    application = Application(load(Settings, **stores))
    assert "till.look_up" in application.jobs.tasks
