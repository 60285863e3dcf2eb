"""SIM swaps through Africa's Talking's insights, by way of its official SDK (wire/sms.md sections 2.9 and 2.10)."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from functools import partial
from http import HTTPStatus

import httpx2 as httpx
from africastalking import InsightService
from redis.asyncio import Redis

from ussd_app.clock import Clock
from ussd_app.errors import Unknown
from ussd_app.http import Answer
from ussd_app.insights import SimAnswer
from ussd_app.msisdn import Msisdn
from ussd_app.providers import africastalking
from ussd_app.providers.africastalking import Transport
from ussd_app.providers.africastalking_transactions import Calls, identifier, is_for, told

NEVER = date(1900, 1, 1)
SWAPPED, NOT_SWAPPED = "Swapped", "NotSwapped"


class Settings(africastalking.Account):
    """Africa's Talking for insights: the account, and nothing more."""


class Insight:
    """SIM swaps through Africa's Talking."""

    name = "africastalking"

    def __init__(self, settings: Settings, _http: httpx.AsyncClient, _redis: Redis, _clock: Clock) -> None:
        self._calls = Calls(f"insights_{self.name}", settings)

    async def ask(self, msisdns: Sequence[Msisdn]) -> Mapping[str, Msisdn]:
        """Ask about these numbers; those it queued an answer for, by the id that answer will carry."""
        service = _Insights(self._calls.account, self._calls.session)
        call = partial(service.check_sim_swap_state, [str(msisdn) for msisdn in msisdns])
        match told(await self._calls.make("ask", call)):
            case {"responses": list(responses)}:
                return dict(pair for each in responses for pair in _queued(each, msisdns))
        raise Unknown("an answer without responses", outage=True)

    def parse_callback(self, body: bytes) -> SimAnswer | None:
        """Read an answer: DD-MM-YYYY, the first day of 1900 for never; one that contradicts itself is none."""
        match Answer(HTTPStatus.OK, {}, body).json():
            case {"requestId": str(given), "status": str(word), **rest} if request_id := identifier(given):
                swapped_on = _date(rest.get("lastSimSwapDate"))
                if word == NOT_SWAPPED or (word == SWAPPED and swapped_on):
                    return SimAnswer(request_id, swapped_on)
        return None


class _Insights(Transport, InsightService):  # type: ignore[misc]  # the SDK ships no types
    """The SDK's insight service on our transport, at its own host."""

    _init_service = InsightService._init_service  # noqa: SLF001 - our transport's would lead to the host of SMS


def _queued(response: object, msisdns: Sequence[Msisdn]) -> list[tuple[str, Msisdn]]:
    """The id of one response and the number it is about; nothing where it was not queued."""
    match response:
        case {"requestId": given, "status": "Queued", "phoneNumber": {"number": number}} if key := identifier(given):
            return [(key, msisdn) for msisdn in msisdns if is_for(msisdn, number)]
    return []


def _date(text: object) -> date | None:
    """A day; None where it says never, or nothing that can be read."""
    try:
        day = datetime.strptime(str(text), "%d-%m-%Y").date()  # noqa: DTZ007 - a day has no zone
    except ValueError:
        return None
    return None if day == NEVER else day
