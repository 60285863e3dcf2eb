"""Two stories of one payment, told by a callback and by a query: what is played at each operator's half."""

import json

import pytest
from conftest import FakeClock
from sandbox import Momo, World, reference
from sandbox.airtel import PAYER as UGANDAN
from sandbox.airtel import Airtel
from sandbox.daraja import OURS, Daraja, Kenya, callbacks
from sandbox.daraja import PAYER as KENYAN
from test_sandbox_deliveries import AMA, Country, country, taken, top_up

from ussd_app.config import Settings, load
from ussd_app.movement import Failed, Succeeded

__all__ = ["country"]

# The fault, what the person does, whether the callback says paid, whether the query does, whether the money moves.
STORIES = [
    ("query_denies", "approve", True, False, True),
    ("callback_boasts", "reject", True, False, False),
    ("callback_denies", "approve", False, True, True),
]
ONE = reference(1)


async def begin(world: World, name: str, target: str, answer: str) -> None:
    """The fault, once, and what everybody does with their prompts."""
    await world.control("PUT", "/switches", {"country": {"auto": answer}})
    await world.control("PUT", "/faults", [{"name": name, "target": target, "count": 1}])


async def wallet(world: World, msisdn: str) -> str:
    """What a person has."""
    balances: dict[str, str] = (await world.control("GET", f"/handsets/{msisdn}"))["balances"]
    return next(iter(balances.values()))


@pytest.mark.parametrize(("name", "answer", "told", "known", "moves"), STORIES)
async def test_mtn(clock: FakeClock, name: str, answer: str, *, told: bool, known: bool, moves: bool) -> None:
    """A receipt stands in whichever says paid; the next payment is told straight."""
    world = World(clock)
    await begin(world, name, "mtn_momo.collection", answer)
    await Momo(world).pay_in(ONE, AMA.digits)
    assert (await Momo(world).collected(ONE))[0] == ("SUCCESSFUL" if known else "FAILED")
    [(_, _, _, body)] = await world.told()
    assert json.loads(body)["status"] == ("SUCCESSFUL" if told else "FAILED")
    assert ("financialTransactionId" in json.loads(body)) == told
    assert await wallet(world, AMA.digits) == ("990.00" if moves else "1000.00")
    await Momo(world).pay_in(reference(2), AMA.digits)
    assert (await Momo(world).collected(reference(2)))[0] == ("SUCCESSFUL" if moves else "FAILED")


@pytest.mark.parametrize(("name", "answer", "told", "known", "moves"), STORIES)
async def test_airtel(clock: FakeClock, name: str, answer: str, *, told: bool, known: bool, moves: bool) -> None:
    """An airtel_money_id likewise."""
    url = "https://pay.example.org/callbacks/airtel/s"
    world = World(clock, {"airtel": url}, settings=load(Settings, country="UG", operators=("airtel",)))
    await begin(world, name, "airtel.collection", answer)
    before = await wallet(world, UGANDAN)
    one = Airtel(world)
    await one.pay_in("T1")
    shown = await one.shown("payments", "T1")
    assert (shown["status"], "airtel_money_id" in shown) == (("TS", True) if known else ("TF", False))
    [(_, _, _, body)] = await world.told()
    transaction = json.loads(body)["transaction"]
    assert (transaction["status_code"], "airtel_money_id" in transaction) == (("TS", True) if told else ("TF", False))
    assert (await wallet(world, UGANDAN) != before) == moves


@pytest.mark.parametrize(("name", "answer", "told", "known", "moves"), STORIES)
async def test_daraja(clock: FakeClock, name: str, answer: str, *, told: bool, known: bool, moves: bool) -> None:
    """A prompt: metadata stand where its callback says paid."""
    world = Kenya(clock, {"daraja": OURS})
    await begin(world, name, "daraja.collection", answer)
    before = await wallet(world, KENYAN)
    one = Daraja(world)
    push = await one.push()
    assert await one.query(push) == ("0" if known else "1032")
    [callback] = await callbacks(world)
    assert (callback["ResultCode"], "CallbackMetadata" in callback) == ((0, True) if told else (1032, False))
    assert (await wallet(world, KENYAN) != before) == moves


@pytest.mark.parametrize(
    ("faults", "told", "known", "topped_up"),
    [
        (("query_denies",), True, False, {"GHS": "5.00"}),
        (("failed_after_accepted", "callback_boasts"), True, False, {}),
        (("callback_denies",), False, True, {"GHS": "5.00"}),
    ],
)
async def test_airtime(
    country: Country, faults: tuple[str, ...], topped_up: dict[str, str], *, told: bool, known: bool
) -> None:
    """The look-up and the status callback."""
    plan = [{"name": name, "target": "africastalking.airtime", "count": 1} for name in faults]
    await country.world.control("PUT", "/faults", plan)
    asked = taken(request := top_up(), await country.airtime.submit(request))
    [body] = await country.told()
    assert isinstance(country.airtime.parse_callback("", body).status, Succeeded if told else Failed)
    assert isinstance(await country.airtime.check(asked), Succeeded if known else Failed)
    assert (await country.handset())["airtime"] == topped_up
