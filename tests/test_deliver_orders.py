"""Airtime and bundles at an order desk: delivered, queued, failed after accepted, and what the books then say."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from conftest import FakeClock
from desk import AMA, KOFI, Desk, open_desk

from ussd_app.errors import Reason, Rejected, Unknown
from ussd_app.money import Money
from ussd_app.movement import CallbackNote, Failed, Kind, Pending, Succeeded
from ussd_app.msisdn import Msisdn
from ussd_app.orders import LimitReached, Placed, airtime, bundle
from ussd_app.orders.bundle import Bundle
from ussd_app.orders.steps import NotServed
from ussd_app.store import Store

FIVE = Money.of(5, "GHS")
WIFI = Bundle("wifi", "MTN", "Wi-Fi", "Wi-Fi", "Day", FIVE, "airtime_scripted", {"product": "wifi-day"})
OPERATOR, DELIVERY = "float:scripted", "float:airtime_scripted"


@pytest.fixture
async def desk(store: Store, database: str, clock: FakeClock) -> AsyncIterator[Desk]:
    """A desk on a database of its own."""
    async with open_desk(store, database, clock) as desk:
        yield desk


async def test_airtime_is_paid_for_and_handed_over(desk: Desk) -> None:
    """What the operator holds more, the delivery holds less; both people are told, and the provider knows the order."""
    await desk.top_up()
    await desk.run(60)
    assert await desk.order_states() == ["done"]
    assert (await desk.balance(OPERATOR), await desk.balance(DELIVERY)) == ("5.00", "-5.00")
    assert desk.outbox.templates == ["airtime_sent", "airtime_received"]
    assert [(r.kind, r.msisdn, r.amount) for r in desk.delivery.submissions] == [(Kind.DELIVERY, KOFI, FIVE)]


async def test_ones_own_phone_is_told_once(desk: Desk) -> None:
    """Payer and recipient are one person."""
    await desk.top_up(AMA)
    await desk.run(60)
    assert desk.outbox.templates == ["airtime_sent"]


@pytest.mark.parametrize("taken", [True, False])
async def test_airtime_that_cannot_be_delivered_goes_back(desk: Desk, taken: bool) -> None:  # noqa: FBT001 - a case
    """Refused at once, or accepted and then failed: the payer has their money again."""
    if taken:
        desk.delivery.states[Kind.DELIVERY] = Failed(Reason.PARTY_NOT_FOUND)
    else:
        desk.delivery.answers[Kind.DELIVERY].append(Rejected(Reason.PARTY_NOT_FOUND))
    await desk.top_up()
    await desk.run(120)
    assert await desk.order_states() == ["undone"]
    assert (await desk.balance(OPERATOR), await desk.balance(DELIVERY)) == ("0.00", "0.00")
    assert desk.outbox.templates == ["airtime_failed", "money_refunded"]


async def test_a_queued_top_up_waits_and_then_arrives(desk: Desk) -> None:
    """Nothing is repeated or given back while the provider says it is queued."""
    desk.delivery.states[Kind.DELIVERY] = Pending("Queued")
    await desk.top_up()
    await desk.run(3600)
    assert await desk.order_states() == ["open"]
    assert desk.outbox.templates == ["being_delivered"]
    del desk.delivery.states[Kind.DELIVERY]
    await desk.run(3600)
    assert await desk.order_states() == ["done"]
    assert len(desk.delivery.submissions) == 1


async def test_airtime_delivered_after_the_refund_is_owed_to_us(desk: Desk) -> None:
    """It cannot be taken back: a receivable and an alert, no collection."""
    desk.delivery.states[Kind.DELIVERY] = Failed(Reason.INTERNAL)
    await desk.top_up()
    await desk.run(120)
    del desk.delivery.states[Kind.DELIVERY]
    await desk.run(3600)
    assert (await desk.balance("receivable"), await desk.balance(DELIVERY)) == ("5.00", "-5.00")
    assert await desk.balance(OPERATOR) == "0.00"


async def test_a_callback_may_name_the_movement_by_the_providers_own_id(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The id it gave when it took the request leads to the payment; an id nobody knows to nothing."""
    desk.delivery.answers[Kind.DELIVERY].append(Pending("Sent", external_id="ATQid_7"))
    desk.delivery.states[Kind.DELIVERY] = Pending("Sent")
    await desk.top_up()
    await desk.run(40)
    del desk.delivery.states[Kind.DELIVERY]

    def parse(_path: str, body: bytes) -> CallbackNote:
        return CallbackNote(None, Pending(), external_id=json.loads(body)["requestId"])

    monkeypatch.setattr(desk.delivery, "parse_callback", parse)
    callbacks = desk.callbacks
    asked = len(desk.delivery.checks)
    await callbacks.keep("airtime_scripted", "", "application/json", b'{"requestId": "ATQid_8"}')
    await desk.run()
    assert (len(desk.delivery.checks), await desk.order_states()) == (asked, ["open"])
    await callbacks.keep("airtime_scripted", "", "application/json", b'{"requestId": "ATQid_7"}')
    await desk.run(1)
    assert await desk.order_states() == ["done"]
    assert desk.delivery.checks[-1].external_id == "ATQid_7"


async def test_a_delivery_that_knows_no_repeat_is_never_sent_again(desk: Desk) -> None:
    """Without an answer, without an id: it stays open until somebody finds out, and is not paid twice."""
    desk.delivery.deduplicates = frozenset()
    desk.delivery.answers[Kind.DELIVERY].append(Unknown("no answer", outage=True))
    desk.delivery.states[Kind.DELIVERY] = Unknown("no id")
    await desk.top_up()
    await desk.run(73 * 3600)
    assert len(desk.delivery.submissions) == 1
    assert await desk.order_states() == ["parked"]
    assert desk.outbox.templates == ["being_delivered", "still_waiting"]


async def test_a_bundle_carries_its_item_and_a_vouchers_code_is_told(desk: Desk) -> None:
    """The delivery is asked for the catalogue's product; what it hands over stands in the SMS to the recipient."""
    desk.payments.deliveries = {"voucher_scripted": replace(desk.delivery, name="voucher_scripted")}
    shop = desk.payments.deliveries["voucher_scripted"]
    shop.answers[Kind.DELIVERY].append(Succeeded("serial", FIVE, handed_over="user ama pass 4711"))  # type: ignore[attr-defined]  # a scripted one
    placed = await bundle.place(
        desk.orders, run="run-1", msisdn=AMA, sender_name="Ama", recipient=KOFI,
        bundle=replace(WIFI, delivery="voucher_scripted"), language="en",
    )  # fmt: skip
    assert isinstance(placed, Placed)
    await desk.run(60)
    assert desk.outbox.said["voucher_code"]["handed_over"] == "user ama pass 4711"
    assert desk.delivery.submissions[0].item == {"product": "wifi-day"}


async def test_what_cannot_be_had_is_said_before_anything_is_placed(desk: Desk) -> None:
    """Another country's number, an amount over the limit, a bundle nobody delivers."""
    kenyan, ghs = Msisdn("+254700000001"), Money.of(3_000, "GHS")
    assert await airtime.quote(desk.orders, AMA, KOFI, FIVE) is None
    assert await airtime.quote(desk.orders, AMA, kenyan, FIVE) == NotServed(kenyan)
    assert await airtime.quote(desk.orders, kenyan, KOFI, FIVE) == NotServed(kenyan)
    assert isinstance(await airtime.quote(desk.orders, AMA, KOFI, ghs), LimitReached)
    unknown = replace(WIFI, delivery="nobody")
    assert await bundle.quote(desk.orders, AMA, KOFI, unknown) == NotServed(KOFI)
    assert await bundle.quote(desk.orders, AMA, KOFI, WIFI) is None
