"""Durable jobs on Postgres: deferred on the same connection, in the same commit, as the row they serve."""

from datetime import datetime
from typing import Any

import procrastinate

from ussd_app.store import Work

MONEY = 10  # priorities: a person waits for these
SMS = 5


class Jobs:
    """Defers jobs by name; worker.py says what each name runs."""

    def __init__(self, app: procrastinate.App) -> None:
        self.app = app

    async def defer(
        self,
        connection: Work,
        task: str,
        *,
        queue: str = "money",
        priority: int = MONEY,
        at: datetime | None = None,
        lock: str | None = None,
        **ids: Any,  # noqa: ANN401 - ids are strings or integers, JSON all the same
    ) -> None:
        """Write one job into the connection's open transaction. Its arguments are ids, never more.

        Two jobs with the same ``lock`` never run at the same time. Procrastinate lets a waiting job hold back younger
        ones of its lock and priority, even while it waits for its hour; so one for later stands a step lower.
        """
        if at is not None:
            priority -= 1
        deferrer = self.app.configure_task(
            task,
            allow_unknown=True,
            queue=queue,
            priority=priority,
            schedule_at=at,
            lock=lock,
            connection=connection.connection,
        )
        await deferrer.defer_async(**ids)
