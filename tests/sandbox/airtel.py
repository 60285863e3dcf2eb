"""A client of Airtel Money's half that keeps to the documents, and takes what it is told from the environment."""

import base64

import httpx2 as httpx
from cryptography.hazmat.primitives.asymmetric import padding as schemes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from sandbox import World
from ussd_app.sandbox import airtel
from ussd_app.sandbox.airtel import keys

PAYER, PAYEE = "256700000901", "256700000902"


def sealed(text: str, padding: schemes.AsymmetricPadding | None = None) -> str:
    """A text under the half's public key."""
    key = load_der_public_key(base64.b64decode(keys.public_key()))
    assert isinstance(key, RSAPublicKey)
    return base64.b64encode(key.encrypt(text.encode(), padding or schemes.PKCS1v15())).decode()


class Airtel:
    """Of Uganda; version 1 of every call, each with a token of its own."""

    def __init__(self, world: World) -> None:
        self.world = world
        told = airtel.environment("http://sandbox/airtel", "UG")
        self.base, self.country, self.pin = told["AIRTEL_BASE_URL"], told["AIRTEL_COUNTRY"], told["AIRTEL_PIN"]
        self.credentials = {"client_id": told["AIRTEL_CLIENT_ID"], "client_secret": told["AIRTEL_CLIENT_SECRET"]}

    async def call(self, method: str, path: str, body: object = None) -> httpx.Response:
        """One call with a fresh token."""
        asked = {**self.credentials, "grant_type": "client_credentials"}
        token = (await self.world.client.post(f"{self.base}/auth/oauth2/token", json=asked)).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}", "X-Country": self.country, "X-Currency": "UGX"}
        return await self.world.client.request(method, self.base + path, json=body, headers=headers)

    async def pay_in(self, key: str, msisdn: str = PAYER, amount: int = 100) -> httpx.Response:
        """Ask for a collection."""
        wallet = {"country": "UG", "currency": "UGX"}
        transaction = {"amount": amount, **wallet, "id": key}
        body = {"reference": "label", "subscriber": {**wallet, "msisdn": msisdn[3:]}, "transaction": transaction}
        return await self.call("POST", "/merchant/v1/payments/", body)

    async def pay_out(
        self, key: str, msisdn: str = PAYEE, amount: int = 100, padding: schemes.AsymmetricPadding | None = None
    ) -> str:
        """Ask for a disbursement; the code of its answer, or its HTTP status."""
        pin, transaction = sealed(self.pin, padding), {"amount": amount, "id": key}
        body = {"payee": {"msisdn": msisdn[3:]}, "reference": "label", "pin": pin, "transaction": transaction}
        answer = await self.call("POST", "/standard/v1/disbursements/", body)
        status = answer.json()["status"]
        return str(status.get("response_code", status.get("result_code"))) if answer.is_success else status["code"]

    async def give_back(self, money_id: str) -> str:
        """Refund a collection; the word of the answer."""
        body = {"transaction": {"airtel_money_id": money_id}}
        answer = await self.call("POST", "/standard/v1/payments/refund", body)
        return str(answer.json()["data"]["transaction"]["status"])

    async def shown(self, kind: str, key: str) -> dict[str, str]:
        """The transaction of an enquiry, with its code; empty where there is none."""
        await self.world.sandbox.settled()
        answer = (await self.call("GET", f"/standard/v1/{kind}/{key}")).json()
        transaction = answer["data"].get("transaction")
        return {**transaction, "code": answer["status"]["response_code"]} if transaction else {}

    async def collected(self, key: str) -> tuple[str, str]:
        """Status and code of a collection."""
        shown = await self.shown("payments", key)
        return shown["status"], shown["code"].removeprefix("DP00800001")

    async def disbursed(self, key: str) -> tuple[str, str]:
        """Status and code of a disbursement."""
        shown = await self.shown("disbursements", key)
        return shown["status"], shown["code"].removeprefix("DP00900001")
