"""Airtime through Africa's Talking, by way of its official SDK.

Source: wire/sms.md sections 2.7 and 2.10. Airtime cannot be taken back: a request goes out again under its own
Idempotency-Key alone. ``Sent`` means handed to the telco; how it ended a callback or the look-up tells.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import httpx2 as httpx
from africastalking import AirtimeService, MobileDataService
from redis.asyncio import Redis

from ussd_app.clock import Clock
from ussd_app.errors import Reason, Rejected, Unknown
from ussd_app.movement import CallbackNote, Kind, Pending, Request, Status
from ussd_app.providers import africastalking
from ussd_app.providers import africastalking_transactions as transactions
from ussd_app.providers.africastalking import Transport
from ussd_app.store import Store


class Settings(africastalking.Account):
    """Africa's Talking for airtime: the account, and nothing more."""


class Delivery:
    """Airtime through Africa's Talking."""

    name = "airtime_africastalking"
    deduplicates = frozenset({Kind.DELIVERY})  # by Idempotency-Key
    one_float = True

    def __init__(
        self, settings: Settings, _http: httpx.AsyncClient, _redis: Redis, _clock: Clock, _store: Store
    ) -> None:
        self._calls = transactions.Calls(self.name, settings)

    async def submit(self, request: Request) -> Status:
        """Have ``request.amount`` put on the phone."""
        # A new service each time: the SDK keeps the key it was given last for every later call (2.10).
        service = _Airtime(self._calls.account, self._calls.session)
        call = partial(
            service.send, phone_number=str(request.msisdn), amount=request.amount.plain,
            currency_code=request.amount.currency, idempotency_key=str(request.reference),
        )  # fmt: skip
        return _taken(transactions.told(await self._calls.make("submit", call)), request)

    async def check(self, request: Request) -> Status:
        """How an earlier request stands, by the id its answer gave; raises Unknown without one."""
        data = await self._calls.find(_LookUp(self._calls.account, self._calls.session), request)
        return transactions.ended(data, str(request.external_id), partial(transactions.moved, data, request))

    def parse_callback(self, _path: str, body: bytes) -> CallbackNote:
        """Read a status callback."""
        return transactions.parse_callback(body)


class _Airtime(Transport, AirtimeService):  # type: ignore[misc]  # the SDK ships no types
    """The SDK's airtime service on our transport."""


class _LookUp(Transport, MobileDataService):  # type: ignore[misc]  # the same
    """The SDK's mobile data service on our transport, whose host is that of airtime."""


def _taken(reply: Mapping[str, Any], request: Request) -> Status:
    """What a reply says of our one line."""
    line = transactions.line_of(reply, "responses", request.msisdn)
    said, word = transactions.refused(line.get("errorMessage")), str(line.get("status"))
    external_id = transactions.identifier(line.get("requestId"))
    if said or word == "Failed" or reply.get("numSent") == 0:
        reason = transactions.reason_of(said) or Reason.INTERNAL
        if word != "Sent" and not (external_id and reason is Reason.DUPLICATE):
            raise Rejected(reason, said or transactions.short(word))
        if not external_id:
            raise Unknown("sent and refused in one answer")
        # Taken after all, or refused as a copy of what was: the look-up tells.
    return Pending(transactions.short(word), external_id)
