"""The life of what MTN MoMo was asked for, from acceptance to callback (wire/momo.md sections 1.4 to 1.7)."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic_settings import SettingsConfigDict

from ussd_app.money import Money
from ussd_app.sandbox.books import Movement, Status
from ussd_app.sandbox.country import Country, Handset, Verdict
from ussd_app.sandbox.mtn_momo.answers import refused
from ussd_app.sandbox.mtn_momo.numbers import CARRIERS, NEVER, OLD, PAY_IN, PAY_OUT, Fate, suffix
from ussd_app.sandbox.switches import Switches

SANDBOX_CURRENCY = "EUR"  # the one of the target environment `sandbox` (section 1.4)
VERDICTS: Mapping[Verdict, str | None] = {"approve": None, "reject": "APPROVAL_REJECTED", "expired": "EXPIRED"}


class MomoSwitches(Switches):
    """What the documents and the measurements disagree about, and how long things take."""

    model_config = SettingsConfigDict(env_prefix="SANDBOX_MTN_MOMO_")

    prompt_seconds: float = 300.0  # until an unanswered prompt expires (section 1.6)
    token_seconds: int = 3600
    test_numbers: Literal["new", "old"] = "new"  # which of the two official tables
    reason: Literal["text", "object"] = "text"  # the shape of `reason` in a FAILED status
    bad_request: Literal["service", "empty"] = "service"  # the body of a 400
    callback_method: Literal["PUT", "POST"] = "PUT"
    normalise_amounts: bool = True  # "12.50" comes back as "12.5"


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of request: its address, who the other party is, and what the test numbers do there."""

    kind: str
    product: str
    path: str
    party: Literal["payer", "payee"]
    versions: tuple[str, ...]
    fates: Mapping[int, Fate]

    @property
    def point(self) -> str:
        """Its name in the fault plan."""
        return f"mtn_momo.{self.kind}"


# There is no /disbursement/v2_0/transfer (section 1.5).
RESOURCES = (
    Resource("collection", "collection", "requesttopay", "payer", ("v1_0",), PAY_IN),
    Resource("disbursement", "disbursement", "transfer", "payee", ("v1_0",), PAY_OUT),
    Resource("deposit", "disbursement", "deposit", "payee", ("v1_0", "v2_0"), PAY_IN),
    Resource("refund", "disbursement", "refund", "payee", ("v1_0", "v2_0"), {}),
)


class Party(BaseModel):
    """A payer or payee."""

    model_config = ConfigDict(alias_generator=to_camel, strict=True)

    party_id_type: Literal["MSISDN"]
    party_id: str = Field(pattern=r"^[0-9]{6,15}$")


class Order(BaseModel):
    """The body of every request that moves money; the notes may hold letters, digits and blanks alone."""

    model_config = ConfigDict(alias_generator=to_camel, strict=True)

    amount: str
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    external_id: str = Field(pattern=r"^\S+$")
    payer: Party | None = None
    payee: Party | None = None
    payer_message: str = Field("", pattern=r"^[A-Za-z0-9 ]*$", max_length=160)
    payee_note: str = Field("", pattern=r"^[A-Za-z0-9 ]*$", max_length=160)
    reference_id_to_refund: str | None = None


@dataclass(slots=True)
class Payment:
    """One accepted request and where it stands. ``told`` is set when the first callback is through."""

    resource: Resource
    movement: Movement
    order: Order
    callback_url: str | None
    refunds: "Payment | None" = None
    refunded: int = 0  # minor units given back of it
    status: str = "PENDING"
    reason: str | None = None
    receipt: str = ""
    denied: bool = False  # queries say that it failed, and it did not
    told: asyncio.Event = field(default_factory=asyncio.Event)


class Payments:
    """Every accepted request by its reference, which is unique for ever and over all kinds."""

    def __init__(self, country: Country, switches: MomoSwitches) -> None:
        self._country = country
        self._switches = switches
        self._payments: dict[str, Payment] = {}
        self._receipts = 9_100_000_000

    def find(self, resource: Resource, reference: str) -> Payment | None:
        """The request of that kind and reference."""
        payment = self._payments.get(reference)
        return payment if payment and payment.resource is resource else None

    def accept(
        self, resource: Resource, reference: str, order: Order, amount: Money, callback_url: str | None
    ) -> Payment:
        """Take a request and set it going; raises Refused where the reference is taken or refunds what is not there."""
        if reference in self._payments:
            raise refused("RESOURCE_ALREADY_EXIST")
        original = self._payments.get(order.reference_id_to_refund or "")
        if resource.kind == "refund" and not original:
            raise refused("RESOURCE_NOT_FOUND")
        party = order.payer if resource.party == "payer" else order.payee
        handset = self._country.handset(party.party_id if party else original.movement.msisdn if original else "")
        movement = self._country.ask("mtn_momo", reference, resource.kind, handset, amount)
        payment = self._payments[reference] = Payment(resource, movement, order, callback_url, original)
        self._start(payment, handset)
        return payment

    def has_wallet(self, handset: Handset, currency: str) -> bool:
        """Whether a person has a wallet here; those of other networks have none, but in MTN's own sandbox."""
        return handset.active and (currency == SANDBOX_CURRENCY or self._country.on_network(handset, *CARRIERS))

    def document(self, payment: Payment) -> dict[str, Any]:
        """How it stands, as queries and callbacks tell it: no reference id, for the caller's URL must hold it."""
        order, amount = payment.order, payment.movement.amount
        document: dict[str, Any] = {"financialTransactionId": payment.receipt} if payment.receipt else {}
        document |= {
            "externalId": order.external_id,
            "amount": _normal(amount) if self._switches.normalise_amounts else order.amount,
            "currency": amount.currency,
            payment.resource.party: {"partyIdType": "MSISDN", "partyId": payment.movement.msisdn},
            "payerMessage": order.payer_message,
            "payeeNote": order.payee_note,
            "status": payment.status,
        }
        if payment.reason:
            words = payment.reason.replace("_", " ").capitalize()
            as_object = {"code": payment.reason, "message": f"{words}."}
            document["reason"] = payment.reason if self._switches.reason == "text" else as_object
        return document

    def shown(self, payment: Payment) -> dict[str, Any]:
        """What a status query answers."""
        return self.document(_failed(payment) if payment.denied else payment)

    def _start(self, payment: Payment, handset: Handset) -> None:
        later, fate = self._country.background.later, self._fate(payment, handset)
        if fate:
            payment.status = fate.status
            if fate.after == NEVER:
                payment.told.set()  # nobody need wait for a callback that will not come
            else:
                later(fate.after, partial(self._decided, payment, fate.reason))
        elif self._country.faults.take(payment.resource.point, "queued_for_ever"):
            payment.told.set()
        elif payment.resource.kind == "collection":
            message = payment.order.payer_message
            seconds = self._switches.prompt_seconds
            self._country.prompt(
                handset, payment.movement, message, seconds, lambda verdict: self._decided(payment, VERDICTS[verdict])
            )
        else:
            later(0, partial(self._decided, payment, None))

    def _fate(self, payment: Payment, handset: Handset) -> Fate | None:
        """How it ends if nobody has a say; None where the person or the balances decide."""
        number = suffix(handset.msisdn)
        if number is not None:
            table = OLD if self._switches.test_numbers == "old" else payment.resource.fates
            return table.get(number, Fate())
        if not self.has_wallet(handset, payment.movement.amount.currency):
            return Fate(f"{payment.resource.party.upper()}_NOT_FOUND")
        if payment.resource.party == "payee" and not handset.can_receive:
            return Fate("PAYEE_NOT_ALLOWED_TO_RECEIVE")
        return None

    def _decided(self, payment: Payment, reason: str | None) -> None:
        fault = None if reason else self._country.faults.take(payment.resource.point, "late_success")
        if fault:
            self._end(payment, "EXPIRED")
            self._country.background.later(fault.delay, partial(self._end, payment, None))
        else:
            self._end(payment, reason)

    def _end(self, payment: Payment, reason: str | None) -> None:
        """Make it final: without a reason the money moves, if the rules and the balance let it."""
        if reason is None:
            reason = _misfit(payment) or (None if self._country.books.settle(payment.movement) else "NOT_ENOUGH_FUNDS")
        payment.status, payment.reason = ("FAILED", reason) if reason else ("SUCCESSFUL", None)
        if reason:
            payment.movement.status = Status.FAILED
        else:
            self._receipts += 1
            payment.receipt = str(self._receipts)
            if payment.refunds:
                payment.refunds.refunded += payment.movement.amount.minor
        paid, known = self._country.faults.told(payment.resource.point, paid=reason is None)
        payment.denied = reason is None and not known
        told = payment
        if paid != (reason is None):
            self._receipts += paid
            receipt = str(self._receipts)
            told = replace(payment, status="SUCCESSFUL", reason=None, receipt=receipt) if paid else _failed(payment)
        self._country.background.later(0, partial(self._tell, payment, self.document(told)))

    async def _tell(self, payment: Payment, document: dict[str, Any]) -> None:
        if payment.callback_url:
            method = self._switches.callback_method
            await self._country.wire.notify(
                payment.resource.point, "callback", method, payment.callback_url, json=document
            )
        payment.told.set()


def _failed(payment: Payment) -> Payment:
    return replace(payment, status="FAILED", reason="EXPIRED", receipt="")


def _misfit(payment: Payment) -> str | None:
    """Why a refund is not allowed: only what was collected, and no more of it than is left."""
    original, amount = payment.refunds, payment.movement.amount
    if original is None:
        return None
    collected = original.resource.kind == "collection" and original.status == "SUCCESSFUL"
    fits = amount.currency == original.movement.amount.currency
    left = original.movement.amount.minor - original.refunded
    return None if collected and fits and amount.minor <= left else "NOT_ALLOWED"


def _normal(amount: Money) -> str:
    """Without the zeros a decimal does not need, as measured (section 1.4)."""
    return amount.plain.rstrip("0").rstrip(".") if "." in amount.plain else amount.plain
