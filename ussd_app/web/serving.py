"""Under uvicorn, in one process or several: what `ussd-app serve` runs."""

import sys
from contextlib import suppress

import uvicorn
from starlette.applications import Starlette
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from ussd_app.web.patience import Patient

# uvloop takes one connection of a listening socket in each turn of its loop, and turns are slow when there is much to
# do: a crowd would wait at the door, where nothing of ours can tell it that we are busy. So it has several doors.
LISTENERS = 16


def serve(application: str | Starlette, host: str, port: int, *, workers: int, trusted_proxies: str) -> None:
    """Serve until a signal ends it: the application itself, or in several processes what its factory makes."""
    config = uvicorn.Config(
        application,
        factory=isinstance(application, str),
        http=Patient,
        host=host,
        port=port,
        workers=workers,
        access_log=False,  # it would print secret paths
        log_level="warning",
        server_header=False,
        forwarded_allow_ips=trusted_proxies,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=15,
    )
    listening = config.bind_socket()
    sockets = [listening, *(listening.dup() for _ in range(LISTENERS - 1))]
    server = uvicorn.Server(config)
    with suppress(KeyboardInterrupt):
        if workers > 1:
            Multiprocess(config, sockets=sockets).run()
        else:
            server.run(sockets=sockets)
    if workers == 1 and not server.started:
        sys.exit(STARTUP_FAILURE)
