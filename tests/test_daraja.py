"""Daraja's client against literal bytes: what leaves us, and what its answers mean."""

import base64
import json
import random
from datetime import UTC, datetime
from typing import Any

import httpx2 as httpx
import pytest
import structlog
from conftest import FakeClock
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from redis.asyncio import Redis
from safaricom import (
    AMOUNT,
    CALLBACKS,
    CHECKOUT,
    ROWS,
    SECRETS,
    TAKEN,
    TOKEN,
    Daraja,
    Operators,
    asking,
    names,
    operator,
    outcome,
    pair,
    theirs,
)

from ussd_app.errors import Reason, Rejected, Unknown
from ussd_app.money import Money
from ussd_app.movement import Deposit
from ussd_app.operators import Kind, Pending
from ussd_app.operators import Operator as AnyOperator
from ussd_app.operators.daraja import SANDBOX

__all__ = ["operator", "theirs"]

DEPOSIT = Deposit("UA50DEMO900", AMOUNT, "2547*****001", "INV000417")


def body_of(sent: httpx.Request) -> dict[str, Any]:
    """The members of a request's body, its credential opened and hidden."""
    body: dict[str, Any] = json.loads(sent.content)
    if credential := body.get("SecurityCredential"):
        assert len(credential) == 344
        assert pair()[0].decrypt(base64.b64decode(credential), PKCS1v15()) == b"the-initiator-password"
        body["SecurityCredential"] = "***"
    return body


@pytest.mark.parametrize("row", ROWS["request"], ids=names)
async def test_what_leaves_us_is_what_daraja_documents(
    row: dict[str, Any], theirs: Daraja, operator: Operators
) -> None:
    """Path, token and body of each movement and each question, member for member and type for type."""
    theirs.answers = [{"status": row.get("status", 200), "body": row.get("answer", TAKEN["body"])}]
    more = {name: row[name] for name in ("note", "receipt", "external_id") if name in row}
    client, request = operator(**row.get("settings", {})), asking(row["kind"], **more)
    status = await (client.check(request) if row.get("asks") else client.submit(request))
    [sent] = theirs.asked
    assert isinstance(status, Pending)
    assert (sent.method, str(sent.url)) == ("POST", f"{SANDBOX}{row['path']}")
    assert body_of(sent) == json.loads(row["body"])
    assert sent.headers["authorization"] == "Bearer aBcD1234eFgH5678"
    assert sent.headers["content-type"] == "application/json"


async def test_the_password_is_that_of_the_page(theirs: Daraja, operator: Operators, clock: FakeClock) -> None:
    """The vector of section 3.2: half past nine in Nairobi is half past six in UTC."""
    clock.advance((datetime(2026, 1, 5, 6, 30, tzinfo=UTC) - clock.now()).total_seconds())
    theirs.answers = [TAKEN]
    await operator().submit(asking())
    body = json.loads(theirs.asked[0].content)
    assert body["Password"] == "NjAwMTExbm90LWEtcmVhbC1wYXNza2V5MjAyNjAxMDUwOTMwMDA="
    assert body["Timestamp"] == "20260105093000"


async def test_a_credential_is_sealed_anew_each_time(theirs: Daraja, operator: Operators) -> None:
    """Two that are alike would tell that the password is the same."""
    theirs.answers = [TAKEN, TAKEN]
    client = operator()
    for _ in range(2):
        await client.submit(asking("disbursement"))
    first, second = (json.loads(sent.content)["SecurityCredential"] for sent in theirs.asked)
    assert first != second


async def test_a_token_is_asked_for_once(theirs: Daraja, operator: Operators) -> None:
    """By GET, with key and secret; two clients of one app share it."""
    theirs.answers = [TAKEN] * 4
    for client in (operator(), operator()):
        await client.submit(asking())
        await client.submit(asking("disbursement"))
    [sent] = theirs.tokens_asked
    assert (sent.method, str(sent.url)) == (
        "GET", f"{SANDBOX}/oauth/v1/generate?grant_type=client_credentials",
    )  # fmt: skip
    assert sent.headers["authorization"] == "Basic dGhlLWNvbnN1bWVyLWtleTp0aGUtY29uc3VtZXItc2VjcmV0"


async def test_a_token_lives_as_long_as_its_text_says(theirs: Daraja, operator: Operators, clock: FakeClock) -> None:
    """3599 seconds, in a text; it is replaced ten minutes before."""
    theirs.answers = [TAKEN] * 3
    client = operator()
    await client.submit(asking())
    clock.advance(2_990)
    await client.submit(asking())
    assert len(theirs.tokens_asked) == 1
    clock.advance(20)
    await client.submit(asking())
    assert len(theirs.tokens_asked) == 2


async def test_a_token_is_kept_under_no_secret(theirs: Daraja, operator: Operators, redis: Redis) -> None:
    """Neither key nor secret stands in the name of what the store keeps."""
    theirs.answers = [TAKEN]
    await operator().submit(asking())
    [kept] = [name async for name in redis.scan_iter("token:*")]
    assert not [secret for secret in SECRETS if secret.encode() in kept]


@pytest.mark.parametrize("refusal", ["404.001.03", "400.003.01", "401"])
async def test_a_refused_token_is_replaced_once_for_all(refusal: str, theirs: Daraja, operator: Operators) -> None:
    """A fresh one is fetched, and the next call uses it straight away."""
    theirs.token_answers = [{"status": 200, "body": TOKEN.replace("aBcD", letters)} for letters in ("aBcD", "eFgH")]
    stale = {"status": int(refusal[:3]), "body": json.dumps({"errorCode": refusal, "errorMessage": "Invalid"})}
    theirs.answers = [stale, TAKEN, TAKEN]
    client = operator()
    for _ in range(2):
        await client.submit(asking())
    assert [sent.headers["authorization"][7:11] for sent in theirs.asked] == ["aBcD", "eFgH", "eFgH"]


@pytest.mark.parametrize(
    ("answer", "expect"),
    [
        ({"status": 400}, "rejected not_authorised"),
        ({"status": 400, "body": '{"errorCode":"400.008.01","errorMessage":"Invalid"}'}, "rejected not_authorised"),
        ({"status": 400, "body": '{"errorCode":"400.008.02","errorMessage":"Invalid"}'}, "rejected not_authorised"),
        ({"status": 401}, "rejected not_authorised"),
        ({"status": 403}, "rejected not_authorised"),
        ({"status": 403, "body": "<html></html>"}, "throttled 2"),
        ({"status": 404, "body": "<html></html>"}, "throttled 2"),
        ({"status": 429, "headers": {"Retry-After": "9"}}, "throttled 9"),
        ({"status": 500, "body": '{"errorCode":"500.003.1001","errorMessage":"Internal"}'}, "throttled 2"),
        ({"status": 503}, "throttled 2"),
        ({"status": 302, "headers": {"Location": "https://portal.example.org/"}}, "throttled 2"),
        ({"status": 200}, "throttled 2"),
        ({"status": 200, "body": "<html></html>"}, "throttled 2"),
        ({"status": 200, "body": '{"access_token":"","expires_in":"3599"}'}, "throttled 2"),
        ({"status": 200, "body": '{"access_token":"a\\r\\nX-Evil: 1","expires_in":"3599"}'}, "throttled 2"),
        ({"broken": "read_timeout"}, "throttled 2"),
        ({"broken": "connect"}, "throttled 2"),
        ({"status": 200, "body": '{"access_token":"t"}'}, "pending"),
        ({"status": 200, "body": '{"access_token":"t","expires_in":3599}'}, "pending"),
        ({"status": 200, "body": '{"access_token":"t","expires_in":"soon"}'}, "pending"),
    ],
)
async def test_without_a_token_nothing_was_asked_for(
    answer: dict[str, Any], expect: str, theirs: Daraja, operator: Operators
) -> None:
    """Whatever goes wrong with the token, the movement did not leave: it is never unknown."""
    theirs.token_answers, theirs.answers = [answer], [TAKEN]
    assert await outcome(operator().submit(asking())) == expect
    assert len(theirs.asked) == (expect == "pending")


@pytest.mark.parametrize("row", ROWS["submit"], ids=names)
async def test_a_submission_is_judged_by_its_answer(row: dict[str, Any], theirs: Daraja, operator: Operators) -> None:
    """Each answer has one exact class, and says of an outage only what is one."""
    theirs.answers = list(row["answers"])
    assert await outcome(operator().submit(asking(row["kind"]))) == row["expect"]
    assert theirs.answers == []


@pytest.mark.parametrize("row", ROWS["check"], ids=names)
async def test_a_prompt_ends_only_as_listed(row: dict[str, Any], theirs: Daraja, operator: Operators) -> None:
    """Each answer to a query has one exact class; success is in the money that was asked for, without a receipt."""
    theirs.answers = list(row["answers"])
    expect = f"{row['expect']} 1500" if row["expect"] == "succeeded" else row["expect"]
    assert await outcome(operator().check(asking(external_id=CHECKOUT))) == expect
    assert theirs.answers == []


@pytest.mark.parametrize("kind", ["collection", "reversal"])
async def test_what_has_no_id_yet_cannot_be_asked_about(kind: str, theirs: Daraja, operator: Operators) -> None:
    """Unknown, and nobody was asked: a reversal least of all by the receipt it reverses."""
    with pytest.raises(Unknown, match=r"no .* yet") as caught:
        await operator().check(asking(kind))
    assert not caught.value.outage
    assert theirs.asked == theirs.tokens_asked == []


@pytest.mark.parametrize("row", [row for row in ROWS["submit"] if row["kind"] == "collection"], ids=names)
async def test_a_question_about_a_payout_says_nothing_of_it(
    row: dict[str, Any], theirs: Daraja, operator: Operators
) -> None:
    """Taken, it is pending without an id, for that is the question's own; refused, it is no failure."""
    theirs.answers = list(row["answers"])
    expect = row.get("asked", row["expect"])
    if expect.startswith("pending"):
        expect = "pending asked, a callback tells"
    assert await outcome(operator().check(asking("disbursement"))) == expect


@pytest.mark.parametrize("kind", ["collection", "disbursement", "refund", "reversal"])
@pytest.mark.parametrize("amount", [Money(150050, "KES"), Money(1, "KES"), Money.of(1500, "UGX"), Money.of(15, "GHS")])
async def test_only_whole_shillings_leave_us(kind: str, amount: Money, theirs: Daraja, operator: Operators) -> None:
    """What cannot be sent as it is is refused, never rounded."""
    assert await outcome(operator().submit(asking(kind, amount))) == "rejected amount_invalid"
    assert theirs.asked == theirs.tokens_asked == []


async def test_a_deposit_is_asked_about_by_its_receipt(theirs: Daraja, operator: Operators) -> None:
    """The answer comes to the address that was named."""
    theirs.answers = [TAKEN]
    url = f"{CALLBACKS}/deposit/UA50DEMO900"
    assert await outcome(operator(b2c_shortcode="600222").look_up(DEPOSIT, url)) == ""
    [sent] = theirs.asked
    assert sent.url.path == "/mpesa/transactionstatus/v1/query"
    assert body_of(sent) == {
        "Initiator": "testapi", "SecurityCredential": "***", "CommandID": "TransactionStatusQuery",
        "TransactionID": "UA50DEMO900", "PartyA": "600111", "IdentifierType": "4", "Remarks": "Status",
        "Occasion": "Status", "ResultURL": url, "QueueTimeOutURL": f"{url}/timeout",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "party"), [(Kind.COLLECTION, "600111"), (Kind.DISBURSEMENT, "600222"), (Kind.REFUND, "600222")]
)
async def test_a_balance_is_asked_for_and_told_later(
    kind: Kind, party: str, theirs: Daraja, operator: Operators
) -> None:
    """Of the shortcode that this kind moves."""
    theirs.answers = [TAKEN]
    url = f"{CALLBACKS}/balance/{kind}"
    ours: AnyOperator = operator(b2c_shortcode="600222")
    assert await ours.balance(kind, "KES", url) is None
    [sent] = theirs.asked
    assert sent.url.path == "/mpesa/accountbalance/v1/query"
    assert body_of(sent) == {
        "Initiator": "testapi", "SecurityCredential": "***", "CommandID": "AccountBalance", "PartyA": party,
        "IdentifierType": "4", "Remarks": "Balance", "ResultURL": url, "QueueTimeOutURL": f"{url}/timeout",
    }  # fmt: skip


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_a_till_is_registered(version: str, theirs: Daraja, operator: Operators) -> None:
    """Both addresses, and what becomes of a payment that our validation does not answer."""
    theirs.answers = [{
        "status": 200,
        "body": '{"OriginatorCoversationID":"1000-4000417-1","ResponseCode":"0","ResponseDescription":"Success"}',
    }]  # fmt: skip
    client = operator(c2b_version=version, response_type="Cancelled")
    await client.register_till(f"{CALLBACKS}/confirmation", f"{CALLBACKS}/validation")
    [sent] = theirs.asked
    assert sent.url.path == f"/mpesa/c2b/{version}/registerurl"
    assert body_of(sent) == {
        "ShortCode": "600111", "ResponseType": "Cancelled", "ConfirmationURL": f"{CALLBACKS}/confirmation",
        "ValidationURL": f"{CALLBACKS}/validation",
    }  # fmt: skip


@pytest.mark.parametrize("word", ["mpesa", "M-PESA/MPESA", "Safaricom", "exe", "cmd", "sql", "query"])
async def test_a_till_is_not_registered_where_daraja_would_refuse(
    word: str, theirs: Daraja, operator: Operators
) -> None:
    """In one clear line, without the address, whose secret is nobody's business."""
    for urls in ((f"https://{word}.example.org/s3cret/c", CALLBACKS), (CALLBACKS, f"{CALLBACKS}/s3cret/{word}/v")):
        with pytest.raises(Rejected, match=r"M-PESA takes no address with '[a-z]+' in it") as caught:
            await operator().register_till(*urls)
        assert caught.value.reason == Reason.BAD_REQUEST
        assert "s3cret" not in str(caught.value)
    assert theirs.asked == []


async def test_a_till_whose_registration_fails_is_not_registered(theirs: Daraja, operator: Operators) -> None:
    """It raises as every call does."""
    theirs.answers = [{"status": 500, "body": '{"errorCode":"500.003.1001","errorMessage":"URLs are registered"}'}]
    assert await outcome(operator().register_till(CALLBACKS, CALLBACKS)) == "unknown outage"


async def test_no_answer_upsets_the_client(theirs: Daraja, operator: Operators) -> None:
    """1,000 damaged answers: one of the three errors or a status, and nothing final unless it is listed."""
    client, dice = operator(), random.Random(29)  # noqa: S311 - a seed, not a secret
    bodies = [
        answer["body"].encode() for row in [*ROWS["submit"], *ROWS["check"]] for answer in row["answers"]
        if len(answer.get("body", "")) > 10
    ]  # fmt: skip
    for _ in range(500):
        body = bytearray(dice.choice(bodies))
        for _ in range(dice.randint(0, 2)):
            body.insert(dice.randint(0, len(body)), dice.randrange(256))
        answer = {"status": dice.choice([200, 202, 301, 400, 401, 403, 404, 429, 500, 502, 503]), "hex": body.hex()}
        theirs.answers = [answer, answer]
        if (await outcome(client.submit(asking()))).startswith("pending"):
            assert answer["status"] == 200
        theirs.answers = [answer, answer]
        if (await outcome(client.check(asking(external_id=CHECKOUT)))).startswith(("succeeded", "failed")):
            assert answer["status"] == 200
            assert CHECKOUT.encode() in body


async def test_nothing_secret_is_printed(theirs: Daraja, operator: Operators) -> None:
    """Not by settings, by errors or by any line that is logged."""
    errors: list[dict[str, Any]] = [TAKEN, {"status": 500, "body": "<html></html>"}, {"broken": "read_timeout"}]
    theirs.answers = [answer for answer in errors for _ in range(3)]
    client, kinds = operator(callback_secret="the-callback-secret"), ("collection", "disbursement", "reversal")
    with structlog.testing.capture_logs() as lines:
        printed = [await outcome(client.submit(asking(kind))) for _ in errors for kind in kinds]
    printed += [str(lines), repr(client.settings), str(client.settings), repr(client.__dict__), repr(DEPOSIT)]
    assert len(lines) == 10
    assert not [secret for secret in (*SECRETS, "the-callback-secret") if secret in "".join(printed)]
    assert "2547" not in repr(DEPOSIT)
