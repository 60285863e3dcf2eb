"""What happens in a group: one row each, never changed, which every member may read and most are told of by SMS."""

from typing import Any
from uuid import UUID

from ussd_app import idempotency
from ussd_app.groups import Groups
from ussd_app.jobs import SMS
from ussd_app.store import Work
from ussd_app.tables import group_events

QUEUE = "groups"


async def record(
    groups: Groups,
    connection: Work,
    group: UUID,
    kind: str,
    *,
    actor: UUID | None = None,
    member: UUID | None = None,
    amount: int | None = None,
    code: str | None = None,
    round_id: UUID | None = None,
    order_id: UUID | None = None,
    proposal_id: UUID | None = None,
    reverses: int | None = None,
    run: str | None = None,
    **details: Any,  # noqa: ANN401 - JSON
) -> int:
    """Write an event, and the job that tells of it, in the commit of what happened; ``amount`` in minor units."""
    await idempotency.use(connection, groups.clock.now())
    values = {
        "group_id": group, "kind": kind, "at": groups.clock.now(), "actor": actor, "member": member, "amount": amount,
        "code": code, "round_id": round_id, "order_id": order_id, "proposal_id": proposal_id, "reverses": reverses,
        "run": run, "details": details,
    }  # fmt: skip
    written = await connection.execute(group_events.insert().values(values).returning(group_events.c.id))
    event: int = written.scalar_one()
    await groups.jobs.defer(connection, "groups.tell", queue=QUEUE, priority=SMS, event=event)
    return event
