"""Numbers in every spelling people and providers use."""

from datetime import UTC, datetime, timedelta

import pytest

from ussd_app import msisdn
from ussd_app.config import Settings
from ussd_app.msisdn import InvalidMsisdn, Msisdn


@pytest.mark.parametrize(
    "text", ["0240000001", "+233240000001", "233240000001", "024 000 0001", "+233 (24) 000-0001", "+2330240000001"]
)
def test_every_spelling_is_one_number(text: str) -> None:
    """National, international, with and without plus, trunk zero kept."""
    assert msisdn.parse(text, "GH") == Msisdn("+233240000001")


@pytest.mark.parametrize(
    "text", ["", "0", "1234", "0302000000", "0" * 20, "24000000a", "+", "0240000001#", "\u0660" * 10, "0240000001\n"]
)
def test_what_is_no_mobile_number_is_refused(text: str) -> None:
    """Short, long, landline, other digits."""
    with pytest.raises(InvalidMsisdn):
        msisdn.parse(text, "GH")


def test_a_number_of_another_country_is_its_own() -> None:
    """Without a plus as well."""
    number = msisdn.parse("256770000001", "GH")
    assert (number.country, number.network, number.national) == ("UG", "MTN", "0770000001")


def test_zero_is_kept_where_it_belongs_to_the_number() -> None:
    """Cote d'Ivoire has no trunk prefix."""
    assert msisdn.parse("0501000001", "CI") == Msisdn("+2250501000001")


@pytest.mark.parametrize(
    ("text", "country", "number"),
    [
        ("96000001", "BJ", "+2290196000001"),
        ("+22996000001", "GH", "+2290196000001"),
        ("22996000001", "GH", "+2290196000001"),
        ("0196000001", "BJ", "+2290196000001"),
        ("0100 0001", "CI", "+2250101000001"),
        ("+225 0500 0001", "GH", "+2250505000001"),
        ("44000001", "CI", "+2250544000001"),
        ("87000001", "CI", "+2250787000001"),
        ("0700000001", "CI", "+2250700000001"),
        ("6000001", "GA", "+24166000001"),
        ("06000001", "GA", "+24166000001"),
        ("66000001", "GA", "+24166000001"),
        ("066000001", "GA", "+24166000001"),
        ("+241 07 00 00 01", "GH", "+24177000001"),
        ("+231 0 880 000 001", "GH", "+231880000001"),
        ("0880000001", "LR", "+231880000001"),
        ("+243 0 990 000 001", "GH", "+243990000001"),
        ("+2420 60000001", "GH", "+242060000001"),
        ("7000001", "GM", "+2207000001"),
    ],
)
def test_numbers_of_older_plans_and_kept_zeros_have_one_spelling(text: str, country: str, number: str) -> None:
    """As the present plan of their country writes them (wire/operators.md section 5)."""
    assert msisdn.parse(text, country) == Msisdn(number)
    assert msisdn.parse(number, "GH") == Msisdn(number)


@pytest.mark.parametrize(
    ("text", "country"),
    [
        ("22000001", "CI"),  # a landline then
        ("60000001", "CI"),  # an operator that is gone: nobody knows whose it is
        ("00000001", "CI"),
        ("21000001", "BJ"),
        ("3000001", "GA"),
        ("4500001", "LR"),
        ("5000001", "CD"),
    ],
)
def test_an_old_number_nobody_can_tell_is_refused(text: str, country: str) -> None:
    """Money must not go to a guess, nor to seven digits that have no wallet."""
    with pytest.raises(InvalidMsisdn):
        msisdn.parse(text, country)


# Hours ahead of UTC; none of them has a summer time.
AHEAD = {
    0: "GH CI SN BF TG ML GN LR SL GM",
    1: "NG CM BJ NE CD CG GA TD",
    2: "RW ZM MW MZ BI ZW BW LS SZ ZA SS",
    3: "UG KE TZ MG ET",
    4: "SC",
}


@pytest.mark.parametrize("month", [1, 7])
def test_every_country_served_keeps_its_own_time(month: int) -> None:
    """Due dates and quiet hours are its people's; the countries are all of ours."""
    noon = datetime(2031, month, 1, 12, tzinfo=UTC)
    found = {country: noon.astimezone(msisdn.zone_of(country)).utcoffset() for country in msisdn.CURRENCIES}
    assert found == {country: timedelta(hours=hours) for hours, row in AHEAD.items() for country in row.split()}


@pytest.mark.parametrize(
    ("number", "zone"),
    [
        ("+233240000001", "Africa/Accra"),
        ("+254700000001", "Africa/Nairobi"),
        ("+211970000001", "Africa/Juba"),
        ("+12125550101", "America/New_York"),
        ("+88213300655", "UTC"),
    ],
)
def test_a_number_keeps_the_time_of_its_country(number: str, zone: str) -> None:
    """Where it belongs to none, that of the sea."""
    assert Msisdn(number).zone.key == zone


def test_the_service_keeps_the_time_of_its_country() -> None:
    """As set."""
    assert Settings(country="KE").zone.key == "Africa/Nairobi"


def test_masks_hide_the_middle() -> None:
    """In logs nobody can be called."""
    assert Msisdn("+233240000001").masked == "23324****001"
    assert msisdn.mask("short") == "****"
