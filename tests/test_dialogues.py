"""The real menus: their journeys on services in memory, and everything a thumb can do to them."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest
from phone import AMA, KOFI, FakeOrders, FakeSubscribers, Phone, registered
from player import Handset, is_dialled, play
from script import only_talk

from ussd_app import menus, msisdn
from ussd_app.menus import Menus
from ussd_app.money import MAX_MAJOR, Money
from ussd_app.orders import Movement, Repeated, Standing
from ussd_app.orders.model import OPEN_STATES
from ussd_app.subscribers import Subscriber
from ussd_app.ussd import after_code

JOURNEYS = sorted((Path(__file__).parent / "journeys").glob("*.txt"))
# Those that need no operator; the others are played on the whole application.
DIALOGUES = [path for path in JOURNEYS if only_talk(path)]
HOME = "CON Akwaaba Ama\n2 My groups\n3 Send money\n4 Airtime, bundles\n5 My account"
ELSEWHERE = "no operator, no sandbox, no time: such journeys are played on the whole application"


@pytest.fixture(scope="module")
def real() -> Menus:
    """The menus as they are shipped."""
    return menus.load(Path(__file__).parents[1] / "menus")


@dataclass
class Village:
    """Phones that share their services; a journey's world without operators."""

    menus: Menus
    subscribers: FakeSubscribers = field(default_factory=FakeSubscribers)
    orders: FakeOrders = field(default_factory=FakeOrders)
    phones: dict[str, Phone] = field(default_factory=dict)

    async def enter(self, handset: Handset, typed: str) -> str:
        """Dial or type."""
        phone = self.phones.setdefault(
            handset.msisdn,
            Phone(
                self.menus,
                msisdn.parse(handset.msisdn, "GH"),
                handset.language,
                handset.aggregator,
                subscribers=self.subscribers,
                orders=self.orders,
            ),
        )
        if is_dialled(typed):
            dialled = after_code(typed, "920*55")
            return await phone.dial(*dialled.split("*") if dialled else (), redial=phone.dialogue is not None)
        return await phone.press(typed)

    async def arrange(self, what: str, name: str, words: list[str]) -> None:
        """There is no sandbox here."""
        raise NotImplementedError(ELSEWHERE)

    async def pay_till(self, msisdn: str, amount: str, label: str) -> str:
        """There is no till here."""
        raise NotImplementedError(ELSEWHERE)

    async def answer(self, msisdn: str, answer: str) -> bool:
        """There is no operator here."""
        raise NotImplementedError(ELSEWHERE)

    async def inbox(self, msisdn: str) -> list[str]:
        """Nor a sender."""
        raise NotImplementedError(ELSEWHERE)

    async def balance(self, msisdn: str, currency: str) -> Decimal:
        """Nor a wallet."""
        raise NotImplementedError(ELSEWHERE)

    async def airtime(self, msisdn: str, currency: str) -> Decimal:
        """Nor anybody who tops up."""
        raise NotImplementedError(ELSEWHERE)

    async def ledger(self, account: str) -> Decimal:
        """Nor a ledger."""
        raise NotImplementedError(ELSEWHERE)

    async def advance(self, by: timedelta) -> None:
        """Time stands."""
        raise NotImplementedError(ELSEWHERE)


@pytest.mark.parametrize("path", DIALOGUES, ids=lambda path: path.stem)
async def test_journey(path: Path, real: Menus) -> None:
    """The journey happens as it is written."""
    await play(path, Village(real))


# Money


async def test_what_was_confirmed_is_what_is_placed(real: Menus) -> None:
    """Recipient, amount, fee and language go into the order as they were on the screen."""
    phone = registered(real)
    await phone.dial("3", "0240000002", "12.5")
    await phone.press("1")
    (placed,) = phone.orders.placed.values()
    assert placed["kind"] == "send_money"
    assert (placed["msisdn"], placed["language"]) == (AMA, "en")
    assert (placed["amount"], placed["fee"]) == (Money(1250, "GHS"), Money(20, "GHS"))  # up to the step
    assert placed["recipient"] == KOFI
    assert placed["details"]["sender_name"] == "Ama"


async def test_an_amount_that_does_not_fit_is_refused(real: Menus) -> None:
    """Nothing that was typed is rounded: the step is named and the amount asked again."""
    phone = registered(real)
    shown = await phone.dial("3", "0240000002", "10.05")
    assert shown.startswith("CON Only multiples of GHS 0.10 can be sent.\nEnter another amount")


async def test_a_limit_reached_between_quote_and_order_is_refused(real: Menus) -> None:
    """What was quoted in good faith may still be refused, and the effect is none."""
    phone = registered(real)
    await phone.dial("3", "0240000002", "50")
    phone.orders.limit = Money(1_000, "GHS")
    assert (await phone.press("1")).startswith("CON That is over your limit of GHS 10.00.")
    assert not phone.effects.may_have_effect


async def test_the_same_confirmation_twice_is_one_order(real: Menus) -> None:
    """A hop whose reply got lost is repeated in the same run, and places nothing more."""
    phone = registered(real)
    await phone.dial("3", "0240000002", "50")
    before = phone.dialogue
    first = await phone.press("1")
    phone.dialogue = before
    assert await phone.press("1") == first
    assert len(phone.orders.placed) == 1


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", "MTN is slow now. We will SMS you. Do not pay again. Ref 48215037"),
        ("fr", "MTN est lent en ce moment. Vous recevrez un SMS. Ne payez pas à nouveau. Réf 48215037"),
        ("sw", "MTN iko polepole sasa. Tutakutumia SMS. Usilipe tena. Kumb 48215037"),
    ],
)
async def test_an_order_whose_prompt_will_be_late_is_an_order(real: Menus, language: str, said: str) -> None:
    """The payer is told so, and no reply says that nothing happened."""
    phone = registered(real, language)
    phone.orders.slow = True
    await phone.dial("3", "0240000002", "50")
    assert await phone.press("1") == f"END {said}"
    assert phone.effects.may_have_effect
    assert len(phone.orders.placed) == 1


AT = datetime(2026, 3, 2, 17, 5, tzinfo=UTC)
OTHERS = "1 Check again\n2 Main menu\n3 Others"


def standing(state: str, code: str = "48215037") -> list[Standing]:
    """A payment, in some state."""
    return [Standing(code, AT, Money(5000, "GHS"), state, "KOFI MENSAH", "MTN")]


async def test_an_open_payment_comes_first(real: Menus) -> None:
    """Whoever dials again sees it before anything else, whatever was dialled or left, and goes on when told to."""
    phone = registered(real)
    await phone.dial("3", "0240000002")
    phone.orders.latest = standing("waiting")
    waiting = (
        "CON GHS 50.00 to KOFI MENSAH\nWAITING for MTN. Approve if asked. Do not pay again.\n1 Check again\n2 Main menu"
    )
    assert await phone.dial("3", "0240000002", "50", redial=True) == waiting
    assert (await phone.press("1")).startswith(waiting)
    phone.orders.latest = standing("paid")
    assert (await phone.press("1")).startswith("CON GHS 50.00 to KOFI MENSAH\nPAID. Ref 48215037\n1 Main menu")
    assert await phone.press("1") == HOME


@pytest.mark.parametrize(
    ("state", "opening"),
    [
        ("waiting", "GHS 50.00 to KOFI MENSAH\nWAITING"),
        ("delivering", "GHS 50.00 to KOFI MENSAH\nYOU HAVE PAID. We are delivering. Do not pay again."),
        ("coming", "GHS 50.00 from KOFI MENSAH\nON ITS WAY to you."),
        ("refunding", "GHS 50.00 to KOFI MENSAH\nNOT DELIVERED. Your money is on its way back."),
        ("unclear", "GHS 50.00, KOFI MENSAH\nNOT CONFIRMED YET. We look into it. Do not pay again."),
        ("paid", "Akwaaba Ama"),
        ("arrived", "Akwaaba Ama"),
        ("failed", "Akwaaba Ama"),
        ("kept", "Akwaaba Ama"),
        ("refunded", "Akwaaba Ama"),
    ],
)
async def test_only_what_is_open_keeps_one_from_home(real: Menus, state: str, opening: str) -> None:
    """A payment that has ended was told of by SMS; the next dial is about something else."""
    phone = registered(real)
    phone.orders.latest = standing(state)
    assert (await phone.dial()).startswith(f"CON {opening}")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("delivering", "YOU HAVE PAID."), ("refunding", "on its way back"), ("unclear", "NOT CONFIRMED YET."),
        ("failed", "NOT PAID. No money was taken."), ("refunded", "You have your money back."),
        ("coming", "ON ITS WAY to you."), ("arrived", "PAID to you."), ("kept", "NOT PAID to you. It is still kept"),
    ],
)  # fmt: skip
async def test_every_end_of_a_payment_has_its_screen(real: Menus, state: str, said: str) -> None:
    """Checking again shows what became of it."""
    phone = registered(real)
    phone.orders.latest = standing("waiting")
    await phone.dial()
    phone.orders.latest = standing(state)
    assert said in await phone.press("1")
    phone.orders.latest = []
    await phone.dial()


async def test_several_open_payments_are_seen_one_by_one(real: Menus) -> None:
    """The newest first, and a list of all; what each is checked for again is itself."""
    phone = registered(real)
    phone.orders.latest = [
        *standing("delivering", "48215045"),
        *standing("refunding"),
        *standing("unclear", "48215053"),
    ]
    assert (await phone.dial()).endswith("YOU HAVE PAID. We are delivering. Do not pay again.\n" + OTHERS)
    shown = await phone.press("3")
    assert shown.splitlines() == [
        "CON Open payments", "1 02/03 -50.00 KOFI M, under way", "2 02/03 -50.00 KOFI M, returning",
        "3 02/03 -50.00 KOFI MEN, unclear", "0 Back 00 Home",
    ]  # fmt: skip
    assert f"NOT DELIVERED. Your money is on its way back.\n{OTHERS}" in await phone.press("2")
    assert "NOT DELIVERED." in await phone.press("1")
    phone.orders.latest = standing("refunded")
    assert "NOT DELIVERED. You have your money back. Ref 48215037" in await phone.press("1")
    phone.orders.latest = standing("waiting", "48215045")
    assert await phone.press("1") == HOME


async def test_last_payments_begin_with_what_is_open(real: Menus) -> None:
    """Before those that are over; whatever is on another page is reached, and nothing says that there are none."""
    phone = registered(real)
    states = ("waiting", "delivering", "coming", "refunding", "unclear")
    phone.orders.latest = [each for n, state in enumerate(states) for each in standing(state, f"4821500{n}")]
    phone.orders.moved = [Movement(AT, "sent", Money(5000, "GHS"), "ESI", "48215037")]
    await phone.dial()
    pages = [await phone.press("2", "5", "1"), await phone.press("98")]
    words = [line.rsplit(", ", 1)[-1] for page in pages for line in page.splitlines() if "/03 " in line]
    assert words == ["waiting", "under way", "coming", "returning", "unclear", "3 02/03 -50.00 ESI"]
    details = ("WAITING for MTN. Approve if asked.", "YOU HAVE PAID.", "ON ITS WAY to you.")
    for key, said in enumerate(details, 1):
        phone.dialogue = None
        await phone.dial()
        await phone.press("2", "5", "1")
        assert said in (shown := await phone.press(str(key)))
        assert f"Ref 4821500{key - 1}" in shown
    phone.orders.latest, phone.orders.moved = [], []
    await phone.dial()
    assert (await phone.press("5", "4")).startswith("CON Nothing to repeat yet.")


async def test_a_code_out_of_an_sms_is_gone_on_with_past_an_open_payment(real: Menus) -> None:
    """It may be open for days, and officers approve by such codes; anything else dialled is dropped."""
    phone = registered(real)
    phone.orders.latest = standing("delivering")
    await phone.dial("9", "48215037")
    assert await phone.press("2") != HOME
    await phone.dial("3", "0240000002", "50")
    assert await phone.press("2") == HOME


async def test_the_same_again_is_asked_about_and_no_dial_string_says_yes(real: Menus) -> None:
    """Then it is confirmed as ever; no ends it without a word against the first payment."""
    phone = registered(real)
    phone.orders.repeated = Repeated(1)
    again = "CON You asked to send GHS 50.00 to 0240000002 1 min ago. Again?\n1 Yes\n2 No"
    assert (await phone.dial("3", "0240000002", "50", "1", "1")).startswith(again)
    assert (await phone.press("1")).startswith("CON Send GHS 50.00 to KOFI MENSAH 0240000002\nFee GHS 0.50")
    assert phone.orders.placed == {}
    assert (await phone.press("1")).startswith("END Now approve GHS 50.50")
    assert (await phone.dial("4", "1", "1", "5", "1")).startswith(
        "CON You asked for GHS 5.00 airtime for 0240000001 1 min"
    )
    assert await phone.press("2") == "END Not bought again. Your first payment stands: see Last payments."
    assert len(phone.orders.placed) == 1


async def test_the_last_payments_are_a_list_with_details(real: Menus) -> None:
    """Each line says when, how much and whose; its number shows the rest."""
    phone = registered(real)
    at = datetime(2026, 3, 2, 17, 5, tzinfo=UTC)
    phone.orders.moved = [
        Movement(at, label, Money(minor, "GHS"), party, code)
        for label, minor, party, code in (
            ("sent", 5000, "KOFI MENSAH", "48215037"),
            ("received", 250_000, "ESI", "48215045"),
            ("refunded", 700, "YAA", "48215053"),
        )
    ]
    await phone.dial()
    shown = await phone.press("5", "1")
    assert shown.splitlines()[1:4] == ["1 02/03 -50.00 KOFI MENSAH", "2 02/03 +2500.00 ESI", "3 02/03 +7.00 YAA"]
    assert (await phone.press("1")).startswith("CON You sent GHS 50.00 to KOFI MENSAH\n2 Mar 2026 17:05\nRef 48215037")
    assert (await phone.press("1", "2")).startswith("CON You received GHS 2,500.00 from ESI")
    assert (await phone.press("1", "3")).startswith("CON You got back GHS 7.00, not delivered to YAA")


async def test_a_proof_of_the_old_pin_dies_with_its_run(real: Menus) -> None:
    """A new run asks for the old PIN again: what was proven in another is worth nothing."""
    phone = registered(real)
    phone.subscribers.people[AMA] = Subscriber(AMA, "Ama", "en", has_pin=True)
    phone.subscribers.pins[AMA] = "2580"
    await phone.dial("5", "3")
    await phone.press("2580", "7391")
    assert phone.dialogue is not None
    phone.dialogue["run"] = "another"
    assert (await phone.press("7391")).startswith("CON The two PINs differ.")
    await phone.press("7391")
    assert (await phone.press("7391")).startswith("CON Wrong PIN.")
    assert phone.subscribers.pins[AMA] == "2580"


# Anything at all


KEYS = ("0", "00", "98", "1", "2", "3", "5", "50", "0240000002", "0200000001", "7391", "1234", "Ama", "", "*", "#", "é")
ANSWERS = ("0240000002", "7391", str(MAX_MAJOR))
LONGEST = "W" * 80


@pytest.mark.parametrize("language", ["en", "fr", "sw", "tw"])
async def test_whatever_is_typed_every_screen_fits_and_answers(real: Menus, language: str) -> None:
    """Random thumbs on the longest names, amounts and lists: each screen within its septets (asserted by the phone)."""
    random = Random(language)  # noqa: S311 - thumbs, not keys
    seen = set()
    for _ in range(150):
        phone = busy_phone(real, language, random)
        screen = await phone.dial(*random.choices(KEYS, k=random.randrange(4)))
        for _ in range(25):
            if phone.dialogue is None:
                break
            seen.add(phone.dialogue["state"])
            offered = re.findall(r"^(\d+) ", screen, re.MULTILINE)
            screen = await phone.press(random.choice([*offered, *random.choices(ANSWERS, k=2), random.choice(KEYS)]))
            if random.random() < 0.05:
                screen = await phone.dial(redial=phone.dialogue is not None)
    assert {"send_money.confirm", "main.waiting", "main.name", "account.payments"} <= seen


def busy_phone(real: Menus, language: str, random: Random) -> Phone:
    """Everything as long as it gets: name, amounts, parties and lists."""
    most = Money.of(MAX_MAJOR, "GHS")
    at = datetime(2026, 9, 28, 23, 59, tzinfo=UTC)
    labels = random.choices(["sent", "received", "refunded"], k=5)
    phone = Phone(real, language=random.choice([language, None]))
    phone.orders.limit = most
    phone.orders.moved = [Movement(at, label, most, LONGEST, f"4821503{n}") for n, label in enumerate(labels)]
    open_ = [Standing(f"4821500{n}", at, most, state, LONGEST, LONGEST) for n, state in enumerate(sorted(OPEN_STATES))]
    random.shuffle(open_)
    phone.orders.latest = open_[: random.choice([0, 0, 1, 5])]
    phone.orders.repeated = random.choice([None, Repeated(1440)])
    if random.random() < 0.9:
        phone.subscribers.people[AMA] = Subscriber(AMA, LONGEST, language, has_pin=False)
    return phone


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("fr-FR", "Désolé, le service est occupé."),
        ("sw", "Samahani, huduma ina"),
        ("xx", "Sorry, we"),
        (None, "Sorry, we"),
    ],
)
def test_the_systems_own_sentences_are_said_in_any_language(real: Menus, language: str | None, words: str) -> None:
    """As whoever answers for a hop that never became a dialogue asks for them; English where we have no other."""
    assert Phone(real).conversation.word("busy", language).startswith(words)
