"""The kinds of groups, one file each, found by name: what a kind's rules are at first, and what a contribution does."""

from typing import Protocol

from ussd_app.config import provider
from ussd_app.groups import Groups
from ussd_app.groups.model import Group, Member, Rules
from ussd_app.store import Look, Work


class Kind(Protocol):
    """What a file of this folder declares, as ``KIND``."""

    def rules(self, share: int, period: str) -> Rules:
        """The rules of a new group; ``share`` in minor units."""
        ...

    async def is_open(self, connection: Look, group: Group) -> bool:
        """Whether contributions are taken now; what comes when they are not goes to suspense."""
        ...

    async def allot(self, groups: Groups, connection: Work, group: Group, member: Member, *, cash: bool) -> None:
        """Spread what stands in a member's account over what they owe; what is left stays for what comes next."""
        ...


def kind(name: str) -> Kind:
    """The kind of that name."""
    found: Kind = provider("groups.kinds", name).KIND
    return found
