"""The journey runner itself, against a world that answers what a test has written down."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from player import Handset, play
from script import Mismatch, country, matched, matched_screen, only_once, only_talk, translated_sms

AMA, KOFI = "233240000001", "233240000002"
WELCOME = "CON Welcome"


@dataclass
class Stage:
    """Answers from a table of what is typed; nothing else happens but what a test puts there."""

    screens: dict[str, str] = field(default_factory=dict)
    sms: dict[str, list[str]] = field(default_factory=dict)
    prompts: Counter[str] = field(default_factory=Counter)
    typed: list[tuple[Handset, str]] = field(default_factory=list)
    passed: timedelta = timedelta()
    arranged: list[tuple[str, str, list[str]]] = field(default_factory=list)

    async def enter(self, handset: Handset, typed: str) -> str:
        """The screen of the table; an SMS there comes with it."""
        self.typed.append((handset, typed))
        screen, _, sms = self.screens.get(typed, WELCOME).partition(" | ")
        if sms:
            self.sms.setdefault(handset.msisdn, []).append(sms)
        return screen

    async def answer(self, msisdn: str, answer: str) -> bool:
        """Whether there is a prompt."""
        self.prompts[msisdn] -= 1
        return bool(answer) and self.prompts[msisdn] >= 0

    async def inbox(self, msisdn: str) -> list[str]:
        """What has come."""
        return list(self.sms.get(msisdn, []))

    async def balance(self, msisdn: str, currency: str) -> Decimal:
        """The same for all."""
        return Decimal("49.50") if (msisdn, currency) == (AMA, "GHS") else Decimal()

    async def airtime(self, msisdn: str, currency: str) -> Decimal:
        """The same for all."""
        return Decimal(5) if (msisdn, currency) == (AMA, "GHS") else Decimal()

    async def ledger(self, account: str) -> Decimal:
        """As many hops as there were."""
        return Decimal(len(self.typed)) if account == "fees:GHS" else Decimal()

    async def advance(self, by: timedelta) -> None:
        """It adds up."""
        self.passed += by

    async def arrange(self, what: str, name: str, words: list[str]) -> None:
        """It is kept."""
        self.arranged.append((what, name, words))

    async def pay_till(self, msisdn: str, amount: str, label: str) -> str:
        """A receipt whose digits are the code of the table."""
        self.arranged.append(("till", msisdn, [amount, label]))
        return "48215037"


def written(path: Path, *lines: str) -> Path:
    """A journey of these lines."""
    path.write_text("\n".join(lines))
    return path


async def played(path: Path, stage: Stage, *lines: str) -> None:
    """Play these lines, without patience."""
    await play(written(path, *lines), stage, wait_seconds=0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a journey is written."""
    return tmp_path / "trip.txt"


@pytest.fixture
def stage() -> Stage:
    """A menu, a code that comes by SMS, and a PIN."""
    return Stage(
        screens={
            "*920*55#": "CON Hello\n1 One",
            "1": "END Your code is 48215037 | Dial *920*55*7*48215037# or 48215037",
            "2": "END Your code is 55555555 | Dial *920*55*7*55555555# or 55555555",
            "*920*55*7*48215037#": "CON Payout 48215037\nPIN",
            "2580": "END Approved",
            "7391": "CON Wrong PIN",
        }
    )


START = ("as 233240000001 through mtn", "> *920*55#", "Hello", "...")


async def test_what_is_as_written_passes(path: Path, stage: Stage) -> None:
    """Every command, each true."""
    stage.prompts[AMA] = 1
    stage.sms[AMA] = ["An old one"]
    await played(
        path, stage, "# once", "wallet 233240000001 GHS 10", "switch mtn_momo prompt_seconds=1", *START, "hops 1",
        "> 1", "END Your code is <code>", "hops 2", "approve", "hops 3",
        f"sms {AMA}: Dial ...", f"no sms {AMA}: An old one",
        "> *920*55*7*<code>#", "Payout <code>", "...", f"& {KOFI} > *920*55*7*<code>#", "Payout <code>", "PIN",
        "hops 1",
        f"balance {AMA} GHS 49.5", f"airtime {AMA} GHS 5", "ledger fees:GHS +4", "time 3 hours", "time 1 day",
    )  # fmt: skip
    assert stage.passed == timedelta(hours=27)
    assert stage.arranged == [("wallet", AMA, ["GHS", "10"]), ("switch", "mtn_momo", ["prompt_seconds=1"])]
    assert only_once(path)
    assert not only_talk(path)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (
            ["> 1", "END Your code is 1"],
            "5: expected\nEND Your code is 1\nand the screen is\nEND Your code is 48215037",
        ),
        (["> *920*55*7*<code>#"], "5: nothing has been remembered as 'code'"),
        (["> 1", "END Your code is <code>", "> 2", "END Your code is <code>"], "7: expected"),
        (["> 1", "> 2", f"sms {AMA}: Dial ...*<a># or <b>", "> *920*55*7*<a>#", "Payout ..."], "8: expected"),
        (["> 2580", f"& {KOFI} > 7391", "END A"], "6: expected\nEND A\nand the screen is\nCON Wrong PIN"),
        (["hops 2"], "5: the handset has taken 1 hops"),
        (["approve"], "5: no prompt came"),
        ([f"sms {AMA}: Dial ..."], "5: no such SMS came"),
        (["> 1", f"no sms {AMA}: Dial ..."], "6: such an SMS is there"),
        ([f"balance {AMA} GHS 50"], "5: the balance is another"),
        ([f"airtime {AMA} GHS 6"], "5: the airtime is another"),
        (["ledger fees:GHS +2"], "5: the account is another"),
        (["known 233240000002 Kofi 7391"], "5: no PIN was set; the screens were\nCON Hello"),
        (["approve", "hello"], "6: neither a command nor part of a screen: hello"),
        (["approve", f"& {KOFI} > 1"], "6: neither a command"),
    ],
)
async def test_what_is_not_as_written_says_where(path: Path, stage: Stage, lines: list[str], problem: str) -> None:
    """File and line, what was expected and what came."""
    with pytest.raises(Mismatch) as mismatch:
        await played(path, stage, *START, *lines)
    assert str(mismatch.value).startswith(f"trip.txt:{problem}")


async def test_a_receipt_is_remembered_and_faults_are_mended(path: Path, stage: Stage) -> None:
    """Its digits are typed as those of a screen are."""
    await played(
        path, stage, "# in KE", "float airtel 5000", *START, f"till {AMA} 500 INV1 <receipt>", "mended",
        "time 5 seconds", "> *920*55*7*<receipt>#", "Payout <receipt>", "PIN",
    )  # fmt: skip
    assert stage.arranged == [("float", "airtel", ["5000"]), ("till", AMA, ["500", "INV1"]), ("mended", "", [])]


@pytest.mark.parametrize(
    ("lines", "where", "once"),
    [
        (["# Of Kenya.", "as 1 through mtn", "# in KE", "# once"], "GH", False),
        (["# in KE", "as 1 through mtn"], "KE", False),
        (["# once", "# in UG", "# Long."], "UG", True),
    ],
)
def test_its_head_says_where_it_is_played_and_whether_once(
    path: Path, lines: list[str], where: str, *, once: bool
) -> None:
    """The comments it begins with, and no later ones."""
    assert (country(written(path, *lines)), only_once(path)) == (where, once)


async def test_a_journey_says_whose_it_is(path: Path, stage: Stage) -> None:
    """Nothing is typed on nobody's handset."""
    with pytest.raises(Mismatch, match="a journey begins with `as"):
        await played(path, stage, "> *920*55#")


async def test_two_phones_press_at_the_same_second(path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither waits for the other's screen; and both are looked at."""
    both = asyncio.Barrier(2)

    async def enter(handset: Handset, typed: str) -> str:
        if typed == "2580":
            await both.wait()
        return f"END {handset.msisdn}"

    monkeypatch.setattr(stage, "enter", enter)
    async with asyncio.timeout(5):
        await played(path, stage, START[0], "> 2580", f"END {AMA}", f"& {KOFI} > 2580", f"END {KOFI}", "> 1", "END ...")


async def test_a_person_is_made_known_by_their_keys(path: Path, stage: Stage) -> None:
    """English, name and PIN, on their own handset; the one in hand stays in hand."""
    await played(path, stage, *START, "known 233240000002 Kofi 2580 through mtn", "> 1")
    kofi, ama = Handset(KOFI, "mtn"), Handset(AMA, "mtn")
    keys = ["*920*55#", "1", "Kofi", "*920*55*5*3#", "2580", "2580"]
    assert stage.typed == [(ama, "*920*55#"), *((kofi, key) for key in keys), (ama, "1")]


async def test_a_handset_keeps_its_sim_until_it_is_changed(path: Path, stage: Stage) -> None:
    """Whoever holds it next, and through whom."""
    swapped = (f"imsi {AMA} 620010000000099", "> 1")
    await played(path, stage, *START, *swapped, f"as {KOFI} through mtn in fr", "> 1", START[0], "> 1")
    assert [(handset.imsi, handset.language) for handset, _ in stage.typed] == [
        (None, None), ("620010000000099", None), (None, "fr"), ("620010000000099", None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("expected", "screen", "same"),
    [
        (("Hello",), "CON Hello", True),
        (("Hello",), "END Hello", False),
        (("END Hello",), "END Hello", True),
        (("Hello", "..."), "CON Hello\n1 One\n2 Two", True),
        (("Hello", "..."), "CON Hello", True),
        (("Hello", "...", "9 Nine"), "CON Hello\n1 One\n9 Nine", True),
        (("Hello", "...", "9 Nine"), "CON Hello\n9 Nine", True),
        (("Hello", "..."), "CON Hello you", False),
        (("Hello ...", "1 One"), "CON Hello you\n1 One", True),
        (("Hello ...",), "CON Hello you\n1 One", False),
        (("To ... now",), "CON To a b now", True),
        ((), "END anything", True),
    ],
)
def test_three_dots_stand_for_the_rest(expected: tuple[str, ...], screen: str, *, same: bool) -> None:
    """In a line for what is left of it, alone for any lines, and nowhere for more."""
    assert (matched_screen(expected, screen, {}) is not None) is same


@pytest.mark.parametrize(
    ("words", "text", "remembered", "new"),
    [
        ("Ref <code>", "Ref 48215037", {}, {"code": "48215037"}),
        ("Ref <code>", "Ref", {}, None),
        ("Ref <code>", "Ref ABC", {}, None),
        ("<a> and <b>", "1 and 2", {}, {"a": "1", "b": "2"}),
        ("<a> and <a>", "1 and 1", {}, {"a": "1"}),
        ("<a> and <a>", "1 and 2", {}, None),
        ("<a> and <b>", "1 and 2", {"a": "1"}, {"b": "2"}),
        ("<a>", "2", {"a": "1"}, None),
        ("GHS >9 <-9", "GHS >9 <-9", {}, {}),
    ],
)
def test_digits_are_remembered(words: str, text: str, remembered: dict[str, str], new: dict[str, str] | None) -> None:
    """The first time they are whatever stands there, then the same."""
    assert matched(words, text, remembered) == new


@pytest.mark.parametrize(
    ("words", "text", "remembered", "new"),
    [
        ("You paid GHS 1,050.00. Ref <code>", "Vous avez payé GHS 1 050,00. Réf 48215037", {}, {"code": "48215037"}),
        ("You paid GHS 1,050.00. Ref <code>", "Vous avez payé GHS 105,00. Réf 48215037", {}, None),
        ("You paid GHS 5.00. Ref <code>", "Vous avez payé GHS 5,00.", {}, None),
        ("For 0240000001 ...", "Pour 0240000002", {}, None),
        ("For 0240000001 ...", "Pour 0240000001", {}, {}),
        ("Ref <code>", "Réf 48215037", {"code": "39570571"}, None),
        ("Ref <one>, <two>", "Réf 48215037, 39570571", {"one": "48215037"}, {"two": "39570571"}),
    ],
)
def test_another_language_says_the_same_amounts_numbers_and_codes(
    words: str, text: str, remembered: dict[str, str], new: dict[str, str] | None
) -> None:
    """Whatever its words are."""
    assert translated_sms(words, text, remembered) == new


async def test_a_journey_in_another_language_ends_where_the_first_does(path: Path, stage: Stage) -> None:
    """Its screens are not compared, but for that."""
    written(path, *START, "> 1", "END Thanks")
    stage.screens["1"] = "END Merci"
    await play(path, stage, translated=True)
    stage.screens["1"] = "CON Choix incorrect"
    with pytest.raises(Mismatch, match=":5: expected"):
        await play(path, stage, translated=True)
