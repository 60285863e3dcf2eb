"""Money paid to our till on the phone, and the command that registers the till."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, cast

import pytest
from border import Border
from desk import ScriptedOperator
from groups import Circle, circle, phone
from pydantic import SecretStr
from tills import DIGITS, HOUR, MASKED, RECEIPT, Shop, TillOperator, cedis, shop

from ussd_app import menus
from ussd_app.actions import Services
from ussd_app.actions.arrival import arrive
from ussd_app.commands import register_till
from ussd_app.commands.register_till import RegisterError
from ussd_app.config import Settings
from ussd_app.errors import Reason, Rejected
from ussd_app.guesses import WRONG, Guesses
from ussd_app.menus import Menus
from ussd_app.sims import Sims
from ussd_app.subscribers import Subscribers

__all__ = ["circle", "shop"]


@pytest.fixture(scope="module")
def real() -> Menus:
    """The menus as they are shipped."""
    return menus.load(Path(__file__).parents[1] / "menus")


# --- on the phone


@pytest.fixture
async def border(shop: Shop, circle: Circle, real: Menus) -> Border:
    """The menus as they are shipped, on a till."""
    people = Subscribers(circle.store, circle.groups.messages, circle.clock, (b"k" * 32,))
    for number, name in ((1, "Ama"), (2, "Kofi")):
        await people.register(phone(number), name, "en")
    services = Services(
        Settings(secret_keys=(SecretStr("of the tests"),)), circle.clock, shop.desk.orders, circle.groups, people,
        Sims(circle.store, circle.groups.jobs, None, circle.clock, (b"s" * 32,)), Guesses(circle.store, circle.clock),
        languages=lambda: {"en": "English"}, bundles=lambda: real.bundles,
        arrive=partial(arrive, shop.desk.orders, circle.groups),
    )  # fmt: skip
    return Border(circle, services, real)


NONE = "END No payment of yours with this receipt waits here. It may take some minutes to arrive."
USE = "CON GHS 50.00 from you, 4 Mar 2031 08:00"
FOOT = "\n0 Back 00 Home"


async def test_the_digits_lead_to_the_money_and_one_key_puts_it_into_the_group(
    shop: Shop, circle: Circle, border: Border
) -> None:
    """And no dial string presses that key."""
    group = await circle.found(5)
    await circle.cycle(group, 5)
    await shop.paid("50")
    screen = f"{USE}\n1 Put into ADEHYE\n3 Send it back to me{FOOT}"
    before = await border.state()
    for dialled in (("8", DIGITS), ("8", DIGITS, "1"), ("8", DIGITS, "3", "1"), ("8", RECEIPT)):
        assert await border.thumb(1).dial(*dialled) == screen
    assert await border.state() == before
    ama = border.thumb(1)
    await ama.dial("8", DIGITS)
    shown = await ama.press("1")
    assert shown.startswith("END GHS 50.00 is now in your group. We will SMS you. Ref ")
    assert await border.thumb(1).dial("8", DIGITS) == NONE
    await shop.books(held="50.00", waiting="0.00")


async def test_whoever_is_in_no_group_has_it_sent_back(shop: Shop, border: Border) -> None:
    """One key; what has been claimed meanwhile is said to be gone."""
    await shop.paid("50", MASKED)
    ama, again = border.thumb(1), border.thumb(1)
    for each in (ama, again):
        assert await each.dial("8", DIGITS, "1") == f"{USE}\n1 Send it back to me{FOOT}"
    assert (await ama.press("1")).startswith("END GHS 50.00 is on its way back to you. We will SMS you. Ref ")
    assert await again.press("1") == NONE
    await shop.desk.run(30)
    assert len(shop.operator.submissions) == 1


async def test_several_groups_and_several_payments_are_chosen_from(shop: Shop, circle: Circle, border: Border) -> None:
    """Payments by amount and time, groups by name."""
    for called in ("ADEHYE", "BETA"):
        await circle.cycle(await circle.found(5, called=called), 5)
    await shop.paid("50")
    shop.desk.clock.advance(60)
    await shop.paid("20", receipt="UB50DEMO900")
    ama = border.thumb(1)
    assert await ama.dial("8", DIGITS) == f"CON Which payment?\n1 50.00 04/03 08:00\n2 20.00 04/03 08:01{FOOT}"
    assert (await ama.press("2")).startswith("CON GHS 20.00 from you, 4 Mar 2031 08:01\n1 Put into ")
    assert "1 ADEHYE\n2 BETA" in (shown := await ama.press("2")) or "1 BETA\n2 ADEHYE" in shown
    assert (await ama.press("2")).startswith("END GHS 20.00 is now in your group.")
    assert await border.thumb(1).dial("8", DIGITS) != NONE


async def test_nobody_else_sees_it_and_who_guesses_is_stopped(shop: Shop, border: Border) -> None:
    """A stranger hears what a wrong code hears; after ten wrong ones even the right one says so."""
    await shop.paid("50", MASKED)
    assert await border.thumb(2).dial("8", DIGITS) == NONE
    for number in range(WRONG):
        assert await border.thumb(1).dial("8", f"777{number}") == NONE
    assert await border.thumb(1).dial("8", DIGITS) == NONE
    shop.desk.clock.advance(HOUR + 1)
    assert (await border.thumb(1).dial("8", DIGITS)).startswith(USE)


async def test_over_the_limit_it_is_not_put_and_can_be_sent_back(shop: Shop, circle: Circle, border: Border) -> None:
    """It is their own money going out, as any contribution."""
    group = await circle.found(5)
    await circle.cycle(group, 5)
    await shop.paid("2000.01")
    ama = border.thumb(1)
    await ama.dial("8", DIGITS)
    assert (await ama.press("1")).startswith("END That is over your limit of GHS 2,000.00. Nothing was moved.")
    assert (await shop.row()).claimed_at is None
    await ama.dial("8", DIGITS)
    assert (await ama.press("3")).startswith("END GHS 2,000.01 is on its way back")


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", "We received GHS 500.00 from you. Dial *920*55*8*50900# to put it into a group or have it sent back."),
        ("fr", "Nous avons reçu GHS 500,00 de vous. Composez *920*55*8*50900# pour les verser à un groupe"),
        ("sw", "Tumepokea GHS 500.00 kutoka kwako. Piga *920*55*8*50900# kuziweka kwenye kikundi au kurudishiwa."),
        ("tw", "Yeanya GHS 500.00 afiri wo ho. Fre *920*55*8*50900# na fa to kuo mu anaa ma yensan mfa mmre wo."),
    ],
)
def test_what_the_payer_is_told(real: Menus, language: str, words: str) -> None:
    """How much, and what to dial."""
    said = {"amount": cedis("500"), "ussd": "920*55", "digits": DIGITS}
    assert real.texts.render("sms.till_received", language, said).startswith(words.replace("ç", "c"))


# --- registering its addresses


class Registered(TillOperator):
    """An operator that takes the addresses of a till, or refuses them."""

    async def register_till(self, confirmation_url: str, validation_url: str) -> None:
        """Keep them."""
        if self.trouble:
            raise self.trouble
        self.urls = confirmation_url, validation_url


class Server:
    """As much of an application as a registration needs."""

    def __init__(self, operator: ScriptedOperator) -> None:
        self.operators = {"scripted": operator}
        self.settings = SimpleNamespace(public_url="https://pay.example.org")

    def callback_url(self, name: str, path: str) -> str:
        """An address with a secret."""
        return f"https://pay.example.org/callbacks/{name}/5ec2e7/{path}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None: ...


async def register(operator: ScriptedOperator, name: str = "scripted") -> None:
    """`ussd-app register-till`."""
    await register_till.run(cast("Any", Server(operator)), name)


async def test_a_till_is_registered_at_the_providers_own_addresses(capsys: pytest.CaptureFixture[str]) -> None:
    """The operator gets them whole; the terminal shows no secret."""
    operator = Registered()
    await register(operator)
    assert operator.urls == (
        "https://pay.example.org/callbacks/scripted/5ec2e7/confirmation",
        "https://pay.example.org/callbacks/scripted/5ec2e7/validation",
    )
    said = capsys.readouterr().out
    assert said == "Scripted took https://pay.example.org/callbacks/scripted/***/confirmation and .../validation\n"


@pytest.mark.parametrize(
    ("operator", "name", "said"),
    [
        (Registered(), "daraja", "OPERATORS does not name daraja; it names scripted"),
        (ScriptedOperator(), "scripted", "scripted has no till to register"),
        (
            Registered(trouble=Rejected(Reason.BAD_REQUEST, "already registered")),
            "scripted",
            "Scripted did not take the addresses under https://pay.example.org: bad_request: already registered",
        ),
    ],
)
async def test_what_cannot_be_registered_is_said_in_one_line(operator: ScriptedOperator, name: str, said: str) -> None:
    """Who is not in use, who has no till, and what the operator says."""
    with pytest.raises(RegisterError, match=f"^{said}$"):
        await register(operator, name)
