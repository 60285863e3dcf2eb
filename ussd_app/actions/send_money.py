"""Send money: what it would cost, and placing the order once the person has agreed to exactly that."""

from dataclasses import dataclass

from ussd_app.actions import Call, action
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.orders import LimitReached, Placed, send_money
from ussd_app.orders.send_money import AmountUnfit, NotReachable, SelfSend


@dataclass(frozen=True, slots=True)
class Quoted:
    """It can be done at this price."""

    fee: Money
    total: Money
    recipient_name: str


@dataclass(frozen=True, slots=True)
class NotServed:
    """No operator of ours collects from the caller's own number."""


@action()
async def quote(
    call: Call, recipient: Msisdn, amount: Money
) -> Quoted | LimitReached | NotReachable | NotServed | SelfSend | AmountUnfit:
    """What sending this would cost, and whom it would reach. Moves nothing."""
    answer = await send_money.quote(call.services.orders, _caller(call), recipient, amount)
    match answer:
        case send_money.Quote():
            return Quoted(answer.fee, answer.total, answer.recipient_name)
        case NotReachable():
            return _unserved(call, answer)
    return answer


@action(collects=True)
async def place(
    call: Call, recipient: Msisdn, recipient_name: str, amount: Money
) -> Placed | LimitReached | NotReachable | NotServed:
    """Order it, once for each run of the flow; the operator's prompt comes when the dialogue is over."""
    sender = await call.services.subscribers.find(_caller(call))
    call.may_have_effect = True
    placed = await send_money.place(
        call.services.orders,
        run=call.run,
        msisdn=_caller(call),
        sender_name=sender.name if sender else "",
        recipient=recipient,
        recipient_name=recipient_name,
        amount=amount,
        language=call.language,
    )
    call.may_have_effect = isinstance(placed, Placed)  # a refusal has written nothing
    return _unserved(call, placed) if isinstance(placed, NotReachable) else placed


def _unserved(call: Call, unserved: NotReachable) -> NotReachable | NotServed:
    """Another number may be tried, but nobody can change their own."""
    return NotServed() if unserved.recipient == call.msisdn else unserved


def _caller(call: Call) -> Msisdn:
    """Who pays; the dialogue lets nobody come this far whose number is masked."""
    if call.msisdn is None:
        raise PermissionError("a masked number moves no money")
    return call.msisdn
