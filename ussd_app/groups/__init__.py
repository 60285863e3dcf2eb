"""Savings groups: who saves together, by which rules, what is due, and who may let money out.

One engine for every kind of group (kinds/), without any knowledge of screens, HTTP or providers. All money stands in
ledger accounts of the group (books.py); what happens is an event (events.py), which its members are told of.
"""

from dataclasses import dataclass
from random import Random

from sqlalchemy.ext.asyncio import AsyncEngine

from ussd_app.clock import Clock
from ussd_app.config import Settings
from ussd_app.jobs import Jobs
from ussd_app.messages import Messages


@dataclass(frozen=True, slots=True)
class Groups:
    """What every function of this package works with, built once in app.py."""

    engine: AsyncEngine
    jobs: Jobs
    messages: Messages
    clock: Clock
    settings: Settings
    random: Random
