"""A web server that kills itself with SIGKILL at the point DIES_AT names: `uvicorn --factory dying_server:create`."""

import os

from dying_worker import DyingClock
from starlette.applications import Starlette

from ussd_app.app import Application
from ussd_app.config import Settings, load


def create() -> Starlette:
    """As ussd_app.app makes it, but for the clock."""
    return Application(load(Settings), DyingClock(os.environ["DIES_AT"], 0)).web()
