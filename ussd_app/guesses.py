"""How often one number may try codes that lead nowhere: eight digits are guessed by whoever may try for ever."""

from datetime import timedelta

from sqlalchemy import func, select

from ussd_app.clock import Clock
from ussd_app.msisdn import Msisdn
from ussd_app.store import Store
from ussd_app.tables import audit

WRONG = 10  # codes of one number
WITHIN = timedelta(hours=1)
EVENT = "wrong_code"


class Guesses:
    """Counts wrong codes. Whoever has had too many is told the same of a right one: a guess tells nothing."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock

    async def may_try(self, msisdn: Msisdn) -> bool:
        """Whether a code of this number is looked at."""
        since = self.clock.now() - WITHIN
        mine = audit.c.msisdn == msisdn, audit.c.event == EVENT, audit.c.at > since
        async with self.store.look() as connection:
            wrong: int = (await connection.execute(select(func.count()).where(*mine))).scalar_one()
        return wrong < WRONG

    async def wrong(self, msisdn: Msisdn) -> None:
        """Count a code that led nowhere."""
        async with self.store.work() as connection:
            row = {"at": self.clock.now(), "msisdn": msisdn, "event": EVENT, "detail": {}}
            await connection.execute(audit.insert().values(row))
