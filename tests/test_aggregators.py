"""Every aggregator against literal bytes: a new one is a TOML file beside these, and no line here."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Message

from ussd_app.aggregators import Aggregator, Callback, Malformed
from ussd_app.config import SettingsError, load, provider
from ussd_app.ussd import Event, Reply, Turn
from ussd_app.web import bodies

FOLDER = Path(__file__).parent / "aggregators"
NAMES = sorted(file.stem for file in FOLDER.glob("*.toml"))

Row = dict[str, Any]


def table(name: str) -> Row:
    """An aggregator's file of rows."""
    return tomllib.loads((FOLDER / f"{name}.toml").read_text())


def rows(kind: str) -> list[Any]:
    """The rows of one kind, of every aggregator; one without any is not tested, which is an error here."""
    return [pytest.param(name, row, id=f"{name}: {row['name']}") for name in NAMES for row in table(name)[kind]]


def build(name: str, **given_settings: object) -> Aggregator:
    """An aggregator as app.py builds it."""
    module, given = provider("aggregators", name), table(name)
    aggregator: Aggregator = module.Aggregator(load(module.Settings, **given_settings), given["code"], given["country"])
    return aggregator


async def received(row: Row) -> Callback:
    """A row's request, read as web.py reads it."""
    body = row["body"].encode()

    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    return await bodies.decode(row["type"], await bodies.read(receive, bodies.USSD_BYTES_MAX))


@pytest.mark.parametrize(("name", "row"), rows("turn"))
async def test_request_is_understood(name: str, row: Row) -> None:
    """A request becomes the turn its row describes (an empty string stands for None)."""
    aggregator = build(name, **row.get("settings", {}))
    callback = await received(row)
    assert aggregator.recognises(callback)
    assert callback.format in aggregator.formats
    turn = aggregator.parse(callback)
    assert {field: _plain(getattr(turn, field)) for field in row["is"]} == row["is"]


@pytest.mark.parametrize(("name", "row"), rows("malformed"))
async def test_malformed_request_is_refused_by_field(name: str, row: Row) -> None:
    """What is missing or of the wrong type is named in a 400."""
    aggregator = build(name, **row.get("settings", {}))
    callback = await received(row)
    with pytest.raises(Malformed) as caught:
        aggregator.parse(callback)
    response = aggregator.refuse(callback, caught.value)
    assert caught.value.field == row["field"]
    assert response.status == 400
    assert row["field"].encode() in response.body


@pytest.mark.parametrize(("name", "row"), rows("screen"))
async def test_screen_is_answered_byte_for_byte(name: str, row: Row) -> None:
    """A reply becomes exactly the bytes and the content type of its row."""
    aggregator = build(name)
    response = aggregator.render(aggregator.parse(await received(row)), Reply(**row["reply"]))
    assert response.body.decode() == row["answer"]
    assert response.media == row["answer_type"]
    assert response.status == 200


@pytest.mark.parametrize(("name", "row"), rows("notice"))
async def test_notice_is_acknowledged(name: str, row: Row) -> None:
    """A notice is answered 200 with nothing to show."""
    aggregator = build(name)
    turn = aggregator.parse(await received(row))
    response = aggregator.acknowledge(turn)
    assert turn.event in {Event.END, Event.TIMEOUT}
    assert response.body.decode() == row["answer"]
    assert response.media == row["answer_type"]
    assert response.status == 200


@pytest.mark.parametrize(("name", "row"), rows("turn"))
async def test_only_its_own_aggregator_recognises_a_request(name: str, row: Row) -> None:
    """At the shared address no request could belong to two aggregators."""
    callback = await received(row)
    assert [other for other in NAMES if build(other).recognises(callback)] == [name]


NAMES_OF_FIELDS = (
    *("sessionId", "phoneNumber", "serviceCode", "text", "status", "messageType", "msisdn", "ussdString", "network"),
    *("Type", "Message", "ServiceCode", "Mobile", "SessionId", "Sequence", "Operator"),
)
TEXTS = st.text('CONEND01*#+|<&"\\{}\n\r\x00é€\u2028')
LITERALS = st.sampled_from(["0", "1", "Response", "Success", "+233240000001", "\ud83d"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | LITERALS
ANYTHING = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=3)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None)  # the machine may be busy with something else
@given(fields=st.dictionaries(st.sampled_from(NAMES_OF_FIELDS), ANYTHING))
def test_any_fields_give_a_turn_or_a_named_field(name: str, fields: Row) -> None:
    """Whatever JSON can hold is a turn that can be answered, or is refused by name: nothing else is raised."""
    aggregator = build(name)
    callback = Callback("json", fields)
    try:
        response = aggregator.render(aggregator.parse(callback), Reply("Welcome"))
    except Malformed as problem:
        response = aggregator.refuse(callback, problem)
    assert response.status in {200, 400}


@settings(deadline=None)  # the same
@given(text=TEXTS)
def test_no_words_break_a_format(text: str) -> None:
    """Whatever a screen says comes out of its format again unchanged."""
    turn = Turn("", "s", "233240000001", None, "920", Event.REPLY, "1", style="madapi")
    madapi = build("mtn").render(turn, Reply(text))
    assert json.loads(madapi.body)["data"]["inboundResponse"] == text
    plain = build("africastalking").render(turn, Reply(text, close=True))
    assert plain.body.decode() == f"END {text}"


def test_wrong_settings_name_their_variable() -> None:
    """A secret that cannot stand in an address, or a network that is none, is one line naming the variable."""
    with pytest.raises(SettingsError, match=r"^MTN_USSD_SECRET "):
        build("mtn", ussd_secret="a/b")
    with pytest.raises(SettingsError, match=r"^AT_USSD_ALLOWED_IPS "):
        build("africastalking", ussd_allowed_ips="10.0.0.0/8, 300.1.1.1")
    with pytest.raises(SettingsError, match=r"^MTN_USSD_FORMAT "):
        build("mtn", ussd_format="soap")


def test_settings_come_from_their_own_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each aggregator reads the variables under its prefix."""
    monkeypatch.setenv("AT_USSD_SECRET", "a1")
    monkeypatch.setenv("MTN_USSD_FORMAT", "flat")
    monkeypatch.setenv("HUBTEL_USSD_ALLOWED_IPS", "10.0.0.0/8,192.0.2.7")
    secret = build("africastalking").settings.ussd_secret
    assert secret is not None
    assert secret.get_secret_value() == "a1"
    assert build("hubtel").settings.ussd_allowed_ips == ("10.0.0.0/8", "192.0.2.7")
    assert "ussd_format='flat'" in repr(build("mtn").settings)
    assert "a1" not in repr(build("africastalking").settings)


def _plain(value: object) -> object:
    return "" if value is None else value
