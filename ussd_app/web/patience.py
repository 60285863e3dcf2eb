"""uvicorn's protocol with one more limit: it waits for a request's head only so long."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10.0  # from the connection, or from the first byte of a further request, to the head's end


class Patient(HttpToolsProtocol):
    """Closes a connection that says nothing, or half a head; bodies have a limit of their own (bodies.py)."""

    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._have_head()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Wait for this head, whatever came before it."""
        self._await_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._have_head()
        super().on_headers_complete()

    def _await_head(self) -> None:
        self._have_head()
        self._head = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _have_head(self) -> None:
        if self._head:
            self._head.cancel()
            self._head = None
