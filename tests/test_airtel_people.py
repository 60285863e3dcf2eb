"""Airtel's word on who is who and what is held: names, wallets, balances, numbers."""

import json
from typing import Any

import httpx2 as httpx
import pytest
from airtel_wire import PAYER, SECRETS, TAKEN, TOKEN, Airtel, Operators, airtel, asking, coded, operator, outcome

from ussd_app.clock import Clock
from ussd_app.config import load
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.operators import Kind
from ussd_app.operators.airtel import UAT, Operator, Settings

__all__ = ["airtel", "operator"]


async def test_a_name_is_one_clean_line_or_nothing(airtel: Airtel, operator: Operators) -> None:
    """Both names joined; None for every trouble, since a screen can do without."""
    airtel.answers = [
        coded("DP02200000001", {"first_name": "Ama\n1. Confirm", "last_name": "Mensah \U0001f600"}),
        coded("DP02200000001", {"first_name": None, "last_name": ["x"]}),
        coded("DP02200000001"),
        coded("DP02200000000", {"first_name": "Ama"}),
        {"broken": "read_timeout"},
        {"status": 200, "body": "<html></html>"},
    ]
    client = operator()
    found = [await client.name_of(PAYER) for _ in range(6)]
    assert found == ["Ama 1. Confirm Mensah ?", None, None, None, None, None]
    assert str(airtel.asked[0].url) == f"{UAT}/standard/v1/users/700000001"
    assert await client.name_of(Msisdn("+254730000001")) is None
    assert len(airtel.asked) == 6


async def test_a_name_is_not_waited_for(clock: Clock) -> None:
    """When Airtel hangs, the screen goes out without a name."""

    async def hang(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/token"):
            return httpx.Response(200, text=TOKEN)
        await Clock().sleep(60)
        raise AssertionError

    async with httpx.AsyncClient(transport=httpx.MockTransport(hang), trust_env=False) as http:
        client = Operator(load(Settings, client_id="ours", country="UG", **SECRETS), http, None, clock)
        assert await client.name_of(PAYER) is None


@pytest.mark.parametrize(
    ("answer", "active"),
    [
        (coded("DP02200000001", {"is_barred": False, "registration": {"status": "SUBS"}}), "True"),
        (coded("DP02200000001", {"is_barred": True, "registration": {"status": "SUBS"}}), "False"),
        (coded("DP02200000001", {"is_barred": False, "registration": {"status": "n"}}), "False"),
        (coded("DP02200000001", {"is_barred": False, "registration": {"status": " "}}), "False"),
        (coded("DP02200000001", {"is_barred": "false", "registration": {"status": "SUBS"}}), "unknown"),
        (coded("DP02200000001", {"is_barred": False, "registration": None}), "unknown"),
        (coded("DP02200000001", {"is_barred": False}), "unknown"),
        (coded("DP02200000001"), "unknown"),
        (coded("DP02200000000"), "False"),
        (coded("DP02200000002"), "False"),
        (coded("DP02100000002"), "False"),
        ({"status": 404, "body": coded("DP02200000002")["body"]}, "False"),
        ({"status": 400, "body": coded("DP02100000002")["body"]}, "False"),
        ({"status": 500, "body": coded("DP02200000002")["body"]}, "unknown outage"),
        (coded("DP02200000003", {"is_barred": False, "registration": {"status": "SUBS"}}), "unknown"),
        (coded("ROUTER007"), "rejected bad_request"),
        (coded("ESB000045"), "unknown"),
        ({"status": 404}, "unknown"),
        ({"status": 404, "body": coded("DP02200000000")["body"]}, "unknown"),
        ({"status": 200, "body": "<html></html>"}, "unknown outage"),
        ({"status": 500}, "unknown outage"),
        ({"status": 429}, "throttled 2"),
    ],
)
async def test_a_wallet_is_active_when_it_is_registered_and_not_barred(
    answer: dict[str, Any], active: str, airtel: Airtel, operator: Operators
) -> None:
    """Only a plain yes or no counts; a number of another country is not asked about."""
    airtel.answers = [answer]
    assert await outcome(operator().is_active(PAYER)) == active
    assert not await operator().is_active(Msisdn("+254730000001"))
    assert len(airtel.asked) == 1


UNSEEN = {"status": 200, "body": '{"status":{"code":"200","message":"Not found","result_code":"ESB000004"}}'}


@pytest.mark.parametrize(
    ("again", "active"),
    [
        (UNSEEN, "False"), (coded("DP02200000002"), "False"), ({"status": 500}, "unknown outage"),
        (coded("DP02200000001", {"is_barred": False, "registration": {"status": "SUBS"}}), "True"),
    ],
)  # fmt: skip
async def test_an_ambiguous_no_is_asked_once_more(
    again: dict[str, Any], active: str, airtel: Airtel, operator: Operators
) -> None:
    """ESB000004 is "not found" in one client's words and ambiguous in the operator's matrix (section 2.3)."""
    airtel.answers = [UNSEEN, again]
    assert await outcome(operator().is_active(PAYER)) == active
    assert airtel.answers == []


@pytest.mark.parametrize(
    ("balance", "currency", "expect"),
    [
        ("1,234,500.00", "UGX", "UGX 1,234,500"),
        ("1234500", "UGX", "UGX 1,234,500"),
        (1234500.0, "UGX", "UGX 1,234,500"),
        ("0", "UGX", "UGX 0"),
        ("1,234,500.50", "UGX", "unknown"),
        ("1,23", "UGX", "unknown"),
        ("12,345,67", "UGX", "unknown"),
        ("-1,234", "UGX", "unknown"),
        ("1,234", "KES", "unknown"),
        ("", "UGX", "unknown"),
        (None, "UGX", "unknown"),
        (True, "UGX", "unknown"),
        (["1"], "UGX", "unknown"),
    ],
)
async def test_a_balance_is_read_with_its_separators(
    balance: object, currency: str, expect: str, airtel: Airtel, operator: Operators
) -> None:
    """Another currency, or no number, is no balance."""
    airtel.answers = [coded("DP02100000001", {"balance": balance, "currency": currency, "account_status": "Active"})]
    assert await outcome(operator().balance(Kind.DISBURSEMENT, "UGX")) == expect
    assert str(airtel.asked[0].url) == f"{UAT}/standard/v1/users/balance"
    airtel.answers = [coded("DP02100000001", {"balance": balance, "currency": currency})]
    assert await outcome(operator().balance(Kind.COLLECTION, "KES")) == "unknown"


async def test_a_currency_of_airtels_own_is_written_and_read(airtel: Airtel, operator: Operators) -> None:
    """In Gabon the franc is called CFA (wire/operators.md section 1)."""
    airtel.answers = [TAKEN, coded("DP02100000001", {"balance": "5,000.00", "currency": "CFA"})]
    client = operator(country="GA", currency="CFA")
    await client.submit(asking(msisdn=Msisdn("+24174000001"), amount=Money.of(500, "XAF")))
    body = json.loads(airtel.asked[0].content)
    assert airtel.asked[0].headers["x-currency"] == body["subscriber"]["currency"] == "CFA"
    assert body["transaction"]["currency"] == "CFA"
    assert await client.balance(Kind.COLLECTION, "XAF") == Money.of(5000, "XAF")


@pytest.mark.parametrize(("leading_zero", "sent"), [(True, "055000001"), (False, "55000001")])
async def test_a_zero_that_is_part_of_the_number_is_a_setting(
    leading_zero: bool,  # noqa: FBT001 - a parameter of a test
    sent: str,
    airtel: Airtel,
    operator: Operators,
) -> None:
    """In Congo (wire/operators.md section 6)."""
    airtel.answers = [TAKEN]
    client = operator(country="CG", leading_zero=leading_zero)
    await client.submit(asking(msisdn=Msisdn("+242055000001"), amount=Money.of(500, "XAF")))
    assert json.loads(airtel.asked[0].content)["subscriber"]["msisdn"] == sent
