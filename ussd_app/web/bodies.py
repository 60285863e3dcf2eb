"""What a stranger may send us: how many bytes, for how long, in which format, and never ambiguous.

Every fault is Starlette's HTTPException, whose text is one line without anything the stranger sent but a field's name.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.types import Receive

from ussd_app.aggregators import Callback

USSD_BYTES_MAX = 16 * 1024
CALLBACK_BYTES_MAX = 64 * 1024
FIELDS_MAX = 64  # of a form or query; Africa's Talking's longest has 13

# What percent signs stand for in nearly all that is sent: "2A" or "2a" -> "*".
ASCII = {spelled: chr(code) for code in range(128) for spelled in (f"{code:02x}", f"{code:02X}")}

# The rest of the request is not waited for: the connection is of no more use.
CLOSE = {"connection": "close"}


async def read(receive: Receive, bytes_max: int) -> bytes:
    """The whole body; raises 413 beyond ``bytes_max``, 400 where it breaks off. How long it takes is the caller's."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HTTPException(400, "the body broke off")
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > bytes_max:
            raise _too_long(bytes_max)
        if not message.get("more_body", False):
            return b"".join((*chunks, chunk)) if chunks else chunk
        chunks.append(chunk)


def within(body: bytes, bytes_max: int) -> bytes:
    """A body that is here; raises 413 where it is longer."""
    if len(body) > bytes_max:
        raise _too_long(bytes_max)
    return body


async def read_by(receive: Receive, bytes_max: int, deadline: float) -> bytes:
    """The whole body by ``deadline`` (the event loop's time); raises 408 when it dribbles in, and what read raises."""
    try:
        async with asyncio.timeout_at(deadline):
            return await read(receive, bytes_max)
    except TimeoutError:
        raise too_slow() from None


def too_slow() -> HTTPException:
    """What a body is refused with that does not arrive in time."""
    return HTTPException(408, "the body took too long", CLOSE)


async def decode(content_type: str, body: bytes) -> Callback:
    """The fields of a JSON object or a form; 415 for anything else, 400 where it can be read in no way or two."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        return Callback("form", _pairs(body))
    if kind == "application/json":
        return Callback("json", _object(body))
    if kind == "multipart/form-data":
        return Callback("form", await _parts(content_type, body))
    raise HTTPException(415, "send JSON, or a form (urlencoded or multipart)")


def query(encoded: bytes) -> Callback:
    """The fields of a GET request's query."""
    return Callback("query", _pairs(encoded))


def _pairs(encoded: bytes) -> Mapping[str, str]:
    """As urllib's parse_qsl has it, which costs three times as much."""
    if encoded.count(b"&") >= FIELDS_MAX:
        raise HTTPException(400, f"more than {FIELDS_MAX} fields")
    members: dict[str, str] = {}
    for pair in encoded.decode(errors="replace").replace("+", " ").split("&"):
        if not pair:
            continue
        name, _, value = pair.partition("=")
        if "%" in name:
            name = _unquoted(name)
        if "%" in value:
            value = _unquoted(value)
        if name in members:
            raise _twice(name)
        members[name] = value
    return members


def _unquoted(text: str) -> str:
    first, *rest = text.split("%")
    try:
        return first + "".join([ASCII[piece[:2]] + piece[2:] for piece in rest])
    except KeyError:  # several bytes are one character, or nothing is quoted
        return unquote(text)


async def _parts(content_type: str, body: bytes) -> Mapping[str, str]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    parser = MultiPartParser(Headers({"content-type": content_type}), stream(), max_files=0, max_fields=FIELDS_MAX)
    try:
        form = await parser.parse()
    except (MultiPartException, ValueError):  # ValueError: a charset that is none
        raise HTTPException(400, "no readable multipart form of plain fields") from None
    return _unique([(name, str(value)) for name, value in form.multi_items()])


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise HTTPException(400, "no readable JSON") from None
    if not isinstance(value, dict):
        raise HTTPException(400, "no JSON object")
    return value


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise _twice(name)
        members[name] = value
    return members


def _too_long(bytes_max: int) -> HTTPException:
    return HTTPException(413, f"more than {bytes_max} bytes", CLOSE)


def _twice(name: str) -> HTTPException:
    return HTTPException(400, f"{name[:64]!r} is given twice")
