"""What the menus say: languages, filters, and values that are only ever data."""

from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from menu_actions import resolve

from ussd_app import gsm
from ussd_app.menus import Menus, load
from ussd_app.menus.kinds import KINDS, filters
from ussd_app.menus.text import Templates
from ussd_app.menus.translations import Catalog, Entry
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn, zone_of
from ussd_app.orders import airtime, bundle, send_money


@pytest.fixture(scope="module")
def good() -> Menus:
    """The good menus, loaded."""
    return load(Path(__file__).parent / "broken_menus" / "good", actions=resolve)


def test_every_order_that_can_fail_has_its_words() -> None:
    """And only one text lays it on the recipient, who is not named as the cause in any other."""
    menus = load(Path(__file__).parents[1] / "menus")
    kinds = send_money.KIND, airtime.KIND, bundle.KIND
    assert {kind.undeliverable for kind in kinds} | {"recipient_failed"} <= set(menus.sms)
    assert [kind.unreceivable for kind in kinds] == ["recipient_failed", "", ""]
    values = {"amount": Money.of(50, "GHS"), "total": Money.of(51, "GHS"), "recipient": Msisdn("+233240000002"),
              "recipient_name": "Kofi", "reference": "10000417", "bundle": "500MB"}  # fmt: skip
    blaming = {"en": "could not receive", "fr": "n'a pas pu recevoir", "sw": "hakuweza kupokea"}
    for language, words in blaming.items():
        said = {name: menus.texts.render(menus.sms[name].text_id, language, values)
                for name in ("recipient_failed", *(kind.undeliverable for kind in kinds))}  # fmt: skip
        assert [name for name, text in said.items() if words in text] == ["recipient_failed"]


def test_a_missing_translation_is_said_in_english() -> None:
    """Unknown languages and texts without a confirmed translation fall back; nobody sees an empty screen."""
    entries = {
        "a": Entry("Hello", "Bonjour", 1, fuzzy=False, same=False),
        "b": Entry("Bye", "Salut", 2, fuzzy=True, same=False),
    }
    texts = Templates({"a": "Hello", "b": "Bye"}, [Catalog("fr", "locale/fr.po", entries)], {}, UTC)
    assert [texts.render("a", language, {}) for language in ("fr", "sw")] == ["Bonjour", "Hello"]
    assert texts.render("b", "fr", {}) == "Bye"


def test_a_language_is_written_in_gsm_letters(good: Menus) -> None:
    """Accents that GSM-7 has stay, others are dropped: no screen falls to 70 characters."""
    assert good.texts.render("words.busy", "fr", {}) == "Service occupé. Rien n'a été débité."
    assert good.texts.render("main.joined", "fr", {}) == "Vous etes membre."
    assert good.texts.languages == ("en", "fr")


PAYLOADS = [
    "{{ 7*7 }}",
    "{% for x in range(9) %}a{% endfor %}",
    "{{ ''.__class__ }}",
    "{# gone #}",
    "{{ amount }}",
    "%(amount)s",
    "{amount.minor}",
    "${7*7}",
    "<b>1</b>",
]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_what_a_person_typed_is_never_a_template(good: Menus, payload: str) -> None:
    """A name that looks like a template is printed letter by letter."""
    said = good.texts.render("main.home", "en", {"caller_name": payload})
    assert said == f"Hello {gsm.cut(payload, 20)}"


def test_a_name_cannot_imitate_a_menu(good: Menus) -> None:
    """New lines and controls in a value become blanks: a name stays on its line."""
    said = good.texts.render("main.home", "en", {"caller_name": "Ama\n1 Confirm\x07\u202e"})
    assert said == "Hello Ama 1 Confirm"


def test_a_variable_that_is_not_there_is_an_error(good: Menus) -> None:
    """Nothing is ever said with a hole in it."""
    with pytest.raises(Exception, match="'caller_name' is undefined"):
        good.texts.render("main.home", "en", {})


values = st.one_of(
    st.builds(Money, st.integers(-(10**14), 10**14), st.sampled_from(["GHS", "UGX", "XOF", "KES"])),
    st.integers(-(10**12), 10**12),
    st.text(max_size=80),
    st.datetimes(min_value=datetime(1, 1, 3), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis adds the zone
    st.dates(),
    st.sampled_from(
        [Msisdn("+233240000001"), Msisdn("+2348030000001"), Msisdn("+436641234567890"), Msisdn("+15005550006")]
    ),
)


@given(value=values, language=st.sampled_from(["en", "fr", "sw", "pt", "am", "ar", "xx", "fr-CM", "?"]))
def test_filters_keep_to_the_alphabet_and_their_maximum(value: Any, language: str) -> None:  # noqa: ANN401 - of any kind
    """Whatever the value and the language, a filter prints GSM-7 and never more than check has counted."""
    zone = timezone(timedelta(hours=3))
    for name, kind in KINDS.items():
        if type(value) in kind.types:
            cost = gsm.septets(filters(language, zone)[name](value))
            assert cost is not None
            assert cost <= kind.septets


@pytest.mark.parametrize(
    ("filter_", "language", "value", "words"),
    [
        ("money", "en", Money(150_050, "GHS"), "GHS 1,500.50"),
        ("money", "fr", Money(150_050, "GHS"), "GHS 1 500,50"),
        ("money", "fr", Money(25_000, "XAF"), "XAF 25 000"),
        ("money", "en", Money(-50, "GHS"), "GHS -0.50"),
        ("money", "en", Money(99_999_999_999, "GHS"), "GHS 999999999.99"),
        ("money", "en", Money(10**13, "GHS"), "GHS >999999999"),
        ("money", "en", Money(-(10**13), "GHS"), "GHS <-999999999"),
        ("msisdn", "en", Msisdn("+233240000001"), "0240000001"),
        ("msisdn", "en", Msisdn("+436641234567890"), "...1234567890"),
        ("date", "en", datetime(2026, 8, 25, 21, 5, tzinfo=UTC), "26 Aug 2026 00:05"),
        ("date", "fr", date(2026, 8, 25), "25 aout 2026"),
        ("number", "en", 1_234_567, ">99999"),
        ("number", "en", -1_234_567, "<-9999"),
        ("code", "en", "48215037", "48215037"),
        ("name", "en", "Someone\tWith A Very Long Name", "Someone With A Very "),
    ],
)
def test_filters_print_what_people_read(filter_: str, language: str, value: object, words: str) -> None:
    """Amounts are never shortened to another amount, times are local, months are in the language."""
    assert filters(language, timezone(timedelta(hours=3)))[filter_](value) == words


def test_a_variable_is_cut_to_its_own_maximum(good: Menus) -> None:
    """variables.toml may allow less than the type: a reference has eight digits."""
    given = {"total": Money(100, "GHS"), "reference": "1234567890", "at": datetime(2026, 1, 2, 3, 4, tzinfo=UTC)}
    assert "Ref 12345678. " in good.texts.render("send.sent", "en", given)


def test_dates_are_shown_in_the_zone_of_the_menus() -> None:
    """Loaded for Kenya, they say Nairobi's time."""
    kenyan = load(Path(__file__).parent / "broken_menus" / "good", actions=resolve, zone=zone_of("KE"))
    given = {"total": Money(100, "KES"), "reference": "48215037", "at": datetime(2031, 3, 4, 22, 5, tzinfo=UTC)}
    assert kenyan.texts.render("send.sent", "en", given).endswith("5 Mar 2031 01:05")
