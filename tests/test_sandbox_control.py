"""The control API: handsets, books, switches, reset, and who may run the sandbox at all."""

import pytest
from conftest import FakeClock
from sandbox import Momo, World, reference

from ussd_app.config import Settings, SettingsError, load
from ussd_app.sandbox import permit

PAYER = "233240000001"


@pytest.fixture
def world(clock: FakeClock) -> World:
    """A sandbox of Ghana."""
    return World(clock)


async def test_handsets_are_made_on_first_use_and_listed(world: World) -> None:
    """A number has one handset, with or without its plus."""
    assert await world.control("GET", "/handsets") == []
    first = await world.control("GET", f"/handsets/{PAYER}")
    assert await world.control("GET", f"/handsets/+{PAYER}") == first
    assert await world.control("GET", "/handsets") == [first]


async def test_what_is_not_named_stays(world: World) -> None:
    """A change touches the fields it names and no others."""
    await world.control("PUT", f"/handsets/{PAYER}", {"auto": "approve", "can_receive": False})
    changed = await world.control("PUT", f"/handsets/{PAYER}", {"balances": {"GHS": "0.05"}, "auto": None})
    assert (changed["auto"], changed["can_receive"], changed["balances"]) == (None, False, {"GHS": "0.05"})


async def test_what_is_still_to_come_is_told(world: World, clock: FakeClock) -> None:
    """A prompt expires in its time, and one that is answered does not."""
    momo, quiet = Momo(world), {"under_way": 0, "coming": []}
    assert await world.control("GET", "/background") == quiet
    await momo.pay_in(reference(1), PAYER)
    assert await world.control("GET", "/background") == {"under_way": 0, "coming": [300.0]}
    clock.advance(100)
    assert await world.control("GET", "/background") == {"under_way": 0, "coming": [200.0]}
    (prompt,) = (await world.control("GET", f"/handsets/{PAYER}"))["prompts"]
    await world.control("POST", f"/handsets/{PAYER}/prompts/{prompt['id']}", {"answer": "reject"})
    await world.sandbox.settled()
    assert await world.control("GET", "/background") == quiet


async def test_a_name_is_what_the_operator_says(world: World) -> None:
    """A handset's owner can be given any name."""
    await world.control("PUT", f"/handsets/{PAYER}", {"name": "1. Confirm"})
    answer = await Momo(world).call("GET", f"/collection/v1_0/accountholder/msisdn/{PAYER}/basicuserinfo")
    assert (answer.json()["given_name"], answer.json()["family_name"]) == ("1.", "Confirm")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("PUT", "/handsets/233240000001", {"balance": "1"}, 400, "balance: Extra inputs are not permitted"),
        ("PUT", "/handsets/233240000001", {"balances": {"GHS": "1.005"}}, 400, "1.005 does not fit GHS"),
        ("GET", "/handsets/nobody", None, 404, "no such number"),
        ("POST", "/handsets/233240000001/prompts/x", {"answer": "approve"}, 404, "no such prompt"),
        ("POST", "/handsets/233240000001/prompts/x", {"answer": "yes"}, 400, "answer: "),
        ("PUT", "/faults", [{"name": "lost", "target": "mtn.sms"}], 400, "0.name: "),
        ("PUT", "/faults", [{"name": "500", "target": "mtn.sm"}], 400, "mtn.sm is no target; there are mtn_momo.coll"),
        ("PUT", "/switches", {"mtn": {"reciepts": "x"}}, 400, "no such switch: reciepts"),
        ("PUT", "/switches", {"mtn_momo": {"reason": "number"}}, 400, "reason: "),
        ("PUT", "/switches", {"vodafone": {}}, 400, "vodafone has no switches"),
        ("PUT", "/books", {"mtn": {"GHS": "1"}}, 400, "mtn holds no money; mtn_momo do"),
    ],
)
async def test_mistakes_are_explained(
    world: World, method: str, path: str, body: object, status: int, said: str
) -> None:
    """A wrong call of the control API is answered with one line that says what is wrong."""
    answer = await world.client.request(method, path, json=body)
    assert (answer.status_code, answer.json()["error"][: len(said)]) == (status, said)


async def test_a_body_has_a_limit(world: World) -> None:
    """More than 64 KB is refused."""
    answer = await world.client.put("/faults", content=b"[" * 70_000)
    assert answer.status_code == 413


async def test_books_show_every_movement_and_the_messages(world: World) -> None:
    """What an operator was asked for is there with its end; what a sender took is counted."""
    momo = Momo(world)
    await world.control("PUT", "/switches", {"country": {"auto": "approve"}})
    await momo.pay_in(reference(1), PAYER, "12.50")
    await momo.pay_out(reference(2), "46733123457", "3")
    await world.sandbox.settled()
    form = {"username": "sandbox", "to": f"+{PAYER}", "message": "Hello"}
    await world.client.post("/africastalking/version1/messaging", data=form, headers={"apiKey": "key"})
    at = "2031-03-04T08:00:00+00:00"
    common = {"currency": "GHS", "at": at}
    assert await world.control("GET", "/books") == {
        "operators": {
            "mtn_momo": {
                "balances": {"GHS": "100012.50"},
                "movements": [
                    {"reference": reference(1), "kind": "collection", "msisdn": PAYER, "amount": "12.50"}
                    | common
                    | {"status": "succeeded"},
                    {"reference": reference(2), "kind": "disbursement", "msisdn": "46733123457", "amount": "3.00"}
                    | common
                    | {"status": "failed"},
                ],
            }
        },
        "deliveries": {},
        "outside": {"GHS": "-102000.00"},
        "senders": {"africastalking": 1},
    }


async def test_reset_begins_again(world: World, clock: FakeClock) -> None:
    """Nothing of before is left: no handset, token, fault or switch, and nothing happens any more."""
    momo = Momo(world)
    await momo.pay_in(reference(1), PAYER)
    await world.control("PUT", "/faults", [{"name": "500", "target": "*"}])
    await world.control("PUT", "/switches", {"mtn_momo": {"reason": "object"}})
    await world.control("POST", "/reset")
    clock.advance(1000)
    assert await world.told() == []
    assert await world.control("GET", "/handsets") == []
    assert await world.control("GET", "/faults") == []
    assert (await world.control("GET", "/switches"))["mtn_momo"]["reason"] == "text"
    assert (await momo.pay_in(reference(1), PAYER)).status_code == 401
    assert (await Momo(world).pay_in(reference(1), PAYER)).status_code == 202


async def test_switches_come_from_the_environment(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set there holds from the start."""
    monkeypatch.setenv("SANDBOX_OPENING_BALANCE", "50")
    monkeypatch.setenv("SANDBOX_MTN_RECEIPTS", "ENROUTE,DELIVRD")
    world = World(clock)
    assert (await world.control("GET", f"/handsets/{PAYER}"))["balances"] == {"GHS": "50.00"}
    assert (await world.control("GET", "/switches"))["mtn"]["receipts"] == ["ENROUTE", "DELIVRD"]


def test_the_sandbox_is_for_this_machine_only() -> None:
    """Where others can reach it, it must be allowed by name."""
    permit(load(Settings, public_url="http://localhost:8000"))
    permit(load(Settings, public_url="https://pay.example.org", allow_sandbox=True))
    with pytest.raises(SettingsError, match="ALLOW_SANDBOX=1"):
        permit(load(Settings, public_url="https://pay.example.org"))


async def test_leaving_ends_what_is_under_way(world: World, clock: FakeClock) -> None:
    """After the sandbox is left nothing happens any more."""
    async with world.sandbox:
        await Momo(world).pay_in(reference(1), PAYER)
    clock.advance(1000)
    assert await world.told() == []


def test_only_configured_providers_are_played(clock: FakeClock) -> None:
    """A provider without a half here, such as the console, is left out, and so is one not in use."""
    world = World(clock, settings=load(Settings, operators=("nobody",), senders=("africastalking", "console")))
    mounted = [route.path for route in world.sandbox._inner.routes[:2]]  # type: ignore[attr-defined]  # mounts
    assert mounted == ["/africastalking", "/handsets"]
