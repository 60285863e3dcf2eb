"""Hostile aggregators, operators and phones, against the whole application over real HTTP."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx2 as httpx
import pytest
from edge import FORMATS, Edge, count, rows, seen
from test_journeys import application  # noqa: F401 - a fixture

from ussd_app.app import Application
from ussd_app.payments.schedule import Schedule

PAYERS = {name: f"23324000010{number}" for number, name in enumerate(FORMATS)}
COPIES = 50
pytestmark = pytest.mark.usefixtures("redis")


@pytest.fixture
def schedule() -> Schedule:
    """Nobody asks by themselves while a test looks: only callbacks have the operator asked."""
    return Schedule(check_ages=(60,))


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """A client with room for a crowd."""
    limits = httpx.Limits(max_connections=COPIES)
    async with httpx.AsyncClient(trust_env=False, timeout=20, limits=limits) as http:
        yield http


@pytest.fixture(params=FORMATS)
def phone(request: pytest.FixtureRequest, application: Application, http: httpx.AsyncClient) -> Edge:
    """A handset in each format."""
    return Edge(http, application.settings.public_url, request.param, PAYERS[request.param])


async def test_one_dialogue_in_every_format_byte_for_byte(phone: Edge, application: Application) -> None:
    """From dial to the approval's END: status, content type and body."""
    foot = "\n0 Back 00 Home"
    languages = "Language / Langue / Lugha\n1 English\n2 Francais\n3 Kiswahili\n4 Twi"
    home = "Akwaaba Ama\n2 My groups\n3 Send money\n4 Airtime, bundles\n5 My account"
    confirm = "Send GHS 50.00 to {} 0240000002\nFee GHS 0.50. Total GHS 50.50\n1 Confirm\n2 Cancel"
    assert seen(await phone.dial()) == phone.reply(languages)
    assert seen(await phone.press("1")) == phone.reply("Welcome! What is your name?" + foot)
    assert seen(await phone.press("Ama")) == phone.reply(home)
    assert seen(await phone.press("3")) == phone.reply("Send money\nEnter phone number" + foot)
    assert seen(await phone.press("0240000002")) == phone.reply("Amount to send to 0240000002" + foot)
    shown = await phone.press("50")
    name = phone.read(shown).partition("50.00 to ")[2].partition(" 0240000002")[0]
    assert seen(shown) == phone.reply(confirm.format(name) + foot)
    ended = await phone.press("1")
    ((code,),) = await rows(application, "SELECT code FROM orders")
    said = f"Now approve GHS 50.50 with your mobile money PIN. We will SMS you. Ref {code}"
    assert seen(ended) == phone.reply(said, close=True)


async def test_fifty_copies_of_each_hop_are_one_step(phone: Edge, application: Application) -> None:
    """Equal bytes for all, one step forward, and one order of money at the end."""
    await phone.enrol()
    await phone.dial()
    for entry, shows in (("3", "Enter phone"), ("0240000002", "Amount"), ("50", "1 Confirm"), ("1", "END Now approve")):
        body = phone.hop(entry)
        answers = await asyncio.gather(*(phone.send(body) for _ in range(COPIES)))
        assert len({seen(answer) for answer in answers}) == 1
        assert shows in phone.read(answers[0])
    assert await count(application, "orders") == 1
    assert await count(application, "payments WHERE kind = 'collection'") == 1
    await asyncio.sleep(0.3)  # beyond the repeat window
    assert "END Now approve" in phone.read(await phone.again())
    assert await count(application, "orders") == 1


@pytest.mark.parametrize("tail", ["1", "1*1", "1*1*1*1", "01", "*1", "**1", "1#", "3*0240000002*50*1", "00*3*1"])
async def test_nothing_dialled_ahead_passes_a_confirmation(
    phone: Edge,
    application: Application,
    tail: str,
) -> None:
    """`*920*55*3*0240000002*50*1#` stops where only a person may say yes."""
    await phone.enrol()
    shown = phone.read(await phone.dial(f"*920*55*3*0240000002*50*{tail}#"))
    assert shown.startswith("CON ")
    assert await count(application, "orders") == 0
    # Whatever it stopped at, the same dial again is no answer to it either.
    assert phone.read(await phone.again()) == shown
    assert await count(application, "orders") == 0


async def test_no_pin_is_taken_from_a_dial_string(phone: Edge, application: Application) -> None:
    """A PIN in a dial string stands in call logs: it is dropped, and the screen asks."""
    await phone.enrol()
    shown = phone.read(await phone.dial("*920*55*5*3*2580*2580#"))
    assert "Choose a new PIN" in shown
    assert await count(application, "subscribers WHERE pin_hash IS NOT NULL") == 0


async def test_stolen_session_id_opens_nobody_elses_dialogue(phone: Edge, application: Application) -> None:
    """At the confirmation another number that knows the session id confirms nothing, and disturbs nothing."""
    await phone.enrol()
    confirm = await phone.confirm_screen()
    thief = Edge(phone.http, phone.url, phone.format, "233240000199", phone.session, phone.typed)
    assert "Confirm" not in thief.read(await thief.press("1"))
    for kind in ("4", "5"):
        if phone.format in {"madapi", "flat"}:
            await thief.send(thief.request(kind))
    assert await count(application, "orders") == 0
    assert phone.read(await phone.again()) == confirm
    assert "END Now approve" in phone.read(await phone.press("1"))


async def test_same_session_through_another_aggregator_resumes_nothing(
    phone: Edge,
    application: Application,
) -> None:
    """The other aggregator's word for who is calling is not the first one's."""
    await phone.enrol()
    await phone.confirm_screen()
    other = "madapi" if phone.format == "africastalking" else "africastalking"
    foreign = Edge(phone.http, phone.url, other, phone.msisdn, phone.session)
    assert "Confirm" not in foreign.read(await foreign.press("1"))
    assert await count(application, "orders") == 0


@pytest.mark.parametrize(
    "subscriber", ["23324****001", "abcdef0123456789", "0", "-", "233302000001", "2332400000012345"]
)
async def test_masked_number_moves_no_money(phone: Edge, application: Application, subscriber: str) -> None:
    """Who has no mobile number is told so at the first screen that would need one."""
    phone.msisdn = subscriber
    await phone.dial()
    for entry in ("3", "0240000002", "50", "1", "1"):
        answer = await phone.press(entry)
        assert answer.status_code == 200
    assert await count(application, "orders") == 0
    assert await count(application, "subscribers") == 0


# Callbacks of the operator


@pytest.fixture
async def pending(
    application: Application,
    http: httpx.AsyncClient,
) -> tuple[str, str]:
    """A payment whose prompt nobody has answered; its id, and the address of its callbacks."""
    phone = Edge(http, application.settings.public_url, "africastalking", "233240000001")
    await phone.enrol()
    await phone.confirm_screen()
    await phone.press("1")
    async with asyncio.timeout(10):
        while not await count(application, "payments WHERE state = 'pending'"):  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(0.05)
    ((payment,),) = await rows(application, "SELECT id FROM payments")
    return str(payment), application.callback_url("mtn_momo", f"collection/{payment}")


@pytest.fixture
def asked(application: Application) -> list[str]:
    """The references whose status was asked for, as they stand at the end of the addresses."""
    references: list[str] = []

    async def seen(request: httpx.Request) -> None:
        if request.method == "GET" and "/requesttopay/" in request.url.path:
            references.append(request.url.path.rpartition("/")[2])

    application.http.event_hooks["request"].append(seen)
    return references


def _forged(reference: str) -> dict[str, Any]:
    return {
        "financialTransactionId": "1234567", "externalId": "12345678", "amount": "50.50", "currency": "GHS",
        "payer": {"partyIdType": "MSISDN", "partyId": "233240000001"}, "status": "SUCCESSFUL", "referenceId": reference,
    }  # fmt: skip


async def test_wrong_secret_is_404_and_leaves_nothing(
    pending: tuple[str, str],
    asked: list[str],
    http: httpx.AsyncClient,
    application: Application,
) -> None:
    """Also one that is a prefix, another provider's, or upper case."""
    payment, address = pending
    base, secret, *_ = address.rsplit("/", 3)
    registered = application.callback_url("mtn_momo").rpartition("/")[2]
    other = application.callback_url("mtn_momo", f"collection/{uuid4()}").split("/")[-3]
    stored = await count(application, "callbacks")
    for wrong in (secret[:-1], f"{secret}0", secret.upper(), "x", "%00", registered, other):
        answer = await http.put(f"{base}/{wrong}/collection/{payment}", json=_forged(payment))
        assert (answer.status_code, secret in answer.text) == (404, False)
    assert await count(application, "callbacks") == stored
    assert not asked


async def test_forged_success_is_asked_about_once_and_believed_never(
    pending: tuple[str, str],
    asked: list[str],
    http: httpx.AsyncClient,
    application: Application,
) -> None:
    """Fifty at once, with the right secret: all 200, one question to the operator, nothing posted."""
    payment, address = pending
    body = _forged(payment)
    for _ in range(2):
        answers = await asyncio.gather(*(http.put(address, json=body) for _ in range(COPIES)))
        assert {answer.status_code for answer in answers} == {200}
        await asyncio.sleep(1.5)
    assert asked.count(payment) == 1
    assert await count(application, "callbacks") == 2 * COPIES
    assert await rows(application, "SELECT kind, state FROM payments") == [("collection", "pending")]
    assert await count(application, "messages") == 0


async def test_unknown_reference_is_stored_and_changes_nothing(
    pending: tuple[str, str],
    asked: list[str],
    http: httpx.AsyncClient,
    application: Application,
) -> None:
    """A reference nobody made, none at all, and one that is no reference."""
    assert pending
    jobs = await count(application, "procrastinate_jobs WHERE task_name = 'payments.confirm'")
    for path in (f"collection/{uuid4()}", "collection/nonsense", "collection", "", uuid4().hex, "a/-"):
        assert (await http.post(application.callback_url("mtn_momo", path), json=_forged("x"))).status_code == 200
    assert await count(application, "callbacks") == 6
    assert await count(application, "procrastinate_jobs WHERE task_name = 'payments.confirm'") == jobs
    assert not asked


async def test_fifty_genuine_callbacks_are_one_step(
    pending: tuple[str, str],
    http: httpx.AsyncClient,
    application: Application,
) -> None:
    """The person approves; fifty copies at once bring one posting, one disbursement and one SMS to each."""
    payment, address = pending
    url = application.settings.public_url
    prompts = (await http.get(f"{url}/sandbox/handsets/233240000001")).json()["prompts"]
    await http.post(f"{url}/sandbox/handsets/233240000001/prompts/{prompts[0]['id']}", json={"answer": "approve"})
    send = (http.put(address, json=_forged(payment)) for _ in range(COPIES))
    assert {answer.status_code for answer in await asyncio.gather(*send)} == {200}
    async with asyncio.timeout(15):
        while not await count(application, "orders WHERE state = 'done'"):  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(0.1)
    assert await rows(application, "SELECT kind, state FROM payments ORDER BY kind") == [
        ("collection", "succeeded"),
        ("disbursement", "succeeded"),
    ]
    assert await rows(application, "SELECT template, count(*) FROM messages GROUP BY 1 ORDER BY 1") == [
        ("money_received", 1),
        ("money_sent", 1),
    ]
