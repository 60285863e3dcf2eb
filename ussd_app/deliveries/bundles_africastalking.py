"""Data bundles through Africa's Talking, by way of its official SDK.

Source: wire/sms.md sections 2.8 and 2.10. ``request.item`` names ``product`` (theirs), ``quantity``, ``unit`` and
``validity``. Our Idempotency-Key goes along, but nobody documents that it is honoured: what may have been taken is not
asked for again. How it ended a callback or the look-up tells; a callback may name our reference too.
"""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any
from uuid import UUID

import httpx2 as httpx
from africastalking import MobileDataService
from redis.asyncio import Redis

from ussd_app.clock import Clock
from ussd_app.errors import Reason, Rejected, Unknown
from ussd_app.movement import CallbackNote, Kind, Pending, Request, Status
from ussd_app.providers import africastalking
from ussd_app.providers import africastalking_transactions as transactions
from ussd_app.providers.africastalking import Transport
from ussd_app.store import Store

# What the SDK lets pass (2.10, trap 6).
UNITS = frozenset({"MB", "GB"})
VALIDITIES = frozenset({"Day", "Week", "Month"})


class Settings(africastalking.Account):
    """Africa's Talking for bundles: the account, and nothing more."""


class Delivery:
    """Data bundles through Africa's Talking."""

    name = "bundles_africastalking"
    deduplicates: frozenset[Kind] = frozenset()
    one_float = True

    def __init__(
        self, settings: Settings, _http: httpx.AsyncClient, _redis: Redis, _clock: Clock, _store: Store
    ) -> None:
        self._calls = transactions.Calls(self.name, settings)

    async def submit(self, request: Request) -> Status:
        """Have the bundle put on the phone."""
        recipient = _recipient(request)
        service = self._service()
        service.keyed(request.reference)
        call = partial(service.send, request.item["product"], [recipient])
        return _taken(transactions.told(await self._calls.make("submit", call)), request)

    async def check(self, request: Request) -> Status:
        """How an earlier request stands, by the id its answer gave; raises Unknown without one."""
        data = await self._calls.find(self._service(), request)
        # A bundle comes whole or not at all; the value is their price, not ours.
        return transactions.ended(data, str(request.external_id), lambda: request.amount)

    def parse_callback(self, _path: str, body: bytes) -> CallbackNote:
        """Read a status callback."""
        return transactions.parse_callback(body)

    def _service(self) -> "_Bundles":
        return _Bundles(self._calls.account, self._calls.session)


class _Bundles(Transport, MobileDataService):  # type: ignore[misc]  # the SDK ships no types
    """The SDK's mobile data service on our transport, at its own host."""

    _init_service = MobileDataService._init_service  # noqa: SLF001 - our transport's would lead to the host of SMS

    def keyed(self, reference: UUID) -> None:
        """Send the key that the SDK knows for airtime only."""
        self._headers["Idempotency-Key"] = str(reference)


def _recipient(request: Request) -> dict[str, Any]:
    """The one line of a request; raises Rejected where the catalogue's item is none."""
    item = request.item
    try:
        quantity = Decimal(item["quantity"])
        fits = item["product"] and quantity > 0 and item["unit"] in UNITS and item["validity"] in VALIDITIES
    except (KeyError, InvalidOperation):
        fits = False
    if not fits:
        raise Rejected(Reason.BAD_REQUEST, "the catalogue's item is no bundle")
    return {
        "phoneNumber": str(request.msisdn),
        "quantity": int(quantity) if quantity == quantity.to_integral_value() else float(quantity),
        "unit": item["unit"],
        "validity": item["validity"],
        "metadata": {"reference": str(request.reference)},
    }


def _taken(reply: Mapping[str, Any], request: Request) -> Status:
    """What a reply says of our one line; without a transaction only a word that says so is a refusal."""
    line = transactions.line_of(reply, "entries", request.msisdn)
    external_id, word = transactions.identifier(line.get("transactionId")), str(line.get("status"))
    failed = word == "Failed"
    if external_id and not failed:
        return Pending(transactions.short(word), external_id)
    said = transactions.refused(line.get("errorMessage")) or transactions.short(word)
    reason = transactions.reason_of(said)
    if not failed and reason is None:
        raise Unknown(f"no transaction, and the word {said}")
    raise Rejected(reason or Reason.INTERNAL, said)
