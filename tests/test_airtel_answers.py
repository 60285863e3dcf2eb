"""Whatever else Airtel or a stranger may answer: nothing unlisted is final, and nothing upsets the client."""

import json
import random
import string
from typing import Any
from uuid import UUID, uuid4

import pytest
from airtel_wire import (
    JSON,
    RECORDED,
    ROWS,
    Airtel,
    Operators,
    airtel,
    asking,
    holds,
    names,
    operator,
    outcome,
    said,
    told,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ussd_app.movement import Signing
from ussd_app.operators import Kind
from ussd_app.providers.airtel import CODES, MEANINGS, STATUSES, read_back, written

__all__ = ["airtel", "operator"]


@pytest.mark.parametrize("row", ROWS["callback"], ids=names)
async def test_a_callback_is_noted(row: dict[str, Any], operator: Operators) -> None:
    """The reference comes from the body; it claims a word, a receipt and a reason, and never a success by itself."""
    note = operator().parse_callback("", row["body"].encode())
    assert note.kind is Kind.COLLECTION  # of nothing else is Airtel said to call back (section 2.5)
    assert (str(note.reference or ""), said(note.status)) == (row["reference"], row["expect"])


@pytest.mark.parametrize("row", ROWS["hash"], ids=names)
async def test_a_hash_fits_or_is_refused_where_it_is_demanded(row: dict[str, Any], operator: Operators) -> None:
    """In either way of making it, over the members as they came (section 2.5)."""
    client, body = operator(enforce_hash=True), row["body"].encode()
    assert isinstance(client, Signing)
    assert client.authentic({}, body) == row["fits"]
    assert operator().authentic({}, body)
    assert not operator(enforce_hash=True, callback_hash_key="another").authentic({}, body)


async def test_no_word_but_the_listed_ones_is_final(operator: Operators, airtel: Airtel) -> None:
    """5,000 random words beside codes of success, failure and the call, and listed ones misspelt, end nothing."""
    client, dice = operator(), random.Random(1010)  # noqa: S311 - a seed, not a secret
    letters = string.ascii_letters + "_ -0é€"
    words = ["".join(dice.choices(letters, k=dice.randint(0, 12))) for _ in range(2_000)]
    while len(words) < 5_000:
        word = "".join(dice.choice([letter, letter.lower()]) for letter in dice.choice(["TS", "TF", "TE"]))
        words.append(dice.choice(["", " ", "\u200b", "."]) + word + dice.choice(["", " ", "S", "\n", "\u0301", "\0"]))
    for word in words:
        if word not in STATUSES:
            for end in ("001", "006", "008"):
                found = await told(client, airtel, Kind.COLLECTION, f"DP00800001{end}", word)
                assert found == ("pending DP00800001006" if (end, word) == ("006", "") else "unknown"), word


@pytest.mark.parametrize(
    ("kind", "family", "never"),
    [(Kind.COLLECTION, "DP00800001", set()), (Kind.DISBURSEMENT, "DP00900001", {"011", "017"})],
)
async def test_no_code_but_the_listed_ones_is_final(
    kind: Kind, family: str, never: set[str], operator: Operators, airtel: Airtel
) -> None:
    """Every other code of three digits leaves a success and a failure unknown."""
    client, listed = operator(), {end for meaning, ends in CODES[family].items() if meaning for end in ends.split()}
    ended = set()
    for end in (f"{number:03d}" for number in range(1000)):
        found = [await told(client, airtel, kind, family + end, word) for word in ("TS", "TF")]
        ended |= {end} if found != ["unknown"] * 2 else set()
    assert ended == listed - never


def test_every_code_has_one_meaning() -> None:
    """No code is listed twice."""
    assert len(MEANINGS) == sum(len(ends.split()) for meanings in CODES.values() for ends in meanings.values())


def test_a_reference_is_an_id_and_back() -> None:
    """25 digits and capitals, for the smallest, the largest and any other."""
    references = [UUID(int=0), UUID(int=1), UUID(int=(1 << 128) - 1), *(uuid4() for _ in range(200))]
    ids = [written(reference) for reference in references]
    assert all(len(named) == 25 and named.isascii() and named.isalnum() and named.upper() == named for named in ids)
    assert [read_back(named) for named in ids] == references
    assert len(set(ids)) == len(references)


# The operator remembers nothing of a callback, so one is enough for all examples.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(body=st.binary() | st.sampled_from(RECORDED), data=st.data())
async def test_no_callback_upsets_the_parser(body: bytes, data: st.DataObject, operator: Operators) -> None:
    """Random bytes and damaged recordings give a note, in text that fits a row."""
    at = data.draw(st.integers(0, len(body)))
    damaged = body[:at] + data.draw(st.binary(max_size=3)) + body[at + data.draw(st.integers(0, 3)) :]
    holds(operator(enforce_hash=True), damaged)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(transaction=JSON | st.dictionaries(st.sampled_from(["id", "status_code", "airtel_money_id"]), JSON), hashed=JSON)
async def test_no_object_upsets_the_parser(transaction: object, hashed: object, operator: Operators) -> None:
    """The right members with the wrong values."""
    holds(operator(enforce_hash=True), json.dumps({"transaction": transaction, "hash": hashed}).encode())


async def test_no_answer_upsets_the_client(airtel: Airtel, operator: Operators) -> None:
    """Random answers: one of the three errors or a status, and nothing final unless it is listed."""
    client, dice = operator(), random.Random(29)  # noqa: S311 - a seed, not a secret
    bodies = [*RECORDED, b"", b"null", b"<html>"]
    for _ in range(500):
        body = bytearray(dice.choice(bodies))
        for _ in range(dice.randint(0, 2)):
            body.insert(dice.randint(0, len(body)), dice.randrange(256))
        answer = {"status": dice.choice([200, 200, 202, 301, 400, 401, 403, 404, 500, 503]), "hex": body.hex()}
        for kind in (Kind.COLLECTION, Kind.DISBURSEMENT):
            airtel.answers = [answer] * 2
            if "succeeded" in await outcome(client.submit(asking(kind))):
                assert kind is Kind.DISBURSEMENT
                assert b"DP00900001001" in body
            airtel.answers = [answer] * 2
            if (await outcome(client.check(asking(kind)))).startswith(("succeeded", "failed")):
                assert answer["status"] == 200
