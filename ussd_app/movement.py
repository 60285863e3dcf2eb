"""One movement of value asked of an outside party: what is asked for, and the states it can have.

Money moves through operators; airtime, bundles and vouchers through deliveries. To payments.py they are one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable
from uuid import UUID

from ussd_app.errors import Reason
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn


class Kind(StrEnum):
    """What is asked: of an operator the first three, of a delivery the last."""

    COLLECTION = "collection"
    DISBURSEMENT = "disbursement"
    REFUND = "refund"
    DELIVERY = "delivery"


@dataclass(frozen=True, slots=True)
class Request:
    """One movement to ask for. ``reference`` is made once and is the provider's idempotency key."""

    reference: UUID
    kind: Kind
    msisdn: Msisdn
    amount: Money
    label: str  # the order's code, echoed by the operator
    note: str  # letters, digits and blanks; shown to the parties
    callback_url: str
    refunds: UUID | None = None  # the collection a REFUND gives back ...
    receipt: str = ""  # ... and its receipt, as it was known when the refund was asked for; empty where it was not
    item: Mapping[str, str] = field(default_factory=dict)  # what a DELIVERY hands over, as the catalogue describes it
    external_id: str | None = None  # the provider's own id of this movement, once it has told us


@dataclass(frozen=True, slots=True)
class Pending:
    """Taken, or still under way: the default of everything that is not listed as final."""

    raw: str = ""  # the provider's own word
    external_id: str | None = None  # by which it will know this movement, where it gives ids of its own


@dataclass(frozen=True, slots=True)
class Claimed(Pending):
    """A callback's word that it moved, which does not say how much: no end, but it contradicts a failure."""

    receipt: str = ""  # the provider's own id, where the callback names one


@dataclass(frozen=True, slots=True)
class Succeeded:
    """It moved: final. ``amount`` is what the provider says moved; ``receipt`` is its own id."""

    receipt: str
    amount: Money
    handed_over: str = field(default="", repr=False)  # what the person must be told: a voucher's code


@dataclass(frozen=True, slots=True)
class Failed:
    """Nothing moved: final."""

    reason: Reason
    raw: str = ""


Status = Pending | Succeeded | Failed


@dataclass(frozen=True, slots=True)
class Deposit:
    """Money paid to our till by somebody whom nobody had asked."""

    receipt: str  # the operator's own id of it
    amount: Money
    payer: str = field(repr=False)  # their number as the operator shows it: whole, masked or hashed
    label: str  # what they typed beside it


@dataclass(frozen=True, slots=True)
class CallbackNote:
    """What a callback claims: a reason to ask, and believed alone only of an Unqueried kind."""

    reference: UUID | None
    status: Status
    external_id: str | None = None  # where the provider names the movement by its own id alone
    kind: Kind | None = None  # which it is about, where the address does not tell
    deposit: Deposit | None = None  # what it tells of instead of a movement of ours
    balance: Money | None = None  # or of instead: what the provider holds for us


class Provider(Protocol):
    """What payments.py asks of whoever moves something. Every call raises Rejected, Unknown or Throttled only."""

    name: str
    deduplicates: frozenset[Kind]  # kinds that may be sent again under the same reference
    one_float: bool  # all kinds share one account of ours

    async def submit(self, request: Request) -> Status:
        """Ask for the movement; Pending means taken, never done."""
        ...

    async def check(self, request: Request) -> Status:
        """The present state of an earlier request; raises Unknown where the provider does not know it."""
        ...

    def parse_callback(self, path: str, body: bytes) -> CallbackNote:
        """Read a callback's body; ``path`` is what followed its secret: empty, ``<kind>/<reference>`` or more."""
        ...


@runtime_checkable
class Unqueried(Provider, Protocol):
    """A provider with kinds of which no query tells, only callbacks (design.md law 10)."""

    unqueried: frozenset[Kind]

    def believed_up_to(self, currency: str) -> Money:
        """The largest amount of which an unsigned callback is proof; one to a registered address only if guarded."""
        ...


@runtime_checkable
class Signing(Protocol):
    """A provider that can sign what it calls back in a way of its own."""

    def authentic(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether a callback may be its own: False only where a signature is demanded and does not fit."""
        ...


@runtime_checkable
class Acknowledged(Protocol):
    """A provider that wants to read something after 200."""

    def acknowledge(self, path: str, body: bytes) -> str:
        """The JSON of the answer to a callback."""
        ...


@runtime_checkable
class Till(Protocol):
    """An operator at whose till people pay without having been asked."""

    async def look_up(self, deposit: Deposit, callback_url: str) -> None:
        """Ask about a deposit; a callback to that address tells of it. Raises as every call does."""
        ...
