"""Sockets that strangers take and do not use, at `ussd-app serve` as a process of its own."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest
from test_edge_serve import MENUS, SOCKET_SECONDS, _free_port, _until_open, directory  # noqa: F401 - a fixture
from world import AT

from ussd_app import embedded
from ussd_app.config import Settings
from ussd_app.sandbox import environment

BODY = b"host: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
# Requests that are answered before their body is there, and how.
EARLY = {
    "no such address": (b"POST /nowhere HTTP/1.1\r\n" + BODY, 404),
    "no such aggregator": (b"POST /ussd/vodacom HTTP/1.1\r\n" + BODY, 404),
    "a segment too many": (b"POST /ussd/mtn/guess HTTP/1.1\r\n" + BODY, 404),
    "another method": (b"POST /health HTTP/1.1\r\n" + BODY, 405),
    "another method for a hop": (b"PATCH /ussd/mtn HTTP/1.1\r\n" + BODY, 405),
    "a body for health": (b"GET /health HTTP/1.1\r\n" + BODY, 200),
    "a body without end": (b"GET /health HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n", 200),
    "a wrong secret": (b"POST /callbacks/mtn_momo/guess HTTP/1.1\r\n" + BODY, 404),
    "a wrong sender's secret": (b"POST /sms/mtn/guess/reports HTTP/1.1\r\n" + BODY, 404),
}
# What begins a request and is then followed by a byte now and then, for ever.
DRIBBLES = {
    "nothing but line ends": (b"\r\n", b"\r\n"),
    "a head": (b"GET /health HTTP/1.1\r\nhost: x\r\nx-slow: ", b"1"),
    "headers": (b"GET /health HTTP/1.1\r\nhost: x\r\n", b"x-more: 1\r\n"),
    "a hop's body": (b"POST /ussd/mtn HTTP/1.1\r\n" + BODY, b" "),
    "a body for nobody": (b"POST /nowhere HTTP/1.1\r\n" + BODY, b" "),
    "a body behind a served request": (
        b"GET /health HTTP/1.1\r\nhost: x\r\n\r\nPOST /ussd/mtn HTTP/1.1\r\n" + BODY,
        b" ",
    ),
    "line ends behind a served request": (b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n", b"\r\n"),
}


@contextmanager
def server(directory: Path, *options: str, descriptors: int = 4096, **given: str) -> Iterator[int]:
    """A server in its own process; what it logs goes to the file ``log``. The port it serves."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    surroundings = {
        **os.environ, **environment(Settings(public_url=url)), "PUBLIC_URL": url, "DATA_DIR": str(directory),
        "MENUS_DIR": str(MENUS), **given,
    }  # fmt: skip
    command = [sys.executable, "-m", "ussd_app", "serve", "--port", str(port), *options]
    limited = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh", *command]
    with (
        embedded.start(directory),
        (directory / "log").open("wb") as log,
        subprocess.Popen(limited, env=surroundings, stderr=log) as process,
    ):
        try:
            _until_open(port, process)  # type: ignore[arg-type]  # it only looks whether it runs
            yield port
        finally:
            process.terminate()
            process.wait(30)


def logged(directory: Path) -> list[dict[str, object]]:
    """What the server has said."""
    lines = (directory / "log").read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def said(connection: socket.socket, seconds: float, dribble: bytes = b"") -> bytes | None:
    """All that is said until the other side closes, while bytes dribble in; None where it never does."""
    deadline, heard = time.monotonic() + seconds, b""
    while time.monotonic() < deadline:
        connection.settimeout(0.25)
        try:
            if dribble:
                connection.sendall(dribble)
            more = connection.recv(65536)
        except TimeoutError:
            continue
        except OSError:
            return heard
        if not more:
            return heard
        heard += more
    return None


def hop(port: int, connection: socket.socket | None = None) -> bytes:
    """One dial, answered within two seconds."""
    body = urlencode(AT | {"text": ""}).encode()
    request = (
        b"POST /ussd/africastalking HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\n"
        b"content-length: %d\r\n\r\n" % len(body)
    )
    with contextlib.ExitStack() as stack:
        if connection is None:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        connection.settimeout(2)
        connection.sendall(request + body)
        return connection.recv(65536)


def test_what_is_answered_early_is_closed(directory: Path) -> None:
    """Whatever is answered before its body is there is answered, and its connection closed, though bytes dribble in."""
    with server(directory, SANDBOX="1") as port:
        for name, (request, status) in EARLY.items():
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(request)
                time.sleep(0.05)
                heard = said(connection, 3, b" ")
            assert heard is not None, name
            assert heard.startswith(b"HTTP/1.1 %d " % status), (name, heard)
            assert b"\r\nconnection: close\r\n" in heard, name
        with socket.create_connection(("127.0.0.1", port)) as kept:
            for _ in range(3):
                answer = hop(port, kept)
                assert answer.startswith(b"HTTP/1.1 200 ")
                assert b"connection: close" not in answer
                # Head and body leave together.
                head, _, body = answer.partition(b"\r\n\r\n")
                assert b"content-length: %d\r\n" % len(body) in head + b"\r\n"


@pytest.mark.long
@pytest.mark.parametrize("options", [(), ("--workers", "2")])
def test_nothing_lives_long_without_a_whole_request(directory: Path, options: tuple[str, ...]) -> None:
    """Whatever dribbles in is closed within 15 seconds, and others are served meanwhile; in each worker process."""
    with server(directory, *options) as port, contextlib.ExitStack() as stack:
        opened = {}
        for name, (first, more) in DRIBBLES.items():
            for number in range(4):  # so that every process has some
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                connection.sendall(first)
                connection.setblocking(False)
                opened[name, number] = (connection, more)
        deadline = time.monotonic() + SOCKET_SECONDS
        while opened and time.monotonic() < deadline:
            for key, (connection, more) in list(opened.items()):
                try:
                    connection.sendall(more)
                    while connection.recv(65536):
                        pass
                except BlockingIOError:
                    continue
                except OSError:
                    pass
                del opened[key]
            assert hop(port).startswith(b"HTTP/1.1 200 ")
            time.sleep(0.5)
        assert not opened


def test_sockets_that_run_out_are_taken_from_the_idlest(directory: Path) -> None:
    """More silent sockets than there are descriptors: people are served at once, and the log says so, once."""
    with server(directory, descriptors=400, SANDBOX="1", LOG_LEVEL="INFO") as port, contextlib.ExitStack() as stack:
        for _ in range(600):
            stack.enter_context(socket.create_connection(("127.0.0.1", port))).sendall(b"POST /ussd/mtn HTTP/1.1\r\n")
        for _ in range(5):
            assert hop(port).startswith(b"HTTP/1.1 200 ")
    lines = logged(directory)
    told = [line for line in lines if line["event"] == "sockets"]
    assert [(line["descriptors"], line["connections"]) for line in told] == [(400, 272)]
    alerts = [line for line in lines if line.get("what") == "sockets have run out"]
    assert [line["connections"] for line in alerts] == [272]
