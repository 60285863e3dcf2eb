"""The idempotency key of what a hop is doing: used in the commit of its effect, or void for ever, and never both.

The key is a primary key of Postgres. An effect inserts it as used in its own commit; whoever must say what came of a
hop that was cut short inserts it as void. Of the two the first to commit wins and the other waits for it: an effect
found used is there for good, and one that comes after a void key is refused and rolled back, however late it comes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime

from sqlalchemy.dialects.postgresql import insert

from ussd_app.store import Statement, Work, named
from ussd_app.tables import idempotency_keys

USED, VOID = "used", "void"

_KEY = insert(idempotency_keys).values(named(idempotency_keys, "key", "at"))
# An update that changes nothing waits for whoever writes the key, and tells what they have made of it.
USE = Statement(
    _KEY.values(state=USED)
    .on_conflict_do_update(index_elements=["key"], set_={"state": idempotency_keys.c.state})
    .returning(idempotency_keys.c.state)
)
DECLARE_VOID = Statement(_KEY.values(state=VOID).on_conflict_do_nothing().returning(idempotency_keys.c.key))

# Of the action that runs in this task; empty in jobs and wherever else nobody waits for a screen.
_current: ContextVar[str] = ContextVar("idempotency_key", default="")


class Void(Exception):
    """The key was declared void: the person has been told that nothing was done, and nothing may be done."""


@contextmanager
def under(key: str) -> Iterator[None]:
    """Let whatever is committed inside the block use this key."""
    before = _current.set(key)
    try:
        yield
    finally:
        _current.reset(before)


async def use(work: Work, at: datetime) -> None:
    """Mark the current key, if there is one, as used, in the commit of its effect; raises Void."""
    key = _current.get()
    if not key:
        return
    if await work.value(USE, key=key, at=at) == VOID:
        raise Void(key)


async def void(work: Work, key: str, at: datetime) -> bool:
    """Declare a key void; False where it was used before, or void. Waits for a commit under way that uses it."""
    return await work.value(DECLARE_VOID, key=key, at=at) is not None
