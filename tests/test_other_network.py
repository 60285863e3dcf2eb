"""Sending money where the recipient may be with several operators: what the phone shows of it, in every language."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from functools import partial

import pytest
from border import Thumb, real  # noqa: F401 - a fixture
from conftest import FakeClock
from desk import AMA, KOFI, Desk, open_desk
from pydantic import SecretStr
from sqlalchemy import select
from test_routes import Wallets

from ussd_app.actions import Call, Services, airtime
from ussd_app.actions.arrival import arrive
from ussd_app.config import Settings
from ussd_app.guesses import Guesses
from ussd_app.menus import Menus
from ussd_app.money import Money
from ussd_app.orders import Placed, history
from ussd_app.payments import floats
from ussd_app.sims import Sims
from ussd_app.store import Store
from ussd_app.subscribers import Subscribers
from ussd_app.tables import orders, payments, routes
from ussd_app.ussd import Event, Turn


@dataclass
class Shop:
    """A desk of two operators in one country, and whoever dials."""

    desk: Desk
    mtn: Wallets
    telecel: Wallets
    services: Services
    menus: Menus

    async def phone(self, language: str = "en") -> Thumb:
        """Ama's, who reads this language."""
        await self.services.subscribers.register(AMA, "Ama", language)
        return Thumb(self.menus, AMA, services=self.services)

    async def only_mtn(self) -> None:
        """The other operator is not ours any more."""
        del self.desk.payments.operators["telecel"]  # type: ignore[attr-defined]  # the test's own dictionary


@pytest.fixture
async def shop(store: Store, database: str, clock: FakeClock, real: Menus) -> AsyncIterator[Shop]:
    """Ghana."""
    async with open_desk(store, database, clock) as desk:
        mtn = Wallets("mtn", "MTN", {"GH": "MTN"}, one_float=False)
        telecel = Wallets("telecel", "Telecel Cash", {"GH": "Telecel"})
        desk.payments.operators = desk.orders.routes.operators = {"mtn": mtn, "telecel": telecel}
        async with store.work() as connection:
            for name in ("float:mtn:disbursement", "float:telecel"):
                await floats.put(connection, name, Money.of(9_000, "GHS"), note="bank", at=clock.now())
        people = Subscribers(store, desk.orders.messages, clock, (b"k" * 32,))
        sims = Sims(store, desk.orders.payments.jobs, None, clock, (b"s" * 32,))
        services = Services(
            Settings(secret_keys=(SecretStr("of the tests"),)), clock, desk.orders, desk.orders.groups, people, sims,
            Guesses(store, clock), languages=lambda: {"en": "English"}, bundles=lambda: real.bundles,
            arrive=partial(arrive, desk.orders, desk.orders.groups),
        )  # fmt: skip
        yield Shop(desk, mtn, telecel, services, real)


async def sent(shop: Shop) -> list[tuple[str, str]]:
    """What was asked of whom."""
    async with shop.desk.store.look() as connection:
        rows = await connection.execute(select(payments.c.step, payments.c.operator).order_by(payments.c.created_at))
        return [(row.step, row.operator) for row in rows]


SCREENS = {
    "en": (
        "CON GHS 50.00 + fee GHS 0.50\nto Holder 002 0240000002\nMTN\n1 Confirm\n2 Other network\n3 Cancel\n",
        "CON Which network?\n1 Telecel Cash\n",
        "CON 0240000002 is not on MTN.\n1 Other network\n2 Another number\n",
        "CON The smallest amount is GHS 0.10.\nEnter another amount\n",
        "CON The largest amount is GHS 14,851.48.\nEnter another amount\n",
    ),
    "fr": (
        "CON GHS 50,00 + frais GHS 0,50\nà Holder 002 0240000002\nMTN\n1 Valider\n2 Autre réseau\n3 Annuler\n",
        "CON Quel réseau ?\n1 Telecel Cash\n",
        "CON 0240000002 n'est pas chez MTN.\n1 Autre réseau\n2 Autre numéro\n",
        "CON Le plus petit montant est GHS 0,10.\nEntrez un autre montant\n",
        "CON Le plus grand montant est GHS 14 851,48.\nEntrez un autre montant\n",
    ),
    "sw": (
        "CON GHS 50.00 +ada GHS 0.50\nkwa Holder 002 0240000002\nMTN\n1 Kubali\n2 Badili mtandao\n3 Ghairi\n",
        "CON Mtandao gani?\n1 Telecel Cash\n",
        "CON 0240000002 haiko MTN.\n1 Badili mtandao\n2 Namba nyingine\n",
        "CON Kiasi kidogo kabisa ni GHS 0.10.\nWeka kiasi kingine\n",
        "CON Kiasi kikubwa kabisa ni GHS 14,851.48.\nWeka kiasi kingine\n",
    ),
    "tw": (
        "CON GHS 50.00 + ka GHS 0.50\nma Holder 002 0240000002\nMTN\n1 Si so dua\n2 Netwek foforo\n3 Gyae\n",
        "CON Netwek ben?\n1 Telecel Cash\n",
        "CON 0240000002 nni MTN so.\n1 Netwek foforo\n2 Noma foforo\n",
        "CON Sika a esua koraa ne GHS 0.10.\nTwere sika foforo\n",
        "CON Sika a eso koraa ne GHS 14,851.48.\nTwere sika foforo\n",
    ),
}


@pytest.mark.parametrize("language", SCREENS)
async def test_every_screen_in_every_language(shop: Shop, language: str) -> None:
    """Who will be paid through whom, the other networks, and what does not fit: the most leaves room for the fee."""
    confirm, which, elsewhere, small, large = SCREENS[language]
    shop.desk.orders.settings = shop.desk.orders.settings.model_copy(
        update={"payment_limit": 20_000, "daily_limit": 20_000}
    )
    phone = await shop.phone(language)
    assert (await phone.dial("3", "0240000002", "50")).startswith(confirm)
    assert (await phone.press("2")).startswith(which)
    assert (await phone.dial("3", "0240000002", "0.05")).startswith(small)
    assert (await phone.press("16000")).startswith(large)
    shop.mtn.foreign.add(KOFI)
    assert (await phone.press("50")).startswith(elsewhere)
    assert (await phone.press("1")).startswith(which)


async def test_the_other_network_is_paid_and_remembered(shop: Shop) -> None:
    """One more hop; the next time it is the first one offered, and may be left again."""
    phone = await shop.phone()
    await phone.dial("3", "0240000002", "50")
    screen = await phone.press("2", "1")
    assert screen.startswith("CON GHS 50.00 + fee GHS 0.50\nto Holder 002 0240000002\nTelecel Cash\n1 Confirm")
    screen = await phone.press("1")
    assert screen.startswith("END Now approve GHS 50.50 with your mobile money PIN. We will SMS you. Ref ")
    await shop.desk.run(60)
    assert await sent(shop) == [("collect", "mtn"), ("disburse", "telecel")]
    async with shop.desk.store.look() as connection:
        row = (await connection.execute(select(routes).where(routes.c.msisdn == KOFI))).one()
    assert (row.operator, row.source) == ("telecel", "chosen")
    again = "CON You asked to send GHS 50.00 to 0240000002 1 min ago. Again?\n1 Yes\n2 No"
    assert (await phone.dial("3", "0240000002", "50", "1")).startswith(again)  # no dial string says yes to it
    assert "\nTelecel Cash\n" in await phone.press("1")
    assert (await phone.press("2")).startswith("CON Which network?\n1 MTN\n")


async def test_who_looks_and_cancels_changes_nothing(shop: Shop) -> None:
    """Neither orders nor what is known of anybody."""
    phone = await shop.phone()
    await phone.dial("3", "0240000002", "50")
    assert await phone.press("2", "1", "3") == "END Cancelled. No money was sent."
    async with shop.desk.store.look() as connection:
        assert (await connection.execute(select(routes.c.msisdn))).all() == []
        assert (await connection.execute(select(orders.c.id))).all() == []


async def test_another_number_after_all(shop: Shop) -> None:
    """Where it was mistyped."""
    shop.mtn.foreign.add(KOFI)
    phone = await shop.phone()
    await phone.dial("3", "0240000002", "50")
    assert (await phone.press("2")).startswith("CON Send money\nEnter phone number")
    await phone.press("0240000003")
    assert "0240000003\nMTN\n" in await phone.press("50")


async def test_with_one_operator_nothing_is_asked(shop: Shop) -> None:
    """The screens are those of before."""
    await shop.only_mtn()
    phone = await shop.phone()
    screen = await phone.dial("3", "0240000002", "50")
    assert screen.startswith(
        "CON Send GHS 50.00 to Holder 002 0240000002\nFee GHS 0.50. Total GHS 50.50\n1 Confirm\n2 Cancel"
    )
    shop.mtn.foreign.add(KOFI)
    assert (await phone.dial("3", "0240000002", "50")).startswith("CON 0240000002 cannot receive money from us yet.")


async def test_whoever_dials_again_sees_whom_it_waits_for(shop: Shop) -> None:
    """By the brand of the payer's own operator, or its name among ours where it has gone."""
    phone = await shop.phone()
    await phone.dial("3", "0240000002", "50")
    await phone.press("1")
    screen = await phone.dial()
    assert screen.startswith("CON GHS 50.00 to Holder 002\nWAITING for MTN. Approve if asked. Do not pay again.")
    shop.desk.payments.operators = {"telecel": shop.telecel}
    (standing,) = await history.standing(shop.desk.orders, AMA)
    assert standing.brand == "mtn"


async def test_the_callers_own_network_pays(shop: Shop) -> None:
    """As their session tells it, whatever their digits say; and it is remembered with the order."""
    turn = Turn("africastalking", "s1", AMA.digits, AMA, "*920*55#", Event.BEGIN, "", network="62002")
    call = Call(shop.services, turn, "run-1", "en", 5.0)
    placed = await airtime.place(call, KOFI, Money.of(5, "GHS"))
    assert isinstance(placed, Placed)
    await shop.desk.run(60)
    assert (await sent(shop))[0] == ("collect", "telecel")
    elsewhere = Call(shop.services, replace(turn, network=None), "run-2", "en", 5.0)
    await airtime.place(elsewhere, KOFI, Money.of(5, "GHS"))
    await shop.desk.run(60)
    assert [operator for step, operator in await sent(shop) if step == "collect"] == ["telecel", "telecel"]
