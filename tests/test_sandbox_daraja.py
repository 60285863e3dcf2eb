"""What becomes of money asked for at Daraja's half of the sandbox."""

from typing import Any

import pytest
from conftest import FakeClock
from sandbox import play, scenes
from sandbox.daraja import HERE, PAYER, Daraja, Kenya, callbacks, credential, held, parameters, plan, results, switch


@pytest.fixture
def world(clock: FakeClock) -> Kenya:
    """A sandbox whose people decide for themselves."""
    return Kenya(clock)


@pytest.fixture
async def willing(world: Kenya) -> Kenya:
    """One whose people approve everything."""
    await world.control("PUT", "/switches", {"country": {"auto": "approve"}})
    return world


@pytest.mark.parametrize("scene", scenes("daraja"), ids=lambda scene: scene["name"])
async def test_daraja(scene: dict[str, Any], world: Kenya, clock: FakeClock) -> None:
    """Daraja's half plays the scene, to the byte."""
    steps = [{**step, "request": step["request"].replace("<credential>", credential())} for step in scene["step"]]
    await play(world, {**scene, "step": steps}, clock.advance)


async def test_a_new_token_may_end_the_former(world: Kenya) -> None:
    """By a switch; usually both live."""
    daraja, other = Daraja(world), Daraja(world)
    daraja.token, other.token = await daraja.login(), await other.login()
    assert (await daraja.push()).status_code == 200
    await switch(world, new_token_ends_former=True)
    daraja.token = await daraja.login()
    assert (await daraja.push()).status_code == 200
    assert (await other.push()).status_code == 404


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [("404.001.03", 404, "404.001.03"), ("400.003.01", 400, "400.003.01"), ("401", 401, "404.001.03")],
)
async def test_a_stale_token(world: Kenya, clock: FakeClock, said: str, status: int, code: str) -> None:
    """wire/momo.md 3.1: three answers are met, after its time and when it was withdrawn; a new token works."""
    await switch(world, stale_answer=said)
    daraja = Daraja(world)
    daraja.token = await daraja.login()
    clock.advance(3599)
    answer = await daraja.push()
    assert (answer.status_code, answer.json()["errorCode"]) == (status, code)
    daraja.token = await daraja.login()
    await plan(world, "token_expired", "collection", count=1)
    assert [(await daraja.push()).status_code for _ in range(2)] == [status, status]
    daraja.token = ""
    assert (await daraja.push()).status_code == 200


async def test_one_prompt_at_a_time(world: Kenya, clock: FakeClock) -> None:
    """A handset with an open prompt is busy; within a minute of the last one it may be, by a switch."""
    daraja = Daraja(world)
    await daraja.push()
    assert await daraja.query(await daraja.push()) == "1001"
    assert (await callbacks(world))[0]["ResultCode"] == 1001
    await switch(world, busy="refused")
    refused = await daraja.push()
    assert (refused.status_code, refused.json()["errorCode"]) == (500, "500.001.1001")
    assert "Unable to lock subscriber" in refused.json()["errorMessage"]
    await switch(world, busy="result", prompt_gap_seconds=120)
    clock.advance(119)
    await world.sandbox.settled()
    assert await daraja.query(await daraja.push()) == "1001"
    clock.advance(1)
    assert await daraja.query(await daraja.push()) == "500.001.1001"
    assert len((await world.control("GET", f"/handsets/{PAYER}"))["prompts"]) == 1


async def test_who_cannot_pay(willing: Kenya) -> None:
    """Too little in the wallet, and a handset that is off; nothing moves. No wallet: refused."""
    daraja = Daraja(willing)
    assert await daraja.query(await daraja.push(amount=1001)) == "1"
    await willing.control("PUT", f"/handsets/{PAYER}", {"reachable": False})
    assert await daraja.query(await daraja.push()) == "1037"
    await willing.control("PUT", f"/handsets/{PAYER}", {"active": False})
    assert (await daraja.push()).json()["errorMessage"] == "Bad Request - Invalid PhoneNumber"
    assert await held(willing, PAYER) == "1000.00"


async def test_how_a_push_may_look(willing: Kenya) -> None:
    """Items in another order, a phone number that is masked, numbers as text and text as numbers in the request."""
    await switch(willing, items="reversed", masked_phone=True)
    await Daraja(willing).push(Amount="100", PartyB=600111, PhoneNumber=int(PAYER))
    [told] = await callbacks(willing)
    phone, date, balance, receipt, amount = told["CallbackMetadata"]["Item"]
    assert phone == {"Name": "PhoneNumber", "Value": "2547*****001"}
    assert balance == {"Name": "Balance"}
    assert (date["Value"], amount["Value"], receipt["Value"]) == (20310304110000, 100, "ZC4SB00001")
    assert await held(willing, PAYER) == "900.00"


@pytest.mark.parametrize(
    ("ending", "code"),
    [("019", "4"), ("039", "1032"), ("040", "2001"), ("041", "1019"), ("042", "1037"), ("043", "11"), ("044", "26"),
     ("049", "1"), ("061", "0"), ("062", "0"), ("063", "0"), ("064", "0"), ("045", "500.001.1001")],
)  # fmt: skip
async def test_endings_of_a_push(world: Kenya, ending: str, code: str) -> None:
    """wire/operators.md 7: no prompt, and money moves only with 0."""
    daraja, msisdn = Daraja(world), f"254700000{ending}"
    assert await daraja.query(await daraja.push(msisdn)) == code
    assert await held(world, msisdn) == ("900.00" if code == "0" else "1000.00")


@pytest.mark.parametrize(("ending", "code"), [("019", 8), ("029", 2040), ("043", 2006), ("044", 26), ("049", 1)])
async def test_endings_of_a_payout(world: Kenya, ending: str, code: int) -> None:
    """wire/operators.md 7: as the ResultCodes of B2C."""
    await Daraja(world).pay_out("PO-1", f"254700000{ending}")
    assert [result["ResultCode"] for result in await results(world)] == [code]
    assert await held(world, f"254700000{ending}") == "1000.00"


async def test_endings_that_twist(world: Kenya, clock: FakeClock) -> None:
    """wire/operators.md 7: late, broken, in progress, untold, doubled, wrongly told; the real sandbox's own number."""
    daraja = Daraja(world)
    assert (await daraja.push("254700000029")).status_code == 400
    assert (await daraja.push("254700000051")).json()["errorCode"] == "500.003.1001"
    assert (await daraja.push("254700000050")).status_code == 500
    assert len(await callbacks(world)) == 1
    assert [await held(world, f"2547000000{n}") for n in ("50", "51")] == ["900.00", "1000.00"]
    late, slow, five = [await daraja.push(f"2547000000{n}") for n in ("52", "60", "10")]
    assert [await daraja.query(one) for one in (late, slow, five)] == ["1019", "4999", "500.001.1001"]
    clock.advance(5)
    assert await daraja.query(five) == "0"
    clock.advance(25)
    assert [await daraja.query(one) for one in (late, slow)] == ["0", "0"]
    await world.told()
    for ending, copies in (("61", 0), ("62", 2), ("64", 1)):
        await daraja.push(f"2547000000{ending}")
        assert len(told := await callbacks(world)) == copies
    assert told[0]["CallbackMetadata"]["Item"][0]["Value"] == 101
    await daraja.push("254700000063")
    assert len(world.notices) == 1
    assert await daraja.query(await daraja.push("254708374149")) == "1037"
    await switch(world, outcomes_by_number=False)
    assert await daraja.query(await daraja.push("254700000019")) == "500.001.1001"


async def test_payouts_that_twist(world: Kenya, clock: FakeClock) -> None:
    """The same of B2C: a time-out goes to QueueTimeOutURL, and the status knows of the money that moved."""
    daraja = Daraja(world)
    assert (await daraja.pay_out("PO-1", "254700000051")).status_code == 500
    assert await daraja.status("PO-1") == "R000002"
    assert (await daraja.pay_out("PO-1", "254700000050")).status_code == 500
    assert await daraja.status("PO-1") == "Completed"
    await daraja.pay_out("PO-2", "254700000052")
    clock.advance(10)
    [(_, url, _, _)] = await world.told()
    assert url == f"{HERE}/t"
    assert await daraja.status("PO-2") == "Pending"
    clock.advance(30)
    assert await world.told() == []
    assert await daraja.status("PO-2") == "Completed"
    await daraja.pay_out("PO-3", "254700000063")
    assert len(world.notices) == 1
    await daraja.pay_out("PO-4", "254700000064")
    assert parameters((await results(world))[-1])["TransactionAmount"] == 101
    assert [await held(world, f"2547000000{n}") for n in (50, 51, 52, 64)] == [
        "1100.00",
        "1000.00",
        "1100.00",
        "1100.00",
    ]
