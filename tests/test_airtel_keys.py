"""What only Airtel may read, and what only we may have written: PINs, signatures and the keys of both."""

import base64
import json
from typing import Any

import pytest
from airtel_wire import (
    ID,
    OTHER,
    OWNER,
    PAID,
    REFUNDED,
    SHORT,
    Airtel,
    Operators,
    airtel,
    asking,
    coded,
    der,
    opened,
    operator,
    outcome,
    shown,
)
from conftest import FakeClock
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from ussd_app.operators import Kind
from ussd_app.providers.airtel import written

__all__ = ["airtel", "operator"]


@pytest.mark.parametrize("scheme", ["pkcs1", "oaep"])
@pytest.mark.parametrize("own", [False, True], ids=["asked for", "set"])
async def test_only_airtel_reads_the_pin(scheme: str, own: bool, airtel: Airtel, operator: Operators) -> None:  # noqa: FBT001 - a parameter of a test
    """Under either padding, with the key that is set or else the one it shows."""
    given = {"pin_public_key": der(OTHER)} if own else {}
    airtel.answers = [coded("DP00900001006")] * 2
    client = operator(pin_padding=scheme, **given)
    for _ in range(2):
        await client.submit(asking("disbursement"))
    pins = [json.loads(sent.content)["pin"] for sent in airtel.asked]
    assert [opened(pin, scheme, OTHER if own else OWNER) for pin in pins] == [b"2468"] * 2
    assert pins[0] != pins[1]
    assert len(airtel.keys_asked) == (not own)


@pytest.mark.parametrize("kind", [Kind.COLLECTION, Kind.DISBURSEMENT, Kind.REFUND])
async def test_a_signature_is_of_the_bytes_that_are_sent(kind: Kind, airtel: Airtel, operator: Operators) -> None:
    """AES-256-CBC under a key and vector of this call alone, which only Airtel reads (section 2.2)."""
    original = {"status": 200, "body": PAID["body"].replace(ID, written(REFUNDED))}
    airtel.answers = ([original] if kind is Kind.REFUND else []) + [coded("DP00800001006")]
    airtel.answers *= 2
    client = operator(version="v2", signing=True)
    for _ in range(2):
        await outcome(client.submit(asking(kind)))
    posted = [sent for sent in airtel.asked if sent.method == "POST"]
    assert len(posted) == 2
    for sent in posted:
        secret, vector = (base64.b64decode(part) for part in opened(sent.headers["x-key"]).split(b":"))
        cipher = Cipher(algorithms.AES256(secret), modes.CBC(vector)).decryptor()
        plain = cipher.update(base64.b64decode(sent.headers["x-signature"])) + cipher.finalize()
        assert plain[: -plain[-1]] == sent.content
    assert len({opened(sent.headers["x-key"]) for sent in posted}) == 2
    assert len(airtel.keys_asked) == 1
    assert not [sent for sent in airtel.asked if sent.method == "GET" and "x-key" in sent.headers]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (Kind.COLLECTION, "DP00800001026"),
        (Kind.DISBURSEMENT, "DP00900001016"),
        (Kind.DISBURSEMENT, "ROUTER116"),
    ],
)
async def test_a_changed_key_is_asked_for_once(kind: Kind, code: str, airtel: Airtel, operator: Operators) -> None:
    """A refused signature goes out again under the new key, and is refused where the key is the same."""
    refused = coded(code)
    airtel.key_answers = [shown(der(OWNER)), shown(der(OTHER)), shown(der(OTHER))]
    airtel.answers = [refused, coded("DP00800001006" if kind is Kind.COLLECTION else "DP00900001006"), refused]
    client = operator(version="v2", signing=True)
    assert (await outcome(client.submit(asking(kind)))).startswith("pending")
    first, second = airtel.asked
    assert opened(first.headers["x-key"])
    assert opened(second.headers["x-key"], owner=OTHER)
    assert json.loads(first.content)["transaction"] == json.loads(second.content)["transaction"]
    assert await outcome(client.submit(asking(kind))) == "rejected not_authorised"
    assert (len(airtel.asked), len(airtel.keys_asked)) == (3, 3)


async def test_a_key_is_kept_for_as_long_as_it_says(airtel: Airtel, operator: Operators, clock: FakeClock) -> None:
    """Until ``valid_upto``, and for an hour where that cannot be read."""
    airtel.key_answers = [shown(der(OWNER), "2031-03-04 10:00:00"), shown(der(OWNER), "soon"), shown(der(OWNER))]
    client = operator()
    asked = []
    for seconds in (0, 7199, 1, 3599, 1):
        clock.advance(seconds)
        airtel.answers = [coded("DP00900001006")]
        await client.submit(asking("disbursement"))
        asked.append(len(airtel.keys_asked))
    assert asked == [1, 1, 2, 2, 3]


@pytest.mark.parametrize(
    ("answer", "expect"),
    [
        (shown(der(OWNER), code="DP02010001000"), "throttled 2"),
        (shown("no key"), "throttled 2 outage"),
        (shown(""), "throttled 2 outage"),
        (shown(SHORT), "throttled 2 outage"),
        (coded("DP02010001001"), "throttled 2 outage"),
        (coded("DP02010001001", {"key": [1]}), "throttled 2 outage"),
        ({"status": 200, "body": "<html></html>"}, "throttled 2 outage"),
        ({"status": 500}, "throttled 2 outage"),
        ({"status": 404}, "throttled 2"),
        ({"status": 429, "headers": {"Retry-After": "9"}}, "throttled 9"),
        ({"status": 403}, "rejected not_authorised"),
        ({"broken": "read_timeout"}, "throttled 2 outage"),
    ],
)
async def test_without_a_key_nothing_was_asked_for(
    answer: dict[str, Any], expect: str, airtel: Airtel, operator: Operators
) -> None:
    """It is never unknown whether money moved."""
    airtel.key_answers = [answer]
    assert await outcome(operator().submit(asking("disbursement"))) == expect
    assert airtel.asked == []
