"""The handset on the real web application, through every aggregator, and on a sandbox of fixed answers."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx2 as httpx
import pytest
from world import FakeConversation, FakeSessions, World

from ussd_app.commands import dial
from ussd_app.commands.phone import FORMATS, NoScreen, Phone, Prompt, Screen, Sms, State
from ussd_app.money import Money
from ussd_app.ussd import Turn

URL = "http://127.0.0.1:8000"
HANDSET: dict[str, Any] = {
    "msisdn": "233240000001",
    "balances": {"GHS": "949.50"},
    "prompts": [{"id": "p1", "operator": "mtn_momo", "amount": "50.50", "currency": "GHS", "message": "Ref 39570571"}],
    "inbox": [{"from": "920", "text": "You sent GHS 50.00", "at": "2031-03-04T08:00:00+00:00"}],
}


class Heard(FakeSessions):
    """Remembers the turns that arrived."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: list[Turn] = []

    async def begin(self, turn: Turn, repeat_window_ms: int) -> Any:  # noqa: ANN401 - as FakeSessions
        """Remember, and go on."""
        self.turns.append(turn)
        return await super().begin(turn, repeat_window_ms)


def web(world: World) -> httpx.AsyncClient:
    """A client of the web application, without a network."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(world.app))


def answering(handle: Callable[[httpx.Request], httpx.Response]) -> httpx.AsyncClient:
    """A client whose server is one function."""
    return httpx.AsyncClient(transport=httpx.MockTransport(handle))


@contextmanager
def serving(handle: Callable[[httpx.Request], httpx.Response]) -> Iterator[str]:
    """The address of a server that is one function."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("content-length", 0)))
            response = handle(httpx.Request(self.command, f"http://here{self.path}", content=content))
            self.send_response(response.status_code)
            self.send_header("content-length", str(len(response.content)))
            self.end_headers()
            self.wfile.write(response.content)

        do_GET = do_POST = answer  # noqa: N815 - as http.server calls them

        def log_message(self, *_words: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("through", FORMATS)
async def test_every_format_is_understood_both_ways(through: str) -> None:
    """What the phone dials and presses arrives as that aggregator's hops, and the screen comes back as it was said."""
    sessions = Heard()
    async with web(World(sessions=sessions)) as client:
        phone = Phone(client, URL, "+233240000001", through=through)
        await phone.dial("*920*55*3#")
        shown = await phone.press("7")
    first, second = sessions.turns
    cumulative = through in {"africastalking", "mtn:con_end"}
    assert (first.text, second.text) == ("3", "3*7" if cumulative else "7")
    assert first.aggregator == through.partition(":")[0]
    assert first.msisdn == "+233240000001"
    assert first.session_id == second.session_id
    assert first.event == ("reply" if cumulative else "begin")
    assert shown == Screen("Got 1\n1. Yes", over=False)
    assert shown.septets == 12
    assert phone.hops == 2


@pytest.mark.parametrize("through", FORMATS)
async def test_every_format_tells_the_end(through: str) -> None:
    """A closing reply is the end of the dialogue, in whatever words the format has for it."""
    async with web(World(conversation=FakeConversation(close=True))) as client:
        assert (await Phone(client, URL, "233240000001", through=through).dial("*920*55#")).over


async def test_each_dial_is_a_session_of_its_own() -> None:
    """A redial has a new id and nothing of what was typed before."""
    sessions = Heard()
    async with web(World(sessions=sessions)) as client:
        phone = Phone(client, URL, "233240000001")
        await phone.dial("*920*55#")
        await phone.press("3")
        await phone.dial("*920*55#")
    assert sessions.turns[0].session_id != sessions.turns[2].session_id
    assert sessions.turns[2].text == ""
    assert phone.hops == 1


async def test_madapi_as_it_is_on_the_wire() -> None:
    """The first hop is the request of wire/ussd.md section 4.1, and its sample answer is read."""
    bodies: list[dict[str, Any]] = []

    def handle(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        data = {"inboundResponse": "Welcome\n1. Balance", "userInputRequired": True, "messageType": 1}
        return httpx.Response(200, json={"statusCode": "0000", "data": data})

    async with answering(handle) as client:
        shown = await Phone(client, URL, "233240000001", through="mtn").dial("*920*55#")
    del bodies[0]["sessionId"]
    assert bodies[0] == {
        "messageType": "0", "msisdn": "233240000001", "serviceCode": "920", "ussdString": "*920*55#",
        "cellId": None, "language": None, "imsi": None,
    }  # fmt: skip
    assert shown == Screen("Welcome\n1. Balance", over=False)


@pytest.mark.parametrize(
    ("through", "answer", "told"),
    [
        ("africastalking", httpx.Response(200, text="Welcome"), "neither CON nor END: Welcome"),
        ("africastalking", httpx.Response(403, text="Forbidden"), "answered africastalking 403: Forbidden"),
        ("mtn", httpx.Response(200, text="<html>"), "no answer from .*HTTP 200, a page"),
        ("mtn", httpx.Response(200, text="Hello"), "no inboundResponse and userInputRequired: Hello"),
        ("mtn", httpx.Response(200, json={"data": None}), "no inboundResponse"),
        ("mtn:flat", httpx.Response(200, json={"response": "Hi", "userInputRequired": "true"}), "no response"),
        ("hubtel", httpx.Response(200, json={"Type": "response"}), "no Message"),
    ],
)
async def test_what_is_no_screen_is_said_in_a_line(through: str, answer: httpx.Response, told: str) -> None:
    """An answer that no handset could show is one line, with its beginning."""
    async with answering(lambda _request: answer) as client:
        with pytest.raises(NoScreen, match=told):
            await Phone(client, URL, "233240000001", through=through).dial("*920*55#")


async def test_a_url_with_a_path_is_the_callback_itself() -> None:
    """An aggregator behind its own secret is reached at its whole address, and the sandbox at the server's."""
    paths: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        return httpx.Response(200, text="CON Hi")

    async with answering(handle) as client:
        phone = Phone(client, f"{URL}/ussd/africastalking/s3cret", "233240000001")
        await phone.dial("*920*55#")
        assert await phone.look() is None
    assert paths == ["/ussd/africastalking/s3cret", "/sandbox/handsets/233240000001"]


async def test_the_sandbox_shows_prompts_and_messages() -> None:
    """Balances, prompts and inbox are typed; an answer goes to its prompt, and one that expired is told."""
    answers: list[tuple[str, bytes]] = []

    def handle(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            answers.append((request.url.path, request.content))
            return httpx.Response(200 if len(answers) == 1 else 404, json={})
        return httpx.Response(200, json=HANDSET)

    prompt = Prompt("p1", "mtn_momo", Money(5050, "GHS"), "Ref 39570571")
    sms = Sms("920", "You sent GHS 50.00", datetime(2031, 3, 4, 8, tzinfo=UTC))
    async with answering(handle) as client:
        phone = Phone(client, URL, "233240000001")
        assert await phone.look() == State((Money(94950, "GHS"),), (prompt,), (sms,))
        assert await phone.decide(prompt, "approve")
        assert not await phone.decide(prompt, "reject")
    assert [path for path, _ in answers] == ["/sandbox/handsets/233240000001/prompts/p1"] * 2
    assert [json.loads(body) for _, body in answers] == [{"answer": "approve"}, {"answer": "reject"}]


async def test_waiting_ends_with_what_is_wanted_or_in_time() -> None:
    """What is there is given at once; what never comes is None when the time is up, as where no sandbox is."""
    async with answering(lambda _request: httpx.Response(200, json=HANDSET)) as client:
        phone = Phone(client, URL, "233240000001")
        assert await phone.wait(lambda state: bool(state.prompts), 5)
        assert await phone.wait(lambda state: not state.prompts, 0) is None
    async with answering(lambda _request: httpx.Response(404)) as client:
        assert await Phone(client, URL, "233240000001").wait(lambda _state: False, 5) is None


def test_a_journey_hides_numbers_pins_and_codes() -> None:
    """Every spelling of a number becomes the same invented one, a PIN a placeholder, an order's code three dots."""
    journey = dial.Journey("233557654321", "mtn", "GH")
    journey.hop("*920*55#", Screen("Home\n3 Send money", over=False), None)
    journey.hop("244123456", Screen("Send GHS 50.00 to 0244123456", over=False), Screen("Enter number", over=False))
    journey.hop("7391", Screen("Wrong PIN. Tries left: 2", over=False), Screen("Enter your PIN", over=False))
    journey.hop("7392", Screen("Ok", over=False), Screen("Wrong PIN. Tries left: 2", over=False))
    journey.hop("1", Screen("Approve. Ref 39570571 soon", over=True), Screen("Send?", over=False))
    journey.lines.append("approve")
    sent = Sms("920", "You sent to +233244123456 from 0557654321. Ref 39570571 4 Mar 2031", datetime.now(UTC))
    journey.inbox(State((), (), (sent, sent)), 1)
    assert journey.text().splitlines() == [
        "as 233550000001 through mtn",
        "> *920*55#",
        "Home",
        "3 Send money",
        "> 240000002",
        "Send GHS 50.00 to 0240000002",
        "> 0000",
        "Wrong PIN. Tries left: 2",
        "> 0001",
        "Ok",
        "> 1",
        "END Approve. Ref ...",
        "approve",
        "sms 233550000001: You sent to +233240000002 from 0550000001. Ref ...",
    ]


def test_a_server_that_is_away_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`dial` against nothing says so and returns 1; a wrong aggregator or number is told, and returns 2."""
    assert dial.run("*920*55#", "233240000001", "mtn", "http://127.0.0.1:9", tmp_path / "journey.txt") == 1
    assert capsys.readouterr().err.startswith("no answer from http://127.0.0.1:9: is the server running there?")
    assert dial.run("*920*55#", "233240000001", "nobody", URL, None) == 2
    assert dial.run("*920*55#", "Ama", "mtn", URL, None) == 2
    assert "--through is one of africastalking, mtn" in capsys.readouterr().err


def test_a_piped_dialogue_plays_the_prompt_and_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Keys come from a pipe; when the dialogue is over the prompt is answered, the SMS shown, and all of it written."""
    state = HANDSET | {"prompts": [], "inbox": []}

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path.startswith("/ussd"):
            over = b"text=1" in request.content
            state["prompts"] = HANDSET["prompts"] if over else []
            return httpx.Response(200, text="END Approve now" if over else "CON Send?\n1 Yes")
        if request.method == "POST":
            state.update(prompts=[], inbox=HANDSET["inbox"])
        return httpx.Response(200, json=state)

    keys = iter(["1", "what?", "1"])
    monkeypatch.setattr("builtins.input", lambda *_: next(keys, ""))
    file = tmp_path / "journey.txt"
    with serving(handle) as url:
        assert dial.run("*920*55#", "233240000001", "africastalking", url, file) == 0
    shown = capsys.readouterr().out
    assert "11/160 septets, hop 2, end" in shown
    assert "mtn_momo" in shown
    assert "1, 2 or 3" in shown
    assert "GHS 949.50" in shown
    assert file.read_text().splitlines()[-3:] == [
        "END Approve now",
        "approve",
        "sms 233240000001: You sent GHS 50.00",
    ]


async def test_a_phone_without_network_says_so() -> None:
    """A connection that is refused is no screen."""

    def refuse(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    async with answering(refuse) as client:
        with pytest.raises(NoScreen, match="is the server running there"):
            await asyncio.wait_for(Phone(client, URL, "233240000001").dial("*920*55#"), 1)
