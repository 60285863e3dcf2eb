"""Mobile-money operators: one file each. They know requests, answers and statuses, and nothing of our books."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from ussd_app.errors import Reason
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn


class Kind(StrEnum):
    """What is asked of an operator."""

    COLLECTION = "collection"
    DISBURSEMENT = "disbursement"
    REFUND = "refund"


@dataclass(frozen=True, slots=True)
class Request:
    """One movement of money to ask for. ``reference`` is made once and is the operator's idempotency key."""

    reference: UUID
    kind: Kind
    msisdn: Msisdn
    amount: Money
    label: str  # the order's code, echoed by the operator
    note: str  # letters, digits and blanks; shown to the parties
    callback_url: str
    refunds: UUID | None = None  # the collection a REFUND gives back


@dataclass(frozen=True, slots=True)
class Pending:
    """Taken, or still under way: the default of everything that is not listed as final."""

    raw: str = ""  # the operator's own word


@dataclass(frozen=True, slots=True)
class Succeeded:
    """Money moved: final. ``amount`` is what the operator says moved; ``receipt`` is its own id."""

    receipt: str
    amount: Money


@dataclass(frozen=True, slots=True)
class Failed:
    """No money moved: final."""

    reason: Reason
    raw: str = ""


Status = Pending | Succeeded | Failed


@dataclass(frozen=True, slots=True)
class CallbackNote:
    """What a callback claims. Believed only after check agrees, unless ``proven`` by a signature."""

    reference: UUID | None
    status: Status
    proven: bool = False


class Operator(Protocol):
    """What payments.py asks of ``Operator(settings, http, redis, clock)`` in each file.

    Every call raises Rejected, Unknown or Throttled (errors.py) and nothing else.
    """

    name: str
    countries: Mapping[str, str]  # country -> the network's name in `phonenumbers`
    deduplicates: frozenset[Kind]  # kinds that may be sent again under the same reference
    one_float: bool  # collections and disbursements share one wallet of ours

    def step(self, currency: str) -> int:
        """The smallest difference between two amounts, in minor units."""
        ...

    async def submit(self, request: Request) -> Status:
        """Ask for the movement; Pending means taken, never paid."""
        ...

    async def check(self, request: Request) -> Status:
        """The present state of an earlier request; raises Unknown where the operator does not know it."""
        ...

    async def name_of(self, msisdn: Msisdn) -> str | None:
        """The account holder's name, for a confirm screen; None where the operator gives none."""
        ...

    async def is_active(self, msisdn: Msisdn) -> bool:
        """Whether this number can take part."""
        ...

    async def balance(self, kind: Kind, currency: str) -> Money:
        """What the operator holds for us."""
        ...

    def parse_callback(self, path: str, body: bytes) -> CallbackNote:
        """Read a callback's body; ``path`` is what followed its secret (kind and reference)."""
        ...


def serving(msisdn: Msisdn, operators: Mapping[str, Operator]) -> Operator | None:
    """The first operator whose network this number's range was allocated to."""
    country, network = msisdn.country, msisdn.network
    return next((o for o in operators.values() if o.countries.get(country) == network), None)
