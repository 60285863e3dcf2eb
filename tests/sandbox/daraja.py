"""A client of Daraja's half of the sandbox, in Kenya, that keeps to the documents."""

import json
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any

import httpx2 as httpx
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from sandbox import World
from ussd_app.config import Settings, load
from ussd_app.sandbox.daraja.account import OF_THE_SANDBOX
from ussd_app.sandbox.daraja.certificate import certificate

PAYER, PAYEE, ELSEWHERE = "254700000001", "254700000002", "254730000001"
PASSKEY = "not-a-real-passkey"
STAMP = "20260105093000"
HERE = "https://pay.example.org"
OURS = f"{HERE}/callbacks/daraja/s"  # where an application would be told of its till


@dataclass
class Kenya(World):
    """A sandbox of Kenya; listeners answer validations with this body."""

    settings: Settings = field(default_factory=lambda: load(Settings, operators=("daraja",), country="KE"))
    verdict: str = ""

    def _listen(self, request: httpx.Request) -> httpx.Response:
        super()._listen(request)
        return httpx.Response(self.listeners_answer, text=self.verdict)


class Daraja:
    """A client that keeps to the documents."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.token = ""

    async def login(self) -> str:
        """A token."""
        query = {"grant_type": "client_credentials"}
        answer = await self.world.client.get("/daraja/oauth/v1/generate", params=query, auth=("consumer", "secret"))
        token: str = answer.json()["access_token"]
        return token

    async def call(self, path: str, body: object) -> httpx.Response:
        """One call, with a token of its own where there is none yet."""
        self.token = self.token or await self.login()
        headers = {"Authorization": f"Bearer {self.token}"}
        return await self.world.client.post(f"/daraja/mpesa/{path}", json=body, headers=headers)

    async def push(self, msisdn: str = PAYER, amount: int = 100, **changed: object) -> httpx.Response:
        """Ask for a collection."""
        payer = {"PartyA": msisdn, "PhoneNumber": msisdn, "Amount": amount, "CallBackURL": f"{HERE}/c"}
        what = {"TransactionType": "CustomerPayBillOnline", "PartyB": "600111", "AccountReference": "INV000417"}
        return await self.call("stkpush/v1/processrequest", {**signed(), **payer, **what, **changed})

    async def query(self, push: httpx.Response) -> str:
        """The ResultCode of a push, or the errorCode of the answer, with a fresh token."""
        self.token = ""
        await self.world.sandbox.settled()
        body = {**signed(), "CheckoutRequestID": push.json()["CheckoutRequestID"]}
        answer = (await self.call("stkpushquery/v1/query", body)).json()
        code: str = answer.get("ResultCode") or answer["errorCode"]
        return code

    async def pay_out(
        self, originator: str, msisdn: str = PAYEE, amount: int = 100, **changed: object
    ) -> httpx.Response:
        """Ask for a disbursement."""
        order = {"OriginatorConversationID": originator, "InitiatorName": "testapi", "CommandID": "BusinessPayment"}
        parties = {"Amount": amount, "PartyA": "600111", "PartyB": msisdn}
        return await self.call("b2c/v3/paymentrequest", {**order, **parties, **asked(), **changed})

    async def reverse(self, receipt: str, amount: int = 100) -> httpx.Response:
        """Ask for a reversal."""
        order = {"Initiator": "testapi", "CommandID": "TransactionReversal", "TransactionID": receipt, "Amount": amount}
        return await self.call(
            "reversal/v1/request",
            {**order, "ReceiverParty": "600111", "RecieverIdentifierType": "11", **asked()},
        )

    async def status(self, of: str, key: str = "OriginalConversationID") -> str:
        """TransactionStatus of one transaction, or the ResultCode of a question that failed."""
        result = await self.looked_up(of, key)
        return str(parameters(result)["TransactionStatus"] if result["ResultCode"] == 0 else result["ResultCode"])

    async def looked_up(self, of: str, key: str = "OriginalConversationID") -> dict[str, Any]:
        """The Result that tells of one transaction; what was told before is not told again."""
        await self.world.told()
        order = {"Initiator": "testapi", "CommandID": "TransactionStatusQuery", key: of, "PartyA": "600111"}
        self.token = ""
        assert (
            await self.call("transactionstatus/v1/query", {**order, "IdentifierType": "4", **asked()})
        ).status_code == 200
        [result] = await results(self.world)
        return result

    async def register(self, version: str = "v2", kind: str = "Completed", url: str = f"{HERE}/c") -> httpx.Response:
        """Register a till's addresses."""
        urls = {"ConfirmationURL": url, "ValidationURL": f"{HERE}/v"}
        return await self.call(f"c2b/{version}/registerurl", {"ShortCode": "600111", "ResponseType": kind, **urls})


def credential(password: str = OF_THE_SANDBOX) -> str:
    """A password as the client must encrypt it."""
    key = x509.load_pem_x509_certificate(certificate().encode()).public_key()
    assert isinstance(key, RSAPublicKey)
    return b64encode(key.encrypt(password.encode(), PKCS1v15())).decode()


def signed() -> dict[str, str]:
    """What every STK body begins with."""
    password = b64encode(f"600111{PASSKEY}{STAMP}".encode()).decode()
    return {"BusinessShortCode": "600111", "Password": password, "Timestamp": STAMP}


def asked() -> dict[str, str]:
    """What every command's body has."""
    urls = {"QueueTimeOutURL": f"{HERE}/t", "ResultURL": f"{HERE}/r"}
    return {"SecurityCredential": credential(), "Remarks": "Order 417", **urls}


async def results(world: World) -> list[dict[str, Any]]:
    """What was told to ResultURL and QueueTimeOutURL."""
    told = [json.loads(body) for _, _, _, body in await world.told()]
    return [body["Result"] for body in told if "Result" in body]


async def callbacks(world: World) -> list[dict[str, Any]]:
    """What was told to CallBackURL."""
    told = [json.loads(body) for _, _, _, body in await world.told()]
    return [body["Body"]["stkCallback"] for body in told if "Body" in body]


def parameters(result: dict[str, Any]) -> dict[str, Any]:
    """Its ResultParameters by key."""
    return {one["Key"]: one.get("Value") for one in result["ResultParameters"]["ResultParameter"]}


async def held(world: World, msisdn: str) -> str:
    """What a person has left of a thousand shillings."""
    balances: dict[str, str] = (await world.control("GET", f"/handsets/{msisdn}"))["balances"]
    return balances["KES"]


async def plan(world: World, name: str, point: str, **details: object) -> None:
    """Put one fault in force."""
    await world.control("PUT", "/faults", [{"name": name, "target": f"daraja.{point}", **details}])


async def switch(world: World, **values: object) -> None:
    """Set switches of Daraja's."""
    await world.control("PUT", "/switches", {"daraja": values})


async def till(world: Kenya, **payment: object) -> Any:  # noqa: ANN401 - httpx's own
    """Have a handset pay unprompted."""
    return await world.client.post(
        "/daraja/till", json={"msisdn": PAYER, "amount": "100", "label": "INV417", **payment}
    )


async def ours(world: Kenya) -> str:
    """What Daraja holds for us."""
    balances: dict[str, str] = (await world.control("GET", "/books"))["operators"]["daraja"]["balances"]
    return balances["KES"]
