"""What is handed over for money: one file each. They know requests, answers and statuses, and nothing of our books."""

from typing import Protocol

from ussd_app.movement import Provider


class Delivery(Provider, Protocol):
    """What is asked of ``Delivery(settings, http, redis, clock, store)`` in each file.

    Its one kind is Kind.DELIVERY: hand ``request.item`` over to ``request.msisdn``, once for each reference.
    """
