"""MTN USSD in its three JSON shapes (wire/ussd.md sections 4.1 to 4.3).

- ``madapi``: MADAPI USSD v1, answered with an envelope. Document: swagger "MTN Messaging USSD API" 1.0.0.
- ``flat``: the same through an aggregator (Nigeria), with ``network`` or ``aggregator``, answered without an envelope.
- ``con_end``: an integrator's JSON without ``messageType``, input cumulative, answered with ``CON``/``END`` text.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic_settings import SettingsConfigDict

from ussd_app.aggregators import AggregatorSettings, Callback, Malformed, Response, number, optional, required
from ussd_app.ussd import Event, Reply, Turn, after_code

Style = Literal["madapi", "flat", "con_end"]

# messageType -> event. 2 (End) depends on what it carries; 3 is Notification, 4 Cancel or Abort, 5 Timeout.
TYPES = {"0": Event.BEGIN, "1": Event.REPLY, "2": Event.END, "3": Event.END, "4": Event.END, "5": Event.TIMEOUT}

CONTINUE, END = 1, 2  # messageType of an answer
SELF = {"self": {"href": "https://api.mtn.com/v1/messages/ussd/inbound"}}

# Menu choices, amounts, numbers and PINs, as one live MTN Congo sent them with messageType 2.
ENTRY = re.compile(r"[0-9*#+.]{1,20}")


class Settings(AggregatorSettings):
    """``MTN_USSD_SECRET``, ``MTN_USSD_ALLOWED_IPS``, ``MTN_USSD_FORMAT`` and what else every aggregator takes."""

    model_config = SettingsConfigDict(env_prefix="MTN_")

    ussd_format: Style | None = None  # told from the fields where unset
    ussd_type_2_entries: bool = True  # whether messageType 2 with an entry may be a reply


class Aggregator:
    """One service code at MTN."""

    name = "mtn"
    formats = frozenset({"json"})

    def __init__(self, settings: Settings, code: str, country: str) -> None:
        self.settings = settings
        self.code = code
        self.country = country

    def recognises(self, callback: Callback) -> bool:
        """A JSON object with MTN's words; the service code tells it from Kairos Afrika's, which has none."""
        fields = callback.fields
        return callback.format == "json" and "serviceCode" in fields and ("ussdString" in fields or "msisdn" in fields)

    def parse(self, callback: Callback) -> Turn:
        """A hop or a notice, in whichever shape it came."""
        fields = callback.fields
        style = self._style(fields)
        text = optional(fields, "ussdString")
        event, doubtful = self._event(style, fields, text)
        if event is Event.BEGIN and style != "con_end":
            text = after_code(text, self.code)
        subscriber = required(fields, "msisdn")
        return Turn(
            aggregator=self.name,
            session_id=required(fields, "sessionId"),
            subscriber=subscriber,
            msisdn=number(subscriber, self.country),
            service_code=required(fields, "serviceCode"),
            event=event,
            text="" if event in {Event.END, Event.TIMEOUT} else text,
            cumulative=style == "con_end",
            doubtful_end=doubtful,
            language=optional(fields, "language") or None,
            network=optional(fields, "network") or None,
            imsi=optional(fields, "imsi") or None,
            cell_id=optional(fields, "cellId") or None,
            style=style,
        )

    def render(self, turn: Turn, reply: Reply) -> Response:
        """The screen in the shape the turn came in, with the schema's types."""
        if turn.style == "con_end":
            return Response.text(f"{'END' if reply.close else 'CON'} {reply.text}")
        answer = {
            "userInputRequired": not reply.close,
            "serviceCode": turn.service_code,
            "messageType": END if reply.close else CONTINUE,
            "msisdn": turn.subscriber,
            "sessionId": turn.session_id,
        }
        if turn.style == "flat":
            return Response.json({"response": reply.text, **answer})
        return Response.json(
            {
                "statusCode": "0000",
                "statusMessage": "OK",
                "transactionId": "",
                # The swagger requires outboundResponse and defines inboundResponse: the latter is what is read.
                "data": {"inboundResponse": reply.text, **answer},
                "_link": SELF,
            }
        )

    def acknowledge(self, turn: Turn) -> Response:
        """The closing answer with nothing to show."""
        return self.render(turn, Reply("", close=True))

    def refuse(self, _callback: Callback, problem: Malformed) -> Response:
        """400 and the field's name; MTN documents the shape of an error but not its codes."""
        return Response.text(str(problem), 400)

    def _style(self, fields: Mapping[str, Any]) -> Style:
        if self.settings.ussd_format:
            return self.settings.ussd_format
        if "messageType" not in fields:
            return "con_end"
        return "flat" if "network" in fields or "aggregator" in fields else "madapi"

    def _event(self, style: Style, fields: Mapping[str, Any], text: str) -> tuple[Event, bool]:
        """What this request says, and whether its "end" is to be doubted."""
        if style == "con_end":
            return (Event.REPLY if text else Event.BEGIN), False
        kind = required(fields, "messageType")
        if kind not in TYPES:
            raise Malformed("messageType", "must be 0 to 5")
        if kind == "2" and self.settings.ussd_type_2_entries and ENTRY.fullmatch(text.strip()):
            return Event.REPLY, True
        return TYPES[kind], False
