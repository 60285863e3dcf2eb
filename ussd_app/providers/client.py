"""What every operator's client shares: measured calls, bearer tokens, and words and amounts as strangers write them."""

import re
import unicodedata
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import httpx2 as httpx

from ussd_app import gsm, log, metrics
from ussd_app.errors import ProviderError, Throttled, Unknown
from ussd_app.http import RETRY_SECONDS, Answer, call
from ussd_app.money import InvalidAmount, Money
from ussd_app.providers.tokens import Token

# Of a call that has no answer to be believed: the service behind it fails (design.md section 3, errors).
OUTAGES = frozenset(
    {HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE,
     HTTPStatus.GATEWAY_TIMEOUT}
)  # fmt: skip

WORD_SEPTETS = 64
AMOUNT = re.compile(r"[0-9]{1,15}(\.[0-9]{1,6})?")
CURRENCY = re.compile(r"[A-Z]{3}")
VISIBLE = re.compile(r"[!-~]{1,8192}")  # what a header may carry

logger = log.get(__name__)


class Client:
    """Calls to one provider at ``base_url``: logged, measured, and authorised by a bearer token."""

    def __init__(self, name: str, base_url: str, http: httpx.AsyncClient) -> None:
        self.name = name
        self._base_url = base_url.rstrip("/")
        self._http = http

    async def call(
        self,
        what: str,
        method: str,
        path: str,
        shown: str = "",
        **options: Any,  # noqa: ANN401 - httpx's own
    ) -> Answer:
        """One exchange; ``what`` names it in metrics and logs, where its body never stands, nor a path that hides."""
        line = logger.bind(operator=self.name, call=what, path=shown or path)
        try:
            with metrics.PROVIDER_SECONDS.labels(self.name, what).time():
                answer = await call(self._http, method, f"{self._base_url}/{path}", **options)
        except ProviderError as error:
            line.warning("operator did not answer", error=str(error))
            raise
        line.info("operator answered", status=answer.status)
        return answer

    async def authorised(
        self,
        what: str,
        method: str,
        path: str,
        token: Callable[[str | None], Awaitable[str]],
        refused: Callable[[Answer], bool] = lambda answer: answer.status == HTTPStatus.UNAUTHORIZED,
        headers: dict[str, str] | None = None,
        **options: Any,  # noqa: ANN401 - httpx's own
    ) -> Answer:
        """A call with a token, made once more, the same in all else, where that token is ``refused``.

        ``token`` gives one, given the one that has just been refused.
        """
        bearer = await token(None)
        answer = await self.call(what, method, path, headers=_with(headers, bearer), **options)
        if refused(answer):
            bearer = await token(bearer)
            answer = await self.call(what, method, path, headers=_with(headers, bearer), **options)
        return answer


async def fetched(answer: Awaitable[dict[str, Any]], longest: float) -> Token:
    """A token out of an OAuth answer; asking for one moves nothing, so whatever breaks here was not taken.

    ``expires_in`` may be a number or a text of digits (wire/momo.md sections 1.3, 2.1, 3.1); ``longest`` is in seconds.
    """
    try:
        told = await answer
    except Unknown as error:
        raise Throttled(RETRY_SECONDS, f"no token: {error.detail}", outage=error.outage, alert=error.alert) from error
    value, life = told.get("access_token"), told.get("expires_in")
    if not isinstance(value, str) or not VISIBLE.fullmatch(value):
        raise Throttled(RETRY_SECONDS, "no token in the answer", outage=True)
    text = str(life)
    seconds = float(text) if re.fullmatch(r"[0-9]{1,7}(\.[0-9]+)?", text) else longest
    return Token(value, seconds if 0 < seconds < longest else longest)


def money(amount: object, currency: object) -> Money:
    """An amount as a stranger writes it, a text or a number, normalised or not; raises Unknown."""
    text = str(amount)
    if isinstance(amount, bool) or not (AMOUNT.fullmatch(text) and _is_currency(currency)):
        raise Unknown("no amount in the answer")
    try:
        return Money.of(text, str(currency))
    except InvalidAmount as error:
        raise Unknown(str(error)) from error


def plain(text: str, most: int) -> str:
    """Letters, digits and blanks alone, ``most`` of them: whatever else may be refused with 400."""
    ascii_only = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return " ".join(re.sub(r"[^A-Za-z0-9]+", " ", ascii_only).split())[:most].rstrip()


def short(said: object) -> str:
    """A word of a stranger's, fit for a row and a log."""
    return gsm.one_line(str(said)[:256], WORD_SEPTETS)


def _is_currency(text: object) -> bool:
    return isinstance(text, str) and CURRENCY.fullmatch(text) is not None


def _with(headers: dict[str, str] | None, bearer: str) -> dict[str, str]:
    return {**(headers or {}), "Authorization": f"Bearer {bearer}"}
