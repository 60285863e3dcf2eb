"""Daraja's callbacks against literal bytes, and against whatever else a network may send."""

import json
import random
import string
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safaricom import (
    CHECKOUT,
    REFERENCE,
    ROWS,
    Daraja,
    Operators,
    asking,
    names,
    operator,
    outcome,
    said,
    theirs,
)

from ussd_app.operators import CallbackNote, Failed, Pending, Succeeded
from ussd_app.operators.daraja import PAYOUTS, PROMPTS, Operator

__all__ = ["operator", "theirs"]


def noted(note: CallbackNote) -> str:
    """What a callback told of our till or our balance, in the words of the rows."""
    if note.deposit:
        told = note.deposit
        amount = told.amount.plain.removesuffix(".00")
        return " ".join(filter(None, ("deposit", told.receipt, amount, told.payer, told.label)))
    return f"balance {note.balance.plain.removesuffix('.00')}" if note.balance else ""


@pytest.mark.parametrize("row", ROWS["callback"], ids=names)
async def test_a_callback_is_noted(row: dict[str, Any], operator: Operators) -> None:
    """The reference comes from the path, the claim from the body; an id of theirs only where it is the movement's."""
    note = operator().parse_callback(row["path"], row["body"].encode())
    assert (str(note.reference or ""), said(note.status)) == (row["reference"], row["expect"])
    assert (note.external_id or "") == row["external_id"]
    assert noted(note) == ""


@pytest.mark.parametrize("row", ROWS["till"], ids=names)
async def test_a_callback_about_no_movement_is_noted(row: dict[str, Any], operator: Operators) -> None:
    """Deposits, what was found about them, and balances; none has a reference of ours."""
    note = operator().parse_callback(row["path"], row["body"].encode())
    assert (said(note.status), note.external_id or "", noted(note)) == (
        row["expect"], row["external_id"], row["noted"],
    )  # fmt: skip
    assert note.reference is None


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("validation", {"ResultCode": "0", "ResultDesc": "Accepted"}),
        ("/validation/", {"ResultCode": "0", "ResultDesc": "Accepted"}),
        ("confirmation", {"ResultCode": 0, "ResultDesc": "Success"}),
        ("", {"ResultCode": 0, "ResultDesc": "Success"}),
        (f"collection/{REFERENCE}", {"ResultCode": 0, "ResultDesc": "Success"}),
        (f"disbursement/{REFERENCE}/timeout", {"ResultCode": 0, "ResultDesc": "Success"}),
    ],
)
async def test_daraja_reads_that_it_was_heard(path: str, read: dict[str, object], operator: Operators) -> None:
    """Validation is told that the payment is welcome (sections 3.2 and 3.4)."""
    assert json.loads(operator().acknowledge(path)) == read


def wrongly_final(code: object, word: str, client: Operator) -> bool:
    """Whether a result with this code, or a found transaction with this word, is final for a payout."""
    told = {"ResultCode": code, "ResultDesc": word, "OriginatorConversationID": str(REFERENCE)}
    values = [{"Key": "TransactionStatus", "Value": word}, {"Key": "ReceiptNo", "Value": "UA50DEMO500"}]
    parameters = {"ResultParameter": [*values, {"Key": "Amount", "Value": 1500}]}
    result = json.dumps({"Result": told}).encode()
    found = json.dumps({"Result": {**told, "ResultCode": 0, "ResultParameters": parameters}}).encode()
    paths = ((f"disbursement/{REFERENCE}", result), (f"disbursement/{REFERENCE}/status", found))
    return any(not isinstance(client.parse_callback(path, body).status, Pending) for path, body in paths)


async def test_no_code_and_no_word_but_the_listed_ones_is_final(operator: Operators, theirs: Daraja) -> None:
    """5,000 random ones, and the listed ones in any other spelling: never by query, and of a payout never at all."""
    client, dice = operator(), random.Random(3)  # noqa: S311 - a seed, not a secret
    letters = string.ascii_letters + string.digits + "_ -.é€"
    drawn: list[object] = ["".join(dice.choices(letters, k=dice.randint(0, 12))) for _ in range(2_500)]
    drawn += [dice.randint(-10_000, 10_000) for _ in range(2_500)]
    drawn += ["0 ", " 0", "00", "+0", "-0", "0.0", "1.0", "sfc_ic0003", "1032 ", -1, 0.0, True, False, [], {}]
    for code in drawn:
        if str(code) in {"0", "4999", *PROMPTS, *PAYOUTS}:
            continue
        told = {"ResponseCode": "0", "CheckoutRequestID": CHECKOUT, "ResultCode": code}
        theirs.answers = [{"status": 200, "body": json.dumps(told)}]
        assert await outcome(client.check(asking(external_id=CHECKOUT))) == "unknown", code
        assert not wrongly_final(code, str(code), client), code


RECORDED = [(row["path"], row["body"].encode()) for row in [*ROWS["callback"], *ROWS["till"]]]
PATHS = st.sampled_from([
    *(f"{kind}/{REFERENCE}{more}" for kind in ("collection", "disbursement") for more in ("", "/status", "/timeout")),
    "confirmation", "validation", "", "deposit/UA50DEMO900", "balance/collection",
])  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
MEMBERS = st.sampled_from([
    "ResultCode", "ResultDesc", "CheckoutRequestID", "ConversationID", "OriginatorConversationID", "TransactionID",
    "CallbackMetadata", "ResultParameters",
])  # fmt: skip
WORDS = st.sampled_from([
    0, "0", 2040, 1032, str(REFERENCE), "AG_1",
    {"Item": [{"Name": "Amount", "Value": 1500}]}, {"Item": {"Name": "Amount"}}, {"Item": [None]},
    {"ResultParameter": [{"Key": "TransactionAmount", "Value": 1500}]}, {"ResultParameter": {"Key": "Amount"}},
    {"ResultParameter": {"Key": "AccountBalance", "Value": "Utility Account|KES|1|1|0|0&|||"}},
    {"ResultParameter": [{"Key": "TransactionStatus", "Value": "Completed"}, {"Key": "Amount", "Value": {}}]},
])  # fmt: skip


# The operator remembers nothing of a callback, so one is enough for all examples.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    path=PATHS, recorded=st.binary() | st.sampled_from(RECORDED), at=st.integers(0, 2_000),
    more=st.binary(max_size=3), less=st.integers(0, 3),
)  # fmt: skip
async def test_no_callback_upsets_the_parser(
    path: str, recorded: bytes | tuple[str, bytes], at: int, more: bytes, less: int, operator: Operators
) -> None:
    """Random bytes and damaged recordings give a note; success always says how much, in text that fits a row."""
    path, body = recorded if isinstance(recorded, tuple) else (path, recorded)
    at %= len(body) + 1
    _holds(operator(), path, body[:at] + more + body[at + less :])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(path=PATHS, members=st.dictionaries(MEMBERS, WORDS | JSON), wrapped=st.booleans())
async def test_no_object_upsets_the_parser(
    path: str, members: dict[str, Any], wrapped: bool, operator: Operators  # noqa: FBT001 - drawn
) -> None:  # fmt: skip
    """The right members with the wrong values."""
    body = {"Body": {"stkCallback": members}} if wrapped else {"Result": members}
    _holds(operator(), path, json.dumps(body).encode())


def _holds(client: Operator, path: str, body: bytes) -> None:
    note = client.parse_callback(path, body)
    assert note.external_id is None or len(note.external_id) <= 100
    if note.deposit:
        assert path.strip("/") == "confirmation"
        assert note.deposit.amount.minor > 0
        assert len(note.deposit.payer) <= 64 >= len(note.deposit.label)
    match note.status:
        case Succeeded(receipt, amount):
            assert not path.endswith("timeout")
            assert amount.minor >= 0
            assert len(receipt) <= 100
        case Pending(raw) | Failed(_, raw):
            assert len(raw) <= 256
            assert raw.isprintable()
