"""Africa's Talking: SMS, airtime, data bundles and SIM-swap insights, all hosts under one base (wire/sms.md section 2).

Any username and API key are accepted but a key that contains ``wrong``.
"""

from starlette.routing import Route

from ussd_app.config import load
from ussd_app.sandbox.africastalking.account import Account, AfricastalkingSwitches
from ussd_app.sandbox.africastalking.airtime import Airtime
from ussd_app.sandbox.africastalking.bundles import Bundles
from ussd_app.sandbox.africastalking.insights import Insights
from ussd_app.sandbox.africastalking.sms import Sms
from ussd_app.sandbox.africastalking.transactions import Transactions
from ussd_app.sandbox.country import Country

POINTS = ("sms", "user", "airtime", "bundles", "find", "wallet", "insights")


def environment(base_url: str, _country: str) -> dict[str, str]:
    """What the clients must be told to come here."""
    return {"AT_BASE_URL": base_url, "AT_USERNAME": "ussd-app", "AT_API_KEY": "of-the-sandbox"}


class Service:
    """Africa's Talking, part by part over one account."""

    name = "africastalking"
    points = tuple(f"africastalking.{point}" for point in POINTS)

    def __init__(self, country: Country) -> None:
        self.switches = load(AfricastalkingSwitches)
        self._account = Account(country, self.switches)
        self._transactions = Transactions(self._account)

    def routes(self) -> list[Route]:
        """Every address that is played."""
        account, transactions = self._account, self._transactions
        parts = Airtime(transactions), Bundles(transactions), Insights(account), Sms(account)
        return [*account.routes(), *transactions.routes(), *(route for part in parts for route in part.routes())]
