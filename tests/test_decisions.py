"""What a person's word makes of a payment: every state, both words, and the docs that say so."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from uuid import uuid4

import pytest
from conftest import FakeClock
from desk import AMA, KOFI, Desk, open_desk
from sqlalchemy import select, update
from test_claims import Mute
from test_contradictions import PAID, alerts, told

from ussd_app.app import Application
from ussd_app.callbacks import Callbacks
from ussd_app.config import Settings, load
from ussd_app.errors import Reason, Unknown
from ussd_app.money import Money
from ussd_app.operators import Failed, Kind, Pending
from ussd_app.orders import Placed, send_money
from ussd_app.payments import claims, decisions
from ussd_app.payments.decisions import TABLE, Decision, Undecided, Word
from ussd_app.payments.life import MACHINE
from ussd_app.sandbox import environment
from ussd_app.store import Store
from ussd_app.tables import audit, deposits, payments
from ussd_app.till import Tills

HOUR = 3600
RUNNING = Path(__file__).parents[1] / "docs" / "running.md"
RECEIPT = "UA50DEMO900"


@pytest.fixture
async def desk(store: Store, database: str, clock: FakeClock) -> AsyncIterator[Desk]:
    """A desk whose operator can be asked about everything, and calls back."""
    async with open_desk(store, database, clock) as desk:
        desk.operator = Mute(unqueried=frozenset())
        desk.payments.operators = {"scripted": desk.operator}
        desk.orders.routes.operators = desk.payments.operators
        yield desk


# --- how a collection of Ama's comes to each state


async def created(desk: Desk) -> None:
    """It has not left yet."""
    await desk.send()


async def sent(desk: Desk) -> None:
    """Its answer was lost, and the operator says nothing."""
    desk.operator.answers[Kind.COLLECTION].append(Unknown("cut"))
    desk.operator.states[Kind.COLLECTION] = Unknown("404")
    await desk.send()
    await desk.run(1)


async def pending(desk: Desk) -> None:
    """The prompt is on her handset."""
    desk.operator.states[Kind.COLLECTION] = Pending()
    await desk.send()
    await desk.run(5)


async def parked(desk: Desk) -> None:
    """For 72 hours nobody could say."""
    await pending(desk)
    await desk.run(80 * HOUR)


async def failed(desk: Desk) -> None:
    """The operator says so, and a callback says that she has paid."""
    await pending(desk)
    desk.operator.states[Kind.COLLECTION] = Failed(Reason.EXPIRED)
    await desk.run(30)
    await told(desk, "collect", PAID)


async def succeeded(desk: Desk) -> None:
    """All is done."""
    await desk.send()
    await desk.run(60)


async def late(desk: Desk) -> None:
    """It was booked as failed, and has come after all."""
    await pending(desk)
    desk.operator.states[Kind.COLLECTION] = Failed(Reason.EXPIRED)
    await desk.run(30)
    del desk.operator.states[Kind.COLLECTION]
    await desk.callback((await desk.payment("collect")).id)
    await desk.run(60)


COMES: Mapping[str, Callable[[Desk], Awaitable[None]]] = {
    each.__name__: each for each in (created, sent, pending, parked, failed, succeeded, late)
}
# The order, and what we hold of hers, once a word that is taken has had its effect.
ENDS = {
    ("created", Word.PAID): ("done", "0.50"), ("sent", Word.PAID): ("done", "0.50"),
    ("pending", Word.PAID): ("done", "0.50"), ("parked", Word.PAID): ("done", "0.50"),
    ("parked", Word.UNPAID): ("failed", "0.00"), ("failed", Word.PAID): ("undone", "0.00"),
    ("failed", Word.UNPAID): ("failed", "0.00"),
}  # fmt: skip


def test_the_table_has_every_state_and_both_words() -> None:
    """A state that is added to the machine must be decided about too."""
    assert set(TABLE) == set(MACHINE.states)
    assert all(set(words) == set(Word) for words in TABLE.values())
    taken = {(state, word) for state, words in TABLE.items() for word, cell in words.items() if cell.becomes}
    assert taken == set(ENDS)


def test_the_docs_have_the_table() -> None:
    """Word by word, in the same order."""
    rows = [f"| `{state}` | {words[Word.PAID].says} | {words[Word.UNPAID].says} |" for state, words in TABLE.items()]
    assert "\n".join(("| state | `--paid` | `--unpaid` |", "|---|---|---|", *rows, "")) in RUNNING.read_text()


@pytest.mark.parametrize("word", list(Word))
@pytest.mark.parametrize("state", list(TABLE))
async def test_a_cell(desk: Desk, state: str, word: Word) -> None:
    """What it says happens, once; what it refuses changes nothing."""
    await COMES[state](desk)
    row, cell = await desk.payment("collect"), TABLE[state][word]
    assert row.state == state
    decision = Decision("the treasurer", "STATEMENT-1" if word is Word.PAID else None)
    undecided = await desk.orders.decide(row.id, decision)
    assert undecided == (None if cell.becomes else Undecided(cell.says))
    after = await desk.payment("collect")
    assert after.state == (cell.becomes or state)
    async with desk.store.look() as connection:
        kept = (await connection.execute(select(audit.c.detail).where(audit.c.event == "decided"))).scalars().all()
    if cell.becomes is None:
        assert kept == []
        assert after.receipt == row.receipt
        return
    receipt = decision.receipt or ""
    said = {"payment": str(row.id), "by": "the treasurer", "found": word, "receipt": receipt, "was": state}
    assert kept == [said]
    assert (after.receipt or "") == receipt
    assert isinstance(await desk.orders.decide(row.id, decision), Undecided)
    await desk.run(4 * 24 * HOUR)
    assert (*await desk.order_states(), await desk.balance("float:scripted")) == ENDS[state, word]
    assert sum(each.kind is Kind.COLLECTION for each in desk.operator.submissions) == (0 if state == "created" else 1)


async def test_of_two_people_at_once_one_decides(desk: Desk) -> None:
    """Ten of them, with both words: one booking, one row of the audit, one way for the order."""
    await parked(desk)
    row = await desk.payment("collect")
    words = [Decision(f"person {number}", f"R-{number}" if number % 2 else None) for number in range(10)]
    answers = await asyncio.gather(*(desk.orders.decide(row.id, word) for word in words))
    # Who says paid of what has just been called unpaid is believed: the statement has a receipt.
    assert answers.count(None) == (1 if (await desk.payment("collect")).state == "succeeded" else 2)
    await desk.run(60)
    assert await desk.order_states() in (["done"], ["undone"])
    assert await desk.balance("float:scripted") in {"0.50", "0.00"}


async def test_a_receipt_books_one_payment(desk: Desk) -> None:
    """That of another, of this operator, is refused and named, of two at once too; so is that of a deposit."""
    desk.operator.states[Kind.COLLECTION] = Pending()
    for run in ("run-1", "run-2"):
        await desk.send(run=run)
    await desk.run(5)
    async with desk.store.look() as connection:
        ids = list((await connection.execute(select(payments.c.id))).scalars())
    answers = await asyncio.gather(*(desk.orders.decide(each, Decision("a person", RECEIPT)) for each in ids))
    [refused] = [answer for answer in answers if answer]
    booked = ids[answers.index(None)]
    assert refused == Undecided(f"refused: receipt {RECEIPT} is that of payment {booked}")
    async with desk.store.work() as connection:
        deposit = {
            "id": uuid4(), "provider": "scripted", "receipt": "TILL-1", "digits": "1", "amount": 1, "currency": "GHS",
            "payer": "", "label": "", "state": "confirmed", "told_at": desk.clock.now(),
        }  # fmt: skip
        await connection.execute(deposits.insert().values(deposit))
    other = ids[1 - answers.index(None)]
    undecided = await desk.orders.decide(other, Decision("a person", "TILL-1"))
    assert undecided == Undecided("refused: receipt TILL-1 is that of money paid to our till")
    assert await desk.orders.decide(other, Decision("a person", "UA50DEMO901")) is None


async def test_nothing_is_decided_about_a_failure_that_nothing_contradicts(desk: Desk) -> None:
    """It has failed, and its order knows."""
    await pending(desk)
    desk.operator.states[Kind.COLLECTION] = Failed(Reason.EXPIRED)
    await desk.run(30)
    row = await desk.payment("collect")
    assert await desk.orders.decide(row.id, Decision("a person", None)) == Undecided(decisions.FAILED)
    assert await alerts(desk) == []
    assert await desk.order_states() == ["failed"]


# --- the command


async def command(env: Mapping[str, str], *words: str) -> tuple[int, str]:
    """``ussd-app``, as a process: its exit code, and what it says, wherever."""
    run = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "ussd_app", *words],
        env={**os.environ, **env}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return run.returncode, run.stdout + run.stderr


BY = "--by", "Efua"
NEEDS = "--receipt, the operator's own id of it: up to 64 characters without blanks"
WRONG: tuple[tuple[tuple[str, ...], str], ...] = (
    (("{code}", "--paid", *BY), f"--paid needs {NEEDS}"),
    (("{code}", "--paid", "--receipt", "no receipt", *BY), f"--paid needs {NEEDS}"),
    (("{code}", "--unpaid", "--receipt", "R-1", *BY), "--receipt is of what was paid: --unpaid has none"),
    (("00000000", "--unpaid", *BY), "no payment 00000000, and no order of that code"),
    (("nonsense", "--unpaid", *BY), "no payment nonsense, and no order of that code"),
    (("{code}", "--unpaid", "--by", " "), "say who decides"),
    (("{code}", "--unpaid", *BY), "{id} (created collection) refused: it is still to be asked for"),
)


@pytest.mark.long  # a process for each of a dozen commands
async def test_the_command(database: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong is one line and exit code 2; what is right is booked, once, by the order's code."""
    url = "http://127.0.0.1:9"
    env = {
        **environment(Settings(public_url=url)), "PUBLIC_URL": url, "SANDBOX": "1", "SECRET_KEYS": "of the tests",
        "DATABASE_URL": database.replace("+psycopg", ""), "REDIS_URL": redis_url, "LOG_LEVEL": "CRITICAL",
    }  # fmt: skip
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    async with Application(load(Settings)) as application:
        placed = await send_money.place(
            application.orders, run="run-1", msisdn=AMA, sender_name="Ama", recipient=KOFI, recipient_name="Kofi",
            amount=Money.of(50, "GHS"), language="en",
        )  # fmt: skip
        assert isinstance(placed, Placed)
        async with application.store.look() as connection:
            row = (await connection.execute(select(payments))).one()
        for words, line in WRONG:
            filled = [word.format(code=placed.reference) for word in words]
            assert await command(env, "decide", *filled) == (2, f"{line.format(id=row.id)}\n"), words
        right = placed.reference, "--paid", "--receipt", RECEIPT, *BY
        assert await command(env, "decide", *right) == (0, f"{row.id}: paid\n")
        code, line = await command(env, "decide", str(row.id), "--paid", "--receipt", RECEIPT, *BY)
        assert (code, line) == (2, f"{row.id} (succeeded collection) refused: it is booked as paid already\n")
        # The payout has begun: it is the one of the two that waits for a word.
        code, line = await command(env, "decide", *right)
        assert code == 2
        assert line.endswith(f"(created disbursement) refused: receipt {RECEIPT} is that of payment {row.id}\n")
        # A failure that a callback contradicts is listed with what it says, until somebody decides.
        async with application.store.work() as connection:
            query = update(payments).where(payments.c.step == "disburse").values(state="failed", reason="expired")
            paid_out = (await connection.execute(query.returning(payments.c.id))).scalar_one()
            await application.payments.alert_once(connection, paid_out, claims.CONTRADICTED)
        body = b'{"status":"SUCCESSFUL","financialTransactionId":"9100000417","amount":"50","currency":"GHS"}'
        tills = Tills(application.payments, application.orders.messages, application.settings)
        kept = Callbacks(application.payments, tills)
        await kept.keep("mtn_momo", f"disbursement/{paid_out}", "application/json", body)
        code, listed = await command(env, "parked")
        assert code == 0
        name = f"{paid_out} mtn_momo disbursement of GHS 50.00, {KOFI.masked}, ref {placed.reference}, booked as failed"
        assert listed.splitlines()[:1] == [name]
        assert "  a callback said Succeeded(receipt='9100000417'" in listed
