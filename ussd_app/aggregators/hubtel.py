"""Hubtel Programmable Services: JSON in and out, Ghana (wire/ussd.md section 5.1).

Documents: developers.hubtel.com "API Reference - Prog Services"; its copies differ in the case of ``Type``.
"""

from pydantic_settings import SettingsConfigDict

from ussd_app.aggregators import (
    ID_CHARS_MAX,
    AggregatorSettings,
    Callback,
    Malformed,
    Response,
    number,
    optional,
    required,
)
from ussd_app.ussd import Event, Reply, Turn, after_code

# Type, whatever its case -> event.
TYPES = {"initiation": Event.BEGIN, "response": Event.REPLY, "release": Event.END, "timeout": Event.TIMEOUT}

# Accented capitals make Hubtel show "Error: UUE" instead of the screen.
PLAIN_CAPITALS = str.maketrans("ÇØÅÉÄÖÑÜ", "COAEAONU") | {ord("Æ"): "AE"}


class Settings(AggregatorSettings):
    """``HUBTEL_USSD_SECRET``, ``HUBTEL_USSD_ALLOWED_IPS`` and what else every aggregator takes."""

    model_config = SettingsConfigDict(env_prefix="HUBTEL_")


class Aggregator:
    """One service code at Hubtel. ``ClientState`` passes through other hands and is not believed."""

    name = "hubtel"
    formats = frozenset({"json"})

    def __init__(self, settings: Settings, code: str, country: str) -> None:
        self.settings = settings
        self.code = code
        self.country = country

    def recognises(self, callback: Callback) -> bool:
        """A JSON object with Hubtel's capitalised words."""
        return callback.format == "json" and "Type" in callback.fields and "Mobile" in callback.fields

    def parse(self, callback: Callback) -> Turn:
        """A hop, or the notice that the dialogue was released or timed out."""
        fields = callback.fields
        event = TYPES.get(required(fields, "Type").lower())
        if event is None:
            raise Malformed("Type", "must be Initiation, Response, Release or Timeout")
        text = optional(fields, "Message")
        if event is Event.BEGIN:
            text = after_code(text, self.code)
        subscriber = required(fields, "Mobile")
        return Turn(
            aggregator=self.name,
            session_id=required(fields, "SessionId"),
            subscriber=subscriber,
            msisdn=number(subscriber, self.country),
            service_code=required(fields, "ServiceCode"),
            event=event,
            text=text if event in {Event.BEGIN, Event.REPLY} else "",
            hop_id=optional(fields, "Sequence")[:ID_CHARS_MAX],
            network=optional(fields, "Operator") or None,
        )

    def render(self, turn: Turn, reply: Reply) -> Response:
        """The screen; the first line is also the title that non-USSD channels require."""
        text = reply.text.translate(PLAIN_CAPITALS)
        return Response.json(
            {
                "SessionId": turn.session_id,
                "Type": "release" if reply.close else "response",
                "Message": text,
                "Label": text.partition("\n")[0],
                "DataType": "display" if reply.close else "input",
                "FieldType": "text",
            }
        )

    def acknowledge(self, turn: Turn) -> Response:
        """200 with nothing to show."""
        return self.render(turn, Reply("", close=True))

    def refuse(self, _callback: Callback, problem: Malformed) -> Response:
        """400 and the field's name."""
        return Response.text(str(problem), 400)
