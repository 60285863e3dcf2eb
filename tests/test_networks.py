"""The table of countries and networks: whose a number is, what an aggregator means, and what one payment may be."""

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import phonenumbers
import pytest
from phonenumbers import PhoneNumberType
from phonenumbers.carrierdata import CARRIER_DATA

from ussd_app import msisdn, networks
from ussd_app.money import Money
from ussd_app.msisdn import InvalidMsisdn, Msisdn
from ussd_app.networks import TABLE, Bounds
from ussd_app.operators import mtn_momo

# Where people keep their numbers (wire/operators.md section 1, and section 4 for three more).
PORTABLE = {"GH", "KE", "NG", "CM", "BJ", "ZA", "TZ", "CI", "SN"}
NO_DECIMALS = {
    "UG", "KE", "TZ", "RW", "CM", "CI", "SN", "BJ", "BF", "TG", "ML", "NE", "GN", "CG", "GA", "TD", "MG", "BI",
}  # fmt: skip


def spread(prefixes: str) -> Iterator[str]:
    """``04-06 5`` as 04, 05, 06, 5."""
    for part in prefixes.split():
        first, _, last = part.partition("-")
        yield from (str(number).zfill(len(first)) for number in range(int(first), int(last or first) + 1))


def number_of(country: str, prefix: str) -> Msisdn:
    """A number that is valid there and begins so."""
    example = phonenumbers.example_number_for_type(country, PhoneNumberType.MOBILE)
    assert example is not None
    for digits, fill in product((len(phonenumbers.national_significant_number(example)), 9, 8), "0123456789"):
        try:
            return msisdn.parse(f"+{example.country_code}{(prefix + fill * 9)[: digits - 1]}1", country)
        except InvalidMsisdn:
            continue
    raise AssertionError(f"{country} {prefix}")


ROWS = tomllib.loads((Path(__file__).parent / "networks.toml").read_text())


@pytest.mark.parametrize("country", ROWS)
def test_whose_range_a_number_lies_in(country: str) -> None:
    """Every range of wire/operators.md section 2 that `phonenumbers` knows to be in use."""
    expected = {prefix: name for name, prefixes in ROWS[country].items() for prefix in spread(prefixes)}
    assert {prefix: number_of(country, prefix).network for prefix in expected} == expected


def test_every_country_with_a_wallet_has_rows() -> None:
    """But South Africa's, where numbers are kept so often that prefixes say nothing."""
    assert set(TABLE.countries) - set(ROWS) == {"ZA"}


def test_the_carrier_names_we_route_by_are_those_of_phonenumbers() -> None:
    """An upgrade that renames one must not pass unseen, in the table or in an operator's own countries."""
    known = {name for names in CARRIER_DATA.values() for name in names.values()}
    ours = {name for country in TABLE.countries.values() for name in country.networks}
    ours |= {name for country in TABLE.countries.values() for each in country.networks.values() for name in each.also}
    ours |= {carrier for _, carrier in mtn_momo.NETWORKS.values()}
    assert sorted(ours - known) == []


def test_money_of_every_country() -> None:
    """Decimals towards mobile money, and the step they make; where numbers move is known too."""
    assert {code for code, each in TABLE.countries.items() if not each.decimals} == NO_DECIMALS
    assert {code for code, each in TABLE.countries.items() if each.portable} == PORTABLE
    steps = {code: networks.step(code, each.currency) for code, each in TABLE.countries.items()}
    assert {code for code, step in steps.items() if step != 1} == {"KE", "TZ", "MG"}
    assert networks.step("KE", "KES") == 100  # whole shillings
    assert networks.step("KE", "UGX") == networks.step("XX", "KES") == 1


@pytest.mark.parametrize(
    ("country", "network", "out", "least", "most"),
    [
        ("GH", "MTN", False, "0.10", "15000"),
        ("KE", "Safaricom", False, "1", "250000"),
        ("KE", "Safaricom", True, "10", "250000"),
        ("KE", "Airtel", False, "10", "250000"),
        ("UG", "MTN", True, "500", "5000000"),
        ("ZM", "Airtel", False, "1", "10000"),
        ("NG", "Glo", False, "50", None),
        ("GM", "Africell", False, "1", None),
    ],
)
def test_bounds_of_one_payment(country: str, network: str, out: bool, least: str, most: str | None) -> None:  # noqa: FBT001 - a row
    """Section 3; where nothing is known, one unit and whatever the operator takes."""
    currency = TABLE.countries[country].currency
    largest = Money.of(most, currency) if most else None
    assert TABLE.bounds(country, network, out=out) == Bounds(Money.of(least, currency), largest)
    assert TABLE.bounds("XX", network) is None


@pytest.mark.parametrize(
    ("country", "said", "network"),
    [
        ("GH", "62001", "MTN"),
        ("GH", "62002", "Telecel"),
        ("GH", "62006", "at"),
        ("GH", "vodafone", "Telecel"),
        ("GH", "MTN", "MTN"),
        ("NG", "MTNN", "MTN"),
        ("UG", "64110", "MTN"),
        ("UG", "64101", "Airtel"),
        ("KE", "63902", "Safaricom"),
        ("KE", "63999", "Finserve"),
        ("TZ", "64003", "Yas"),
        ("GH", "99999", None),  # the sandbox
        ("GH", "64110", None),  # a network of another country
        ("GH", "Hubtel-Android", None),
        ("XX", "MTN", None),
    ],
)
def test_what_an_aggregator_means(country: str, said: str, network: str | None) -> None:
    """Codes and words; what nobody knows says nothing."""
    assert TABLE.told(country, said) == network


def test_every_network_code_of_africas_talking_is_known() -> None:
    """The list of wire/ussd.md section 3, country by country."""
    codes = (
        "GH 62001 62002 62006 NG 62120 62130 62150 62160 RW 63510 63513 63514 ET 63601 KE 63902 63903 63907 63999 "
        "TZ 64002 64003 64004 64005 64007 64009 UG 64101 64110 64111 64114 ZM 64501 64502 MW 65001 65010 "
        "ZA 65501 65502 65507 65510"
    )
    country, unknown = "", []
    for word in codes.split():
        country = word if word.isalpha() else country
        unknown += [word] if word.isdigit() and TABLE.told(country, word) is None else []
    assert unknown == []


GOOD = """
dated = 2031-01-01
[KE]
currency = "KES"
decimals = 0
portable = true
[KE.networks.Finserve]
prefixes = ["763", "7640"]
[KE.networks.Airtel]
prefixes = ["76"]
"""


def test_another_table_knows_ranges_better(tmp_path: Path) -> None:
    """Of two that fit, the longer prefix; what is in none of them stays as `phonenumbers` has it."""
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    table = networks.read(path)
    found = [table.network("KE", number, "X") for number in ("763000001", "764000001", "764100001", "700000001")]
    assert found == ["Finserve", "Finserve", "Airtel", "X"]


@pytest.mark.parametrize(
    ("was", "then", "said"),
    [
        ("dated = 2031-01-01", "", "dated: Input should be a valid date"),
        ('"KES"', '"kes"', "KE.currency: String should match pattern '^[A-Z]{3}$'"),
        ("decimals = 0", "decimals = 3", "KE: KES has no 3 decimals"),
        ("portable = true", 'portable = true\nmin = "0.5"', "KE: 0.5 has more than 0 decimals"),
        ('["76"]', '["76"]\nmin = "5"\nmax = "4"', "KE: the max of Airtel is below its min"),
        ('["76"]', '["76"]\ncodes = ["finserve"]', "KE: two networks share a code"),
        ('["76"]', '["76"]\nfee = 1', "KE.networks.Airtel.fee: Extra inputs are not permitted"),
        ("[KE]", "[KE", "Expected ']' at the end of a table declaration (at line 3, column 4)"),
        ("[KE]", "[Kenya]", "Kenya.[key]: String should match pattern '^[A-Z]{2}$'"),
    ],
)
def test_a_table_that_is_wrong_says_where(tmp_path: Path, was: str, then: str, said: str) -> None:
    """In one line."""
    path = tmp_path / "mine.toml"
    path.write_text(GOOD.replace(was, then, 1))
    with pytest.raises(ValueError, match=r"mine\.toml") as caught:
        networks.read(path)
    assert str(caught.value) == f"{path}: {said}"


def started(tmp_path: Path, table: Path) -> subprocess.CompletedProcess[str]:
    """What a process says of its currencies that is told of another table."""
    code = "from ussd_app.msisdn import CURRENCIES; print(dict(CURRENCIES))"
    environment: dict[str, Any] = {"NETWORKS_FILE": str(table), "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)


def test_the_setting_replaces_the_table(tmp_path: Path) -> None:
    """Countries and currencies come from there alone; a file that is not there is said plainly."""
    (tmp_path / "mine.toml").write_text(GOOD)
    assert started(tmp_path, tmp_path / "mine.toml").stdout == "{'KE': 'KES'}\n"
    failed = started(tmp_path, tmp_path / "none.toml")
    assert failed.returncode == 1
    assert failed.stderr == f"NETWORKS_FILE {tmp_path}/none.toml cannot be read: No such file or directory\n"
