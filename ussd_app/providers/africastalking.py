"""What every file about Africa's Talking shares: the account, and the way of its official SDK onto the wire.

The SDK (`africastalking` 2.0.3) is synchronous, opens a connection for each call and loses the HTTP status
(wire/sms.md section 2.10). So it runs in threads, a few at a time, and this transport stands in for its own.
"""

from collections.abc import Mapping
from http import HTTPStatus
from ssl import SSLCertVerificationError
from urllib.parse import urlsplit

import requests
from africastalking.Service import APIService
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NewConnectionError, SSLError

from ussd_app.config import Environment
from ussd_app.errors import Throttled, Unknown
from ussd_app.http import BODY_BYTES_MAX, RETRY_SECONDS, Answer, spoken

THREADS = 10  # calls at once; as many connections are kept open
TIMEOUT_SECONDS = (3.05, 9.05)  # to connect, and between two bytes of the answer

Fields = Mapping[str, str]


class Account(Environment):
    """Who we are to Africa's Talking; the user name ``sandbox`` means their sandbox's hosts."""

    model_config = SettingsConfigDict(env_prefix="AT_")

    username: str = Field(description="the app's name at account.africastalking.com, or sandbox")
    api_key: SecretStr = Field(description="account.africastalking.com > your app > Settings > API Key")
    base_url: str | None = Field(None, pattern="^https?://")  # instead of every host of theirs


class Transport(APIService):  # type: ignore[misc]  # the SDK ships no types
    """Stands before a service of the SDK among its bases; every call then gives the whole answer, whatever its status.

    Raises Throttled where the call surely never left, Unknown where it may have been read, both as outages. One object,
    one call.
    """

    def __init__(self, account: Account, session: requests.Session) -> None:
        super().__init__(account.username, account.api_key.get_secret_value())
        self._account = account
        self._session = session

    def _make_request(
        self, url: str, method: str, headers: Fields, data: Fields | None, params: Fields | None, **_options: object
    ) -> Answer:
        base = self._account.base_url
        address = base.rstrip("/") + urlsplit(url).path if base else url
        try:
            with self._session.request(
                method, address, headers=headers, data=data, params=params,
                timeout=TIMEOUT_SECONDS, allow_redirects=False, stream=True,
            ) as response:  # fmt: skip
                headers = {name.lower(): value for name, value in response.headers.items()}
                return spoken(Answer(response.status_code, headers, _body(response)))
        except requests.RequestException as error:
            name = type(error).__name__
            if _never_left(error):
                raise Throttled(RETRY_SECONDS, f"not sent: {name}", outage=True) from error
            raise Unknown(f"no whole answer: {name}", outage=True) from error


def is_outage(status: int) -> bool:
    """Whether an HTTP status says that their service failed, or gave up waiting, whatever it was asked."""
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.REQUEST_TIMEOUT


def session() -> requests.Session:
    """One pool of connections for all threads; it retries nothing and takes nothing from the environment."""
    pooled = requests.Session()
    pooled.trust_env = False
    for scheme in ("https://", "http://"):
        pooled.mount(scheme, HTTPAdapter(pool_connections=1, pool_maxsize=THREADS))
    return pooled


def _body(response: requests.Response) -> bytes:
    body = bytearray()
    for chunk in response.iter_content(8192):
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise Unknown(f"answer over {BODY_BYTES_MAX} bytes", outage=True)
    return bytes(body)


def _never_left(error: requests.RequestException) -> bool:
    """``requests`` calls a refused connection and a cut one by one name; only the cause below tells them apart."""
    cause = getattr(next(iter(error.args), None), "reason", None)
    strange = isinstance(cause, SSLError) and isinstance(next(iter(cause.args), None), SSLCertVerificationError)
    return isinstance(error, requests.ConnectTimeout) or isinstance(cause, NewConnectionError) or strange
