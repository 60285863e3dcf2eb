"""Which operator serves a number: what its own session or a payment has told of it, else whose range it lies in.

Digits tell whom a number was allocated to, and people take their numbers along (wire/operators.md section 4). Every
row is a fact of one moment, so a later one replaces an earlier one, but nobody's word that of the number's own
session; after FRESH none is believed.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import ColumnElement, bindparam, select
from sqlalchemy.dialects.postgresql import insert

from ussd_app import networks
from ussd_app.clock import Clock
from ussd_app.errors import Reason
from ussd_app.movement import Kind
from ussd_app.msisdn import Msisdn
from ussd_app.operators import Operator
from ussd_app.store import Look, Row, Statement, Store, Work, named
from ussd_app.tables import routes

FRESH = timedelta(days=180)
NEWS = timedelta(days=1)  # between two notes that a number is still where it was
NOT_FOUND = "not_found"  # the source of a row that says where a number is not

Source = Literal["network", "chosen", "staff", "paid"]


r = routes.c
SEEN = insert(routes).values(named(routes, "msisdn", "operator", "source", "at"))
NEW = {name: SEEN.excluded[name] for name in ("operator", "source", "at")}
DAY_BEFORE, LONG_BEFORE = bindparam("a_day_before", type_=r.at.type), bindparam("long_before", type_=r.at.type)
KNOWN = Statement(
    select(r.operator, r.source).where(
        r.msisdn == bindparam("msisdn", type_=r.msisdn.type), r.at > bindparam("since", type_=r.at.type)
    )
)
_NEWS = (r.at <= NEW["at"]) & ((r.operator != NEW["operator"]) | (r.source == NOT_FOUND) | (r.at < DAY_BEFORE))


def _learn(where: ColumnElement[bool]) -> Statement:
    """Write what was seen, unless what is known says more."""
    return Statement(SEEN.on_conflict_do_update(index_elements=["msisdn"], set_=NEW, where=where))


LEARN_OF_SESSION = _learn(_NEWS)
LEARN = _learn(_NEWS & ((r.source != "network") | (r.at <= LONG_BEFORE)))
REFUTE = _learn((r.operator == NEW["operator"]) | (r.source == NOT_FOUND) | (r.at <= LONG_BEFORE))


class Routes:
    """Finds the operator of a number, and remembers what is learnt of it."""

    def __init__(self, store: Store, operators: Mapping[str, Operator], clock: Clock) -> None:
        self.store = store
        self.operators = operators
        self.clock = clock

    async def find(self, msisdn: Msisdn, network: str | None = None) -> Operator | None:
        """The same as serving, on a connection of its own."""
        async with self.store.look() as connection:
            return await self.serving(connection, msisdn, network)

    async def serving(self, look: Look, msisdn: Msisdn, network: str | None = None) -> Operator | None:
        """The operator that serves a number; ``network`` is what the number's own session says, and beats all else."""
        carrier = self._told(msisdn, network)
        if carrier:
            return self._of(msisdn, carrier)
        ours = self.of_country(msisdn)
        if not ours:
            return None
        row = await look.one(KNOWN, msisdn=msisdn, since=self.clock.now() - FRESH)
        known = ours.get(row["operator"]) if row else None
        if row and known and row["source"] != NOT_FOUND:
            return known
        allocated = self._of(msisdn, msisdn.network)
        if allocated and allocated is known:  # which says it is not on its network
            return next((each for each in ours.values() if each is not known), allocated)
        return allocated

    def of_country(self, msisdn: Msisdn) -> Mapping[str, Operator]:
        """Every operator of ours a number of its country may be on, by name, in the order they are configured."""
        return {name: each for name, each in self.operators.items() if msisdn.country in each.countries}

    async def heard(self, connection: Work, msisdn: Msisdn, network: str | None) -> None:
        """Remember what the session of whoever has just placed something says of their number."""
        carrier = self._told(msisdn, network)
        operator = self._of(msisdn, carrier) if carrier else None
        if operator:
            await self.learn(connection, msisdn, operator.name, "network")

    async def settled(self, connection: Work, payment: Row, reason: Reason | None, *, chosen: bool) -> None:
        """Remember what a payment tells that has become final: money moved there, or nobody has that number."""
        msisdn, operator = Msisdn(payment["msisdn"]), payment["operator"]
        if payment["kind"] not in {Kind.COLLECTION, Kind.DISBURSEMENT}:
            return
        if reason is None:
            # When it was asked for: a late success says nothing of a number that has moved since.
            await self.learn(connection, msisdn, operator, "chosen" if chosen else "paid", payment["created_at"])
        elif reason is Reason.PARTY_NOT_FOUND:
            await self.refute(connection, msisdn, operator)

    async def learn(
        self, work: Work, msisdn: Msisdn, operator: str, source: Source, at: datetime | None = None
    ) -> None:
        """A number is served by this operator, as of ``at`` or now."""
        at = at or self.clock.now()
        # Strangers choose and pay; only their own session can say that somebody has moved.
        words = {"msisdn": msisdn, "operator": operator, "source": source, "at": at, "a_day_before": at - NEWS}
        if source == "network":
            await work.run(LEARN_OF_SESSION, **words)
        else:
            await work.run(LEARN, **words, long_before=at - FRESH)

    async def refute(self, work: Work, msisdn: Msisdn, operator: str) -> None:
        """A number is not on this operator's network: what said so is forgotten, and its digits are not believed."""
        now = self.clock.now()
        words = {"msisdn": msisdn, "operator": operator, "source": NOT_FOUND, "at": now}
        await work.run(REFUTE, **words, long_before=now - FRESH)

    def _told(self, msisdn: Msisdn, network: str | None) -> str | None:
        """The network an aggregator means; a code of another country, or one nobody knows, says nothing."""
        return networks.TABLE.told(msisdn.country, network) if network else None

    def _of(self, msisdn: Msisdn, carrier: str) -> Operator | None:
        """The first operator of ours that serves a network of the number's country."""
        country = msisdn.country
        return next((each for each in self.operators.values() if each.countries.get(country) == carrier), None)
