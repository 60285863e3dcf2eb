"""How often a payment is asked for: what is tried again, when, how often, and what a resting operator changes."""

from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import pairwise
from random import Random
from types import SimpleNamespace
from typing import NoReturn, cast

import pytest
from conftest import FakeClock
from desk import AMA, KOFI, Desk, open_desk

from ussd_app.app import Application
from ussd_app.breakers import FAILURES, REST_SECONDS, Resting
from ussd_app.commands import doctor
from ussd_app.errors import ProviderError, Reason, Rejected, Throttled, Unknown
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.operators import Failed, Kind, Request, Status
from ussd_app.orders import Placed, PlacedSlowly, send_money
from ussd_app.payments import recovery, schedule
from ussd_app.store import Store

TIMEOUT = Unknown("no whole answer: ReadTimeout", outage=True)
REFUSED = Throttled(2.0, "not sent: ConnectError", outage=True)
NOBODY = Unknown("404")


@pytest.fixture
async def desk(store: Store, database: str, clock: FakeClock) -> AsyncIterator[Desk]:
    """A desk on a database of its own."""
    async with open_desk(store, database, clock) as desk:
        yield desk


class Chance(Random):
    """Always the same."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def random(self) -> float:
        """Between 0 and 1."""
        return self.share


def answer(desk: Desk, kind: Kind, trouble: ProviderError, times: int = 99, state: Status | None = None) -> None:
    """The operator answers so many submissions with trouble, and knows nothing of any (or this)."""
    desk.operator.answers[kind].extend([trouble] * times)
    desk.operator.states[kind] = state or NOBODY


def sent(desk: Desk, kind: Kind = Kind.COLLECTION) -> list[Request]:
    """What the operator was asked for."""
    return [request for request in desk.operator.submissions if request.kind is kind]


def hours(desk: Desk) -> list[float]:
    """The seconds at which the operator is asked for something from now on."""
    submit, seconds = desk.operator.submit, []

    async def timed(request: Request) -> Status:
        seconds.append(desk.clock.seconds)
        return await submit(request)

    desk.operator.submit = timed  # type: ignore[method-assign]  # this one object's
    return seconds


async def dead(*_args: object) -> NoReturn:
    """Nobody answers."""
    raise TIMEOUT


async def tire(desk: Desk, call: str) -> None:
    """Open the breaker of a call, as other payments would."""
    while not await desk.payments.breakers.held("scripted", call):
        with pytest.raises(Unknown):
            await desk.payments.breakers.call("scripted", call, dead)


async def rest(desk: Desk, minutes: int, *calls: str) -> None:
    """Let time pass in which these calls do not leave: whenever one may be tried, somebody else tries it in vain."""
    balance, desk.operator.balance = desk.operator.balance, dead  # type: ignore[method-assign, assignment]  # its own
    for _ in range(minutes):
        for call in calls:
            await tire(desk, call)
        await desk.run(REST_SECONDS)
    desk.operator.balance = balance  # type: ignore[method-assign]  # the same


@pytest.mark.parametrize("trouble", [TIMEOUT, REFUSED, Throttled(1.0, "429")])
async def test_what_may_get_better_is_tried_three_times_more(desk: Desk, trouble: ProviderError) -> None:
    """After 2, 8 and 30 s and up to half as much again, always under the same reference."""
    answer(desk, Kind.COLLECTION, trouble)
    seconds = hours(desk)
    await desk.send()
    await desk.run(3600)
    assert len({request.reference for request in sent(desk)}) == 1
    waits = [later - sooner for sooner, later in pairwise(seconds)]
    assert [least <= wait <= 1.5 * least + 0.01 for least, wait in zip((2, 8, 30), waits, strict=True)] == [True] * 3


async def test_a_timeout_that_was_none_is_found_and_not_repeated_for_ever(desk: Desk) -> None:
    """After the fourth try only the polling asks; the movement is found hours later."""
    answer(desk, Kind.COLLECTION, TIMEOUT)
    await desk.send()
    await desk.run(7200)
    assert await desk.order_states() == ["open"]
    desk.operator.states.clear()
    await desk.run(3600)
    assert await desk.order_states() == ["done"]
    assert len(sent(desk)) == schedule.TRIES


async def test_what_nobody_took_fails_after_the_fourth_try(desk: Desk) -> None:
    """And the payer is told, within two minutes."""
    answer(desk, Kind.COLLECTION, REFUSED)
    await desk.send()
    await desk.run(120)
    assert await desk.order_states() == ["failed"]
    assert desk.outbox.templates == ["payment_failed"]
    assert (await desk.payment("collect")).reason == Reason.SERVICE_UNAVAILABLE


async def test_an_operator_that_does_not_deduplicate_gets_no_second_copy(desk: Desk) -> None:
    """Of what may have been taken; what certainly was not is tried again there too."""
    desk.operator.deduplicates = frozenset()
    answer(desk, Kind.COLLECTION, TIMEOUT, 1)
    await desk.send()
    await desk.run(3600)
    assert len(sent(desk)) == 1
    answer(desk, Kind.COLLECTION, REFUSED)
    await desk.send(run="run-2")
    await desk.run(3600)
    assert len(sent(desk)) == 1 + schedule.TRIES


@pytest.mark.parametrize(
    "reason",
    [
        Reason.INSUFFICIENT_FUNDS, Reason.PARTY_NOT_FOUND, Reason.BAD_RECIPIENT, Reason.DUPLICATE,
        Reason.NOT_AUTHORISED, Reason.BAD_REQUEST, Reason.INTERNAL,
    ],
)  # fmt: skip
async def test_what_was_refused_is_never_asked_for_again(desk: Desk, reason: Reason) -> None:
    """Whatever the reason, in an answer or behind the submission."""
    answer(desk, Kind.COLLECTION, Rejected(reason), 1)
    await desk.send()
    await desk.run(3600)
    assert await desk.order_states() == ["failed"]
    answer(desk, Kind.COLLECTION, NOBODY, 0, Failed(reason))
    await desk.send(run="run-2")
    await desk.run(3600)
    assert await desk.order_states() == ["failed", "failed"]
    assert len(sent(desk)) == 2


async def test_an_answer_nobody_understands_is_not_repeated(desk: Desk) -> None:
    """The service works; what it meant, the polling finds out."""
    answer(desk, Kind.COLLECTION, Unknown("409 without a word"))
    await desk.send()
    await desk.run(3600)
    assert len(sent(desk)) == 1
    assert await desk.order_states() == ["open"]


async def test_a_refund_is_tried_until_a_person_takes_over(desk: Desk) -> None:
    """What was collected goes back: an hour of refusals does not end it."""
    desk.operator.states[Kind.DISBURSEMENT] = Failed(Reason.PARTY_NOT_ALLOWED)
    answer(desk, Kind.REFUND, Throttled(2.0, "busy"), 30)
    await desk.send()
    await desk.run(3600)
    assert len(sent(desk, Kind.REFUND)) == 31
    del desk.operator.states[Kind.REFUND]
    await desk.run(3600)
    assert await desk.order_states() == ["undone"]


async def test_what_a_breaker_held_back_was_no_try(desk: Desk) -> None:
    """Nothing leaves, nothing is counted, and all four tries are left when it closes."""
    await desk.send()
    await rest(desk, 10, Kind.DISBURSEMENT)
    payment = await desk.payment("disburse")
    assert (payment.state, payment.tries, payment.doubtful) == ("created", 0, False)
    assert not sent(desk, Kind.DISBURSEMENT)
    answer(desk, Kind.DISBURSEMENT, REFUSED, 3)
    await desk.run(180)
    del desk.operator.states[Kind.DISBURSEMENT]
    await desk.run(3600)
    assert await desk.order_states() == ["done"]
    assert len(sent(desk, Kind.DISBURSEMENT)) == schedule.TRIES


async def test_nobody_is_asked_about_what_never_left(desk: Desk) -> None:
    """While the breaker rests a payment stands as it was placed."""
    desk.operator.balance = dead  # type: ignore[method-assign, assignment]  # this one object's
    await tire(desk, Kind.COLLECTION)
    await desk.send()
    await desk.run(55)
    payment = await desk.payment("collect")
    assert (payment.state, payment.attempts, payment.checks) == ("created", 0, 0)
    assert not desk.operator.submissions
    assert not desk.operator.checks
    await desk.run(60)
    assert await desk.order_states() == ["done"]


async def test_who_waits_for_a_breaker_gives_up_in_the_end(desk: Desk) -> None:
    """A collection after two minutes: nothing has left, and nothing was taken."""
    await desk.send()
    await rest(desk, 5, Kind.COLLECTION, "check")
    assert await desk.order_states() == ["failed"]
    assert desk.outbox.templates == ["payment_failed"]
    assert not desk.operator.submissions


async def test_what_may_have_been_taken_is_not_failed_because_a_breaker_opened(desk: Desk) -> None:
    """One lost answer, then nobody is asked any more: in doubt until somebody says."""
    answer(desk, Kind.COLLECTION, TIMEOUT, 1)
    await desk.send()
    await desk.run(1)
    await rest(desk, 60, Kind.COLLECTION, "check")
    assert await desk.order_states() == ["open"]
    del desk.operator.states[Kind.COLLECTION]
    await desk.run(3600)
    assert await desk.order_states() == ["done"]
    assert len(sent(desk)) == 1


async def test_a_crowd_of_payments_leaves_a_dead_operator_alone(desk: Desk) -> None:
    """Thirty at once: after five lost calls hardly another reaches it, until it is back."""
    answer(desk, Kind.COLLECTION, REFUSED, 9999)
    balance, desk.operator.balance = desk.operator.balance, dead  # type: ignore[method-assign, assignment]  # its own
    for number in range(30):
        await send_money.place(
            desk.orders, run=f"run-{number}", msisdn=Msisdn(f"+2332400001{number:02}"), sender_name="Ama",
            recipient=KOFI, recipient_name="Kofi", amount=Money.of(1, "GHS"), language="en",
        )  # fmt: skip
    await desk.run(50)
    assert len(sent(desk)) == FAILURES
    desk.operator.answers[Kind.COLLECTION].clear()
    desk.operator.states.clear()
    desk.operator.balance = balance  # type: ignore[method-assign]  # the same
    await recovery.look(desk.payments)
    await desk.run(100)
    assert await desk.order_states() == ["done"] * 30


def test_waits_grow_and_are_left_to_chance() -> None:
    """Never less than the backoff or what was asked for, at most half as much again; a breaker's crowd is spread."""
    early, none, most = timedelta(seconds=1), Chance(0.0), Chance(1.0)

    def wait(tries: int, error: Unknown | Throttled, chance: Random, kind: Kind = Kind.REFUND) -> float | None:
        found = schedule.next_try(kind, tries, early, error, chance)
        return None if found is None else found.total_seconds()

    assert [wait(tries, TIMEOUT, none) for tries in (1, 2, 3, 4, 5, 4000)] == [2, 8, 30, 60, 60, 60]
    assert [wait(tries, TIMEOUT, most) for tries in (1, 2, 3, 4)] == [3, 12, 45, 90]
    assert [wait(1, Throttled(20.0), chance) for chance in (none, most)] == [20, 30]
    assert [wait(9, Resting(40.0), chance, Kind.COLLECTION) for chance in (none, most)] == [40, 70]
    assert [wait(tries, TIMEOUT, none, Kind.COLLECTION) for tries in (3, 4)] == [30, None]


async def test_whoever_orders_while_their_operator_rests_is_told_so(desk: Desk) -> None:
    """By its brand; the order stands all the same, and a redial gets the same code."""
    await tire(desk, Kind.DISBURSEMENT)
    first = await desk.send(run="run-1")
    assert type(first) is Placed
    await tire(desk, Kind.COLLECTION)
    slowly = await desk.send(run="run-2")
    assert isinstance(slowly, PlacedSlowly)
    assert slowly.operator == "Scripted"
    assert await desk.send(run="run-2") == slowly
    assert isinstance(await desk.top_up(), Placed)
    await desk.run(900)
    assert set(await desk.order_states()) == {"done"}


async def test_a_quote_does_without_a_name_while_the_operator_rests(desk: Desk) -> None:
    """Nobody is kept waiting for it."""
    await tire(desk, "is_active")
    quote = await send_money.quote(desk.orders, AMA, KOFI, Money.of(50, "GHS"))
    assert isinstance(quote, send_money.Quote)
    assert quote.recipient_name == "Scripted"


async def test_an_operator_that_answers_again_is_tried_at_once(desk: Desk) -> None:
    """Asked for its balance every 20 s, by one worker; its silence changes nothing, any answer does."""
    asked: list[tuple[Kind, str, str]] = []
    silent: list[ProviderError] = [TIMEOUT, REFUSED]

    async def balance(kind: Kind, currency: str, callback_url: str = "") -> Money:
        asked.append((kind, currency, callback_url))
        if silent:
            raise silent.pop(0)
        return Money(0, currency)

    desk.operator.balance = balance  # type: ignore[method-assign, assignment]  # this one object's
    breakers = desk.payments.breakers
    await recovery.look(desk.payments)
    assert not asked
    await tire(desk, Kind.COLLECTION)
    for expected in (1, 2):
        for _ in range(4):
            await recovery.look(desk.payments)
            desk.clock.advance(5)
        assert len(asked) == expected
        assert await breakers.resting("scripted", Kind.COLLECTION) == 60 - 20 * expected
    await recovery.look(desk.payments)
    assert asked[-1] == ("collection", "GHS", "http://127.0.0.1/callbacks/scripted/x/balance/collection")
    await desk.send()
    await desk.run(60)
    assert await desk.order_states() == ["done"]
    assert await breakers.resting("scripted", Kind.COLLECTION) == 0


async def test_doctor_names_what_rests(desk: Desk) -> None:
    """And for how long."""
    await tire(desk, Kind.COLLECTION)
    desk.clock.advance(18)
    application = cast("Application", SimpleNamespace(payments=desk.payments))
    lines = [line async for line in doctor._resting(application)]
    assert lines == ["scripted collection: failed 5 times in a row, rests 42 s more"]
