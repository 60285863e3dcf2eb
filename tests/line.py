"""A line between the application and a store's socket, whose bytes can be held back and let go later."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field


@dataclass
class Line:
    """Carries bytes between ``address`` and the store's own ``path``."""

    path: str
    address: str
    hold_at: tuple[bytes, ...] = ()  # once seen in this order on one connection, the rest of it is held
    caught: asyncio.Event = field(default_factory=asyncio.Event)
    _free: asyncio.Event = field(default_factory=asyncio.Event)
    _carrying: set[asyncio.Task[None]] = field(default_factory=set)

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Line"]:
        """Carry, to the end of the block."""
        self._free.set()
        server = await asyncio.start_unix_server(self._carry, self.address)
        try:
            yield self
        finally:
            self._free.set()
            server.close()
            for task in list(self._carrying):
                task.cancel()

    def hold(self) -> None:
        """Nothing the application says reaches the store from now on."""
        self._free.clear()

    def release(self) -> None:
        """All that was said reaches it now."""
        self._free.set()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing the application says reaches the store before the end of the block; then all of it does."""
        self.hold()
        try:
            yield
        finally:
            self.release()

    @contextmanager
    def holding(self, *said: bytes) -> Iterator[None]:
        """The same of one connection alone, from the last of these words on."""
        self.hold_at = said
        self.caught.clear()
        with self.held():
            yield
        self.hold_at = ()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(self.path)
        there = asyncio.create_task(self._there(reader, far_writer))
        back = asyncio.create_task(self._back(far_reader, writer))
        self._carrying |= {there, back}
        await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        for end in (far_writer, writer):
            end.close()
        self._carrying -= {there, back}

    async def _there(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = 0
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                while heard < len(self.hold_at) and self.hold_at[heard] in data:
                    heard += 1
                if heard and heard == len(self.hold_at):
                    self.caught.set()
                if heard == len(self.hold_at):
                    await self._free.wait()
                writer.write(data)
                await writer.drain()

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
