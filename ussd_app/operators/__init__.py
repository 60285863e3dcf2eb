"""Mobile-money operators: one file each. They know requests, answers and statuses, and nothing of our books."""

from collections.abc import Mapping
from typing import Protocol

from ussd_app.money import Money
from ussd_app.movement import CallbackNote, Failed, Kind, Pending, Provider, Request, Status, Succeeded
from ussd_app.msisdn import Msisdn

__all__ = [
    "CallbackNote", "Failed", "Kind", "Operator", "Pending", "Request", "Status", "Succeeded",
]  # fmt: skip


class Operator(Provider, Protocol):
    """What is asked of ``Operator(settings, http, redis, clock)`` in each file, beside what any Provider does."""

    brand: str  # what people call it
    refunds_from: Kind  # where collections and disbursements are two accounts of ours, whose a refund leaves
    countries: Mapping[str, str]  # country -> the network's name in `phonenumbers`

    def step(self, currency: str) -> int:
        """The smallest difference between two amounts, in minor units; usually ``networks.step(country, currency)``."""
        ...

    async def name_of(self, msisdn: Msisdn) -> str | None:
        """The account holder's name, for a confirm screen; None where the operator gives none."""
        ...

    async def is_active(self, msisdn: Msisdn) -> bool:
        """Whether this number can take part."""
        ...

    async def balance(self, kind: Kind, currency: str, callback_url: str = "") -> Money | None:
        """What the operator holds for us; None where a callback to that address will tell."""
        ...
