"""Safaricom's Daraja, the M-Pesa of Kenya, as its sandbox and its production answer it (wire/momo.md section 3).

Any consumer key, secret and passkey are accepted but those that contain ``wrong``, and any shortcode: all are one
merchant with one wallet. An initiator's password must be the one the sandbox was told, by the certificate it hands out.
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ussd_app.config import load
from ussd_app.sandbox.country import Country
from ussd_app.sandbox.daraja.account import OF_THE_SANDBOX, Account, DarajaSwitches
from ussd_app.sandbox.daraja.certificate import certificate, private_key
from ussd_app.sandbox.daraja.commands import Commands
from ussd_app.sandbox.daraja.express import Express
from ussd_app.sandbox.daraja.payouts import PayOuts
from ussd_app.sandbox.daraja.queries import Queries
from ussd_app.sandbox.daraja.till import SHORTCODE, Till
from ussd_app.sandbox.daraja.transactions import Transactions

POINTS = ("token", "collection", "disbursement", "refund", "status", "account", "till")
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def environment(base_url: str, _country: str) -> dict[str, str]:
    """What the client must be told to come here, and a sandbox in another process to have the same certificate.

    The certificate is PEM with its line ends, as variables of a process can have; in ``.env`` it stands in quotes.
    """
    return {
        "DARAJA_BASE_URL": base_url,
        "DARAJA_CONSUMER_KEY": OF_THE_SANDBOX,
        "DARAJA_CONSUMER_SECRET": OF_THE_SANDBOX,
        "DARAJA_SHORTCODE": SHORTCODE,
        "DARAJA_PASSKEY": OF_THE_SANDBOX,
        "DARAJA_INITIATOR": "testapi",
        "DARAJA_INITIATOR_PASSWORD": OF_THE_SANDBOX,
        "DARAJA_CERTIFICATE": certificate(),
        "DARAJA_ALLOWED_IPS": "127.0.0.0/8,::1/128",  # callbacks come from this machine
        "SANDBOX_DARAJA_PRIVATE_KEY": private_key(),
    }


class Service:
    """Daraja: tokens, STK push, B2C, reversal, questions about transactions and balance, a till."""

    name = "daraja"
    points = tuple(f"daraja.{point}" for point in POINTS)

    def __init__(self, country: Country) -> None:
        self.switches = load(DarajaSwitches)
        self._account = Account(country, self.switches)
        self._transactions = Transactions(self._account)

    def routes(self) -> list[Route]:
        """Every address that is played, and the answer to all others."""
        account, transactions, commands = self._account, self._transactions, Commands(self._account)
        parts = (
            account,
            Express(account, transactions),
            PayOuts(account, commands, transactions),
            Queries(account, commands, transactions),
            Till(account, transactions),
        )
        routes = [route for part in parts for route in part.routes()]
        played = {route.path for route in routes}

        async def other(request: Request) -> Response:
            return account.error("405.001" if f"/{request.path_params['path']}" in played else "404.001.01")

        return [*routes, Route("/{path:path}", other, methods=METHODS)]
