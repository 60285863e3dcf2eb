"""A web server dies by SIGKILL while somebody leaves: their money goes with them or both stay, at every point."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import httpx2 as httpx
import pytest
from groups import phone
from sqlalchemy import select
from town import HERE, Town, free_port, open_town, until_ready

from ussd_app.app import Application
from ussd_app.config import Settings, load
from ussd_app.groups import cycles, founding, invites
from ussd_app.money import Money
from ussd_app.orders import Placed, contribution
from ussd_app.store import Store
from ussd_app.tables import memberships, orders

PIN = "2580"
PEOPLE = 5
LEAVER = phone(PEOPLE)
PAID = "SELECT count(*) = 1 FROM orders WHERE kind = 'contribution' AND state = 'done'"
GONE = {"place.in_commit": False, "leave.in_commit": False, "leave.after_commit": True}


@pytest.fixture
async def town(store: Store, database: str, redis_url: str) -> AsyncIterator[Town]:
    """A town whose SMS are quick."""
    async with open_town(store, database, redis_url, MTN_SMS_PARTS_PER_SECOND="500") as town:
        yield town


async def found(application: Application, town: Town) -> UUID:
    """Five who take turns, one of whom has paid 20 ahead."""
    groups = application.groups
    made = await founding.create(groups, "founded", phone(1), "rotating", "ADEHYE", Money.of(50, "GHS"), "weekly")
    assert isinstance(made, founding.Created)
    for number in range(1, PEOPLE + 1):
        await application.subscribers.register(phone(number), "Ama", "en")
        await application.subscribers.set_pin(phone(number), PIN, checked=False)
        if number > 1:
            assert isinstance(await invites.join(groups, phone(number), "Ama", made.code or ""), invites.Joined)
    assert isinstance(await cycles.start(groups, "started", phone(1), made.group_id), cycles.Started)
    await town.set_handset(LEAVER.digits, auto="approve")
    placed = await contribution.place(
        application.orders, run="paid", msisdn=LEAVER, language="en", group_id=made.group_id,
        amount=Money.of(70, "GHS"),
    )  # fmt: skip
    assert isinstance(placed, Placed)
    return made.group_id


async def leave(url: str) -> str:
    """Dial, and say yes with a PIN; what the phone shows."""
    hop = {"sessionId": uuid4().hex, "phoneNumber": LEAVER, "networkCode": "62001", "serviceCode": "*920*55#"}
    async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
        for text in ("2*5*7", f"2*5*7*{PIN}"):
            answer = await http.post(f"{url}/ussd/africastalking", data=hop | {"text": text})
    return answer.text


async def dying(town: Town, point: str) -> tuple["subprocess.Popen[bytes]", str]:
    """A second server of the same town, which dies there."""
    port = free_port()
    words = ["-m", "uvicorn", "--app-dir", str(HERE), "--factory", "dying_server:create", "--port", str(port)]
    process = town.start([sys.executable, *words], SANDBOX="0", DIES_AT=point)
    url = f"http://127.0.0.1:{port}"
    await until_ready(town.http, url)
    return process, url


async def stands(town: Town) -> tuple[str, int]:
    """Whether the leaver is a member, and how many orders bring them their own."""
    async with town.store.look() as connection:
        member = select(memberships.c.state).where(memberships.c.msisdn == LEAVER)
        ordered = select(orders.c.id).where(orders.c.kind == "take_back")
        found = (await connection.execute(ordered)).all()
        return (await connection.execute(member)).scalar_one(), len(found)


@pytest.mark.parametrize("point", GONE)
async def test_nobody_goes_without_their_money(town: Town, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    """Neither has happened or both have; dialled again it happens once, and every pesewa is where it belongs."""
    for name, value in town.env.items():
        monkeypatch.setenv(name, value)
    worker = town.work()
    async with Application(load(Settings)) as application:
        await found(application, town)
    await town.until(PAID)
    process, url = await dying(town, point)
    with pytest.raises(httpx.HTTPError):
        await leave(url)
    assert await asyncio.to_thread(process.wait, 20) == -signal.SIGKILL
    assert await stands(town) == (("left", 1) if GONE[point] else ("active", 0))
    if not GONE[point]:
        assert await leave(town.url) == "END You have left ADEHYE."
    await town.until("SELECT count(*) = 1 FROM orders WHERE kind = 'take_back' AND state = 'done'")
    assert await stands(town) == ("left", 1)
    assert (await town.handset(LEAVER.digits))["balances"] == {"GHS": "950.00"}
    town.end(worker)
    await town.books_agree()
