"""What a stranger may send us: how many bytes, for how long, in which format, and never ambiguous.

Every fault is Starlette's HTTPException, whose text is one line without anything the stranger sent but a field's name.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from ussd_app.aggregators import Callback

USSD_BYTES_MAX = 16 * 1024
CALLBACK_BYTES_MAX = 64 * 1024
FIELDS_MAX = 64  # of a form or query; Africa's Talking's longest has 13

# The rest of the request is not waited for: the connection is of no more use.
CLOSE = {"connection": "close"}


async def read(request: Request, bytes_max: int, deadline: float) -> bytes:
    """The whole body by ``deadline`` (the event loop's time); 413 beyond ``bytes_max``, 408 when it dribbles in."""
    chunks, size = [], 0
    try:
        async with asyncio.timeout_at(deadline):
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise HTTPException(400, "the body broke off")
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                if size > bytes_max:
                    raise HTTPException(413, f"more than {bytes_max} bytes", CLOSE)
                if not message.get("more_body", False):
                    return b"".join(chunks)
    except TimeoutError:
        raise HTTPException(408, "the body took too long", CLOSE) from None


async def decode(request: Request, body: bytes) -> Callback:
    """The fields of a JSON object or a form; 415 for anything else, 400 where it can be read in no way or two."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "application/x-www-form-urlencoded":
        return Callback("form", _pairs(body))
    if content_type == "application/json":
        return Callback("json", _object(body))
    if content_type == "multipart/form-data":
        return Callback("form", await _parts(request, body))
    raise HTTPException(415, "send JSON, or a form (urlencoded or multipart)")


def query(request: Request) -> Callback:
    """The fields of a GET request's query."""
    return Callback("query", _pairs(request.scope["query_string"]))


def _pairs(encoded: bytes) -> Mapping[str, str]:
    try:
        pairs = parse_qsl(encoded.decode(errors="replace"), keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError:
        raise HTTPException(400, f"more than {FIELDS_MAX} fields") from None
    return _unique(pairs)


async def _parts(request: Request, body: bytes) -> Mapping[str, str]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    parser = MultiPartParser(request.headers, stream(), max_files=0, max_fields=FIELDS_MAX)
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
            raise HTTPException(400, f"{name[:64]!r} is given twice")
        members[name] = value
    return members
