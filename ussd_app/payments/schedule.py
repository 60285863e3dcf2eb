"""How often, how long and how patiently: every interval of a payment's life."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from ussd_app.breakers import Resting
from ussd_app.errors import Throttled, Unknown
from ussd_app.operators import Kind
from ussd_app.store import Row

PATIENCE = timedelta(hours=72)
# A failure may be followed by success (law 11): it is looked at again this long after, in case no callback says so,
# and a third time as long after that. A last look that goes without an answer is taken again, ever later, for a month:
# workers may have been away for days.
SECOND_LOOKS = (timedelta(minutes=10), timedelta(hours=24))
LOOK_AGAIN = timedelta(hours=6)
LAST_LOOK = timedelta(days=30)
# How often a call is made that comes to nothing: one that was certainly not taken, until the payment has failed; one
# without an answer, under its reference, where the operator knows it for the same. A refund is tried for as long as
# GIVE_UP says: what was collected goes back, and only a person may decide that it does not. So is a delivery that may
# have been taken: who sells airtime can be asked by an id of theirs alone, and only the answer to a repeat tells it.
TRIES = 4
# How long it is tried again at most, and waits for a breaker to close. What was collected waits longer to be handed on.
GIVE_UP = {
    Kind.COLLECTION: timedelta(minutes=2),
    Kind.DISBURSEMENT: timedelta(minutes=15),
    Kind.DELIVERY: timedelta(minutes=15),
    Kind.REFUND: PATIENCE,
}
# Seconds before a call is made again, by how often it has been made in vain; the last for all that follow. Up to half
# as much again is left to chance, so that payments that failed together do not come back together.
BACKOFF_SECONDS = (2, 8, 30, 60)
JITTER = 0.5
REST_SPREAD_SECONDS = 30.0  # over which those come back that waited for one breaker


@dataclass(frozen=True, slots=True)
class Schedule:
    """When the operator is asked about a payment that is not final."""

    # Seconds after submission (wire/momo.md 1.6), then at these intervals, each until that age, until PATIENCE is over.
    check_ages: tuple[int, ...] = (10, 30, 60, 120, 300)
    every: tuple[tuple[timedelta, timedelta], ...] = (
        (timedelta(hours=1), timedelta(minutes=5)),
        (PATIENCE, timedelta(minutes=30)),
    )
    # A callback has the operator asked at most this often for one payment, however many arrive.
    ask_every: timedelta = timedelta(seconds=10)

    @property
    def first_check(self) -> timedelta:
        """How long after submission it is asked for the first time."""
        return timedelta(seconds=self.check_ages[0])

    def next_check(self, row: Row, now: datetime) -> datetime | None:
        """When to ask again about a payment that is not final; None: enough."""
        age: timedelta = now - row["submitted_at"]
        for seconds in self.check_ages:
            if age.total_seconds() < seconds:
                return now - age + timedelta(seconds=seconds)
        intervals = (interval for until, interval in self.every if age < until)
        interval = next(intervals, None)
        return now + interval if interval else None


def next_try(
    kind: str, tries: int, age: timedelta, error: Unknown | Throttled, random: Random, *, doubtful: bool = False
) -> timedelta | None:
    """How long to wait before a payment is submitted again; None: never."""
    if age >= GIVE_UP[Kind(kind)]:
        return None
    if isinstance(error, Resting):
        return timedelta(seconds=error.after + REST_SPREAD_SECONDS * random.random())
    patient = kind == Kind.REFUND or (kind == Kind.DELIVERY and doubtful)
    if tries >= TRIES and not patient:
        return None
    after = error.after if isinstance(error, Throttled) else 0.0
    backoff = BACKOFF_SECONDS[min(tries, len(BACKOFF_SECONDS)) - 1]
    return timedelta(seconds=max(after, backoff) * (1 + JITTER * random.random()))


def next_look(row: Row, now: datetime, *, answered: bool) -> datetime | None:
    """When to look again at a payment that failed; None: enough."""
    age: timedelta = now - row["final_at"]
    if age < 2 * SECOND_LOOKS[1]:
        return now + SECOND_LOOKS[1]
    return None if answered or age > LAST_LOOK else now + max(LOOK_AGAIN, age / 2)
