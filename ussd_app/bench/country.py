"""The sandbox without the application, so that what it costs is counted apart."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import Mount

from ussd_app.app import Application
from ussd_app.config import Settings, load
from ussd_app.sandbox import Sandbox


def create() -> Starlette:
    """Every provider's half at /sandbox, calling back where the application of these settings listens."""
    application = Application(load(Settings))
    urls = {**application.callback_urls, **application.report_urls}
    sandbox = Sandbox(application.settings, application.clock, application.http, urls)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with sandbox:
            yield
        await application.http.aclose()

    return Starlette(routes=[Mount("/sandbox", sandbox.app)], lifespan=lifespan)
