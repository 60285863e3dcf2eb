"""How often, how long and how patiently: every interval of a payment's life."""

from datetime import datetime, timedelta

from sqlalchemy import RowMapping

from ussd_app.operators import Kind

# Seconds after submission at which the operator is asked (wire/momo.md 1.6), then every EVERY until PATIENCE is over.
CHECK_AGES: tuple[int, ...] = (10, 30, 60, 120, 300)
EVERY = ((timedelta(hours=1), timedelta(minutes=5)), (timedelta(hours=72), timedelta(minutes=30)))
PATIENCE = timedelta(hours=72)
# A failure may be followed by success (law 11): it is looked at again this long after, in case no callback says so,
# and a third time as long after that, since a look may go without an answer.
SECOND_LOOKS = (timedelta(minutes=10), timedelta(hours=24))
# A callback has the operator asked at most this often for one payment, however many arrive.
ASK_EVERY = timedelta(seconds=10)
# How long a call is tried again: one that was certainly not taken, until the payment has failed; one without an
# answer, under its reference, where the operator knows it for the same. What was collected waits longer to be handed
# on; a refund never gives up before a person looks at it.
GIVE_UP = {
    Kind.COLLECTION: timedelta(minutes=2),
    Kind.DISBURSEMENT: timedelta(minutes=15),
    Kind.DELIVERY: timedelta(minutes=15),
    Kind.REFUND: PATIENCE,
}
# Seconds before a call is made again, by how often it has been made; the last for all that follow.
BACKOFF_SECONDS = (1, 2, 4, 8, 16, 32, 60)


def next_check(row: RowMapping, now: datetime) -> datetime | None:
    """When to ask again about a payment that is not final, or look again at one that failed; None: enough."""
    if row["state"] == "failed":
        return now + SECOND_LOOKS[1] if now - row["final_at"] < 2 * SECOND_LOOKS[1] else None
    age: timedelta = now - row["submitted_at"]
    for seconds in CHECK_AGES:
        if age.total_seconds() < seconds:
            return now - age + timedelta(seconds=seconds)
    intervals = (interval for until, interval in EVERY if age < until)
    interval = next(intervals, None)
    return now + interval if interval else None
