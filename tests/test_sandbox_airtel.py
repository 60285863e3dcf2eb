"""Airtel Money's half of the sandbox: its wire format, scene by scene, and what becomes of money asked for there."""

import base64
import hmac
import json
import re
from decimal import Decimal
from typing import Any

import pytest
from conftest import FakeClock
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding as schemes
from sandbox import World, play, scenes
from sandbox.airtel import PAYEE, PAYER, Airtel, sealed

from ussd_app.config import Settings, load
from ussd_app.money import Money
from ussd_app.sandbox.airtel.numbers import subscriber
from ussd_app.sandbox.airtel.orders import money
from ussd_app.sandbox.books import OUTSIDE

URL = "https://pay.example.org/callbacks/airtel/s"
OAEP = schemes.OAEP(schemes.MGF1(hashes.SHA256()), hashes.SHA256(), label=None)


@pytest.fixture
def world(clock: FakeClock) -> World:
    """A sandbox of Uganda, with Airtel alone."""
    return World(clock, {"airtel": URL}, settings=load(Settings, country="UG", operators=("airtel",)))


@pytest.mark.parametrize("scene", scenes("airtel"), ids=lambda scene: scene["name"])
async def test_airtel(scene: dict[str, Any], world: World, clock: FakeClock) -> None:
    """Airtel Money's half plays the scene, to the byte."""
    for step in scene["step"]:
        step["request"] = re.sub(r"\(sealed (.*?)\)", lambda found: sealed(found[1]), step["request"])
    await play(world, scene, clock.advance)


async def plan(world: World, name: str, target: str = "airtel.collection", **details: Any) -> None:  # noqa: ANN401 - a fault's fields
    """Put one fault in force, and have everybody approve."""
    await world.control("PUT", "/switches", {"country": {"auto": "approve"}})
    await world.control("PUT", "/faults", [{"name": name, "target": target, **details}])


async def balance(world: World, msisdn: str = PAYER) -> str:
    """What a wallet holds."""
    return str((await world.control("GET", f"/handsets/{msisdn}"))["balances"]["UGX"])


@pytest.mark.parametrize(
    ("suffix", "at_once", "collected", "paid_out", "disbursed"),
    [
        ("019", "200", ("TF", "003"), "DP00900001003", ("TF", "003")),
        ("029", "200", ("TF", "010"), "DP00900001012", ("TF", "012")),
        ("039", "200", ("TF", "008"), "DP00900001013", ("TF", "013")),
        ("040", "200", ("TF", "002"), "DP00900001005", ("TF", "005")),
        ("041", "200", ("TE", "029"), "DP00900001005", ("TE", "005")),
        ("042", "200", ("TF", "005"), "DP00900001005", ("TF", "005")),
        ("043", "200", ("TF", "010"), "DP00900001010", ("TF", "010")),
        ("045", "200", ("TIP", "006"), "DP00900001006", ("TIP", "006")),
        ("049", "200", ("TF", "007"), "DP00900001007", ("TF", "007")),
        ("050", "500", ("TS", "001"), "500", ("TS", "001")),
        ("061", "200", ("TS", "001"), "DP00900001001", ("TS", "001")),
    ],
)
async def test_numbers_that_decide(
    world: World, suffix: str, at_once: str, collected: tuple[str, str], paid_out: str, disbursed: tuple[str, str]
) -> None:
    """wire/operators.md section 7: the last three digits choose the outcome, without a prompt."""
    one, msisdn = Airtel(world), f"256700000{suffix}"
    assert (await one.pay_in("T1", msisdn)).json()["status"]["code"] == at_once
    assert await one.pay_out("T2", msisdn) == paid_out
    assert await one.collected("T1") == collected
    assert await one.disbursed("T2") == disbursed
    assert (await world.control("GET", f"/handsets/{msisdn}"))["prompts"] == []


@pytest.mark.parametrize(
    ("suffix", "seconds", "at_first", "at_once"),
    [("010", 5, ("TIP", "006"), "200"), ("052", 30, ("TIP", "006"), "504"), ("060", 30, ("TA", "000"), "200")],
)
async def test_numbers_that_take_time(
    world: World, clock: FakeClock, suffix: str, seconds: int, at_first: tuple[str, str], at_once: str
) -> None:
    """The same section: success comes later, after an answer that says nothing or too little."""
    one, msisdn = Airtel(world), f"256700000{suffix}"
    assert (await one.pay_in("T1", msisdn)).json()["status"]["code"] == at_once
    await one.pay_out("T2", msisdn)
    clock.advance(seconds - 1)
    assert await one.collected("T1") == await one.disbursed("T2") == at_first
    clock.advance(1)
    assert await one.collected("T1") == await one.disbursed("T2") == ("TS", "001")
    assert len(await world.told()) == 1


@pytest.mark.parametrize(("suffix", "status"), [("044", 503), ("051", 500)])
async def test_numbers_that_find_an_outage(world: World, suffix: str, status: int) -> None:
    """The same section: nothing was done, and nothing is known of it."""
    one, msisdn = Airtel(world), f"256700000{suffix}"
    assert (await one.pay_in("T1", msisdn)).status_code == status
    assert await one.pay_out("T2", msisdn) == str(status)
    assert await one.shown("payments", "T1") == await one.shown("disbursements", "T2") == {}
    assert (await world.control("GET", "/books"))["operators"]["airtel"]["movements"] == []


@pytest.mark.parametrize(("suffix", "copies"), [("061", 0), ("062", 2), ("063", 1), ("064", 1)])
async def test_numbers_of_callbacks(world: World, suffix: str, copies: int) -> None:
    """The same section: lost, twice, before the answer, and of another hash and amount; the enquiry is right."""
    one = Airtel(world)
    await world.control("PUT", "/switches", {"airtel": {"callback_hash": "transaction"}})
    await one.pay_in("T1", f"256700000{suffix}")
    if suffix == "063":
        assert len(world.notices) == 1
    told = await world.told()
    assert len(told) == copies
    assert await one.collected("T1") == ("TS", "001")
    if suffix == "064":
        body = json.loads(told[0][3])
        assert body["transaction"]["message"] == "Paid UGX 200"
        right = json.dumps(body["transaction"], separators=(",", ":")).encode()
        assert body["hash"] != base64.b64encode(hmac.digest(b"of-the-sandbox", right, "sha256")).decode()


@pytest.mark.parametrize(
    ("suffix", "answered", "collected", "disbursed"),
    [
        ("065", ("200", "ESB000008"), ("TS", "001"), ("TS", "001")),
        ("066", ("200", "ESB000008"), ("TF", "004"), ("TF", "004")),
        ("067", ("200", "ESB000011"), None, None),
        ("068", ("200", "ESB000011"), ("TS", "001"), ("TS", "001")),
        ("069", ("400", None), None, ("TF", "012")),
    ],
)
async def test_numbers_whose_answer_says_too_little(
    world: World,
    suffix: str,
    answered: tuple[str, str | None],
    collected: tuple[str, str] | None,
    disbursed: tuple[str, str] | None,
) -> None:
    """Field validation of what is paid or has failed, a refusal inside HTTP 200, and a number that nobody has."""
    one, msisdn = Airtel(world), f"256700000{suffix}"
    status = (await one.pay_in("T1", msisdn)).json()["status"]
    assert (status["code"], status.get("result_code"), status["success"]) == (*answered, False)
    await one.pay_out("T2", msisdn)
    assert bool(await one.shown("payments", "T1")) == bool(collected)
    assert bool(await one.shown("disbursements", "T2")) == bool(disbursed)
    assert collected is None or await one.collected("T1") == collected
    assert disbursed is None or await one.disbursed("T2") == disbursed


@pytest.mark.parametrize(
    ("switch", "paid", "refused", "pending"),
    [
        ("own", "DP00800001001", "DP00800001007", "DP00800001006"),
        ("call", "DP00800001006", "DP00800001006", "DP00800001006"),
        ("short", "DP008001001", "DP008001021", "DP00800001006"),
        ("none", None, None, None),
    ],
)
async def test_codes_of_an_enquiry_are_a_switch(
    world: World, switch: str, paid: str | None, refused: str | None, pending: str | None
) -> None:
    """The transaction's own code, that of the call, the older platform's, or none (section 2.4)."""
    one, found = Airtel(world), []
    await world.control("PUT", "/switches", {"airtel": {"enquiry_code": switch, "pending_word": "TI"}})
    for key, suffix in (("T1", "061"), ("T2", "049"), ("T3", "045")):
        await one.pay_in(key, f"256700000{suffix}")
        answer = (await one.call("GET", f"/standard/v1/payments/{key}")).json()
        found.append((answer["data"]["transaction"]["status"], answer["status"].get("response_code")))
    assert found == [("TS", paid), ("TF", refused), ("TI", pending)]


async def test_numbers_may_be_numbers_alone(world: World) -> None:
    """By switch no digits decide; 001 to 009 never do."""
    one = Airtel(world)
    await one.pay_in("T1", "256700000001")
    assert await one.collected("T1") == ("TIP", "006")
    await world.control("PUT", "/switches", {"airtel": {"outcomes_by_number": False}})
    await one.pay_in("T2", "256700000039")
    assert await one.collected("T2") == ("TIP", "006")


async def test_a_low_balance_is_found_at_approval(world: World) -> None:
    """Approving more than the wallet holds fails, and moves nothing."""
    await world.control("PUT", f"/handsets/{PAYER}", {"balances": {"UGX": "99"}, "auto": "approve"})
    one = Airtel(world)
    await one.pay_in("T1")
    assert await one.collected("T1") == ("TF", "007")
    assert await balance(world) == "99"


async def test_who_has_no_wallet_or_may_not_be_paid(world: World) -> None:
    """Without a wallet nobody pays or is paid; who is barred from receiving may pay."""
    one = Airtel(world)
    await world.control("PUT", f"/handsets/{PAYER}", {"active": False})
    assert (await one.pay_in("T1")).json()["status"]["response_code"] == "DP00800001010"
    assert await one.pay_out("T2", PAYER) == "DP00900001012"
    await world.control("PUT", f"/handsets/{PAYEE}", {"can_receive": False, "auto": "approve"})
    assert await one.pay_out("T3") == "DP00900001010"
    await one.pay_in("T4", PAYEE)
    assert await one.collected("T4") == ("TS", "001")
    assert len(await world.told()) == 1


async def test_a_refund_needs_float_and_a_payment(world: World) -> None:
    """What is not paid, or cannot be paid back, stays as it is; nothing goes back twice."""
    one = Airtel(world)
    await plan(world, "lost_callback")
    await one.pay_in("T1")
    paid = (await one.shown("payments", "T1"))["airtel_money_id"]
    await world.control("PUT", "/books", {"airtel": {"UGX": "99"}})
    assert await one.give_back(paid) == "FAILED"
    assert await one.collected("T1") == ("TS", "001")
    await world.control("PUT", "/books", {"airtel": {"UGX": "1000"}})
    assert [await one.give_back(paid) for _ in range(2)] == ["SUCCESS", "FAILED"]
    assert await one.collected("T1") == ("TR", "001")
    assert await balance(world) == "1000"
    books = await world.control("GET", "/books")
    assert books["operators"]["airtel"]["balances"] == {"UGX": "900"}
    assert [each["status"] for each in books["operators"]["airtel"]["movements"]] == [
        "succeeded",
        "failed",
        "succeeded",
    ]


async def test_every_entry_is_one_movement(world: World) -> None:
    """The books say the same as the movements, and no account but the outside is below zero."""
    one = Airtel(world)
    await plan(world, "late_success", "airtel.*", count=2)
    for number in range(6):
        await one.pay_in(f"T{number}", amount=300)
        await one.pay_out(f"P{number}", amount=40_000)
    await world.sandbox.settled()
    books = world.sandbox.country.books
    moved = [entry for entry in books.entries if entry.reference not in {"opening", "set"}]
    done = [each.reference for each in books.movements if each.status == "succeeded"]
    assert sorted(entry.reference for entry in moved) == sorted(done)
    accounts = {account for entry in books.entries for account in (entry.debit, entry.credit)} - {OUTSIDE}
    assert all(books.balance(account, "UGX").minor >= 0 for account in accounts)


async def test_a_pin_is_sealed_as_the_switch_says(world: World) -> None:
    """PKCS1 v1.5 where that is asked for, OAEP where that is, and not the one for the other."""
    one = Airtel(world)
    assert await one.pay_out("T1", padding=OAEP) == "ROUTER116"
    await world.control("PUT", "/switches", {"airtel": {"pin_padding": "oaep"}})
    sha1 = hashes.SHA1()  # noqa: S303 - what Java means by OAEPPadding
    assert await one.pay_out("T2", padding=OAEP) == "DP00900001001"
    assert await one.pay_out("T3", padding=schemes.OAEP(schemes.MGF1(sha1), sha1, label=None)) == "DP00900001001"
    assert await one.pay_out("T4") == "ROUTER116"


@pytest.mark.parametrize("kind", ["collection", "disbursement"])
async def test_late_success(world: World, clock: FakeClock, kind: str) -> None:
    """It fails as expired, and succeeds when nobody expects it; only a collection is told, twice."""
    one = Airtel(world)
    await plan(world, "late_success", f"airtel.{kind}", seconds=7200)
    await (one.pay_in("T1") if kind == "collection" else one.pay_out("T1"))
    status = one.collected if kind == "collection" else one.disbursed
    assert (await status("T1"))[0] == "TE"
    clock.advance(7200)
    assert await status("T1") == ("TS", "001")
    assert len(await world.told()) == (2 if kind == "collection" else 0)
    assert await balance(world, PAYER if kind == "collection" else PAYEE) in {"900", "1100"}


async def test_callbacks_lost_doubled_late_and_first(world: World, clock: FakeClock) -> None:
    """Whatever becomes of the callback, the enquiry knows."""
    one = Airtel(world)
    for name, at_once, later in (("lost", 0, 0), ("doubled", 2, 0), ("late", 0, 1)):
        await plan(world, f"{name}_callback")
        await one.pay_in(name)
        assert await one.collected(name) == ("TS", "001")
        assert len(await world.told()) == at_once
        clock.advance(30)
        assert len(await world.told()) == later
    await plan(world, "callback_first")
    await one.pay_in("first")
    assert len(world.notices) == 1
    await one.pay_in("never", "256700000045")  # is not waited for


@pytest.mark.parametrize(
    ("name", "status", "taken"),
    [
        ("500", 500, False), ("503", 503, False), ("429", 429, False),
        ("accepted_then_500", 500, True), ("invalid_json", 200, True), ("html_200", 200, True),
    ],
)  # fmt: skip
async def test_outages(world: World, name: str, status: int, taken: bool) -> None:  # noqa: FBT001 - a row's column
    """What the answer hides, the next one with the same id shows."""
    one = Airtel(world)
    await plan(world, name, count=1)
    assert (await one.pay_in("T1")).status_code == status
    again = (await one.pay_in("T1")).json()["status"]
    assert again.get("result_code") == ("ESB000041" if taken else "ESB000010")


async def test_token_expired(world: World) -> None:
    """A token is withdrawn in the middle of its life."""
    one = Airtel(world)
    await plan(world, "token_expired", "airtel.status", count=1)
    assert (await one.call("GET", "/standard/v1/payments/T1")).status_code == 401
    assert (await one.call("GET", "/standard/v1/payments/T1")).status_code == 200


async def test_a_client_of_ones_own_is_called_back(world: World) -> None:
    """At the address its switch names."""
    await world.control("PUT", "/switches", {"airtel": {"callback_url": "https://other.example.org/"}})
    await plan(world, "doubled_callback", copies=2)
    await Airtel(world).pay_in("T1")
    assert {url for _, url, *_ in await world.told()} == {"https://other.example.org/"}


@pytest.mark.parametrize(
    ("text", "country", "found"),
    [
        ("730000001", "KE", "+254730000001"),
        ("050000001", "CG", "+242050000001"),
        ("50000001", "CG", "+242050000001"),
        ("8020000001", "NG", "+2348020000001"),
        ("77000001", "GA", "+24177000001"),
        ("000000000", "UG", "ESB000036"),
        ("", "UG", "ESB000036"),
    ],
)
def test_national_numbers(text: str, country: str, found: str) -> None:
    """Without code and leading 0, but where the 0 is part of the number."""
    assert subscriber(text, country) == found


def test_amounts_are_exact() -> None:
    """A JSON number is what it says, in a currency it fits."""
    assert money(Decimal("12.50"), "ZMW") == Money(1250, "ZMW")
    assert money(Decimal("12.505"), "ZMW") is None
    assert money(Decimal("12.00"), "KES") is None
    assert money(12, "KES") == Money(1200, "KES")
