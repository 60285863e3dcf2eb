"""What Daraja takes now and does later: acceptance, initiator, queue and Result (wire/momo.md sections 3.3 and 3.4)."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

from pydantic import Field
from starlette.responses import JSONResponse, Response

from ussd_app.sandbox.credentials import WRONG
from ussd_app.sandbox.daraja.account import Account
from ussd_app.sandbox.daraja.answers import Address, Body, as_result, described
from ussd_app.sandbox.daraja.certificate import opened
from ussd_app.sandbox.daraja.numbers import LATE_SECONDS, NEVER, Fate

Parameters = list[dict[str, Any]]
# Does what was asked and says how it ended; with a ResultCode given it ends so, and nothing is done.
Work = Callable[[str | None], tuple[str, Parameters]]

# 344 characters: 2048 bits.
Credential = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{342}==$")]


class Order(Body):
    """What the bodies of all commands have."""

    initiator: str = Field(min_length=1)
    security_credential: Credential
    remarks: str = Field(min_length=2, max_length=100)
    queue_time_out_url: Address
    result_url: Address


@dataclass(slots=True)
class Command:
    """One that was accepted. ``told`` is set when its first notice is through, or none will come."""

    point: str
    order: Order
    conversation_id: str
    originator_id: str
    receipt: str
    copies: int
    told: asyncio.Event = field(default_factory=asyncio.Event)


class Commands:
    """The queue that all of them go through."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self._country = account.country

    def accept(self, point: str, order: Order, originator_id: str = "", copies: int = 1) -> Command:
        """Give it the ids it has not got."""
        number = self.account.number()
        conversation = f"AG_{self.account.nairobi():%Y%m%d}_{number:020x}"
        originator = originator_id or f"1000-{3_000_000 + number}-1"
        return Command(f"daraja.{point}", order, conversation, originator, self.account.receipt(), copies)

    async def taken(self, command: Command, *, first: bool = False) -> Response:
        """The answer all of them get; ``first`` or by a fault, not before the result was told."""
        if self._country.faults.take(command.point, "callback_first") or first:
            await self.account.heard(command.told)
        return JSONResponse(
            {
                "ConversationID": command.conversation_id,
                "OriginatorConversationID": command.originator_id,
                "ResponseCode": "0",
                "ResponseDescription": "Accept the service request successfully.",
            }
        )

    def start(self, command: Command, work: Work, fate: Fate | None = None) -> None:
        """Do the work when its turn comes, unless the initiator, its fate or a fault is against it.

        What is ``queued_for_ever`` waits too long and is never done. A ``late_success`` waits too long and is done all
        the same, of which nobody is told: TransactionStatus knows.
        """
        later, faults = self._country.background.later, self._country.faults
        fate, seconds = fate or Fate(), self.account.switches.queue_seconds
        if refusal := self._refusal(command.order):
            later(0, partial(self._do, command, work, refusal))
        elif faults.take(command.point, "queued_for_ever"):
            later(seconds, partial(self._give_up, command))
        elif fault := faults.take(command.point, "failed_after_accepted"):
            later(0, partial(self._do, command, work, fault.body or "26"))
        elif (fault := faults.take(command.point, "late_success")) or fate.twist == "late_success":
            later(seconds, partial(self._give_up, command))
            later(seconds + (fault.delay if fault else LATE_SECONDS), partial(_in_silence, work))
        elif fate.after == NEVER:
            command.told.set()
        else:
            later(fate.after or self.account.switches.result_seconds, partial(self._do, command, work, fate.code))

    def _refusal(self, order: Order) -> str | None:
        """What is wrong with who asks: nobody of that name, or not their password."""
        if WRONG in order.initiator:
            return "SFC_IC0003"
        return None if opened(order.security_credential) == self.account.switches.initiator_password else "2001"

    async def _do(self, command: Command, work: Work, code: str | None) -> None:
        code, parameters = work(code)
        told = self._result(command, code)
        if code == "0" and parameters:
            only = self.account.switches.result_parameters == "single"
            told["ResultParameters"] = {"ResultParameter": parameters[0] if only else parameters}
        await self._tell(command, command.order.result_url, told, command.copies)

    async def _give_up(self, command: Command) -> None:
        await self._tell(command, command.order.queue_time_out_url, self._result(command, "26"), 1)

    def _result(self, command: Command, code: str) -> dict[str, Any]:
        """What results and time-outs have alike; a failure has a TransactionID too, which means nothing."""
        return {
            "ResultType": 0,
            "ResultCode": as_result(code),
            "ResultDesc": described(code),
            "OriginatorConversationID": command.originator_id,
            "ConversationID": command.conversation_id,
            "TransactionID": command.receipt,
        }

    async def _tell(self, command: Command, url: str, told: dict[str, Any], copies: int) -> None:
        item = {"Key": "QueueTimeoutURL", "Value": command.order.queue_time_out_url}
        as_object = self.account.switches.reference_item == "object"
        body = {"Result": {**told, "ReferenceData": {"ReferenceItem": item if as_object else [item]}}}
        for _ in range(copies):
            await self._country.wire.notify(command.point, "callback", "POST", url, json=body)
        command.told.set()


def _in_silence(work: Work) -> None:
    work(None)
