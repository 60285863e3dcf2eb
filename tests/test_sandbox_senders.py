"""What becomes of SMS the sandbox's senders accept or refuse, beyond the scenes."""

from typing import Any

import pytest
from conftest import FakeClock
from sandbox import World

REPORTS = "https://pay.example.org/reports"


@pytest.fixture
def world(clock: FakeClock) -> World:
    """A sandbox whose reports come to one address, whoever subscribed."""
    return World(clock, {"mtn": REPORTS, "africastalking": REPORTS})


async def codes(world: World, *numbers: str) -> list[int]:
    """The status codes of one SMS to these numbers through Africa's Talking."""
    form = {"username": "sandbox", "to": ",".join(numbers), "message": "Hello"}
    answer = await world.client.post("/africastalking/version1/messaging", data=form, headers={"apiKey": "key"})
    return [line["statusCode"] for line in answer.json()["SMSMessageData"]["Recipients"]]


async def mtn_token(world: World, **headers: str) -> Any:  # noqa: ANN401 - httpx's own
    """Ask MTN for a token."""
    form = {"client_id": "key", "client_secret": "secret"} if not headers else {}
    path = "/mtn/v1/oauth/access_token?grant_type=client_credentials"
    return await world.client.post(path, data=form, headers=headers)


async def send_by_mtn(world: World, token: str) -> int:
    """One SMS through MTN that asks for its receipt; the HTTP status of the answer."""
    body = {
        "serviceCode": "AKELLO",
        "receiverAddress": ["233240000001"],
        "message": "Hello",
        "clientCorrelatorId": "6b0f7d2e-0000-4000-8000-0000000000a1",
        "requestDeliveryReceipt": True,
    }
    headers = {"Authorization": f"Bearer {token}"}
    return (await world.client.post("/mtn/v3/sms/messages/sms/outbound", json=body, headers=headers)).status_code


async def test_opt_outs_and_credit(world: World) -> None:
    """A number that opted out is 406, and what the credit does not cover 405."""
    switches = {"opted_out": "+233240000002", "credit": "0.0700", "price": "0.0350"}
    await world.control("PUT", "/switches", {"africastalking": switches})
    people = ["+233240000001", "+233240000002", "+233240000003", "+233240000004"]
    assert await codes(world, *people) == [101, 406, 101, 405]


async def test_outcomes_by_number_can_be_off(world: World) -> None:
    """Many numbers in a row can be made to be nothing but numbers."""
    await world.control("PUT", "/switches", {"africastalking": {"outcomes_by_number": False}})
    assert await codes(world, "+233240000405") == [101]


async def test_an_unreachable_handset_of_mtn(world: World, clock: FakeClock) -> None:
    """Its last receipt says UNDELIVERED, where reports go without a subscription."""
    await world.control("PUT", "/handsets/233240000001", {"reachable": False})
    token = (await mtn_token(world)).json()["access_token"]
    assert await send_by_mtn(world, token) == 200
    clock.advance(1)
    [(_, url, _, body)] = await world.told()
    assert url == REPORTS
    assert '"deliveryStatus":"UNDELIVERED"' in body


async def test_receipts_before_the_answer_and_reordered(world: World) -> None:
    """MTN's receipts go wrong as Africa's Talking's do."""
    await world.control("PUT", "/switches", {"mtn": {"receipts": "ENROUTE,DELIVERED"}})
    faults = [{"name": "report_first", "target": "mtn.sms"}, {"name": "reordered_report", "target": "mtn.sms"}]
    await world.control("PUT", "/faults", faults)
    token = (await mtn_token(world)).json()["access_token"]
    await send_by_mtn(world, token)
    assert ["DELIVERED" in body for *_, body in world.notices] == [True, False]


async def test_a_token_of_mtn_is_withdrawn_and_expires(world: World, clock: FakeClock) -> None:
    """Forced in the middle of a run, or by time, the answer is 401."""
    await world.control("PUT", "/switches", {"mtn": {"token_seconds": 60}})
    await world.control("PUT", "/faults", [{"name": "token_expired", "target": "mtn.sms", "count": 1}])
    first, second = [(await mtn_token(world)).json()["access_token"] for _ in range(2)]
    assert [await send_by_mtn(world, first), await send_by_mtn(world, first)] == [401, 401]
    assert await send_by_mtn(world, second) == 200
    clock.advance(60)
    assert await send_by_mtn(world, second) == 401


@pytest.mark.parametrize("header", ["Basic !!!", "Basic /w==", "Digest x"])
async def test_credentials_nobody_can_read(world: World, header: str) -> None:
    """A header that is no Basic header, or holds no text, is no client."""
    assert (await mtn_token(world, Authorization=header)).json() == {"error": "invalid_client"}
