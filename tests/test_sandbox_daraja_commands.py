"""Daraja's half of the sandbox: what is paid out, reversed and asked later, and the till."""

import json
from typing import Any

import pytest
from conftest import FakeClock
from sandbox.daraja import (
    ELSEWHERE,
    HERE,
    OURS,
    PAYEE,
    PAYER,
    Daraja,
    Kenya,
    asked,
    callbacks,
    credential,
    held,
    ours,
    parameters,
    results,
    switch,
    till,
)

from ussd_app.sandbox.daraja.account import OF_THE_SANDBOX


@pytest.fixture
async def world(clock: FakeClock) -> Kenya:
    """A sandbox whose people approve everything, of an application that listens."""
    world = Kenya(clock, {"daraja": OURS})
    await world.control("PUT", "/switches", {"country": {"auto": "approve"}})
    return world


# Money out


@pytest.mark.parametrize(
    ("password", "changed", "code"),
    [
        ("of-the-sandbox20260105", {}, 2001),
        (OF_THE_SANDBOX, {"SecurityCredential": "A" * 342 + "=="}, 2001),
        (OF_THE_SANDBOX, {"InitiatorName": "wrong-initiator"}, "SFC_IC0003"),
        (OF_THE_SANDBOX, {"PartyB": ELSEWHERE}, 2040),
    ],
)
async def test_a_payout_that_fails(world: Kenya, password: str, changed: dict[str, Any], code: int | str) -> None:
    """wire/momo.md 3.3: it is accepted, and its result says why, with a TransactionID and no parameters."""
    daraja = Daraja(world)
    changed = {"SecurityCredential": credential(password), **changed}
    assert (await daraja.pay_out("PO-1", **changed)).status_code == 200
    [result] = await results(world)
    assert (result["ResultCode"], bool(result["TransactionID"])) == (code, True)
    assert "ResultParameters" not in result
    assert await daraja.status("PO-1") == "Failed"
    assert await ours(world) == "100000.00"


async def test_who_cannot_be_paid(world: Kenya) -> None:
    """No wallet, and one that may not receive."""
    daraja = Daraja(world)
    await world.control("PUT", f"/handsets/{PAYEE}", {"can_receive": False})
    await daraja.pay_out("PO-1")
    await world.sandbox.settled()
    await world.control("PUT", f"/handsets/{PAYEE}", {"active": False})
    await daraja.pay_out("PO-2")
    assert [result["ResultCode"] for result in await results(world)] == [2006, 2040]


@pytest.mark.parametrize("missing", ["OriginatorConversationID", "ResultURL", "QueueTimeOutURL", "SecurityCredential"])
async def test_a_payout_lacks_a_field(world: Kenya, missing: str) -> None:
    """The refusal names it, and uses no id up."""
    daraja = Daraja(world)
    lacking: dict[str, Any] = {missing: None}
    refused = await daraja.pay_out("PO-1", **lacking)
    assert refused.json()["errorMessage"] == f"Bad Request - Invalid {missing}"
    assert (await daraja.pay_out("PO-1")).status_code == 200


async def test_shapes_of_a_result(world: Kenya) -> None:
    """wire/momo.md 3.3: one parameter is no list, and references may be one."""
    await switch(world, result_parameters="single", reference_item="list")
    await Daraja(world).pay_out("PO-1")
    [result] = await results(world)
    assert result["ResultParameters"] == {"ResultParameter": {"Key": "TransactionAmount", "Value": 100}}
    assert result["ReferenceData"] == {"ReferenceItem": [{"Key": "QueueTimeoutURL", "Value": f"{HERE}/t"}]}


async def test_a_result_takes_its_time(world: Kenya, clock: FakeClock) -> None:
    """Until then nothing has moved."""
    await switch(world, result_seconds=90)
    await Daraja(world).pay_out("PO-1")
    clock.advance(89)
    assert (await world.told(), await ours(world)) == ([], "100000.00")
    clock.advance(1)
    assert len(await world.told()) == 1
    assert await held(world, PAYEE) == "1100.00"


async def test_a_status_by_each_id(world: Kenya) -> None:
    """Our id, theirs, and the receipt, of a payout; the receipt of a collection; the way it went."""
    daraja = Daraja(world)
    conversation = (await daraja.pay_out("PO-1")).json()["ConversationID"]
    [paid] = await results(world)
    assert [await daraja.status(one) for one in ("PO-1", conversation)] == ["Completed", "Completed"]
    assert await daraja.status(paid["TransactionID"], "TransactionID") == "Completed"
    assert await daraja.status("UA50DEMO417", "TransactionID") == "R000002"
    await daraja.push()
    [told] = await callbacks(world)
    receipt = told["CallbackMetadata"]["Item"][1]["Value"]
    found = parameters(await daraja.looked_up(receipt, "TransactionID"))
    assert (found["TransactionStatus"], found["Amount"], found["ReceiptNo"]) == ("Completed", 100, receipt)
    parties = (found["DebitPartyName"], found["CreditPartyName"])
    assert parties == (f"{PAYER} - Handset 0001", "600111 - Demo Shop")


async def test_what_can_be_reversed(world: Kenya) -> None:
    """Part of what was paid to us, once; not more, not before it was paid, not a payout, and only from our money."""
    daraja = Daraja(world)
    receipt = (await till(world)).json()["TransID"]
    await daraja.pay_out("PO-1")
    payout = (await results(world))[-1]["TransactionID"]
    for one, amount in ((receipt, 101), (payout, 100), ("UA50DEMO417", 1), (receipt, 60), (receipt, 40)):
        await daraja.reverse(one, amount)
    assert [result["ResultCode"] for result in await results(world)] == [3, "R000002", "R000002", 0, "R000001"]
    assert await held(world, PAYER) == "960.00"
    poor = (await till(world)).json()["TransID"]
    await world.control("PUT", "/books", {"daraja": {"KES": "99.00"}})
    await daraja.reverse(poor)
    assert (await results(world))[-1]["ResultCode"] == 1


async def test_what_was_not_paid_is_not_reversed(world: Kenya) -> None:
    """A push that nobody has answered has its receipt already, and the answer is still theirs."""
    await world.control("PUT", "/switches", {"country": {"auto": "ignore"}})
    daraja = Daraja(world)
    await daraja.push()
    await daraja.reverse("ZC4SB00001")
    assert [result["ResultCode"] for result in await results(world)] == ["R000002"]
    assert await daraja.status("ZC4SB00001", "TransactionID") == "Pending"


async def test_a_question_about_nothing(world: Kenya) -> None:
    """wire/momo.md 3.4: one of the ids must be there."""
    order = {"Initiator": "testapi", "CommandID": "TransactionStatusQuery", "PartyA": "600111", "IdentifierType": 4}
    refused = await Daraja(world).call("transactionstatus/v1/query", {**order, **asked()})
    assert refused.json()["errorMessage"] == "Bad Request - Invalid TransactionID"


async def test_a_payout_that_never_ends(world: Kenya, clock: FakeClock) -> None:
    """wire/operators.md 7: nobody is told, and it is pending as long as anybody asks."""
    daraja = Daraja(world)
    await daraja.pay_out("PO-1", "254700000045")
    clock.advance(100_000)
    assert await world.told() == []
    assert await daraja.status("PO-1") == "Pending"


# The till


async def test_a_till_that_nobody_registered(world: Kenya) -> None:
    """The application the sandbox runs in is asked and told; the answer says what came of it."""
    world.verdict = '{"ResultCode":"0","ResultDesc":"Accepted"}'
    assert (await till(world)).json() == {"TransID": "ZC4SB00001", "ResultCode": "0"}
    asked, confirmed = await world.told()
    assert [asked[1], confirmed[1]] == [f"{OURS}/validation", f"{OURS}/confirmation"]
    assert (asked[3], json.loads(asked[3])["BillRefNumber"]) == (confirmed[3], "INV417")
    assert (await held(world, PAYER), await ours(world)) == ("900.00", "100100.00")


@pytest.mark.parametrize(
    ("kind", "answer", "code"),
    [
        ("Completed", '{"ResultCode":"C2B00012","ResultDesc":"Rejected"}', "C2B00012"),
        ("Completed", '{"ResultCode":0}', "0"),
        ("Completed", "<html>", "0"),
        ("Cancelled", "<html>", "C2B00016"),
        ("Cancelled", '{"ResultCode":"0"}', "0"),
    ],
)
async def test_validation_decides(world: Kenya, kind: str, answer: str, code: str) -> None:
    """wire/momo.md 3.4: what is refused does not move and is not confirmed; without an answer the registration says."""
    world.verdict = answer
    await Daraja(world).register(kind=kind)
    assert (await till(world)).json()["ResultCode"] == code
    assert len(await world.told()) == (2 if code == "0" else 1)
    assert await held(world, PAYER) == ("900.00" if code == "0" else "1000.00")


async def test_a_till_is_paid_by_who_can(world: Kenya) -> None:
    """Too little is not confirmed; a number of another network or of none is refused, and so is half a shilling."""
    assert (await till(world, amount=1001)).json()["ResultCode"] == "1"
    assert [url for _, url, _, _ in await world.told()] == [f"{OURS}/validation"]
    for wrong in ({"msisdn": ELSEWHERE}, {"msisdn": "0700000001"}, {"amount": "10.50"}, {"amount": 0}):
        answer = await till(world, **wrong)
        assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert await world.told() == []


async def test_production_wants_https_and_registers_once(world: Kenya) -> None:
    """wire/momo.md 3.2 and 3.4."""
    await switch(world, production=True)
    daraja = Daraja(world)
    assert (await daraja.push(CallBackURL="http://pay.example.org/c")).json()["errorCode"] == "400.002.02"
    assert (await daraja.register(url="http://pay.example.org/c")).status_code == 400
    assert (await daraja.register()).status_code == 200
    assert (await daraja.register()).status_code == 500


@pytest.mark.parametrize("word", ["MPESA", "safaricom", "exe", "cmd", "sql", "query"])
async def test_words_no_address_may_have(world: Kenya, word: str) -> None:
    """wire/momo.md 3.4."""
    refused = await Daraja(world).register(url=f"{HERE}/{word}")
    assert refused.json()["errorMessage"] == "Bad Request - Invalid ConfirmationURL"


async def test_v1_may_show_the_number(world: Kenya) -> None:
    """By a switch."""
    await switch(world, v1_msisdn="plain")
    await Daraja(world).register("v1")
    await till(world)
    assert json.loads((await world.told())[-1][3])["MSISDN"] == PAYER
