"""Log lines: one JSON object each, numbers masked, joined by the ids bound to the task that writes them."""

import json
import logging
import re
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any, TextIO, cast

import structlog

from ussd_app.msisdn import mask

# A run of digits as long as a subscriber number, wherever it stands.
NUMBER = re.compile(r"(?<![\w.-])\+?\d{9,15}(?![\w-])")
# Fields that name a person are masked whole; ids, times and names of ours are left alone.
KEPT = frozenset({"level", "timestamp", "module", "session_id", "payment", "order", "message", "reference"})
KEPT |= {"aggregator", "flow", "outcome"}


_ENCODER = json.JSONEncoder(default=repr)  # made once: making one costs as much as a line


def configure(level: str = "INFO", *, pretty: bool = False) -> None:
    """Set up logging for this process: JSON lines on standard error, or coloured ones for a person at a terminal."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _masked,
    ]
    structlog.configure(
        processors=[*shared, structlog.dev.ConsoleRenderer() if pretty else structlog.processors.JSONRenderer(_json)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _StandardError())),
        cache_logger_on_first_use=True,
    )
    # Libraries speak through logging; their warnings are ours to hear, their chatter is not. No locals, no URLs.
    handler = logging.StreamHandler(cast("TextIO", _StandardError()))
    handler.setFormatter(_MaskingFormatter("%(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("transitions").setLevel(logging.WARNING)
    logging.getLogger("httpx2").setLevel(logging.WARNING)


def get(name: str) -> structlog.stdlib.BoundLogger:
    """A logger that names its module."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(module=name)
    return logger


def _json(event: MutableMapping[str, Any], **_options: object) -> str:
    return _ENCODER.encode(event)


class _StandardError:
    """Standard error as it is at each line (loggers are bound once); a line that cannot be written fails nobody."""

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            return sys.stderr.write(text)
        return 0

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()


class _MaskingFormatter(logging.Formatter):
    """What libraries log, tracebacks included, with its numbers masked."""

    def format(self, record: logging.LogRecord) -> str:
        return _mask_numbers(super().format(record))


def _mask_numbers(text: str) -> str:
    return NUMBER.sub(lambda found: mask(found.group()), text)


def _masked(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if key in {"msisdn", "subscriber"} and value:
            event[key] = mask(str(value))
        elif key not in KEPT and isinstance(value, str):
            event[key] = _mask_numbers(value)
    return event
