"""Send money: what it would cost, and placing the order once the person has agreed to exactly that."""

from dataclasses import dataclass

from ussd_app.actions import Call, Choice, Choices, action
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.orders import LimitReached, Placed, PlacedSlowly, TooFast, history, send_money
from ussd_app.orders.history import Favourite
from ussd_app.orders.send_money import NotReachable, SelfSend
from ussd_app.orders.steps import AmountUnfit, PayoutsPaused, TooLarge, TooSmall

KINDS = ("send_money",)
FAVOURITES = 5


@dataclass(frozen=True, slots=True)
class HasLatest:
    """What was last sent, and to whom."""

    recipient: Msisdn
    recipient_name: str
    amount: Money


@dataclass(frozen=True, slots=True)
class NoLatest:
    """Nothing was ever sent."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The same again."""

    recipient: Msisdn
    amount: Money


@dataclass(frozen=True, slots=True)
class NotFound:
    """It is no favourite any more."""


@dataclass(frozen=True, slots=True)
class Quoted:
    """It can be done at this price."""

    fee: Money
    total: Money
    recipient_name: str


@dataclass(frozen=True, slots=True)
class QuotedOn:
    """The same, where the recipient may be on another operator than this one."""

    fee: Money
    total: Money
    recipient_name: str
    brand: str
    through: str  # its name among ours


@dataclass(frozen=True, slots=True)
class QuotedAgain:
    """The same, where just this was ordered so many minutes ago."""

    fee: Money
    total: Money
    recipient_name: str
    minutes: int


@dataclass(frozen=True, slots=True)
class QuotedOnAgain:
    """The same, where the recipient may be on another operator than this one."""

    fee: Money
    total: Money
    recipient_name: str
    brand: str
    through: str
    minutes: int


@dataclass(frozen=True, slots=True)
class NotOnNetwork:
    """The recipient is not with this operator, and may be with another of ours."""

    recipient: Msisdn
    brand: str
    through: str


@dataclass(frozen=True, slots=True)
class NotServed:
    """No operator of ours collects from the caller's own number."""


Quotation = (
    Quoted | QuotedOn | QuotedAgain | QuotedOnAgain | LimitReached | TooFast | NotReachable | NotOnNetwork | NotServed
    | SelfSend | PayoutsPaused | AmountUnfit | TooSmall | TooLarge
)  # fmt: skip
Placing = Placed | PlacedSlowly | LimitReached | TooFast | NotReachable | NotServed | PayoutsPaused


@action()
async def latest(call: Call) -> HasLatest | NoLatest:
    """What this person last sent, to be offered again."""
    found = await history.latest(call.services.orders, call.caller, KINDS)
    return HasLatest(found.recipient, found.party, found.amount) if found and found.recipient else NoLatest()


@action()
async def favourites(call: Call, after: str | None) -> Choices:
    """What this person most often sends, in figures and names alone, since these lines belong to no language."""
    found = [] if after else await _favourites(call)
    return Choices(tuple(Choice(each.code, each.label) for each in found), more=False)


@action()
async def favourite(call: Call, code: str) -> Chosen | NotFound:
    """One of them."""
    found = next((each for each in await _favourites(call) if each.code == code), None)
    return Chosen(found.recipient, found.amount) if found and found.recipient else NotFound()


@action()
async def quote(call: Call, recipient: Msisdn, amount: Money) -> Quotation:
    """What sending this would cost, and whom it would reach. Moves nothing."""
    return await _quote(call, recipient, amount, None)


@action()
async def quote_through(call: Call, recipient: Msisdn, amount: Money, through: str) -> Quotation:
    """The same through the operator the caller has chosen for the recipient."""
    return await _quote(call, recipient, amount, through)


@action()
async def others(call: Call, after: str | None, recipient: Msisdn, through: str) -> Choices:
    """The other operators of ours the recipient may be with, each under its own brand."""
    found = {} if after else call.services.orders.routes.of_country(recipient)
    return Choices(tuple(Choice(name, each.brand) for name, each in found.items() if name != through), more=False)


@action(collects=True)
async def place(call: Call, recipient: Msisdn, recipient_name: str, amount: Money) -> Placing:
    """Order it, once for each run of the flow; the operator's prompt comes when the dialogue is over."""
    return await _place(call, recipient, recipient_name, amount, None)


@action(collects=True)
async def place_through(call: Call, recipient: Msisdn, recipient_name: str, amount: Money, through: str) -> Placing:
    """The same through the operator the confirm screen has named."""
    return await _place(call, recipient, recipient_name, amount, through)


async def _quote(call: Call, recipient: Msisdn, amount: Money, through: str | None) -> Quotation:
    answer = await send_money.quote(
        call.services.orders, call.caller, recipient, amount, network=call.turn.network, through=through
    )
    match answer:
        case send_money.Quote():
            return _quoted(answer)
        case send_money.NotOnNetwork():
            return NotOnNetwork(recipient, answer.payee.brand, answer.payee.name)
        case NotReachable():
            return _unserved(call, answer)
    return answer


def _quoted(quote: send_money.Quote) -> Quoted | QuotedOn | QuotedAgain | QuotedOnAgain:
    price = quote.fee, quote.total, quote.recipient_name
    network = quote.payee.brand, quote.payee.name
    if quote.repeated:
        ago = quote.repeated.minutes
        return QuotedOnAgain(*price, *network, ago) if quote.others else QuotedAgain(*price, ago)
    return QuotedOn(*price, *network) if quote.others else Quoted(*price)


async def _place(call: Call, recipient: Msisdn, recipient_name: str, amount: Money, through: str | None) -> Placing:
    sender = await call.services.subscribers.find(call.caller)
    call.may_have_effect = True
    placed = await send_money.place(
        call.services.orders,
        run=call.run,
        msisdn=call.caller,
        sender_name=sender.name if sender else "",
        recipient=recipient,
        recipient_name=recipient_name,
        amount=amount,
        language=call.language,
        network=call.turn.network,
        through=through,
    )
    call.may_have_effect = isinstance(placed, Placed)  # a refusal has written nothing
    return _unserved(call, placed) if isinstance(placed, NotReachable) else placed


async def _favourites(call: Call) -> list[Favourite]:
    return await history.favourites(call.services.orders, call.caller, KINDS, FAVOURITES)


def _unserved(call: Call, unserved: NotReachable) -> NotReachable | NotServed:
    """Another number may be tried, but nobody can change their own."""
    return NotServed() if unserved.recipient == call.msisdn else unserved
