"""What goes wrong on purpose at Daraja's half of the sandbox, and the certificate."""

import json

import pytest
from conftest import FakeClock
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sandbox.daraja import (
    HERE,
    OURS,
    PAYEE,
    PAYER,
    Daraja,
    Kenya,
    callbacks,
    credential,
    held,
    ours,
    plan,
    till,
)

from ussd_app.config import SettingsError
from ussd_app.sandbox.daraja import environment
from ussd_app.sandbox.daraja.certificate import certificate, opened


@pytest.fixture
async def world(clock: FakeClock) -> Kenya:
    """A sandbox whose people approve everything, of an application that listens."""
    world = Kenya(clock, {"daraja": OURS})
    await world.control("PUT", "/switches", {"country": {"auto": "approve"}})
    return world


async def once(world: Kenya, point: str) -> None:
    """One movement of a hundred shillings at a point."""
    daraja = Daraja(world)
    if point == "collection":
        await daraja.push()
    elif point == "disbursement":
        await daraja.pay_out("PO-1", PAYER)
    elif point == "refund":
        await daraja.reverse((await till(world)).json()["TransID"])
    else:
        body = {"ShortCode": "600111", "CommandID": "CustomerPayBillOnline", "Amount": 100, "Msisdn": PAYER}
        await daraja.call("c2b/v2/simulate", body)


LEFT = {"collection": "900.00", "disbursement": "1100.00", "refund": "1000.00", "till": "900.00"}


@pytest.mark.parametrize("point", LEFT)
@pytest.mark.parametrize(
    ("name", "at_once", "later"),
    [("lost_callback", 0, 0), ("doubled_callback", 2, 0), ("late_callback", 0, 1), ("callback_first", 1, 0)],
)
async def test_callbacks_go_wrong(
    world: Kenya, clock: FakeClock, point: str, name: str, at_once: int, later: int
) -> None:
    """Lost, doubled, late and before the answer: the money moves once whatever is told of it."""
    before = {"refund": 2, "till": 1}.get(point, 0)  # validation, and the confirmation of what is given back
    await plan(world, name, point)
    await once(world, point)
    if name == "callback_first":
        assert len(world.notices) == before + 1
    assert len(await world.told()) == before + at_once
    clock.advance(30)
    assert len(await world.told()) == later
    assert await held(world, PAYER) == LEFT[point]


async def test_a_late_success_of_a_push(world: Kenya, clock: FakeClock) -> None:
    """It fails as expired, and succeeds when nobody expects it: two callbacks, one movement of money."""
    await plan(world, "late_success", "collection", seconds=7200)
    daraja = Daraja(world)
    push = await daraja.push()
    assert await daraja.query(push) == "1019"
    clock.advance(7200)
    assert await daraja.query(push) == "0"
    assert [told["ResultCode"] for told in await callbacks(world)] == [1019, 0]
    assert await held(world, PAYER) == "900.00"


@pytest.mark.parametrize(
    ("name", "status", "left"), [("queued_for_ever", "Pending", "1000.00"), ("late_success", "Completed", "1100.00")]
)
async def test_a_payout_waits_too_long(world: Kenya, clock: FakeClock, name: str, status: str, left: str) -> None:
    """QueueTimeOutURL is told; whether the money moved only TransactionStatus knows."""
    await plan(world, name, "disbursement", seconds=60)
    daraja = Daraja(world)
    await daraja.pay_out("PO-1")
    clock.advance(9)
    assert await world.told() == []
    clock.advance(1)
    [(_, url, _, body)] = await world.told()
    assert (url, json.loads(body)["Result"]["OriginatorConversationID"]) == (f"{HERE}/t", "PO-1")
    clock.advance(60)
    assert await world.told() == []
    assert await daraja.status("PO-1") == status
    assert await held(world, PAYEE) == left


async def test_a_code_of_the_tests_own(world: Kenya) -> None:
    """`failed_after_accepted` fails with the ResultCode in its body, be it of letters."""
    for point in ("collection", "disbursement", "refund"):
        await plan(world, "failed_after_accepted", point, body="SFC_IC0003")
        await once(world, point)
        [*_, (_, _, _, body)] = await world.told()
        assert '"ResultCode":"SFC_IC0003"' in body
    assert await ours(world) == "100100.00"  # what was to be given back


async def test_a_push_that_never_ends(world: Kenya, clock: FakeClock) -> None:
    """It stays in process, and nobody is told."""
    await plan(world, "queued_for_ever", "collection")
    daraja = Daraja(world)
    push = await daraja.push()
    clock.advance(100_000)
    assert (await daraja.query(push), await world.told()) == ("500.001.1001", [])


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [("500", 500, "500.003.1001"), ("503", 503, "500.002.1001"), ("429", 429, "500.003.02")],
)
async def test_outages(world: Kenya, name: str, status: int, code: str) -> None:
    """In Daraja's own shape, and nothing was done."""
    await plan(world, name, "*", count=1)
    daraja = Daraja(world)
    daraja.token = "any"
    answer = await daraja.pay_out("PO-1")
    assert (answer.status_code, answer.json()["errorCode"]) == (status, code)
    daraja.token = ""
    assert (await daraja.pay_out("PO-1")).status_code == 200


@pytest.mark.parametrize("name", ["accepted_then_500", "invalid_json", "html_200"])
async def test_answers_that_hide_an_acceptance(world: Kenya, name: str) -> None:
    """The same id is then a duplicate, and its status is known."""
    await plan(world, name, "disbursement", count=1)
    daraja = Daraja(world)
    await daraja.pay_out("PO-1")
    assert (await daraja.pay_out("PO-1")).json()["errorCode"] == "500.002.1001"
    assert await daraja.status("PO-1") == "Completed"


# The certificate


def test_environment_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process that is told the same opens what the certificate sealed; a broken key is a wrong setting."""
    told = environment("http://127.0.0.1:8000/sandbox/daraja", "KE")
    sealed = credential()
    assert (told["DARAJA_CERTIFICATE"], opened(sealed)) == (certificate(), told["DARAJA_INITIATOR_PASSWORD"])
    other = generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    monkeypatch.setenv("SANDBOX_DARAJA_PRIVATE_KEY", other.decode())
    assert opened(sealed) != told["DARAJA_INITIATOR_PASSWORD"]
    assert opened(credential()) == told["DARAJA_INITIATOR_PASSWORD"]
    monkeypatch.setenv("SANDBOX_DARAJA_PRIVATE_KEY", told["SANDBOX_DARAJA_PRIVATE_KEY"])
    assert opened(sealed) == told["DARAJA_INITIATOR_PASSWORD"]
    monkeypatch.setenv("SANDBOX_DARAJA_PRIVATE_KEY", "none")
    with pytest.raises(SettingsError, match="SANDBOX_DARAJA_PRIVATE_KEY"):
        certificate()
