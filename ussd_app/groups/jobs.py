"""What this package does later, by the name of the job; each takes the context and the ids it was deferred with."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import date
from uuid import UUID

from ussd_app.groups import Groups, cycles, notices, proposals
from ussd_app.groups.notices import Which


async def tell(groups: Groups, event: int) -> None:
    """Tell everybody an event concerns."""
    await notices.tell(groups, event)


async def due(groups: Groups, round: str) -> None:  # noqa: A002 - the id it was deferred with
    """End a round at its deadline."""
    await cycles.due(groups, UUID(round))


async def remind(groups: Groups, round: str, which: Which) -> None:  # noqa: A002 - the same
    """Remind those who have not paid a round."""
    await notices.remind(groups, UUID(round), which)


async def remind_savers(groups: Groups, group: str, day: str) -> None:
    """Remind those who have not saved that day."""
    await notices.remind_savers(groups, UUID(group), date.fromisoformat(day))


async def expire(groups: Groups, proposal: str) -> None:
    """Close what nobody has decided in time."""
    await proposals.expire(groups, UUID(proposal))


JOBS: Mapping[str, Callable[..., Awaitable[None]]] = {
    f"groups.{job.__name__}": job for job in (tell, due, remind, remind_savers, expire)
}
