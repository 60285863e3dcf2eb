"""Our own clients of airtime, bundles and SIM insights against the sandbox, and everything that may go wrong there."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from io import BytesIO
from typing import Any
from uuid import uuid4

import httpx2 as httpx
import pytest
import requests
from conftest import FakeClock
from redis.asyncio import Redis
from requests.adapters import BaseAdapter
from sandbox import World

from ussd_app.clock import Clock
from ussd_app.config import Settings, load
from ussd_app.deliveries import Delivery, airtime_africastalking, bundles_africastalking
from ussd_app.errors import Reason, Rejected, Throttled, Unknown
from ussd_app.insights import SimAnswer
from ussd_app.insights import africastalking as insights
from ussd_app.money import Money
from ussd_app.movement import Failed, Kind, Pending, Request, Status, Succeeded
from ussd_app.msisdn import Msisdn
from ussd_app.sandbox import environment
from ussd_app.store import Store

AMA, KOFI = Msisdn("+233240000001"), Msisdn("+233240000002")
FIVE = Money.of("5.00", "GHS")
BUNDLE = {"product": "Data", "quantity": "50", "unit": "MB", "validity": "Day"}
AIRTIME, BUNDLES, INSIGHTS = "airtime_africastalking", "bundles_africastalking", "insights_africastalking"


class Bridge(BaseAdapter):
    """From the SDK's threads to a sandbox in the test's own loop; a broken answer is a read that timed out."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        super().__init__()
        self._client = client
        self._loop = asyncio.get_running_loop()

    def send(self, request: requests.PreparedRequest, *_options: object, **_more: object) -> requests.Response:
        """One exchange."""
        path = str(request.path_url).removeprefix("/sandbox")
        call = self._client.request(
            str(request.method), path, content=request.body or b"", headers=dict(request.headers.items())
        )
        try:
            answer = asyncio.run_coroutine_threadsafe(call, self._loop).result(10)
        except AssertionError:  # httpx's own, of an application that ends in the middle of a body
            raise requests.ReadTimeout from None
        response = requests.Response()
        response.status_code, response.raw = answer.status_code, BytesIO(answer.content)
        response.headers.update(answer.headers)
        return response

    def close(self) -> None:
        """Nothing is open."""


class Country:
    """A sandbox, and our clients of its Africa's Talking."""

    def __init__(self, clock: FakeClock, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = World(clock, {name: f"https://pay.example.org/{name}" for name in (AIRTIME, BUNDLES, INSIGHTS)})
        self.clock = clock
        for name, value in environment(self.world.settings).items():
            monkeypatch.setenv(name, value)
        parts = httpx.AsyncClient(), redis, clock
        store = Store("postgresql+psycopg://nobody@127.0.0.1:1/nothing", Clock())
        airtime = airtime_africastalking.Delivery(load(airtime_africastalking.Settings), *parts, store)
        bundles = bundles_africastalking.Delivery(load(bundles_africastalking.Settings), *parts, store)
        self.insight = insights.Insight(load(insights.Settings), *parts)
        for client in (airtime, bundles, self.insight):
            client._calls.session.mount("http://", Bridge(self.world.client))
        self.airtime: Delivery = airtime
        self.bundles: Delivery = bundles

    async def plan(self, name: str, point: str, **more: Any) -> None:  # noqa: ANN401 - any member of a fault
        """One fault, once unless it says otherwise."""
        await self.world.control("PUT", "/faults", [{"name": name, "target": point, "count": 1} | more])

    async def switch(self, **values: str) -> None:
        """Change how Africa's Talking is."""
        await self.world.control("PUT", "/switches", {"africastalking": values})

    async def told(self) -> list[bytes]:
        """The bodies of all callbacks that are due in a second."""
        self.clock.advance(1)
        return [body.encode() for *_, body in await self.world.told()]

    async def handset(self, msisdn: Msisdn = AMA) -> Any:  # noqa: ANN401 - as the control API shows it
        """A handset as it is."""
        return await self.world.control("GET", f"/handsets/{msisdn}")

    async def movements(self, delivery: str) -> list[tuple[str, str]]:
        """Reference and state of everything asked of a delivery."""
        books = (await self.world.control("GET", "/books"))["deliveries"].get(delivery, {"movements": []})
        return [(movement["reference"], movement["status"]) for movement in books["movements"]]


@pytest.fixture
async def country(clock: FakeClock, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Country]:
    """Ghana."""
    country = Country(clock, redis, monkeypatch)
    async with country.world.sandbox, country.world.client:
        yield country


def top_up(msisdn: Msisdn = AMA) -> Request:
    """Five cedis of airtime."""
    return Request(uuid4(), Kind.DELIVERY, msisdn, FIVE, "10000417", "Ref 10000417", "")


def bundle() -> Request:
    """Fifty megabytes."""
    return replace(top_up(), item=BUNDLE)


def taken(request: Request, status: Status) -> Request:
    """The request as it is once its answer has come."""
    assert isinstance(status, Pending)
    assert status.external_id
    return replace(request, external_id=status.external_id)


async def test_airtime_from_asking_to_the_handset(country: Country) -> None:
    """Sent is not done; then the callback and the look-up agree, and the handset and the books have it once."""
    request = taken(asked := top_up(), await country.airtime.submit(asked))
    assert await country.airtime.check(request) == Pending("Sent")
    [body] = await country.told()
    note = country.airtime.parse_callback("", body)
    done = Succeeded(str(request.external_id), FIVE)
    assert (note.reference, note.external_id, note.status) == (None, request.external_id, done)
    assert await country.airtime.check(request) == done
    assert (await country.handset())["airtime"] == {"GHS": "5.00"}
    books = await country.world.control("GET", "/books")
    assert books["deliveries"][AIRTIME]["balances"] == {"GHS": "-5.00"}
    assert await country.movements(AIRTIME) == [(str(request.reference), "succeeded")]


async def test_a_bundle_from_asking_to_the_handset(country: Country) -> None:
    """The callback brings our reference back; what it is worth to us is what was asked."""
    request = taken(asked := bundle(), await country.bundles.submit(asked))
    assert await country.bundles.check(request) == Pending("Queued")
    [body] = await country.told()
    note = country.bundles.parse_callback("", body)
    assert (note.reference, note.external_id) == (request.reference, request.external_id)
    assert await country.bundles.check(request) == Succeeded(str(request.external_id), FIVE)
    assert (await country.handset())["bundles"] == [BUNDLE]
    assert await country.movements(BUNDLES) == [(str(request.reference), "succeeded")]


async def test_callbacks_as_forms(country: Country) -> None:
    """As the oldest documents have them."""
    await country.switch(callback_body="form")
    await country.airtime.submit(top_up())
    await country.bundles.submit(bundle())
    for body in await country.told():
        assert isinstance(country.airtime.parse_callback("", body).status, Succeeded)


@pytest.mark.parametrize("fault", ["accepted_then_timeout", "accepted_then_500", "invalid_json", "html_200"])
async def test_airtime_without_an_answer_is_asked_for_again_and_given_once(country: Country, fault: str) -> None:
    """The same key brings the same answer; nobody is topped up twice."""
    await country.plan(fault, "africastalking.airtime")
    request = top_up()
    with pytest.raises(Unknown):
        await country.airtime.submit(request)
    await country.told()
    request = taken(request, await country.airtime.submit(request))
    assert await country.airtime.check(request) == Succeeded(str(request.external_id), FIVE)
    assert (await country.handset())["airtime"] == {"GHS": "5.00"}
    assert await country.told() == []


async def test_copies_at_once_are_one(country: Country) -> None:
    """Also while the first is being answered, and where its callback is out before its answer."""
    await country.plan("callback_first", "africastalking.airtime", count=5)
    request = top_up()
    statuses = await asyncio.gather(*(country.airtime.submit(request) for _ in range(5)))
    assert len({taken(request, status).external_id for status in statuses}) == 1
    assert len(await country.told()) == 1
    assert (await country.handset())["airtime"] == {"GHS": "5.00"}


async def test_a_bundle_without_an_answer_is_found_by_its_callback(country: Country) -> None:
    """It cannot be asked for again; the callback names our reference and the id to look it up by."""
    await country.plan("accepted_then_timeout", "africastalking.bundles")
    request = bundle()
    with pytest.raises(Unknown):
        await country.bundles.submit(request)
    with pytest.raises(Unknown):
        await country.bundles.check(request)
    [body] = await country.told()
    note = country.bundles.parse_callback("", body)
    assert note.reference == request.reference
    found = replace(request, external_id=note.external_id)
    assert isinstance(await country.bundles.check(found), Succeeded)


@pytest.mark.parametrize(("fault", "error"), [("503", Throttled), ("429", Throttled), ("500", Unknown)])
async def test_outages(country: Country, fault: str, error: type[Exception]) -> None:
    """Nothing was done, and the next try is the first."""
    for delivery, point, request in (
        (country.airtime, "africastalking.airtime", top_up()), (country.bundles, "africastalking.bundles", bundle()),
    ):  # fmt: skip
        await country.plan(fault, point)
        with pytest.raises(error):
            await delivery.submit(request)
        assert isinstance(await delivery.submit(request), Pending)
    await country.plan(fault, "africastalking.insights")
    with pytest.raises(error):
        await country.insight.ask([AMA])
    assert await country.insight.ask([AMA])
    assert len(await country.movements(AIRTIME)) == len(await country.movements(BUNDLES)) == 1


async def test_slow(country: Country) -> None:
    """The answer takes its time, and is right."""
    await country.plan("slow", "africastalking.airtime", seconds=7)
    assert isinstance(await country.airtime.submit(top_up()), Pending)
    assert country.clock.seconds == 7


async def test_queued_for_ever(country: Country) -> None:
    """It is never final, and nobody is told; the look-up goes on saying so."""
    await country.plan("queued_for_ever", "africastalking.*", count=None)
    airtime = taken(first := top_up(), await country.airtime.submit(first))
    data = taken(second := bundle(), await country.bundles.submit(second))
    await country.insight.ask([AMA])
    country.clock.advance(86_400)
    assert await country.told() == []
    assert await country.airtime.check(airtime) == Pending("Sent")
    assert await country.bundles.check(data) == Pending("Queued")


async def test_failed_after_accepted(country: Country) -> None:
    """The money is back in our account there, and nothing on the handset."""
    await country.plan("failed_after_accepted", "africastalking.*", count=2)
    airtime = taken(first := top_up(), await country.airtime.submit(first))
    data = taken(second := bundle(), await country.bundles.submit(second))
    notes = [country.airtime.parse_callback("", body).status for body in await country.told()]
    assert [type(note) for note in notes] == [Failed, Failed]
    failed = Failed(Reason.INTERNAL, "Telco was unable to process the request")
    assert await country.airtime.check(airtime) == await country.bundles.check(data) == failed
    handset = await country.handset()
    assert (handset["airtime"], handset["bundles"]) == ({}, [])
    assert await country.movements(AIRTIME) == [(str(airtime.reference), "failed")]
    for path, balance in (("version1/user", "GHS 250000.50"), ("query/wallet/balance", "GHS 250000.00")):
        answer = await country.world.client.get(f"/africastalking/{path}?username=a", headers={"apiKey": "key"})
        assert balance in answer.text


async def test_callbacks_lost_doubled_late_and_first(country: Country) -> None:
    """Whatever becomes of the callback, the look-up knows."""
    await country.plan("lost_callback", "africastalking.airtime")
    lost = taken(first := top_up(), await country.airtime.submit(first))
    assert await country.told() == []
    assert isinstance(await country.airtime.check(lost), Succeeded)
    await country.plan("doubled_callback", "africastalking.airtime", copies=3)
    await country.airtime.submit(top_up(KOFI))
    assert len(set(doubled := await country.told())) == 1
    assert len(doubled) == 3
    await country.plan("late_callback", "africastalking.bundles", seconds=60)
    await country.bundles.submit(bundle())
    assert await country.told() == []
    country.clock.advance(60)
    assert len(await country.told()) == 1
    await country.plan("callback_first", "africastalking.bundles")
    early = taken(second := bundle(), await country.bundles.submit(second))
    [(*_, body)] = country.world.notices
    assert country.bundles.parse_callback("", body.encode()).external_id == early.external_id


async def test_the_same_airtime_within_five_minutes(country: Country) -> None:
    """Fails by callback, is refused at once, or is allowed; another amount or number, or later, is another matter."""
    assert isinstance(await country.airtime.submit(top_up()), Pending)
    twice = taken(again := top_up(), await country.airtime.submit(again))
    await country.airtime.submit(top_up(KOFI))
    await country.airtime.submit(replace(top_up(), amount=Money.of("6.00", "GHS")))
    assert len(await country.told()) == 4
    status = await country.airtime.check(twice)
    assert isinstance(status, Failed)
    assert status.reason is Reason.DUPLICATE
    await country.switch(same_number="reply")
    with pytest.raises(Rejected) as refused:
        await country.airtime.submit(top_up())
    assert refused.value.reason is Reason.DUPLICATE
    await country.switch(same_number="allowed")
    await country.airtime.submit(top_up())
    await country.told()
    assert (await country.handset())["airtime"] == {"GHS": "16.00"}
    await country.switch(same_number="reply")
    country.clock.advance(300)
    assert isinstance(await country.airtime.submit(top_up()), Pending)


async def test_a_sim_that_was_swapped(country: Country) -> None:
    """Each answer comes to the id of its question, whenever it comes."""
    await country.world.control("PUT", f"/handsets/{AMA}", {"sim_swapped_at": "2031-03-03"})
    await country.plan("doubled_callback", "africastalking.insights")
    asked = {msisdn: request_id for request_id, msisdn in (await country.insight.ask([AMA, KOFI])).items()}
    answers = [country.insight.parse_callback(body) for body in await country.told()]
    swapped, never = SimAnswer(asked[AMA], date(2031, 3, 3)), SimAnswer(asked[KOFI], None)
    assert answers in ([swapped, swapped, never], [never, swapped, swapped])
    await country.plan("callback_first", "africastalking.insights")
    await country.insight.ask([KOFI])
    assert len(country.world.notices) == 1


async def test_a_day_that_is_none_is_explained(country: Country) -> None:
    """The control API takes ISO dates alone."""
    answer = await country.world.client.put(f"/handsets/{AMA}", json={"sim_swapped_at": "yesterday"})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("sim_swapped_at: ")


async def test_callbacks_of_another_client(country: Country) -> None:
    """Who brings a client of their own names the addresses by switches."""
    url = "https://other.example.org"
    await country.switch(airtime_callback_url=url, bundles_callback_url=url, insights_callback_url=url)
    await country.airtime.submit(top_up())
    await country.bundles.submit(bundle())
    await country.insight.ask([AMA])
    country.clock.advance(1)
    assert {address for _, address, *_ in await country.world.told()} == {url}


def test_a_company_is_played_where_any_client_of_it_is_configured() -> None:
    """A delivery or a SIM check alone brings its company's half; what nobody uses is not played."""
    alone = {"senders": ("mtn",), "deliveries": ("voucher_sms",)}
    assert "AT_BASE_URL" not in environment(load(Settings, **alone))
    assert "AT_BASE_URL" in environment(load(Settings, **alone | {"deliveries": (BUNDLES,)}))
    assert "AT_BASE_URL" in environment(load(Settings, **alone, sim_checks="africastalking"))
