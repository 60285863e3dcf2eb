"""Money is exact, carries its currency, and takes nothing that is not plainly an amount."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ussd_app.money import InvalidAmount, Money, parse


@pytest.mark.parametrize(
    ("typed", "currency", "step", "minor"),
    [
        ("50", "GHS", 1, 5000),
        ("50.5", "GHS", 1, 5050),
        ("0.01", "GHS", 1, 1),
        ("007", "UGX", 1, 7),
        ("20", "KES", 100, 2000),
    ],
)
def test_what_is_plainly_an_amount_is_taken(typed: str, currency: str, step: int, minor: int) -> None:
    """Digits, and at most one point."""
    assert parse(typed, currency, step) == Money(minor, currency)


@pytest.mark.parametrize(
    ("typed", "currency", "step"),
    [
        *(
            (bad, "GHS", 1)
            for bad in ("", " ", "0", "0.00", "-5", "+5", "1e30", "1,000", "5.", ".5", "5.005", "5 0", "NaN")
        ),
        *((bad, "GHS", 1) for bad in ("\uff15\uff10", "\u0665\u0660", "5\n", "50*1", "5#", "inf", "0x10", "1" * 13)),
        ("1500.50", "UGX", 1),
        ("20.50", "KES", 100),
        ("1000000000", "GHS", 1),
    ],
)
def test_everything_else_is_refused_and_never_rounded(typed: str, currency: str, step: int) -> None:
    """Signs, exponents, commas, other digits, too many decimals, what does not fit the step."""
    with pytest.raises(InvalidAmount):
        parse(typed, currency, step)


@given(st.text(max_size=14))
def test_any_string_is_an_exact_amount_or_refused(typed: str) -> None:
    """Nothing else ever comes out."""
    try:
        amount = parse(typed, "GHS")
    except InvalidAmount:
        return
    assert amount.decimal == Decimal(typed)
    assert amount.minor > 0


def test_currencies_do_not_mix() -> None:
    """Adding and comparing them is an error."""
    cedi, shilling = Money.of(1, "GHS"), Money.of(1, "KES")
    for operation in (lambda: cedi + shilling, lambda: cedi - shilling, lambda: cedi < shilling):
        with pytest.raises(ValueError, match="do not mix"):
            operation()


def test_it_prints_for_people_and_for_machines() -> None:
    """With grouping and currency, or plain; no decimals where the currency has none."""
    assert (str(Money.of("1310.16", "GHS")), Money.of("1310.1", "GHS").plain) == ("GHS 1,310.16", "1310.10")
    assert (str(Money.of(1500, "UGX")), Money.of(1500, "UGX").plain) == ("UGX 1,500", "1500")
    with pytest.raises(InvalidAmount):
        Money.of("1.5", "UGX")
