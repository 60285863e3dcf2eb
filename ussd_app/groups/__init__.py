"""Savings groups: who saves together, by which rules, what is due, and who may let money out.

One store for every kind of group, without any knowledge of screens, HTTP or providers. Where to look:

    people    founding, invites, members, departures
    consent   policy, proposals, asking, changes (what an adopted proposal does)
    money     books (the accounts), contributions, owed, cycles, rotation, pots, payouts, own;
              savings and takeouts are of daily groups
    words     events (what happened), audience (who is told what), told, notices, home, views, statement
    kinds/    what is particular to one kind
    jobs      what is done later
"""

from dataclasses import dataclass
from random import Random

from ussd_app.clock import Clock
from ussd_app.config import Settings
from ussd_app.jobs import Jobs
from ussd_app.messages import Messages
from ussd_app.store import Store


@dataclass(frozen=True, slots=True)
class Groups:
    """What every function of this package works with, built once in app.py."""

    store: Store
    jobs: Jobs
    messages: Messages
    clock: Clock
    settings: Settings
    random: Random
