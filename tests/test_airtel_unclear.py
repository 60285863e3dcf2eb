"""Airtel Money's client against our sandbox where an answer says too little: the word decides, or a question does."""

import pytest
from test_airtel_sandbox import PAYER, World, asking, outcome, world

from ussd_app.errors import Reason
from ussd_app.msisdn import Msisdn
from ussd_app.operators import Failed, Kind

__all__ = ["world"]


@pytest.mark.parametrize("code", ["call", "short", "none"])
async def test_a_collection_is_refunded_whatever_code_stands_beside_its_word(code: str, world: World) -> None:
    """TS and TR are ends beside 006, beside the older platform's codes, and alone (section 2.4)."""
    await world.switch(enquiry_code=code)
    operator, collection = world.operator(), asking()
    await operator.submit(collection)
    await world.answer(PAYER, "approve")
    assert await outcome(operator.check(collection)) == "succeeded"
    refund = asking(Kind.REFUND, refunds=collection.reference)
    assert await outcome(operator.submit(refund)) == "pending SUCCESS"
    assert await outcome(operator.check(refund)) == await outcome(operator.submit(refund)) == "succeeded"
    assert world.movements() == [("collection", "succeeded"), ("refund", "succeeded")]


@pytest.mark.parametrize("kind", [Kind.COLLECTION, Kind.DISBURSEMENT, Kind.REFUND])
async def test_field_validation_is_no_refusal(kind: Kind, world: World) -> None:
    """What ESB000008 was said of may be done: the enquiry tells, and nothing is asked for twice (section 2.4)."""
    operator, collection = world.operator(), asking()
    if kind is Kind.REFUND:
        await operator.submit(collection)
        await world.answer(PAYER, "approve")
    request = asking(kind, refunds=collection.reference if kind is Kind.REFUND else None)
    body = '{"status":{"code":"200","message":"Field validation","result_code":"ESB000008","success":false}}'
    world.plan("accepted_then_answer", kind, body=body)
    assert await outcome(operator.submit(request)) == "unknown"
    await world.sandbox.settled()
    if kind is Kind.COLLECTION:
        await world.answer(PAYER, "approve")
    assert await outcome(operator.check(request)) == "succeeded"
    assert [found for found, _ in world.movements()].count(kind) == 1


async def test_why_a_collection_failed_may_stand_in_its_callback_alone(world: World) -> None:
    """The enquiry has the word and 006; the callback has the older platform's code."""
    await world.switch(enquiry_code="call", callback_code=True)
    operator, request = world.operator(), asking(msisdn=Msisdn("+256700000049"))
    await operator.submit(request)
    await world.sandbox.settled()
    [called] = world.callbacks
    assert b'"code":"DP008001021"' in called.content
    assert operator.parse_callback("", called.content).status == Failed(Reason.INSUFFICIENT_FUNDS, "DP008001021")
    assert await outcome(operator.check(request)) == "failed internal"


@pytest.mark.parametrize("code", ["DP02200000000", "DP02200000002", "DP02100000002", "ESB000004"])
async def test_a_number_without_a_wallet_is_told_in_each_way(code: str, world: World) -> None:
    """As countries and clients have it (section 2.3)."""
    await world.switch(no_user=code)
    assert not await world.operator().is_active(Msisdn("+256770000001"))
    assert await world.operator().name_of(Msisdn("+256770000001")) is None
