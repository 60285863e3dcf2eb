"""What becomes of money asked for at MTN MoMo's half of the sandbox."""

import pytest
from conftest import FakeClock
from sandbox import Momo, World, reference

PAYER, PAYEE = "233240000001", "233240000002"
ONE, TWO, THREE = reference(1), reference(2), reference(3)


@pytest.fixture
def world(clock: FakeClock) -> World:
    """A sandbox of Ghana."""
    return World(clock)


async def answer(world: World, msisdn: str, answer: str) -> None:
    """Answer the handset's first prompt."""
    prompt = (await world.control("GET", f"/handsets/{msisdn}"))["prompts"][0]["id"]
    await world.control("POST", f"/handsets/{msisdn}/prompts/{prompt}", {"answer": answer})


async def test_an_unanswered_prompt_expires(world: World, clock: FakeClock) -> None:
    """A prompt is gone and its collection failed as expired after its time, by the clock, with one callback."""
    momo = Momo(world)
    await momo.pay_in(ONE, PAYER)
    clock.advance(299)
    assert await momo.collected(ONE) == ("PENDING", None)
    clock.advance(1)
    assert await momo.collected(ONE) == ("FAILED", "EXPIRED")
    assert (await world.control("GET", f"/handsets/{PAYER}"))["prompts"] == []
    assert len(await world.told()) == 1


async def test_an_ignored_prompt_leaves_the_screen_and_expires(world: World, clock: FakeClock) -> None:
    """Ignoring decides nothing."""
    momo = Momo(world)
    await momo.pay_in(ONE, PAYER)
    await answer(world, PAYER, "ignore")
    assert (await world.control("GET", f"/handsets/{PAYER}"))["prompts"] == []
    assert await momo.collected(ONE) == ("PENDING", None)
    clock.advance(300)
    assert await momo.collected(ONE) == ("FAILED", "EXPIRED")


async def test_an_answered_prompt_does_not_expire(world: World, clock: FakeClock) -> None:
    """What was approved stays so, and is told once."""
    momo = Momo(world)
    await momo.pay_in(ONE, PAYER)
    await answer(world, PAYER, "approve")
    clock.advance(1000)
    assert await momo.collected(ONE) == ("SUCCESSFUL", None)
    assert len(await world.told()) == 1


async def test_prompts_queue_on_one_handset(world: World) -> None:
    """Two collections from one person are two prompts, answered each for itself."""
    momo = Momo(world)
    await momo.pay_in(ONE, PAYER)
    await momo.pay_in(TWO, PAYER)
    await answer(world, PAYER, "reject")
    await answer(world, PAYER, "approve")
    assert await momo.collected(ONE) == ("FAILED", "APPROVAL_REJECTED")
    assert await momo.collected(TWO) == ("SUCCESSFUL", None)


async def test_a_low_balance_is_found_at_approval(world: World) -> None:
    """Approving more than the wallet holds fails, and moves nothing."""
    momo = Momo(world)
    await world.control("PUT", f"/handsets/{PAYER}", {"balances": {"GHS": "9.99"}, "auto": "approve"})
    await momo.pay_in(ONE, PAYER)
    assert await momo.collected(ONE) == ("FAILED", "NOT_ENOUGH_FUNDS")
    assert (await world.control("GET", f"/handsets/{PAYER}"))["balances"] == {"GHS": "9.99"}


async def test_a_wallet_that_is_not_there(world: World) -> None:
    """A person without a wallet can neither pay nor be paid, and has no name."""
    momo = Momo(world)
    await world.control("PUT", f"/handsets/{PAYER}", {"active": False})
    await momo.pay_in(ONE, PAYER)
    await momo.pay_out(TWO, PAYER)
    assert await momo.collected(ONE) == ("FAILED", "PAYER_NOT_FOUND")
    assert await momo.disbursed(TWO) == ("FAILED", "PAYEE_NOT_FOUND")
    holder = f"/collection/v1_0/accountholder/msisdn/{PAYER}"
    assert (await momo.call("GET", f"{holder}/active")).json() == {"result": False}
    assert (await momo.call("GET", f"{holder}/basicuserinfo")).status_code == 404


async def test_a_wallet_that_cannot_receive(world: World) -> None:
    """Such a person pays, and is not paid."""
    momo = Momo(world)
    await world.control("PUT", f"/handsets/{PAYER}", {"can_receive": False, "auto": "approve"})
    await momo.pay_in(ONE, PAYER)
    await momo.pay_out(TWO, PAYER)
    assert await momo.collected(ONE) == ("SUCCESSFUL", None)
    assert await momo.disbursed(TWO) == ("FAILED", "PAYEE_NOT_ALLOWED_TO_RECEIVE")


async def test_a_disbursement_needs_float(world: World) -> None:
    """Our own wallet pays no more than it holds."""
    momo = Momo(world)
    await world.control("PUT", "/books", {"mtn_momo": {"GHS": "10.00"}})
    await momo.pay_out(ONE, PAYEE, "10.01")
    await momo.pay_out(TWO, PAYEE, "10.00")
    assert await momo.disbursed(ONE) == ("FAILED", "NOT_ENOUGH_FUNDS")
    assert await momo.disbursed(TWO) == ("SUCCESSFUL", None)


async def test_a_collection_is_refunded_once(world: World) -> None:
    """A refund goes back to the payer, up to what was collected; more, or before payment, is not allowed."""
    momo = Momo(world)
    await momo.pay_in(ONE, PAYER, "100")
    await momo.give_back(TWO, ONE, "1")
    refund = "/disbursement/v1_0/refund"
    assert await momo.status(refund, TWO) == ("FAILED", "NOT_ALLOWED")
    await answer(world, PAYER, "approve")
    await momo.give_back(THREE, ONE, "60")
    await momo.give_back(reference(4), ONE, "40.01")
    await momo.give_back(reference(5), ONE, "40")
    assert await momo.status(refund, THREE) == ("SUCCESSFUL", None)
    assert await momo.status(refund, reference(4)) == ("FAILED", "NOT_ALLOWED")
    assert await momo.status(refund, reference(5)) == ("SUCCESSFUL", None)
    assert (await world.control("GET", f"/handsets/{PAYER}"))["balances"] == {"GHS": "1000.00"}
    assert (await momo.give_back(reference(6), reference(99))).status_code == 404


async def test_a_deposit_is_a_disbursement_of_its_own(world: World) -> None:
    """Both versions of deposit are taken, and its status is asked at its own address."""
    momo = Momo(world)
    body = {"amount": "10", "currency": "GHS", "externalId": "x", "payee": {"partyIdType": "MSISDN", "partyId": PAYEE}}
    taken = await momo.call("POST", "/disbursement/v2_0/deposit", body, X_Reference_Id=ONE)
    assert taken.status_code == 202
    assert await momo.status("/disbursement/v1_0/deposit", ONE) == ("SUCCESSFUL", None)
    assert (await momo.call("GET", f"/disbursement/v1_0/transfer/{ONE}")).status_code == 404


@pytest.mark.parametrize(
    ("suffix", "collection", "disbursement"),
    [
        ("50", "INTERNAL_PROCESSING_ERROR", "INTERNAL_PROCESSING_ERROR"),
        ("51", "APPROVAL_REJECTED", "APPROVAL_REJECTED"),
        ("52", "EXPIRED", "EXPIRED"),
        ("55", "PAYER_NOT_FOUND", "NOT_ENOUGH_FUNDS"),
        ("56", "PAYEE_NOT_ALLOWED_TO_RECEIVE", "PAYER_LIMIT_REACHED"),
        ("57", "NOT_ALLOWED", "PAYEE_NOT_FOUND"),
        ("58", "NOT_ALLOWED_TARGET_ENVIRONMENT", "NOT_ALLOWED"),
        ("59", "INVALID_CALLBACK_URL_HOST", "NOT_ALLOWED_TARGET_ENVIRONMENT"),
        ("60", "INVALID_CURRENCY", "INVALID_CALLBACK_URL_HOST"),
        ("61", "INTERNAL_PROCESSING_ERROR", "INVALID_CURRENCY"),
        ("62", "SERVICE_UNAVAILABLE", "INTERNAL_PROCESSING_ERROR"),
        ("63", "COULD_NOT_PERFORM_TRANSACTION", "SERVICE_UNAVAILABLE"),
    ],
)
async def test_the_new_table_of_test_numbers(world: World, suffix: str, collection: str, disbursement: str) -> None:
    """wire/momo.md 1.9: every listed number is taken with 202 and fails with its reason, without a prompt."""
    momo, msisdn = Momo(world, "sandbox"), f"467331234{suffix}"
    assert (await momo.pay_in(ONE, msisdn)).status_code == 202
    assert (await momo.pay_out(TWO, msisdn)).status_code == 202
    assert await momo.collected(ONE) == ("FAILED", collection)
    assert await momo.disbursed(TWO) == ("FAILED", disbursement)


async def test_numbers_that_take_time(world: World, clock: FakeClock) -> None:
    """wire/momo.md 1.9: 53 stays pending, 54 is created and succeeds after 25 s; 99 is not listed and succeeds."""
    momo = Momo(world, "sandbox")
    for one, suffix in ((ONE, "53"), (TWO, "54"), (THREE, "99")):
        await momo.pay_in(one, f"467331234{suffix}")
    assert await momo.collected(TWO) == ("CREATED", None)
    assert await momo.collected(THREE) == ("SUCCESSFUL", None)
    clock.advance(25)
    assert await momo.collected(TWO) == ("SUCCESSFUL", None)
    clock.advance(100_000)
    assert await momo.collected(ONE) == ("PENDING", None)


async def test_the_old_table_of_test_numbers(world: World, clock: FakeClock) -> None:
    """wire/momo.md 1.9, as a mode: 53 succeeds after 30 s, 54 never decides, 55 succeeds."""
    await world.control("PUT", "/switches", {"mtn_momo": {"test_numbers": "old"}})
    momo = Momo(world, "sandbox")
    for one, suffix in ((ONE, "53"), (TWO, "54"), (THREE, "55")):
        await momo.pay_in(one, f"467331234{suffix}")
    assert await momo.collected(THREE) == ("SUCCESSFUL", None)
    clock.advance(30)
    assert await momo.collected(ONE) == ("SUCCESSFUL", None)
    clock.advance(100_000)
    assert await momo.collected(TWO) == ("PENDING", None)


@pytest.mark.parametrize(
    "changed",
    [
        {"amount": 10},
        {"amount": "-10"},
        {"amount": "10.001"},
        {"amount": "1,000"},
        {"amount": "0"},
        {"externalId": "two words"},
        {"payerMessage": "Kofi's & son"},
        {"payeeNote": "a" * 161},
        {"payer": {"partyIdType": "msisdn", "partyId": PAYER}},
        {"payer": {"partyIdType": "MSISDN", "partyId": f"+{PAYER}"}},
        {"payer": None},
    ],
)
async def test_bodies_that_are_refused(world: World, changed: dict[str, object]) -> None:
    """wire/momo.md 1.4: a 400, empty where that is switched on, and the reference is not consumed."""
    momo = Momo(world)
    await world.control("PUT", "/switches", {"mtn_momo": {"bad_request": "empty"}})
    party = {"partyIdType": "MSISDN", "partyId": PAYER}
    body = {"amount": "10", "currency": "GHS", "externalId": "label", "payer": party, **changed}
    refused = await momo.call("POST", "/collection/v1_0/requesttopay", body, X_Reference_Id=ONE)
    assert (refused.status_code, refused.content) == (400, b"")
    assert (await momo.pay_in(ONE, PAYER)).status_code == 202


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("X_Reference_Id", "01890a5d-ac96-774b-bcce-b302099a8057"),
        ("X_Reference_Id", ""),
        ("X_Callback_Url", ""),
        ("X_Callback_Url", "ftp://pay.example.org/1"),
    ],
)
async def test_headers_that_are_refused(world: World, header: str, value: str) -> None:
    """wire/momo.md 1.4: a reference of another version, and a callback URL that is empty or none."""
    party = {"partyIdType": "MSISDN", "partyId": PAYER}
    body = {"amount": "10", "currency": "GHS", "externalId": "label", "payer": party}
    headers = {"X_Reference_Id": ONE, header: value}
    refused = await Momo(world).call("POST", "/collection/v1_0/requesttopay", body, **headers)
    assert refused.status_code == 400


async def test_a_whole_currency_has_no_decimals(world: World) -> None:
    """Ugandan shillings go whole or not at all."""
    momo = Momo(world, "mtnuganda")
    momo.currency = "UGX"
    assert (await momo.pay_in(ONE, "256770000001", "1500.50")).status_code == 400
    assert (await momo.pay_in(ONE, "256770000001", "1500")).status_code == 202
