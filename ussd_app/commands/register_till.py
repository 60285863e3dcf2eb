"""`ussd-app register-till`: tells an operator where our till's payments are to be confirmed."""

from typing import Protocol, runtime_checkable

import typer

from ussd_app.app import Application
from ussd_app.errors import ProviderError


class RegisterError(Exception):
    """Nothing was registered, as far as we know; the message says what to do, and holds no secret."""


@runtime_checkable
class Registering(Protocol):
    """An operator that has to be told the addresses of a till."""

    async def register_till(self, confirmation_url: str, validation_url: str) -> None:
        """Name them; raises as every call does."""
        ...


async def run(application: Application, name: str) -> None:
    """Register this server's addresses with an operator in use; raises RegisterError."""
    operator = application.operators.get(name)
    if operator is None:
        raise RegisterError(f"OPERATORS does not name {name}; it names {', '.join(application.operators)}")
    if not isinstance(operator, Registering):
        raise RegisterError(f"{name} has no till to register")
    urls = [application.callback_url(name, path) for path in ("confirmation", "validation")]
    try:
        async with application:
            await operator.register_till(*urls)
    except ProviderError as error:
        public = application.settings.public_url
        raise RegisterError(f"{operator.brand} did not take the addresses under {public}: {error}") from error
    typer.echo(
        f"{operator.brand} took {application.settings.public_url}/callbacks/{name}/***/confirmation and .../validation"
    )
