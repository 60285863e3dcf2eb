"""Codes that are not yet taken."""

from typing import Any

from sqlalchemy import Column, exists, select

from ussd_app import codes
from ussd_app.groups import Groups
from ussd_app.store import Look


async def code(groups: Groups, connection: Look, column: Column[Any]) -> str:
    """A new code that stands nowhere in that column; of two who find the same one at once, one commit fails."""
    while True:
        found = codes.new(groups.random)
        if not (await connection.execute(select(exists().where(column == found)))).scalar_one():
            return found
