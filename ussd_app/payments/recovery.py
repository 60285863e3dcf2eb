"""Whether an operator that rests is back: asked every 20 s, since its breaker would find out only after 60.

The question is for our own balance, which moves nothing and is no customer's. Where it is answered the next payment is
let through as the trial, at once: the breaker closes on its success, never on the balance alone, since the part that
moves money may still be down.
"""

import asyncio

from ussd_app.breakers import CALLS
from ussd_app.errors import ProviderError
from ussd_app.movement import Kind
from ussd_app.msisdn import CURRENCIES
from ussd_app.operators import Operator
from ussd_app.payments import Payments

ANSWER_SECONDS = 4.0  # who takes longer is not back: the worker has other things to tend


async def look(payments: Payments) -> None:
    """Ask every operator of which a breaker is open, one of all workers each."""
    await asyncio.gather(*(_look(payments, operator) for operator in payments.operators.values()))


async def _look(payments: Payments, operator: Operator) -> None:
    name, breakers = operator.name, payments.breakers
    seconds = await asyncio.gather(*(breakers.resting(name, call) for call in CALLS))
    resting = [call for call, left in zip(CALLS, seconds, strict=True) if left]
    if resting and await breakers.may_ask(name) and await _answers(payments, operator, resting):
        await asyncio.gather(*(breakers.bring_forward(name, call) for call in resting))


async def _answers(payments: Payments, operator: Operator, resting: list[str]) -> bool:
    """Whether the question has any answer, whatever it says; asked where the payments go that wait."""
    kind = Kind.DISBURSEMENT if {Kind.DISBURSEMENT, Kind.REFUND}.intersection(resting) else Kind.COLLECTION
    currency = CURRENCIES[next(iter(operator.countries))]
    url = payments.callback_url(operator.name, f"balance/{kind}")
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await operator.balance(kind, currency, url)
    except TimeoutError:
        return False
    except ProviderError as error:
        return not error.outage
    return True
