"""Menus that change while the demo runs: an editor saves a file, and the next hop says it."""

import asyncio
from collections.abc import Callable
from datetime import UTC, tzinfo
from functools import partial
from pathlib import Path

from watchfiles import awatch

from ussd_app import log
from ussd_app.menus.faults import MenuFaults
from ussd_app.menus.load import load
from ussd_app.menus.model import Limits, Menus
from ussd_app.menus.screens import Resolver
from ussd_app.menus.signature import resolve

logger = log.get(__name__)


async def watch(
    directory: Path,
    on_change: Callable[[Menus], None],
    *,
    limits: Limits | None = None,
    actions: Resolver = resolve,
    zone: tzinfo = UTC,
) -> None:
    """Until cancelled: hand over the menus whenever a file changes and all is well; say why where it is not."""
    read = partial(load, directory, limits=limits, actions=actions, zone=zone)
    async for _ in awatch(directory):
        if menus := await asyncio.to_thread(checked, read):
            on_change(menus)


def checked(read: Callable[[], Menus]) -> Menus | None:
    """The menus as they are now, or None, with the reasons in the log, where the old ones are to be kept."""
    try:
        return read()
    except MenuFaults as error:
        logger.warning("menus kept as they were", faults=[str(fault) for fault in error.faults])
    except OSError as error:  # an editor is just replacing a file
        logger.warning("menus kept as they were", faults=[str(error)])
    return None
