"""Every fault of the plan strikes where and as often as it is told to."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from conftest import FakeClock
from sandbox import Momo, World, reference
from starlette.applications import Starlette
from starlette.routing import Mount

from ussd_app import http
from ussd_app.clock import Clock
from ussd_app.errors import Unknown

PAYER = "233240000001"
ONE, TWO, THREE = reference(1), reference(2), reference(3)
COLLECTION, SMS = "mtn_momo.collection", "africastalking.sms"


@pytest.fixture
async def world(clock: FakeClock) -> World:
    """A sandbox whose people approve everything."""
    world = World(clock, {"africastalking": "https://pay.example.org/reports"})
    await world.control("PUT", "/switches", {"country": {"auto": "approve"}})
    return world


async def plan(world: World, name: str, target: str = COLLECTION, **details: Any) -> None:  # noqa: ANN401 - a fault's fields
    """Put one fault in force."""
    await world.control("PUT", "/faults", [{"name": name, "target": target, **details}])


async def send_sms(world: World, to: str = "+233240000001") -> Any:  # noqa: ANN401 - httpx's own
    """One SMS through Africa's Talking's half."""
    form = {"username": "sandbox", "to": to, "message": "Hello"}
    return await world.client.post("/africastalking/version1/messaging", data=form, headers={"apiKey": "key"})


async def test_lost_callback(world: World) -> None:
    """The money has moved and nobody is told; the next callback arrives."""
    await plan(world, "lost_callback", count=1)
    momo = Momo(world)
    await momo.pay_in(ONE, PAYER)
    assert await world.told() == []
    assert await momo.collected(ONE) == ("SUCCESSFUL", None)
    await momo.pay_in(TWO, PAYER)
    assert len(await world.told()) == 1


async def test_doubled_callback(world: World) -> None:
    """As many copies as are asked for, all the same."""
    await plan(world, "doubled_callback", copies=5)
    await Momo(world).pay_in(ONE, PAYER)
    told = await world.told()
    assert len(told) == 5
    assert len(set(told)) == 1


async def test_late_callback(world: World, clock: FakeClock) -> None:
    """The status is final long before the callback says so."""
    await plan(world, "late_callback", seconds=3600)
    momo = Momo(world)
    await momo.pay_in(ONE, PAYER)
    assert await momo.collected(ONE) == ("SUCCESSFUL", None)
    clock.advance(3599)
    assert await world.told() == []
    clock.advance(1)
    assert len(await world.told()) == 1


async def test_callback_first(world: World) -> None:
    """The callback has been answered before the request that caused it is."""
    await plan(world, "callback_first")
    assert (await Momo(world).pay_in(ONE, PAYER)).status_code == 202
    assert len(world.notices) == 1


async def test_callback_first_does_not_wait_for_what_never_comes(world: World) -> None:
    """A test number that never decides is answered at once."""
    await plan(world, "callback_first")
    assert (await Momo(world, "sandbox").pay_in(ONE, "46733123453")).status_code == 202


async def test_a_callback_nobody_takes_is_not_repeated(world: World) -> None:
    """An answer of 500 to a callback is the end of it."""
    world.listeners_answer = 500
    await Momo(world).pay_in(ONE, PAYER)
    assert len(await world.told()) == 1
    assert await world.told() == []


async def test_late_success(world: World, clock: FakeClock) -> None:
    """A collection fails as expired, and succeeds when nobody expects it: two callbacks, one movement of money."""
    await plan(world, "late_success", seconds=7200)
    momo = Momo(world)
    await momo.pay_in(ONE, PAYER)
    assert await momo.collected(ONE) == ("FAILED", "EXPIRED")
    clock.advance(7200)
    assert await momo.collected(ONE) == ("SUCCESSFUL", None)
    assert len(await world.told()) == 2
    assert (await world.control("GET", f"/handsets/{PAYER}"))["balances"] == {"GHS": "990.00"}


@pytest.mark.parametrize(
    ("name", "status", "body"),
    [
        ("500", 500, ""),
        ("503", 503, '{"code":"SERVICE_UNAVAILABLE","message":"Service temporarily unavailable, try again later."}'),
        ("429", 429, '{"statusCode":429,"message":"Rate limit is exceeded. Try again in 1 seconds."}'),
    ],
)
async def test_outages_of_mtn_momo(world: World, name: str, status: int, body: str) -> None:
    """The answer is the operator's own, and nothing was done."""
    await plan(world, name, count=1)
    momo = Momo(world)
    answer = await momo.pay_in(ONE, PAYER)
    assert (answer.status_code, answer.text) == (status, body)
    assert (await momo.pay_in(ONE, PAYER)).status_code == 202


async def test_an_outage_of_the_senders(world: World) -> None:
    """Each sender says it in its own words, and delivers nothing."""
    await plan(world, "503", "*.sms")
    assert (await send_sms(world)).text == "Service Unavailable"
    answer = await world.client.post("/mtn/v3/sms/messages/sms/outbound", json={})
    assert (answer.status_code, answer.json()["statusCode"]) == (503, "3000")
    assert (await world.control("GET", f"/handsets/{PAYER}"))["inbox"] == []


@pytest.mark.parametrize(
    ("name", "status", "body"),
    [
        ("accepted_then_500", 500, ""),
        ("invalid_json", 200, '{"status":'),
        ("html_200", 200, "<html><body>Service</body></html>"),
    ],
)
async def test_answers_that_hide_an_acceptance(world: World, name: str, status: int, body: str) -> None:
    """The request was taken whatever the answer looks like: the same reference is then a duplicate."""
    await plan(world, name, count=1)
    momo = Momo(world)
    answer = await momo.pay_in(ONE, PAYER)
    assert (answer.status_code, answer.text) == (status, body)
    assert (await momo.pay_in(ONE, PAYER)).status_code == 409


async def test_an_answer_of_the_tests_own_after_it_was_done(world: World) -> None:
    """Any answer can be put in place of the real one, which was made all the same."""
    await plan(world, "accepted_then_answer", status=202, body='{"statusCode":"6001"}', count=1)
    momo = Momo(world)
    answer = await momo.pay_in(ONE, PAYER)
    assert (answer.status_code, answer.json()) == (202, {"statusCode": "6001"})
    assert (await momo.pay_in(ONE, PAYER)).status_code == 409


async def test_an_answer_of_the_tests_own(world: World) -> None:
    """Any answer can be put in place of the real one, which is then not made."""
    await plan(world, "answer", status=200, body='{"statusCode":"6001"}', count=1)
    momo = Momo(world)
    assert (await momo.pay_in(ONE, PAYER)).json() == {"statusCode": "6001"}
    assert (await momo.pay_in(ONE, PAYER)).status_code == 202


async def test_a_firewall_stands_before_all(world: World) -> None:
    """Its page comes instead of any answer, with 403 or the plan's own status, and nothing was done."""
    momo = Momo(world)
    await plan(world, "firewall", "mtn_momo.token", count=1)
    token = await world.client.post("/mtn_momo/collection/token/", auth=("user", "key"))
    assert (token.status_code, token.text[:6]) == (403, "<html>")
    await plan(world, "firewall", count=1)
    walled = await momo.pay_in(ONE, PAYER)
    assert (walled.status_code, walled.headers["content-type"]) == (403, "text/html; charset=utf-8")
    await plan(world, "firewall", count=1, status=200)
    assert (await momo.pay_in(ONE, PAYER)).status_code == 200
    assert (await momo.pay_in(ONE, PAYER)).status_code == 202
    await plan(world, "firewall", SMS, count=1)
    assert (await send_sms(world)).text.startswith("<html>")


async def test_a_gateway_that_knows_no_such_address(world: World) -> None:
    """In its own words: the service's code is missing, and nothing was done."""
    await plan(world, "gateway_404", count=1)
    momo = Momo(world)
    missing = await momo.pay_in(ONE, PAYER)
    assert (missing.status_code, missing.json()) == (404, {"statusCode": 404, "message": "Resource not found"})
    assert (await momo.pay_in(ONE, PAYER)).status_code == 202
    await plan(world, "gateway_404", SMS, count=1)
    assert (await send_sms(world)).text == "Not Found"


async def test_slow(world: World, clock: FakeClock) -> None:
    """The answer takes its time, and is right."""
    await plan(world, "slow", seconds=12)
    assert (await Momo(world).pay_in(ONE, PAYER)).status_code == 202
    assert clock.seconds == 12


async def test_token_expired(world: World) -> None:
    """A token is withdrawn in the middle of its life: this call and every later one with it are refused."""
    momo = Momo(world)
    await momo.pay_in(ONE, PAYER)
    await plan(world, "token_expired", count=1)
    refused = await momo.pay_in(TWO, PAYER)
    assert (refused.status_code, refused.json()) == (401, {"statusCode": 401, "message": "Unauthorized"})
    assert (await momo.pay_in(TWO, PAYER)).status_code == 401
    assert (await Momo(world).pay_in(TWO, PAYER)).status_code == 202


async def test_reports_lost_doubled_late_and_reordered(world: World, clock: FakeClock) -> None:
    """Delivery reports go wrong one by one, as callbacks do."""
    faults = [
        {"name": "reordered_report", "target": SMS},
        {"name": "lost_report", "target": SMS, "count": 1},
        {"name": "late_report", "target": SMS, "count": 1},
        {"name": "doubled_report", "target": SMS, "count": 2},
    ]
    await world.control("PUT", "/faults", faults)
    await send_sms(world)
    clock.advance(1)
    words = [body.split("&")[1] for *_, body in await world.told()]
    assert words == ["status=Sent", "status=Sent"]  # Success was lost, Buffered is late
    clock.advance(30)
    words = [body.split("&")[1] for *_, body in await world.told()]
    assert words == ["status=Buffered", "status=Buffered"]


async def test_report_first(world: World) -> None:
    """The reports are out before the reply that carries their id."""
    await plan(world, "report_first", SMS)
    answer = await send_sms(world)
    key = answer.json()["SMSMessageData"]["Recipients"][0]["messageId"]
    assert [body.startswith(f"id={key}&") for *_, body in world.notices] == [True, True, True]


async def test_an_unreachable_handset(world: World, clock: FakeClock) -> None:
    """A message that is taken for a handset that is off fails in the end, and is not in its inbox."""
    handset = await world.control("PUT", f"/handsets/{PAYER}", {"reachable": False})
    await send_sms(world)
    clock.advance(1)
    last = (await world.told())[-1][3]
    assert last.endswith("status=Failed&phoneNumber=%2B233240000001&networkCode=99999&failureReason=UserIsInactive")
    assert handset["inbox"] == (await world.control("GET", f"/handsets/{PAYER}"))["inbox"] == []


async def test_a_share_is_drawn_with_its_seed(world: World) -> None:
    """The same seed gives the same faults; a share is about as many as it says."""
    patterns = []
    for _ in range(2):
        await plan(world, "500", SMS, share=0.3, seed=7)
        patterns.append([(await send_sms(world)).status_code for _ in range(100)])
    assert patterns[0] == patterns[1]
    assert 20 <= patterns[0].count(500) <= 40


async def test_the_plan_tells_how_often_it_struck(world: World) -> None:
    """A fault is listed with its count, and the plan can be cleared."""
    await plan(world, "lost_callback", count=2)
    for one in (ONE, TWO, THREE):
        await Momo(world).pay_in(one, PAYER)
    assert len(await world.told()) == 1
    shown = [{"name": "lost_callback", "target": COLLECTION, "count": 2, "fired": 2}]
    assert await world.control("GET", "/faults") == shown
    assert await world.control("DELETE", "/faults") == []


@pytest.fixture
async def served() -> AsyncIterator[tuple[World, str]]:
    """A sandbox behind a real server, and its address."""
    world = World(Clock())
    app = Starlette(routes=[Mount("/sandbox", world.sandbox.app)])
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        serving = asyncio.create_task(server.serve([listener]))
        yield world, f"http://127.0.0.1:{listener.getsockname()[1]}/sandbox"
        server.should_exit = True
        await serving
    await world.sandbox.country.background.close()


@pytest.mark.parametrize(("name", "then"), [("accepted_then_timeout", 409), ("lost_request", 202)])
async def test_a_broken_connection_tells_nothing(served: tuple[World, str], name: str, then: int) -> None:
    """Over a real socket the caller cannot tell a request that was done from one that was not."""
    world, address = served
    momo = Momo(world)
    await plan(world, name, count=1)
    token = await momo._token("collection")
    headers = {
        "Authorization": f"Bearer {token}",
        "Ocp-Apim-Subscription-Key": "key",
        "X-Target-Environment": "mtnghana",
        "X-Reference-Id": ONE,
    }
    party = {"partyIdType": "MSISDN", "partyId": PAYER}
    body = {"amount": "10", "currency": "GHS", "externalId": "label", "payer": party}
    async with http.client() as client:
        with pytest.raises(Unknown):
            await http.call(
                client, "POST", f"{address}/mtn_momo/collection/v1_0/requesttopay", json=body, headers=headers
            )
    assert (await momo.pay_in(ONE, PAYER)).status_code == then


async def test_time_passes_by_itself(served: tuple[World, str]) -> None:
    """With the machine's own clock a prompt expires without anybody asking."""
    world, _ = served
    await world.control("PUT", "/switches", {"mtn_momo": {"prompt_seconds": 0.02}})
    await Momo(world).pay_in(ONE, PAYER)
    await asyncio.wait_for(world.told_first.wait(), 5)
    assert '"reason":"EXPIRED"' in world.notices[0][3]
