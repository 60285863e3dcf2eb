"""The states of a payment, as a machine: no code can write a change that is not drawn here.

created --send--> sent --accept--> pending --succeed--> succeeded
^--not_taken----' |                `-------fail----> failed --come_late--> late
`--- succeed or fail: an answer, or a status query, may say so before "accepted" does
created, sent or pending --park--> parked --succeed or fail--> ...
"""

from dataclasses import dataclass

from transitions import Machine

from ussd_app.errors import Reason
from ussd_app.operators import Status
from ussd_app.store import Row

MACHINE = Machine(
    model=None,
    states=["created", "sent", "pending", "parked", "succeeded", "failed", "late"],
    initial="created",
    transitions=[
        ["send", ["created", "sent"], "sent"],
        ["not_taken", "sent", "created"],
        ["accept", ["created", "sent"], "pending"],
        ["park", ["created", "sent", "pending"], "parked"],
        ["succeed", ["created", "sent", "pending", "parked"], "succeeded"],
        ["fail", ["created", "sent", "pending", "parked"], "failed"],
        ["come_late", "failed", "late"],
    ],
    auto_transitions=False,
    queued=False,
)
SUCCESSES = frozenset({"succeeded", "late"})
FINAL = SUCCESSES | {"failed"}
UNRESOLVED = "payment unresolved"


@dataclass(frozen=True, slots=True)
class Unresolved:
    """Nobody could find out within PATIENCE, or nobody but a person may decide: they take over."""

    why: str = UNRESOLVED


@dataclass(frozen=True, slots=True)
class Refused:
    """A submission was refused, which fails the payment unless another one has been made meanwhile."""

    attempt: int
    reason: Reason
    raw: str = ""


Finding = Status | Refused | Unresolved


@dataclass(frozen=True, slots=True)
class Change:
    """What a payment has just become, for the order it belongs to."""

    payment: Row
    became: str  # succeeded | failed | late | parked | doubted (failed, and may have moved) | undoubted (by a person)
    reason: Reason | None = None
    handed_over: str = ""


@dataclass(slots=True)
class Life:
    """A payment's state, as the machine moves it."""

    state: str

    def fire(self, trigger: str) -> bool:
        """Take a step if it is legal from here."""
        if not MACHINE.events[trigger].transitions.get(self.state):
            return False
        MACHINE.events[trigger].trigger(self)
        return True
