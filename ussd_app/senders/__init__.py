"""SMS senders: one file each. They know requests, replies and reports, and nothing of the queue."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from ussd_app.errors import Reason
from ussd_app.msisdn import Msisdn


class State(StrEnum):
    """A message's one-way life (wire/sms.md section 1.1)."""

    QUEUED = "queued"
    SENT = "sent"
    UNKNOWN = "unknown"
    EXPIRED = "expired"
    FAILED = "failed"
    DELIVERED = "delivered"


# A state gives way only to one of higher rank, so a late, doubled or reordered report changes nothing.
RANKS: Mapping[State, int] = {
    State.QUEUED: 0, State.SENT: 10, State.UNKNOWN: 20, State.EXPIRED: 30, State.FAILED: 30, State.DELIVERED: 40,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One SMS to hand over. ``correlator`` is ours, fresh for each attempt."""

    correlator: UUID
    msisdn: Msisdn
    text: str
    parts: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider took it; ``external_id`` is what its reports will carry, where it has one."""

    external_id: str | None
    state: State = State.QUEUED
    cost: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """The provider certainly did not take it; the reason's class decides whether another sender is tried."""

    reason: Reason
    detail: str = ""


Outcome = Accepted | Refused


@dataclass(frozen=True, slots=True)
class Report:
    """A delivery report, matched by whichever id it carries."""

    external_id: str | None
    correlator: str | None
    state: State
    raw: str
    reason: Reason | None = None
    msisdn: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """How fast one pump may go."""

    parts_per_second: int
    batch: int


class Sender(Protocol):
    """What messages.py asks of ``Sender(settings, http, redis, clock)`` in each file."""

    name: str
    limits: Limits

    async def send(self, message: Outgoing) -> Outcome:
        """Hand one SMS over; raises Unknown (it may have been taken) or Throttled (it was not)."""
        ...

    def parse_report(self, content_type: str, body: bytes) -> Report | None:
        """Read a delivery report; None where the body is no report of ours."""
        ...
