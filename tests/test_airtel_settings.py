"""Airtel's settings: what is missing or wrong is one line, and nothing secret is shown."""

from typing import Any

import httpx2 as httpx
import phonenumbers
import pytest
import structlog
from airtel_wire import ROWS, SECRETS, SHORT, Airtel, Operators, airtel, asking, coded, operator, outcome
from redis.asyncio import Redis

from ussd_app.clock import Clock
from ussd_app.config import SettingsError, load
from ussd_app.money import Money
from ussd_app.msisdn import CURRENCIES, Msisdn
from ussd_app.operators import Kind
from ussd_app.operators import Operator as AnyOperator
from ussd_app.operators.airtel import COUNTRIES, Operator, Settings

__all__ = ["airtel", "operator"]


@pytest.mark.parametrize("country", sorted(COUNTRIES))
def test_the_networks_are_called_as_phonenumbers_calls_them(country: str) -> None:
    """An upgrade that renames a carrier is noticed here, not by a payer (wire/operators.md section 5)."""
    from phonenumbers.carrierdata import CARRIER_DATA  # noqa: PLC0415 - thousands of ranges that only this test reads

    code = str(phonenumbers.country_code_for_region(country))
    known = {carried.get("en") for prefix, carried in CARRIER_DATA.items() if prefix.startswith(code)}
    assert COUNTRIES[country] in known


async def test_it_is_an_operator_with_the_settings_it_was_given(operator: Operators) -> None:
    """Its own country alone, one float or two, steps per currency; a refund has no id to be repeated under."""
    ours: AnyOperator = operator(country="KE", one_wallet=False, steps={"UGX": 50})
    assert (ours.name, ours.brand, ours.one_float, dict(ours.countries)) == (
        "airtel",
        "Airtel",
        False,
        {"KE": "Airtel"},
    )
    assert (ours.step("KES"), ours.step("UGX")) == (100, 50)
    assert ours.deduplicates == {Kind.COLLECTION, Kind.DISBURSEMENT}
    assert ours.refunds_from is Kind.COLLECTION
    whole = {"KE": 100, "TZ": 100, "MG": 100, "UG": 1, "ZM": 1}
    assert {country: operator(country=country).step(CURRENCIES[country]) for country in whole} == whole


@pytest.mark.parametrize("missing", ["client_id", "client_secret", "country"])
def test_a_missing_setting_is_one_line(missing: str) -> None:
    """It names the variable and where its value comes from."""
    given = {"client_id": "x", "client_secret": "x", "country": "UG"}
    del given[missing]
    with pytest.raises(SettingsError, match=rf"^AIRTEL_{missing.upper()} is not set \(.+\)$"):
        load(Settings, **given)


@pytest.mark.parametrize(
    ("given", "said_of_it"),
    [
        ({"country": "GH"}, "AIRTEL_COUNTRY must be one of CD, "),
        ({"base_url": "ftp://airtel.example.org"}, "AIRTEL_BASE_URL must be an http or https address"),
        ({"base_url": "https://"}, "AIRTEL_BASE_URL must be an http or https address"),
        ({"version": "v3"}, "AIRTEL_VERSION "),
        ({"signing": True}, "AIRTEL_SIGNING needs AIRTEL_VERSION=v2"),
        ({"pin": "1" * 17}, "AIRTEL_PIN "),
        ({"pin_padding": "none"}, "AIRTEL_PIN_PADDING "),
        ({"pin_public_key": "no key"}, "AIRTEL_PIN_PUBLIC_KEY is no public key"),
        ({"pin_public_key": SHORT}, "AIRTEL_PIN_PUBLIC_KEY "),
        ({"enforce_hash": True, "callback_hash_key": None}, "AIRTEL_ENFORCE_HASH needs AIRTEL_CALLBACK_HASH_KEY"),
        ({"currency": "cfa"}, "AIRTEL_CURRENCY "),
    ],
)
def test_a_wrong_setting_stops_the_start(given: dict[str, Any], said_of_it: str) -> None:
    """In one line that names it, not at a payment."""
    with pytest.raises(SettingsError, match=f"^{said_of_it}"):
        load(Settings, **{"client_id": "ours", "country": "UG", **SECRETS, **given})


async def test_nothing_secret_is_kept_or_logged(
    airtel: Airtel, operator: Operators, redis: Redis, clock: Clock
) -> None:
    """No secret, PIN or token in any line or in what prints the settings, and no short number whole."""
    with structlog.testing.capture_logs() as lines:
        airtel.answers = [ROWS["submit"][0]["answers"][0], coded("DP02200000000"), {"status": 500}]
        client = operator(country="NE")
        niger: dict[str, Any] = {"msisdn": Msisdn("+22796000001"), "amount": Money.of(500, "XOF")}
        await outcome(client.submit(asking("disbursement", **niger)))
        await outcome(client.is_active(Msisdn("+22796000001")))
        await outcome(client.submit(asking(**niger)))
    written_down = f"{lines} {client.settings!r} {vars(client)!r}"
    assert len(lines) >= 5
    assert not [secret for secret in (*SECRETS.values(), "dG9rZW4", "96000001") if secret in written_down]
    async with httpx.AsyncClient(transport=httpx.MockTransport(airtel), trust_env=False) as http:
        await Operator(client.settings, http, redis, clock).token()
    assert "the-client-secret" not in str(await redis.keys())
