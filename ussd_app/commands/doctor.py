"""`ussd-app doctor`: one line for everything that must be right before a phone dials."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from uuid import uuid4

import typer

from ussd_app.app import Application
from ussd_app.breakers import CALLS, FAILURES
from ussd_app.money import Money
from ussd_app.msisdn import CURRENCIES, Msisdn
from ussd_app.operators import Kind, Operator, Request
from ussd_app.senders import Outgoing

TRIAL_TEXT = "ussd-app doctor: this SMS works."

Look = Callable[[], Awaitable[object]]


async def run(application: Application, send_sms: Msisdn | None, collect: Msisdn | None, *, whole: bool) -> int:
    """Look at everything; 0 where all is well, else 1. ``whole`` addresses show their secrets."""
    settings = application.settings
    typer.echo(f"      {settings.service_code} at {settings.public_url}, country {settings.country}")
    for line in _addresses(application, whole=whole):
        typer.echo(f"      {line}")
    looks = dict(application.checks) | dict(_credentials(application))
    if send_sms:
        looks |= dict(_sms(application, send_sms))
    if collect:
        looks |= dict(_collections(application, collect))
    well = True
    async with application:
        for what, look in looks.items():
            try:
                found = await look()
                typer.echo(f"ok    {what}{f': {found}' if found is not None else ''}")
            except Exception as error:  # noqa: BLE001 - a doctor names every illness
                well = False
                typer.echo(f"WRONG {what}: {type(error).__name__} {error}".rstrip())
        async for line in _resting(application):
            well = False
            typer.echo(f"WRONG {line}")
    return 0 if well else 1


def _addresses(application: Application, *, whole: bool) -> Iterator[str]:
    """What to register with whom."""
    public = application.settings.public_url
    for name, aggregator in application.aggregators.items():
        secret = aggregator.settings.ussd_secret
        segment = (f"/{secret.get_secret_value()}" if whole else "/***") if secret else ""
        guarded = secret or aggregator.settings.ussd_allowed_ips
        yield f"{name} posts to {public}/ussd/{name}{segment}{'' if guarded else ' (open to anyone)'}"
    for name, url in application.callback_urls.items():
        yield f"{name} calls back at {url if whole else f'{public}/callbacks/{name}/***'}"
    for name, url in application.report_urls.items():
        yield f"{name} reports at {url if whole else f'{public}/sms/{name}/***/reports'}"


def _credentials(application: Application) -> Iterator[tuple[str, Look]]:
    currency = CURRENCIES[application.settings.country]
    for name, operator in application.operators.items():
        for kind in (Kind.COLLECTION, Kind.DISBURSEMENT):
            url = application.callback_url(name, f"balance/{kind}")
            ask = partial(application.payments.breakers.call, name, "balance", operator.balance, kind, currency, url)
            yield f"{name} {kind}: token and balance", partial(_balance, ask)


async def _balance(ask: Callable[[], Awaitable[Money | None]]) -> object:
    """What is held, or that only a callback will tell: then nothing but the token is proven yet."""
    found = await ask()
    return "asked, and told by a callback: see `ussd-app float`" if found is None else found


async def _resting(application: Application) -> AsyncIterator[str]:
    """What nobody is asked for now, since it failed every time."""
    for name in application.payments.providers:
        for call in CALLS:
            seconds = await application.payments.breakers.resting(name, call)
            if seconds:
                yield f"{name} {call}: failed {FAILURES} times in a row, rests {seconds:.0f} s more"


def _sms(application: Application, number: Msisdn) -> Iterator[tuple[str, Look]]:
    for name, sender in application.senders.items():
        yield f"{name}: SMS to {number.masked}", partial(sender.send, Outgoing(uuid4(), number, TRIAL_TEXT, 1))


def _collections(application: Application, number: Msisdn) -> Iterator[tuple[str, Look]]:
    amount = Money.of(1, CURRENCIES[application.settings.country])
    serving = {name: each for name, each in application.operators.items() if _serves(each, number)}
    for name, operator in (serving or application.operators).items():
        reference = uuid4()
        url = application.callback_url(name, f"{Kind.COLLECTION}/{reference}")
        request = Request(reference, Kind.COLLECTION, number, amount, "doctor", "Trial", url)
        ask = partial(application.payments.breakers.call, name, Kind.COLLECTION, operator.submit, request)
        yield f"{name}: collection of {amount} from {number.masked}", ask


def _serves(operator: Operator, number: Msisdn) -> bool:
    """Whether the range of a number is one of its network's."""
    return operator.countries.get(number.country) == number.network
