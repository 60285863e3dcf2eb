"""A sandbox to talk to as a client would, whose notices are kept, and the scenes written down beside this file."""

import asyncio
import re
import tomllib
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2 as httpx

from ussd_app.clock import Clock
from ussd_app.config import Settings, load
from ussd_app.sandbox import Sandbox

CAPTURE = re.compile(r"<([a-z_]+)>")


@dataclass
class World:
    """A sandbox, a client of it, and what it told others: (method, URL, content type, body)."""

    clock: Clock
    report_urls: dict[str, str] = field(default_factory=dict)
    notices: list[tuple[str, str, str, str]] = field(default_factory=list)
    settings: Settings = field(default_factory=lambda: load(Settings))
    listeners_answer: int = 200
    told_first: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        outside = httpx.AsyncClient(transport=httpx.MockTransport(self._listen))
        self.sandbox = Sandbox(self.settings, self.clock, outside, self.report_urls)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.sandbox.app), base_url="http://sandbox")

    def _listen(self, request: httpx.Request) -> httpx.Response:
        kind = request.headers.get("content-type", "")
        self.notices.append((request.method, str(request.url), kind, request.content.decode()))
        self.told_first.set()
        return httpx.Response(self.listeners_answer)

    async def control(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - whatever it answers
        """One call of the control API that succeeds."""
        answer = await self.client.request(method, path, json=body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def told(self) -> list[tuple[str, str, str, str]]:
        """Every notice that is due, in the order they arrived; those told before are not told again."""
        await self.sandbox.settled()
        notices, self.notices = self.notices, []
        return notices


def scenes(name: str) -> list[dict[str, Any]]:
    """The scenes of a TOML file beside this one."""
    text = (Path(__file__).parent / f"{name}.toml").read_text()
    scenes: list[dict[str, Any]] = tomllib.loads(text)["scene"]
    return scenes


async def play(world: World, scene: dict[str, Any], advance: Any) -> None:  # noqa: ANN401 - the clock's own
    """Play a scene: each request gets exactly its answer; ``<name>`` is a value kept from where it first stood."""
    kept: dict[str, str] = {}
    for step in scene["step"]:
        advance(step.get("advance", 0))
        method, path, headers, body = _request(_filled(step["request"], kept))
        answer = await world.client.request(method, path, headers=headers, content=body.encode())
        got = f"{answer.status_code} {answer.headers.get('content-type', '-')}\n{answer.text}"
        if "answer" in step:
            _match(step["answer"], got.rstrip("\n"), kept)
        else:
            assert answer.is_success, answer.text
        if "notices" in step:
            told = [f"{method} {url} {kind}\n{body}" for method, url, kind, body in await world.told()]
            assert len(told) == len(step["notices"]), told
            for expected, notice in zip(step["notices"], told, strict=True):
                _match(expected, notice, kept)


def _request(text: str) -> tuple[str, str, dict[str, str], str]:
    """Method and path, headers, blank line, body; the user and key of a Basic header stand there in clear."""
    head, _, body = text.strip("\n").partition("\n\n")
    first, *lines = head.split("\n")
    method, path = first.split(" ")
    headers = {name: value for name, _, value in (line.partition(": ") for line in lines)}
    if headers.get("Authorization", "").startswith("Basic "):
        headers["Authorization"] = f"Basic {b64encode(headers['Authorization'][6:].encode()).decode()}"
    return method, path, headers, body


def _filled(text: str, kept: dict[str, str]) -> str:
    return CAPTURE.sub(lambda found: kept[found.group(1)], text)


def _match(expected: str, got: str, kept: dict[str, str]) -> None:
    """Compare to the byte, but for what ``<name>`` stands for: kept at its first place, the same at every other."""
    pattern, position = "", 0
    expected = expected.strip("\n")
    for found in CAPTURE.finditer(expected):
        pattern += re.escape(expected[position : found.start()])
        name = found.group(1)
        pattern += re.escape(kept[name]) if name in kept else f'(?P<{name}>[^"&]+)'
        position = found.end()
    match = re.fullmatch(pattern + re.escape(expected[position:]), got)
    assert match, f"expected:\n{expected}\ngot:\n{got}"
    kept.update(match.groupdict())


class Momo:
    """A client of MTN MoMo's half, in Ghana unless told otherwise, that keeps to the documents."""

    def __init__(self, world: World, environment: str = "mtnghana") -> None:
        self.world = world
        self.environment = environment
        self.currency = "EUR" if environment == "sandbox" else "GHS"
        self._tokens: dict[str, str] = {}

    async def call(self, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
        """One call with the token of its product."""
        product = path.split("/")[1]
        if product not in self._tokens:
            self._tokens[product] = await self._token(product)
        sent = {
            "Authorization": f"Bearer {self._tokens[product]}",
            "Ocp-Apim-Subscription-Key": "key",
            "X-Target-Environment": self.environment,
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        return await self.world.client.request(method, f"/mtn_momo{path}", json=body, headers=sent)

    async def pay_in(self, reference: str, msisdn: str, amount: str = "10", **changed: Any) -> httpx.Response:  # noqa: ANN401 - body members
        """Ask for a collection; its callbacks come to a URL that ends with the reference."""
        return await self._ask("/collection/v1_0/requesttopay", reference, amount, payer=_party(msisdn), **changed)

    async def pay_out(self, reference: str, msisdn: str, amount: str = "10", **changed: Any) -> httpx.Response:  # noqa: ANN401 - the same
        """Ask for a disbursement."""
        return await self._ask("/disbursement/v1_0/transfer", reference, amount, payee=_party(msisdn), **changed)

    async def give_back(self, reference: str, collection: str, amount: str = "10") -> httpx.Response:
        """Ask for a refund of a collection."""
        return await self._ask("/disbursement/v1_0/refund", reference, amount, referenceIdToRefund=collection)

    async def status(self, path: str, reference: str) -> tuple[str, str | None]:
        """Status and reason, as the status query tells them with a fresh token."""
        self._tokens.clear()
        await self.world.sandbox.settled()
        answer = (await self.call("GET", f"{path}/{reference}")).json()
        return answer["status"], answer.get("reason")

    async def collected(self, reference: str) -> tuple[str, str | None]:
        """Status and reason of a collection."""
        return await self.status("/collection/v1_0/requesttopay", reference)

    async def disbursed(self, reference: str) -> tuple[str, str | None]:
        """Status and reason of a disbursement."""
        return await self.status("/disbursement/v1_0/transfer", reference)

    async def _ask(self, path: str, reference: str, amount: str, **members: Any) -> httpx.Response:  # noqa: ANN401 - the same
        body = {"amount": amount, "currency": self.currency, "externalId": "label", **members}
        url = f"https://pay.example.org/{reference}"
        return await self.call("POST", path, body, X_Reference_Id=reference, X_Callback_Url=url)

    async def _token(self, product: str) -> str:
        headers = {"Ocp-Apim-Subscription-Key": "key"}
        answer = await self.world.client.post(f"/mtn_momo/{product}/token/", headers=headers, auth=("user", "key"))
        token: str = answer.json()["access_token"]
        return token


def reference(number: int) -> str:
    """A UUID of version 4 that is always the same."""
    return f"0b6f2b8e-56c1-4f0e-8f5a-{number:012d}"


def _party(msisdn: str) -> dict[str, str]:
    return {"partyIdType": "MSISDN", "partyId": msisdn}
