"""SMS for a developer: a line in the log instead of a handset.

Only a machine nobody else can reach may take that for sent (design.md law 24). Elsewhere the person got nothing.
"""

import httpx2 as httpx
from redis.asyncio import Redis

from ussd_app import log
from ussd_app.clock import Clock
from ussd_app.config import Environment, is_loopback
from ussd_app.errors import Reason
from ussd_app.senders import Accepted, Limits, Outcome, Outgoing, Refused, Report, State

logger = log.get(__name__)


class Settings(Environment):
    """Where we are reached decides whether a log line will do."""

    public_url: str = "http://127.0.0.1:8000"


class Sender:
    """SMS into the log."""

    name = "console"
    limits = Limits(parts_per_second=100, batch=1)

    def __init__(self, settings: Settings, _http: httpx.AsyncClient, _redis: Redis, _clock: Clock) -> None:
        self._loopback = is_loopback(settings.public_url)

    async def send(self, message: Outgoing) -> Outcome:
        """Write the text for the developer at this machine; refuse anywhere else."""
        if not self._loopback:
            logger.error(
                "alert", what="an SMS reached the console sender: no real sender took it", msisdn=message.msisdn
            )
            return Refused(Reason.PROVIDER_CONFIG, "the console reaches nobody")
        logger.info("sms", msisdn=message.msisdn, parts=message.parts, text=message.text)
        return Accepted(None, State.SENT)

    def parse_report(self, _content_type: str, _body: bytes) -> Report | None:
        """A log line reports nothing."""
        return None
