"""Daraja's settings, and what the client says of itself."""

from pathlib import Path
from typing import Any

import pytest
from safaricom import GIVEN, PAYER, Operators, operator, pair, theirs

from ussd_app.config import SettingsError, allowed, load
from ussd_app.money import Money
from ussd_app.movement import Acknowledged, Till, Unqueried
from ussd_app.operators import Kind
from ussd_app.operators import Operator as AnyOperator
from ussd_app.operators.daraja import PRODUCTION, SANDBOX, Settings

__all__ = ["operator", "theirs"]


async def test_it_is_an_operator_with_the_settings_it_was_given(operator: Operators) -> None:
    """What it can, for which kinds, in which country and steps."""
    ours: AnyOperator = operator()
    assert (ours.name, ours.brand, ours.step("KES"), dict(ours.countries)) == (
        "daraja", "M-PESA", 100, {"KE": PAYER.network},
    )  # fmt: skip
    assert ours.deduplicates == {Kind.DISBURSEMENT}
    assert isinstance(ours, Unqueried)
    assert isinstance(ours, Till)
    assert isinstance(ours, Acknowledged)
    assert ours.unqueried == {Kind.DISBURSEMENT, Kind.REFUND}
    assert ours.believed_up_to("KES") == Money.of(50_000, "KES")
    assert operator(callback_max=500).believed_up_to("KES") == Money.of(500, "KES")
    assert await ours.name_of(PAYER) is None
    assert await ours.is_active(PAYER)


@pytest.mark.parametrize(
    ("given", "one"), [({}, True), ({"b2c_shortcode": "600111"}, True), ({"b2c_shortcode": "600222"}, False)]
)
async def test_one_shortcode_is_one_float(given: dict[str, str], operator: Operators, *, one: bool) -> None:
    """Unless another one pays out."""
    assert operator(**given).one_float is one


async def test_an_environment_has_its_host(operator: Operators) -> None:
    """Or the one that is set."""
    assert operator().settings.base_url == SANDBOX
    assert operator(environment="production").settings.base_url == PRODUCTION
    assert operator(base_url="http://127.0.0.1:8000/sandbox/daraja/").settings.base_url.endswith("/sandbox/daraja")


@pytest.mark.parametrize(
    ("address", "may"),
    [("196.201.214.200", True), ("196.201.213.44", True), ("196.201.212.74", True), ("196.201.214.201", False)],
)
async def test_callbacks_come_from_published_addresses(address: str, operator: Operators, *, may: bool) -> None:
    """Unless others are set (section 3.5)."""
    assert allowed(address, operator().settings.allowed_ips) is may
    assert len(operator().settings.allowed_ips) == 14
    assert operator(allowed_ips="127.0.0.1").settings.allowed_ips == ("127.0.0.1",)


@pytest.mark.parametrize("missing", sorted([*GIVEN, "certificate"]))
def test_a_missing_setting_is_one_line(missing: str) -> None:
    """It names the variable and where its value comes from."""
    given = {name: value for name, value in {**GIVEN, "certificate": pair()[1]}.items() if name != missing}
    with pytest.raises(SettingsError, match=rf"^DARAJA_{missing.upper()} is not set \(.+\)$"):
        load(Settings, **given)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"transaction_type": "CustomerBuyGoodsOnline"}, "DARAJA_TILL is not set"),
        ({"transaction_type": "CustomerSomething"}, "DARAJA_TRANSACTION_TYPE"),
        ({"environment": "live"}, "DARAJA_ENVIRONMENT"),
        ({"shortcode": "my shop"}, "DARAJA_SHORTCODE"),
        ({"base_url": "ftp://example.org"}, "DARAJA_BASE_URL must be an http or https address"),
        ({"base_url": "https://"}, "DARAJA_BASE_URL must be an http or https address"),
        ({"certificate": "nowhere.cer"}, "DARAJA_CERTIFICATE is no certificate and no readable file of one"),
        ({"certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}, "DARAJA_CERTIFICATE is no"),
        ({"callback_max": 0}, "DARAJA_CALLBACK_MAX"),
    ],
)
def test_a_wrong_setting_stops_the_start(given: dict[str, Any], says: str) -> None:
    """Not a payment."""
    with pytest.raises(SettingsError, match=f"^{says}"):
        load(Settings, **{**GIVEN, "certificate": pair()[1], **given})


def test_a_certificate_may_stand_in_a_file(tmp_path: Path) -> None:
    """As it was downloaded."""
    (tmp_path / "production.cer").write_text(pair()[1], encoding="ascii")
    assert load(Settings, **GIVEN, certificate=str(tmp_path / "production.cer")).certificate == pair()[1]
    (tmp_path / "der.cer").write_bytes(b"\x30\x82\xff")
    with pytest.raises(SettingsError, match="DARAJA_CERTIFICATE is no certificate and no readable file of one"):
        load(Settings, **GIVEN, certificate=str(tmp_path / "der.cer"))
