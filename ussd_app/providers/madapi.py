"""What every file about MTN's developer portal ("MADAPI") shares: the consumer, its token, and authorised calls.

Source: wire/sms.md sections 3.1 and 3.5. Hosts, paths and the way to authenticate differ by country: all are settings.
"""

import base64
from http import HTTPStatus
from typing import Any, Literal

import httpx2 as httpx
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from ussd_app.config import Environment
from ussd_app.errors import Reason, Rejected, Throttled, Unknown
from ussd_app.http import Answer, call
from ussd_app.providers.tokens import Token, Tokens

TOKEN_SECONDS = 3600.0  # where the answer names no life
UNAUTHORISED = "4000"

# How a consumer proves itself: in the token call's form, in its Basic header, or by the key alone and no token.
Authentication = Literal["form", "basic", "key"]


class Account(Environment):
    """A consumer of MTN's developer portal, for every product it is approved for."""

    model_config = SettingsConfigDict(env_prefix="MTN_")

    consumer_key: SecretStr = Field(description="developers.mtn.com > My Apps > Consumer Key")
    consumer_secret: SecretStr = Field(description="developers.mtn.com > My Apps > Consumer Secret")


class Client:
    """Authorised calls to one product at ``base_url``."""

    def __init__(
        self,
        account: Account,
        http: httpx.AsyncClient,
        tokens: Tokens,
        *,
        base_url: str,
        token_path: str,
        authentication: Authentication,
    ) -> None:
        self._account = account
        self._http = http
        self._tokens = tokens
        self._base_url = base_url.rstrip("/")
        self._token_url = self._base_url + token_path
        self._authentication = authentication

    async def post(self, path: str, body: dict[str, Any]) -> Answer:
        """POST a JSON body; refused as unauthorised it goes out once more with a fresh token.

        Raises Rejected, Unknown or Throttled; an answer to the call itself is given back whatever its status.
        """
        if self._authentication == "key":
            return await self._call(path, body, {})
        token = await self._token(None)
        answer = await self._call(path, body, {"Authorization": f"Bearer {token}"})
        if answer.status == HTTPStatus.UNAUTHORIZED or code(answer) == UNAUTHORISED:
            token = await self._token(token)
            answer = await self._call(path, body, {"Authorization": f"Bearer {token}"})
        return answer

    async def _call(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> Answer:
        headers |= {"x-api-key": self._account.consumer_key.get_secret_value()}
        return await call(self._http, "POST", self._base_url + path, json=body, headers=headers)

    async def _token(self, refused: str | None) -> str:
        try:
            return await self._tokens.get("madapi", self._token_url, self._fetch, force_refresh=refused)
        except Unknown as error:
            # Nothing has been asked for yet: without a token the call itself never left.
            raise Throttled(2.0, f"no token: {error.detail}", outage=error.outage, alert=error.alert) from error

    async def _fetch(self) -> Token:
        key = self._account.consumer_key.get_secret_value()
        secret = self._account.consumer_secret.get_secret_value()
        form, headers = {"client_id": key, "client_secret": secret}, {}
        if self._authentication == "basic":
            pair = base64.b64encode(f"{key}:{secret}".encode()).decode()
            form, headers = {}, {"Authorization": f"Basic {pair}"}
        address = f"{self._token_url}?grant_type=client_credentials"
        answer = await call(self._http, "POST", address, data=form, headers=headers)
        match answer.json():
            case {"access_token": str(value), **rest} if answer.status == HTTPStatus.OK and value:
                return Token(value, _seconds(rest.get("expires_in")))
        if answer.status < HTTPStatus.INTERNAL_SERVER_ERROR and answer.status != HTTPStatus.TOO_MANY_REQUESTS:
            raise Rejected(Reason.PROVIDER_CONFIG, f"no token: HTTP {answer.status}")
        raise Throttled(answer.retry_after, f"no token: HTTP {answer.status}")


def code(answer: Answer) -> str | None:
    """The envelope's ``statusCode``, as text even where it came as a number; None where there is none."""
    match answer.json():
        case {"statusCode": str(found)} if found:
            return found
        case {"statusCode": int(found)}:
            return f"{found:04d}"  # 0000 met as the number 0
    return None


def _seconds(expires_in: object) -> float:
    """``expires_in`` is a string of digits."""
    text = str(expires_in)
    return float(text) if text.isdecimal() and len(text) < 8 else TOKEN_SECONDS  # noqa: PLR2004 - 8 digits are no life
