"""Africa's Talking USSD: form callbacks in, ``CON``/``END`` text out, end-of-session events (wire/ussd.md section 3).

Documents: developers.africastalking.com "USSD Overview", "Handle Sessions" and "Notifications". MobileSasa and Hellio
speak the same callback. ``text`` is the log of every entry so far, joined by ``*``: it is read by difference, not here.
"""

from pydantic_settings import SettingsConfigDict

from ussd_app.aggregators import AggregatorSettings, Callback, Malformed, Response, number, optional, required
from ussd_app.ussd import Event, Reply, Turn

# End-of-session status -> event. ``Success`` says that we answered END, nothing about the business.
STATUSES = {"success": Event.END, "incomplete": Event.TIMEOUT, "failed": Event.END}


class Settings(AggregatorSettings):
    """``AT_USSD_SECRET``, ``AT_USSD_ALLOWED_IPS`` and what else every aggregator takes."""

    model_config = SettingsConfigDict(env_prefix="AT_")


class Aggregator:
    """The USSD channel of one Africa's Talking account."""

    name = "africastalking"
    formats = frozenset({"form"})

    def __init__(self, settings: Settings, _code: str, country: str) -> None:
        self.settings = settings
        self.country = country

    def recognises(self, callback: Callback) -> bool:
        """A form with either id; no other form of the field spells them like this."""
        return callback.format == "form" and ("sessionId" in callback.fields or "phoneNumber" in callback.fields)

    def parse(self, callback: Callback) -> Turn:
        """A hop, or an end-of-session event: the one that has a ``status`` and no ``text``."""
        fields = callback.fields
        subscriber = required(fields, "phoneNumber")
        text = optional(fields, "text")
        event = Event.REPLY if text else Event.BEGIN
        if "status" in fields and "text" not in fields:
            event = STATUSES.get(optional(fields, "status").lower(), Event.END)
        return Turn(
            aggregator=self.name,
            session_id=required(fields, "sessionId"),
            subscriber=subscriber,
            msisdn=number(subscriber, self.country),
            service_code=required(fields, "serviceCode"),
            event=event,
            text=text,
            cumulative=True,
            network=optional(fields, "networkCode") or None,
        )

    def render(self, _turn: Turn, reply: Reply) -> Response:
        """The words behind their literal prefix; with anything before it the session would be terminated."""
        return Response.text(f"{'END' if reply.close else 'CON'} {reply.text}")

    def acknowledge(self, _turn: Turn) -> Response:
        """200 and an empty body."""
        return Response.text("")

    def refuse(self, _callback: Callback, problem: Malformed) -> Response:
        """400, on which Africa's Talking terminates the session."""
        return Response.text(str(problem), 400)
