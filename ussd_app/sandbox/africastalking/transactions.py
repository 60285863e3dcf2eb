"""What Africa's Talking took and does later: airtime and bundles, until they are final (wire/sms.md 2.7 and 2.8)."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from types import MappingProxyType
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ussd_app.money import Money
from ussd_app.sandbox.africastalking.account import Account, Purse, authorise, required
from ussd_app.sandbox.books import Movement, Status
from ussd_app.sandbox.country import Handset

FAILURE = "Telco was unable to process the request"
LOCAL = timedelta(hours=3)  # transactionDate is Nairobi's, creationTime UTC
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Product:
    """A kind of thing handed over: its point in the fault plan, the prefix of its ids, and who pays."""

    point: str
    provider: str  # the name of our client, and of its part in the books
    prefix: str
    purse: Purse
    category: str
    queued: str  # the word before the final one


AIRTIME = Product("airtime", "airtime_africastalking", "ATQid_", "credit", "Airtime", "Sent")
BUNDLES = Product("bundles", "bundles_africastalking", "ATPid_", "wallet", "MobileData", "Queued")


@dataclass(slots=True)
class Transaction:
    """One thing taken and paid for, and where it stands; what fails is paid back."""

    id: str
    product: Product
    handset: Handset
    movement: Movement
    status: str
    bundle: dict[str, str]
    metadata: dict[str, str]
    description: str = ""
    denied: bool = False  # the look-up says that it failed, and it did not


class Transactions:
    """Everything that was taken, by its id."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self._all: dict[str, Transaction] = {}

    def routes(self) -> list[Route]:
        """The look-up, which the hosts of airtime and of bundles have at one path."""
        return [self.account.route("find", "GET", "/query/transaction/find", self._find)]

    def recent(self, msisdn: str, amount: Money, since: datetime) -> bool:
        """Whether this number was given the same airtime since then, or is about to be."""
        movements = (each.movement for each in self._all.values() if each.product is AIRTIME)
        return any(
            each.msisdn == msisdn and each.amount == amount and each.at > since and each.status is not Status.FAILED
            for each in movements
        )

    async def take(
        self,
        product: Product,
        handset: Handset,
        amount: Money,
        reference: str,
        *,
        fails: str = "",
        bundle: Mapping[str, str] = NOTHING,
        metadata: Mapping[str, str] = NOTHING,
    ) -> Transaction:
        """Take what the purse covers, and set it going; with a text in ``fails`` it will fail for that."""
        key, country = product.prefix + secrets.token_hex(16), self.account.country
        movement = country.hand_over(product.provider, product.point, reference or key, handset, amount)
        transaction = Transaction(key, product, handset, movement, product.queued, dict(bundle), dict(metadata))
        self._all[key] = transaction
        self.account.spend(product.purse, amount.decimal)
        await self._start(transaction, fails)
        return transaction

    async def _start(self, transaction: Transaction, fails: str) -> None:
        country, point = self.account.country, f"africastalking.{transaction.product.point}"
        if country.faults.take(point, "queued_for_ever"):
            return
        if country.faults.take(point, "failed_after_accepted"):
            fails = fails or FAILURE
        end = partial(self._end, transaction, fails)
        if country.faults.take(point, "callback_first"):
            await end()
        else:
            country.background.later(self.account.switches.final_seconds, end)

    async def _end(self, transaction: Transaction, fails: str) -> None:
        product, movement = transaction.product, transaction.movement
        if fails:
            movement.status, transaction.status, transaction.description = Status.FAILED, "Failed", fails
            self.account.spend(product.purse, -movement.amount.decimal)
        else:
            self.account.country.books.settle(movement, on_credit=True)
            transaction.status, transaction.description = "Success", f"{product.category} delivered"
            if transaction.bundle:
                transaction.handset.bundles.append(transaction.bundle)
        paid, known = self.account.country.faults.told(f"africastalking.{product.point}", paid=not fails)
        transaction.denied = not fails and not known
        told = transaction
        if paid == bool(fails):
            told = replace(transaction, status="Success", description="") if paid else _failed(transaction)
        await self._tell(told)

    async def _tell(self, transaction: Transaction) -> None:
        product, switches = transaction.product, self.account.switches
        own = switches.airtime_callback_url if product is AIRTIME else switches.bundles_callback_url
        url = own or self.account.country.callback_urls.get(product.provider, "")
        if url:
            body = self._callback(transaction)
            sent: dict[str, Any] = {"json" if switches.callback_body == "json" else "data": body}
            await self.account.country.wire.notify(f"africastalking.{product.point}", "callback", "POST", url, **sent)

    def _callback(self, transaction: Transaction) -> dict[str, Any]:
        """Airtime's body is documented; that of bundles is like the look-up's data, which nobody has verified."""
        common = {
            "phoneNumber": f"+{transaction.handset.msisdn}",
            "description": transaction.description,
            "status": transaction.status,
        }
        value = self._value(transaction)
        if transaction.product is AIRTIME:
            return {**common, "requestId": transaction.id, "discount": self.account.text(Decimal(0)), "value": value}
        told = {**common, "transactionId": transaction.id, "value": value}
        as_json = self.account.switches.callback_body == "json"
        return {**told, "requestMetadata": transaction.metadata} if as_json else told

    async def _find(self, request: Request) -> Response:
        """What is known of one transaction; the words for an unknown one are ours."""
        authorise(request)
        asked = dict(request.query_params)
        required(asked, "username", "transactionId")
        found = self._all.get(asked["transactionId"])
        if not found:
            return JSONResponse({"status": "Failure", "errorMessage": "Transaction not found"})
        found = _failed(found) if found.denied else found
        category = found.product.category
        data = {
            "requestMetadata": found.metadata,
            "sourceType": "Wallet",
            "source": "PaymentWallet",
            "destinationType": "PhoneNumber",
            "description": found.description,
            "providerChannel": category,
            "status": found.status,
            "category": category,
            "transactionDate": f"{found.movement.at + LOCAL:%d.%m.%Y %H:%M:%S}",
            "destination": f"+{found.handset.msisdn}",
            "value": self._value(found),
            "transactionId": found.id,
            "creationTime": f"{found.movement.at:%Y-%m-%d %H:%M:%S}",
        }
        return JSONResponse({"status": "Success", "data": data})

    def _value(self, transaction: Transaction) -> str:
        return self.account.text(transaction.movement.amount.decimal)


def _failed(transaction: Transaction) -> Transaction:
    return replace(transaction, status="Failed", description=FAILURE)
