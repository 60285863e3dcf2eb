"""A rotating group (susu, merry-go-round, upatu, ajo, tontine): all pay the same each round, and one takes the pot."""

from ussd_app.groups import Groups, owed
from ussd_app.groups.model import Group, Member, Rules
from ussd_app.store import Look, Work


class Rotating:
    """The kind."""

    def rules(self, share: int, period: str) -> Rules:
        """What most groups agree on; ``share`` in minor units."""
        return Rules(share, period)

    async def is_open(self, connection: Look, group: Group) -> bool:  # noqa: ARG002 - other kinds look it up
        """While a cycle runs."""
        return group.state == "running"

    async def allot(self, groups: Groups, connection: Work, group: Group, member: Member, *, cash: bool) -> None:
        """Dues of the oldest round first, then fines; what is left waits for the round that opens next."""
        await owed.pay_dues(groups, connection, group, member, cash=cash)
        await owed.pay_fines(groups, connection, group, member, cash=cash)


KIND = Rotating()
