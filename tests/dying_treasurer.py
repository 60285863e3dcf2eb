"""A treasurer who says that a payment is unpaid, and is killed at a point: `dying_treasurer.py POINT PAYMENT`."""

import asyncio
import sys
from uuid import UUID

from dying_worker import DyingClock

from ussd_app import log
from ussd_app.app import Application
from ussd_app.config import Settings, load
from ussd_app.payments.decisions import Decision


async def main(point: str, payment: str) -> int:
    """Say so, and end with 0 where it was booked, with 2 where it had been before."""
    settings = load(Settings)
    log.configure(settings.log_level)
    async with Application(settings, DyingClock(point, 0)) as application:
        undecided = await application.orders.decide(UUID(payment), Decision("a treasurer", None))
    return 2 if undecided else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
