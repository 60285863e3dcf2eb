"""What others know of a number: when its SIM was last swapped. One file each; the answer comes later, by callback."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from ussd_app.msisdn import Msisdn


@dataclass(frozen=True, slots=True)
class SimAnswer:
    """What a callback tells of the number that was asked about under this id; ``swapped_on`` is None for never."""

    request_id: str
    swapped_on: date | None


class Insight(Protocol):
    """What is asked of ``Insight(settings, http, redis, clock)`` in each file."""

    name: str

    async def ask(self, msisdns: Sequence[Msisdn]) -> Mapping[str, Msisdn]:
        """Ask when these numbers' SIMs were swapped: request id -> number; raises Rejected, Unknown or Throttled.

        A number that cannot be asked about is left out. The ids must be kept: the answers name no number.
        """
        ...

    def parse_callback(self, body: bytes) -> SimAnswer | None:
        """Read an answer; None where the body is none."""
        ...
