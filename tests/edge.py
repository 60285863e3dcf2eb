"""A handset as the aggregators' own requests, byte for byte: the four formats one dialogue may come in."""

import asyncio
import itertools
import json
from dataclasses import dataclass, field
from typing import Any

import httpx2 as httpx
from sqlalchemy import text

from ussd_app.app import Application

FORMATS = ("africastalking", "madapi", "flat", "con_end")
CUMULATIVE = {"africastalking", "con_end"}
CODE = "*920*55#"
PRESS_SECONDS = 0.25  # between two presses of one key where a sooner one is a copy; the tests' window is 0.2 s

_ids = itertools.count(1)


@dataclass
class Edge:
    """One handset in one format; ``last`` is its newest request, ready to be sent again."""

    http: httpx.AsyncClient
    url: str
    format: str
    msisdn: str
    session: str = ""
    typed: str = ""
    last: dict[str, Any] = field(default_factory=dict)

    async def dial(self, code: str = CODE) -> httpx.Response:
        """A new session."""
        self.session = f"s{next(_ids)}"
        self.typed = code.removeprefix("*920*55").strip("*#") if self.format in CUMULATIVE else code
        return await self.send(self.request("0"))

    async def press(self, entry: str) -> httpx.Response:
        """The next hop of the session."""
        if self.typed == entry and self.format not in CUMULATIVE:
            await asyncio.sleep(PRESS_SECONDS)
        return await self.send(self.hop(entry))

    def hop(self, entry: str) -> dict[str, Any]:
        """The request of the next hop, not yet sent."""
        self.typed = f"{self.typed}*{entry}" if self.typed and self.format in CUMULATIVE else entry
        return self.request("1")

    async def again(self) -> httpx.Response:
        """The newest request once more."""
        return await self.send(self.last)

    async def send(self, body: dict[str, Any]) -> httpx.Response:
        """One request."""
        self.last = body
        return await self.http.post(f"{self.url}/ussd/callback", **body)

    def request(self, kind: str) -> dict[str, Any]:
        """As wire/ussd.md sections 3, 4.1, 4.2 and 4.3 show them."""
        match self.format:
            case "africastalking":
                return {
                    "data": {
                        "sessionId": self.session, "phoneNumber": f"+{self.msisdn}", "networkCode": "62001",
                        "serviceCode": CODE, "text": self.typed,
                    }
                }  # fmt: skip
            case "madapi":
                return {
                    "json": {
                        "sessionId": self.session, "messageType": kind, "msisdn": self.msisdn, "serviceCode": "920",
                        "ussdString": self.typed, "cellId": None, "language": None,
                    }
                }  # fmt: skip
            case "flat":
                typed = self.typed.strip("*#") if kind == "0" else self.typed
                return {
                    "json": {
                        "sessionId": self.session, "messageType": int(kind), "msisdn": self.msisdn,
                        "serviceCode": "920", "ussdString": typed, "cellId": None, "language": None,
                        "network": "MTNG", "aggregator": "x",
                    }
                }  # fmt: skip
            case _:
                return {
                    "json": {
                        "sessionId": self.session, "msisdn": self.msisdn, "ussdString": self.typed, "serviceCode": CODE,
                    }
                }  # fmt: skip

    def reply(self, words: str, *, close: bool = False) -> tuple[int, str, bytes]:
        """Status, content type and bytes that say this."""
        if self.format in CUMULATIVE:
            return 200, "text/plain; charset=utf-8", f"{'END' if close else 'CON'} {words}".encode()
        rest = (
            f'"userInputRequired":{"false" if close else "true"},"serviceCode":"920","messageType":{2 if close else 1},'
            f'"msisdn":"{self.msisdn}","sessionId":"{self.session}"}}'
        )
        said = json.dumps(words)
        if self.format == "flat":
            return 200, "application/json", f'{{"response":{said},{rest}'.encode()
        return (
            200,
            "application/json",
            (
                '{"statusCode":"0000","statusMessage":"OK","transactionId":"","data":{"inboundResponse":'
                f'{said},{rest},"_link":{{"self":{{"href":"https://api.mtn.com/v1/messages/ussd/inbound"}}}}}}'
            ).encode(),
        )

    def read(self, response: httpx.Response) -> str:
        """The screen, beginning with CON or END, of a well-formed answer; fails on any other."""
        assert response.status_code == 200, (response.status_code, response.text)
        if self.format in CUMULATIVE:
            assert response.headers["content-type"] == "text/plain; charset=utf-8"
            screen = response.text
            close = screen.startswith("END ")
            words = screen[4:]
        else:
            data = response.json()
            data = data if self.format == "flat" else data["data"]
            close, words = (
                not data["userInputRequired"],
                data["response" if self.format == "flat" else "inboundResponse"],
            )
        assert seen(response) == self.reply(words, close=close)
        return f"{'END' if close else 'CON'} {words}"

    async def enrol(self, name: str = "Ama") -> None:
        """Register, in English."""
        await self.dial()
        await self.press("1")
        assert "Akwaaba" in self.read(await self.press(name))

    async def confirm_screen(self, amount: str = "50", recipient: str = "0240000002") -> str:
        """From a fresh dial to the screen whose 1 moves money."""
        await self.dial()
        for entry in ("3", recipient, amount):
            shown = self.read(await self.press(entry))
        assert "1 Confirm" in shown
        return shown


def seen(response: httpx.Response) -> tuple[int, str, bytes]:
    """What an aggregator looks at."""
    return response.status_code, response.headers["content-type"], response.content


async def rows(application: Application, query: str) -> list[Any]:
    """Whatever the database answers."""
    async with application.store.look() as connection:
        return list((await connection.execute(text(query))).all())


async def count(application: Application, table: str) -> int:
    """How many rows a table has."""
    return int((await rows(application, f"SELECT count(*) FROM {table}"))[0][0])
