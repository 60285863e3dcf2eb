"""Which operator serves a number: its own session, what was learnt of it, and else its digits."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from conftest import FakeClock
from desk import Desk, ScriptedOperator, open_desk
from sqlalchemy import select

from ussd_app.errors import Reason
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.networks import Bounds
from ussd_app.operators import Failed, Kind, Pending, Succeeded
from ussd_app.orders import Placed, airtime, send_money
from ussd_app.orders.send_money import NotOnNetwork, NotReachable, Quote
from ussd_app.orders.steps import AmountUnfit, TooLarge, TooSmall, misfit
from ussd_app.payments import floats
from ussd_app.routes import FRESH
from ussd_app.store import Store
from ussd_app.tables import routes

ASHA, BARAKA = Msisdn("+254700000001"), Msisdn("+254730000001")  # by their digits with Safaricom, and with Airtel
TELKOM = Msisdn("+254770000001")
SAFARICOM, AIRTEL = "63902", "63903"
DAY = timedelta(days=1)


@dataclass
class Wallets(ScriptedOperator):
    """One that knows which numbers are not its own."""

    foreign: set[Msisdn] = field(default_factory=set)

    async def is_active(self, msisdn: Msisdn) -> bool:
        """Whether it has the number."""
        return msisdn not in self.foreign


@pytest.fixture
async def desk(store: Store, database: str, clock: FakeClock) -> AsyncIterator[Desk]:
    """A desk in Kenya, of two operators whose floats are full."""
    async with open_desk(store, database, clock) as desk:
        desk.payments.operators = desk.orders.routes.operators = {
            "mpesa": Wallets("mpesa", "M-PESA", {"KE": "Safaricom", "TZ": "Vodacom"}),
            "airtel": Wallets("airtel", "Airtel Money", {"KE": "Airtel", "UG": "Airtel"}),
        }
        async with store.work() as connection:
            for name in ("float:mpesa", "float:airtel"):
                await floats.put(connection, name, Money.of(900_000, "KES"), note="bank", at=clock.now())
        yield desk


def wallets(desk: Desk, name: str) -> Wallets:
    """One of the two."""
    operator = desk.payments.operators[name]
    assert isinstance(operator, Wallets)
    return operator


async def found(desk: Desk, msisdn: Msisdn, network: str | None = None) -> str | None:
    """Whom a number is with."""
    operator = await desk.orders.routes.find(msisdn, network)
    return operator.name if operator else None


async def row(desk: Desk, msisdn: Msisdn) -> tuple[str, str] | None:
    """What is stored of a number."""
    async with desk.store.look() as connection:
        query = select(routes.c.operator, routes.c.source).where(routes.c.msisdn == msisdn)
        kept = (await connection.execute(query)).one_or_none()
    return (kept.operator, kept.source) if kept else None


async def learn(desk: Desk, msisdn: Msisdn, operator: str, source: str, ago: timedelta = timedelta()) -> None:
    """Something was learnt some time ago."""
    async with desk.store.work() as connection:
        at = desk.clock.now() - ago
        await desk.orders.routes.learn(connection, msisdn, operator, source, at)  # type: ignore[arg-type]  # a row's word


async def refute(desk: Desk, msisdn: Msisdn, operator: str) -> None:
    """An operator says that a number is not its own."""
    async with desk.store.work() as connection:
        await desk.orders.routes.refute(connection, msisdn, operator)


async def send(
    desk: Desk, recipient: Msisdn = BARAKA, through: str | None = None, network: str | None = None, run: str = "run-1"
) -> None:
    """Asha sends 100."""
    placed = await send_money.place(
        desk.orders, run=run, msisdn=ASHA, sender_name="Asha", recipient=recipient, recipient_name="Baraka",
        amount=Money.of(100, "KES"), language="en", network=network, through=through,
    )  # fmt: skip
    assert isinstance(placed, Placed)


async def quoted(desk: Desk, amount: str = "100", recipient: Msisdn = BARAKA, through: str | None = None) -> object:
    """What Asha is told of sending it."""
    return await send_money.quote(desk.orders, ASHA, recipient, Money.of(amount, "KES"), through=through)


# What is believed


@pytest.mark.parametrize(
    ("msisdn", "network", "operator"),
    [
        (ASHA, None, "mpesa"),
        (BARAKA, None, "airtel"),
        (TELKOM, None, None),
        (ASHA, AIRTEL, "airtel"),  # ported, and her own session says so
        (TELKOM, SAFARICOM, "mpesa"),
        (ASHA, "63907", None),  # with somebody who is none of ours: her digits would charge a stranger
        (ASHA, "99999", "mpesa"),
        (ASHA, "64101", "mpesa"),  # Airtel of another country
        (Msisdn("+255740000001"), None, "mpesa"),
        (Msisdn("+233240000001"), None, None),
    ],
)
async def test_a_sessions_own_network_beats_the_digits(
    desk: Desk, msisdn: Msisdn, network: str | None, operator: str | None
) -> None:
    """Codes nobody knows, and those of elsewhere, say nothing."""
    assert await found(desk, msisdn, network) == operator


@pytest.mark.parametrize("source", ["network", "chosen", "staff", "paid"])
async def test_what_was_learnt_beats_the_digits_for_half_a_year(desk: Desk, source: str) -> None:
    """Then the digits are as good again."""
    await learn(desk, BARAKA, "mpesa", source)
    assert await found(desk, BARAKA) == "mpesa"
    assert await found(desk, BARAKA, AIRTEL) == "airtel"
    desk.clock.advance(FRESH.total_seconds() - 1)
    assert await found(desk, BARAKA) == "mpesa"
    desk.clock.advance(1)
    assert await found(desk, BARAKA) == "airtel"


async def test_the_later_fact_is_believed(desk: Desk) -> None:
    """One that is told late replaces nothing newer."""
    await learn(desk, BARAKA, "mpesa", "chosen", ago=9 * DAY)
    await learn(desk, BARAKA, "airtel", "paid", ago=3 * DAY)
    assert await found(desk, BARAKA) == "airtel"
    await learn(desk, BARAKA, "mpesa", "paid", ago=5 * DAY)
    assert await found(desk, BARAKA) == "airtel"
    await learn(desk, BARAKA, "mpesa", "paid", ago=DAY)
    assert await found(desk, BARAKA) == "mpesa"


async def test_nobody_elses_word_replaces_the_numbers_own_session(desk: Desk) -> None:
    """A stranger who names another network steers nobody's payouts; a newer session, or a number not found, does."""
    await learn(desk, BARAKA, "airtel", "network", ago=9 * DAY)
    for source in ("chosen", "paid", "staff"):
        await learn(desk, BARAKA, "mpesa", source)
        assert await found(desk, BARAKA) == "airtel"
    await learn(desk, BARAKA, "mpesa", "network")
    assert await found(desk, BARAKA) == "mpesa"
    await refute(desk, BARAKA, "mpesa")
    assert await found(desk, BARAKA) == "airtel"


async def test_what_is_seen_again_stays_fresh(desk: Desk) -> None:
    """At most one note a day."""
    await learn(desk, BARAKA, "mpesa", "paid", ago=FRESH - DAY)
    await learn(desk, BARAKA, "mpesa", "network")
    desk.clock.advance((FRESH - DAY).total_seconds())
    assert await found(desk, BARAKA) == "mpesa"


async def test_an_operator_that_is_no_longer_ours_is_ignored(desk: Desk) -> None:
    """By its name, and where it does not serve the country of the number."""
    await learn(desk, BARAKA, "gone", "paid")
    assert await found(desk, BARAKA) == "airtel"
    rwandan = Msisdn("+250780000001")
    await learn(desk, rwandan, "mpesa", "paid")
    assert await found(desk, rwandan) is None


async def test_a_number_that_is_not_there_is_looked_for_elsewhere(desk: Desk) -> None:
    """And back again, never for ever in one place; where there is no other, its digits are all there is."""
    await refute(desk, ASHA, "mpesa")
    assert await found(desk, ASHA) == "airtel"
    await refute(desk, ASHA, "airtel")
    assert await found(desk, ASHA) == "mpesa"
    await learn(desk, ASHA, "airtel", "network")
    assert await found(desk, ASHA) == "airtel"
    ugandan = Msisdn("+256700000001")
    await refute(desk, ugandan, "airtel")
    assert await found(desk, ugandan) == "airtel"


async def test_a_refusal_elsewhere_says_nothing_of_what_is_known(desk: Desk) -> None:
    """Whoever tries the wrong network of a stranger teaches us nothing wrong of them."""
    await learn(desk, ASHA, "airtel", "paid")
    await refute(desk, ASHA, "mpesa")
    assert await found(desk, ASHA) == "airtel"
    await refute(desk, ASHA, "airtel")
    assert await found(desk, ASHA) == "mpesa"


# What teaches


async def test_the_network_is_learnt_when_something_is_placed(desk: Desk) -> None:
    """Not by a quote, which writes nothing."""
    amount = Money.of(100, "KES")
    quote = await send_money.quote(desk.orders, ASHA, BARAKA, amount, network=AIRTEL)
    assert isinstance(quote, Quote)
    assert await row(desk, ASHA) is None
    await send(desk, network=AIRTEL)
    assert await row(desk, ASHA) == ("airtel", "network")
    await desk.run(60)
    assert [(await desk.payment(step)).operator for step in ("collect", "disburse")] == ["airtel", "airtel"]


async def test_a_payment_that_arrives_teaches_and_an_open_one_does_not(desk: Desk) -> None:
    """Both numbers are then known to be where their money moved."""
    wallets(desk, "mpesa").states[Kind.COLLECTION] = Pending()
    await send(desk)
    await desk.run(30)
    assert await row(desk, ASHA) is None
    wallets(desk, "mpesa").states.clear()
    await desk.run(60)
    assert await desk.order_states() == ["done"]
    assert await row(desk, ASHA) == ("mpesa", "paid")
    assert await row(desk, BARAKA) == ("airtel", "paid")


async def test_a_choice_is_remembered_once_money_has_arrived_there(desk: Desk) -> None:
    """Placing alone must not send a stranger's next payout elsewhere."""
    await send(desk, through="mpesa")
    assert await found(desk, BARAKA) == "airtel"
    await desk.run(60)
    assert (await desk.payment("disburse")).operator == "mpesa"
    assert await row(desk, BARAKA) == ("mpesa", "chosen")
    quote = await quoted(desk)
    assert isinstance(quote, Quote)
    assert quote.payee.name == "mpesa"


async def test_who_is_not_found_is_asked_for_elsewhere_the_next_time(desk: Desk) -> None:
    """A sender whose number has moved is told of the failure, and is not refused the same way for ever."""
    wallets(desk, "mpesa").states[Kind.COLLECTION] = Failed(Reason.PARTY_NOT_FOUND)
    await send(desk)
    await desk.run(60)
    assert await desk.order_states() == ["failed"]
    assert desk.outbox.templates == ["payment_failed"]
    await send(desk, run="run-2")
    await desk.run(60)
    assert await desk.order_states() == ["failed", "done"]
    assert len(wallets(desk, "airtel").submissions) == 2


async def test_a_recipient_who_is_not_found_is_looked_for_elsewhere(desk: Desk) -> None:
    """The sender has their money back, and the next quote names the other network."""
    wallets(desk, "airtel").states[Kind.DISBURSEMENT] = Failed(Reason.PARTY_NOT_FOUND)
    await send(desk)
    await desk.run(60)
    assert await desk.order_states() == ["undone"]
    quote = await quoted(desk)
    assert isinstance(quote, Quote)
    assert quote.payee.brand == "M-PESA"


async def test_a_late_success_says_where_the_number_was_when_it_was_asked(desk: Desk) -> None:
    """It has moved since, and says so itself."""
    wallets(desk, "mpesa").states[Kind.COLLECTION] = Failed(Reason.EXPIRED)
    await send(desk)
    await desk.run(60)
    await learn(desk, ASHA, "airtel", "network")
    wallets(desk, "mpesa").states[Kind.COLLECTION] = Succeeded("R-1", Money.of(101, "KES"))
    await desk.run(8 * 3600)
    assert await desk.order_states() == ["undone"]
    assert await row(desk, ASHA) == ("airtel", "network")


# What a sender is told


async def test_a_quote_names_the_network_where_there_are_several(desk: Desk) -> None:
    """And takes the sender's word for another; one that serves nobody there reaches nobody."""
    quote = await quoted(desk)
    assert isinstance(quote, Quote)
    assert (quote.payee.brand, quote.others) == ("Airtel Money", True)
    quote = await quoted(desk, through="mpesa")
    assert isinstance(quote, Quote)
    assert quote.payee.brand == "M-PESA"
    assert await quoted(desk, through="gone") == NotReachable(BARAKA)
    assert await quoted(desk, recipient=TELKOM) == NotReachable(TELKOM)


async def test_a_number_the_operator_does_not_know_is_said_to_be_elsewhere(desk: Desk) -> None:
    """Where nobody else of ours is there, it is said to be out of reach, as before."""
    airtel = wallets(desk, "airtel")
    ugandan = Msisdn("+256700000001")
    airtel.foreign |= {BARAKA, ugandan}
    assert await quoted(desk) == NotOnNetwork(BARAKA, airtel)
    assert isinstance(await quoted(desk, through="mpesa"), Quote)
    assert await quoted(desk, recipient=ugandan) == NotReachable(ugandan)


async def test_an_amount_no_operator_moves_is_refused(desk: Desk) -> None:
    """With the bound; what may be collected bounds the total with our fee; our own limit is told where it is lower."""
    assert await quoted(desk, "9") == TooSmall(Money.of(10, "KES"))  # Airtel
    assert isinstance(await quoted(desk, "10"), Quote)
    assert await quoted(desk, "9", through="mpesa") == TooSmall(Money.of(10, "KES"))  # M-PESA pays out from 10 on
    desk.orders.settings = desk.orders.settings.model_copy(update={"payment_limit": 900_000, "daily_limit": 900_000})
    largest = await quoted(desk, "250000")
    assert largest == TooLarge(Money.of("247524.75", "KES"))
    assert isinstance(await quoted(desk, "247524.75"), Quote)
    ten = Money.of("0.5", "KES")
    assert await airtime.quote(desk.orders, ASHA, ASHA, ten) == TooSmall(Money.of(1, "KES"))
    assert await airtime.quote(desk.orders, ASHA, ASHA, Money.of(250_001, "KES")) == TooLarge(Money.of(250_000, "KES"))


def test_what_does_not_fit() -> None:
    """The step first; the tightest of all bounds, of those in the amount's own currency."""
    shillings = [Money.of(amount, "KES") for amount in (1, 10, 500)]
    one, ten, most = shillings
    bounds = Bounds(one, None), Bounds(ten, most), Bounds(Money.of(900, "UGX"), None), None
    assert misfit(Money.of("10.50", "KES"), 100, *bounds) == AmountUnfit(one)
    assert misfit(Money.of(9, "KES"), 100, *bounds) == TooSmall(ten)
    assert misfit(Money.of(501, "KES"), 100, *bounds) == TooLarge(most)
    assert [misfit(Money.of(amount, "KES"), 100, *bounds) for amount in (10, 500)] == [None, None]


@pytest.mark.parametrize("step", [1, 100])
@pytest.mark.parametrize("total", [1_000, 25_000_000, 1_010_100, 999_999])
def test_the_most_that_can_be_sent_leaves_room_for_the_fee(step: int, total: int) -> None:
    """One step more would not."""
    most = Money(total, "KES")
    found = send_money._before_fee(Bounds(Money(1, "KES"), most), step)
    assert found
    assert found.largest
    more = found.largest + Money(step, "KES")
    assert found.largest + send_money.fee(found.largest, step) <= most < more + send_money.fee(more, step)
    assert found.largest.minor % step == 0
