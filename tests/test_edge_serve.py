"""`ussd-app serve` as a process of its own: sockets that say nothing, and what is left when it is told to stop."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ussd_app import embedded
from ussd_app.config import Settings
from ussd_app.sandbox import environment

MENUS = Path(__file__).parents[1] / "menus"
SOCKET_SECONDS = 15.0  # that a socket may stay open which sends no whole request
HALF = {
    "nothing": b"",
    "half a line": b"POST /ussd/cal",
    "half a head": b"POST /ussd/callback HTTP/1.1\r\nhost: x\r\nx-slow: 1",
    "half a body": b"POST /ussd/mtn HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{",
    "half a second head": b"GET /health HTTP/1.1\r\nhost: x\r\n\r\nGET /health HTTP/1.1\r\nho",
}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where the process keeps its stores; short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="ussd-") as name:
        yield Path(name)
        embedded.start(Path(name)).stop()  # what a killed process left running


@pytest.fixture
def serving(directory: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server with private stores, and its port."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    given = {"PUBLIC_URL": url, "SANDBOX": "1", "DATA_DIR": str(directory), "MENUS_DIR": str(MENUS)}
    command = [sys.executable, "-m", "ussd_app", "serve", "--port", str(port)]
    surroundings = {**os.environ, **environment(Settings(public_url=url)), **given}
    with subprocess.Popen(command, env=surroundings, stderr=subprocess.PIPE, text=True) as process:
        try:
            _until_open(port, process)
            yield process, port
        finally:
            process.kill()


def _until_open(port: int, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError("the server did not come up")


@pytest.mark.long
def test_sockets_that_send_half_are_closed(serving: tuple[subprocess.Popen[str], int]) -> None:
    """Each kind within 15 seconds, while others are served."""
    _, port = serving
    sockets = {name: socket.create_connection(("127.0.0.1", port)) for name in HALF}
    for name, half in sockets.items():
        half.sendall(HALF[name])
    deadline = time.monotonic() + SOCKET_SECONDS
    still_open = []
    for name, half in sockets.items():
        try:
            half.settimeout(max(deadline - time.monotonic(), 0.01))
            while half.recv(4096):
                half.settimeout(max(deadline - time.monotonic(), 0.01))
        except TimeoutError:
            still_open.append(name)
        half.close()
    assert not still_open


@pytest.mark.parametrize("said", [signal.SIGTERM, signal.SIGINT])
def test_stopped_server_leaves_no_store_running(
    serving: tuple[subprocess.Popen[str], int], directory: Path, said: signal.Signals
) -> None:
    """What was started for it ends with it; the next start finds its data."""
    process, _ = serving
    process.send_signal(said)
    process.wait(30)
    with pytest.raises(OSError, match=r"refused|No such file"), socket.socket(socket.AF_UNIX) as store:
        store.connect(str(directory / "redis" / "redis.sock"))
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(host=str(directory / "postgres"), user="postgres")
    with embedded.start(directory) as stores, psycopg.connect(stores.conninfo) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (0,)
