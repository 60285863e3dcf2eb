"""Airtel Money's client against literal bytes: what leaves us, and what is made of what comes back."""

import json
from typing import Any

import pytest
from airtel_wire import (
    AMOUNT,
    ID,
    PAID,
    PAYER,
    RECEIPT,
    REFUNDED,
    ROWS,
    TAKEN,
    TOKEN,
    Airtel,
    Operators,
    airtel,
    asking,
    coded,
    names,
    opened,
    operator,
    outcome,
)
from conftest import FakeClock

from ussd_app.money import Money
from ussd_app.msisdn import CURRENCIES, Msisdn
from ussd_app.operators import Kind, Succeeded
from ussd_app.operators.airtel import UAT
from ussd_app.providers.airtel import written

__all__ = ["airtel", "operator"]


@pytest.mark.parametrize("row", ROWS["request"], ids=names)
async def test_what_leaves_us_is_what_airtel_documents(
    row: dict[str, Any], airtel: Airtel, operator: Operators
) -> None:
    """Method, path, headers and body of each kind of movement, byte for byte where Airtel reads them."""
    kind, country = row["kind"], row.get("country", "UG")
    amount = Money.of(row.get("amount", 1500), row.get("currency", "UGX"))
    original = {"status": 200, "body": PAID["body"].replace(ID, written(REFUNDED))}
    airtel.answers = [original, TAKEN] if kind == "refund" else [TAKEN]
    given = {"msisdn": Msisdn(row.get("msisdn", PAYER)), "amount": amount, "label": row.get("label", "10000417")}
    await outcome(operator(country=country, version=row.get("version", "v1")).submit(asking(kind, **given)))
    sent = airtel.asked[-1]
    body = json.loads(sent.content)
    if row.get("pin"):
        assert opened(body.pop("pin")) == b"2468"
    assert (sent.method, str(sent.url)) == (row["method"], UAT + row["path"])
    assert json.dumps(body, separators=(",", ":")) == row["body"]
    assert sent.headers["authorization"] == "Bearer dG9rZW4"
    assert (sent.headers["x-country"], sent.headers["x-currency"]) == (country, CURRENCIES[country])
    assert (sent.headers["content-type"], sent.headers["accept"]) == ("application/json", "*/*")
    assert not {"x-signature", "x-key"} & set(sent.headers)


async def test_a_token_is_asked_for_once_and_again_before_it_ends(
    airtel: Airtel, operator: Operators, clock: FakeClock
) -> None:
    """The credentials stand in the body; of 180 seconds the last 15 at least are not used (section 2.1)."""
    airtel.answers = [TAKEN] * 4
    client = operator()
    for seconds in (0, 140, 25, 120):  # 0, 140, 165 = 21 into the second token's life, 141
        clock.advance(seconds)
        await client.submit(asking())
    assert len(airtel.tokens_asked) == 2
    asked = airtel.tokens_asked[0]
    assert (asked.method, str(asked.url)) == ("POST", f"{UAT}/auth/oauth2/token")
    assert json.loads(asked.content) == {
        "client_id": "ours", "client_secret": "the-client-secret", "grant_type": "client_credentials",
    }  # fmt: skip
    assert "authorization" not in asked.headers


@pytest.mark.parametrize(
    ("answer", "expect"),
    [
        ({"status": 401, "body": '{"error":"invalid_client","error_description":"no"}'}, "rejected not_authorised"),
        ({"status": 400, "body": '{"error":"invalid_client","error_description":"no"}'}, "rejected not_authorised"),
        ({"status": 403}, "rejected not_authorised"),
        ({"status": 403, "body": "<html></html>"}, "throttled 2 outage"),
        ({"status": 404}, "throttled 2"),
        ({"status": 302, "headers": {"Location": "https://portal.example.org/"}}, "throttled 2"),
        ({"status": 429, "headers": {"Retry-After": "9"}}, "throttled 9"),
        ({"status": 500, "body": '{"error":"weather"}'}, "throttled 2 outage"),
        ({"status": 503}, "throttled 2 outage"),
        ({"status": 200}, "throttled 2 outage"),
        ({"status": 200, "body": "<html></html>"}, "throttled 2 outage"),
        ({"status": 200, "body": '{"access_token":""}'}, "throttled 2 outage"),
        ({"status": 200, "body": '{"access_token":"a\\r\\nX-Evil: 1"}'}, "throttled 2 outage"),
        ({"status": 200, "body": '{"access_token":["a"]}'}, "throttled 2 outage"),
        ({"broken": "read_timeout"}, "throttled 2 outage"),
        ({"broken": "connect"}, "throttled 2 outage"),
        ({"status": 200, "body": '{"access_token":"t","expires_in":180}'}, "pending DP00800001006"),
        ({"status": 200, "body": '{"access_token":"t","expires_in":"soon"}'}, "pending DP00800001006"),
        ({"status": 200, "body": '{"access_token":"t"}'}, "pending DP00800001006"),
    ],
)
async def test_without_a_token_nothing_was_asked_for(
    answer: dict[str, Any], expect: str, airtel: Airtel, operator: Operators
) -> None:
    """Whatever goes wrong with the token, the movement did not leave: it is never unknown."""
    airtel.token_answers, airtel.answers = [answer], [TAKEN]
    assert await outcome(operator().submit(asking())) == expect
    assert len(airtel.asked) == expect.startswith("pending")


async def test_a_refused_token_is_replaced_once_for_all(airtel: Airtel, operator: Operators) -> None:
    """After a 401 the same bytes go out with a fresh token, and the next call uses it straight away."""
    airtel.token_answers = [
        {"status": 200, "body": TOKEN},
        {"status": 200, "body": TOKEN.replace("dG9rZW4", "ZnJlc2g")},
    ]
    airtel.answers = [{"status": 401}, TAKEN, TAKEN]
    client = operator()
    await client.submit(asking())
    await client.submit(asking())
    assert [sent.headers["authorization"] for sent in airtel.asked] == ["Bearer dG9rZW4"] + ["Bearer ZnJlc2g"] * 2
    assert airtel.asked[0].content == airtel.asked[1].content
    assert len(airtel.tokens_asked) == 2


@pytest.mark.parametrize("row", ROWS["submit"], ids=names)
async def test_a_submission_is_judged_by_its_answer(row: dict[str, Any], airtel: Airtel, operator: Operators) -> None:
    """Each answer has one exact class; the id is the same however often it is sent."""
    airtel.answers = list(row["answers"])
    assert await outcome(operator().submit(asking(row.get("kind", "collection")))) == row["expect"]
    assert airtel.answers == []
    assert {json.loads(sent.content)["transaction"]["id"] for sent in airtel.asked} == {ID}


@pytest.mark.parametrize("row", ROWS["refused"], ids=names)
async def test_a_push_refused_inside_a_success_is_made_sure_of_once(
    row: dict[str, Any], airtel: Airtel, operator: Operators
) -> None:
    """It has failed where one enquiry knows nothing of it, and is what that enquiry says where it does (2.3)."""
    airtel.answers = list(row["answers"])
    assert await outcome(operator().submit(asking())) == row["expect"]
    assert airtel.answers == []
    assert [(sent.method, sent.url.path) for sent in airtel.asked] == [
        ("POST", "/merchant/v1/payments/"), ("GET", f"/standard/v1/payments/{ID}"),
    ]  # fmt: skip


@pytest.mark.parametrize("row", ROWS["refund"], ids=names)
async def test_a_refund_is_asked_for_where_its_collection_is_paid(
    row: dict[str, Any], airtel: Airtel, operator: Operators
) -> None:
    """It is enquired about first, and given back once; what is not sent is never unknown (section 2.3)."""
    airtel.answers = list(row["answers"])
    assert await outcome(operator().submit(asking("refund"))) == row["expect"]
    assert airtel.answers == []
    enquired, *posted = airtel.asked
    assert (enquired.method, enquired.url.path) == ("GET", f"/standard/v1/payments/{written(REFUNDED)}")
    assert [(sent.method, sent.url.path) for sent in posted] == [("POST", "/standard/v1/payments/refund")] * row[
        "posts"
    ]


@pytest.mark.parametrize(
    ("ours", "told", "sent"), [("MP1", "MP2", "MP1"), ("MP1", "", "MP1"), ("", "MP2", "MP2"), ("", "", None)]
)
async def test_a_refund_goes_by_the_receipt(
    ours: str, told: str, sent: str | None, airtel: Airtel, operator: Operators
) -> None:
    """The one we were given; without it the enquiry's; without any it is not asked for."""
    original = PAID["body"].replace(ID, written(REFUNDED)).replace(RECEIPT, told)
    done = coded("DP00800001001", {"transaction": {"status": "SUCCESS"}})
    airtel.answers = [{"status": 200, "body": original}, done]
    expect = "pending SUCCESS" if sent else "throttled 2"
    assert await outcome(operator().submit(asking("refund", receipt=ours))) == expect
    posted = [json.loads(each.content) for each in airtel.asked[1:]]
    assert posted == ([{"transaction": {"airtel_money_id": sent}}] if sent else [])


@pytest.mark.parametrize("row", ROWS["check"], ids=names)
async def test_a_status_is_believed_only_as_listed(row: dict[str, Any], airtel: Airtel, operator: Operators) -> None:
    """Each answer to an enquiry has one exact class; its end is one where word and code agree (section 2.4)."""
    airtel.answers = list(row["answers"])
    kind = Kind(row.get("kind", "collection"))
    assert await outcome(operator().check(asking(kind))) == row["expect"]
    assert airtel.answers == []
    path = "standard/v1/disbursements" if kind is Kind.DISBURSEMENT else "standard/v1/payments"
    named = written(REFUNDED) if kind is Kind.REFUND else ID
    assert {(sent.method, str(sent.url)) for sent in airtel.asked} == {("GET", f"{UAT}/{path}/{named}")}


async def test_enquiries_of_version_2(airtel: Airtel, operator: Operators) -> None:
    """Collections have one enquiry for all versions; disbursements name their type."""
    airtel.answers = [coded("DP00800001006"), coded("DP00900001006")]
    client = operator(version="v2", base_url="https://openapi.airtel.africa/")
    for kind in (Kind.COLLECTION, Kind.DISBURSEMENT):
        await client.check(asking(kind))
    assert [str(sent.url) for sent in airtel.asked] == [
        f"https://openapi.airtel.africa/standard/v1/payments/{ID}",
        f"https://openapi.airtel.africa/standard/v2/disbursements/{ID}?transactionType=B2C",
    ]


async def test_a_success_is_reported_in_the_money_asked_for(airtel: Airtel, operator: Operators) -> None:
    """Airtel does not say how much moved."""
    airtel.answers = [PAID, ROWS["check"][-1]["answers"][0]]
    assert await operator().check(asking()) == Succeeded(RECEIPT, AMOUNT)


@pytest.mark.parametrize(
    ("given", "expect"),
    [
        ({"msisdn": Msisdn("+254730000001")}, "rejected party_not_found"),
        ({"amount": Money.of(1500, "KES")}, "rejected bad_request"),
    ],
)
@pytest.mark.parametrize("kind", [Kind.COLLECTION, Kind.DISBURSEMENT, Kind.REFUND])
async def test_another_country_is_not_asked(
    kind: Kind, given: dict[str, Any], expect: str, airtel: Airtel, operator: Operators
) -> None:
    """A number without its country's code would be somebody else's here, and an amount another amount."""
    assert await outcome(operator().submit(asking(kind, **given))) == expect
    assert airtel.tokens_asked == airtel.asked == []


async def test_without_a_pin_nobody_is_paid(airtel: Airtel, operator: Operators) -> None:
    """But collections go on."""
    airtel.answers = [TAKEN]
    client = operator(pin=None)
    assert await outcome(client.submit(asking("disbursement"))) == "rejected not_authorised"
    assert await outcome(client.submit(asking())) == "pending DP00800001006"
    assert airtel.keys_asked == []
