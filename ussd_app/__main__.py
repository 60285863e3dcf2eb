"""The command line."""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from ussd_app import app, http, log, menus, migrations, worker
from ussd_app.clock import Clock
from ussd_app.commands import alone, treasury
from ussd_app.commands import demo as demo_command
from ussd_app.commands import dial as dial_command
from ussd_app.commands import doctor as doctor_command
from ussd_app.commands import register_till as register_till_command
from ussd_app.commands import setup_momo as setup_momo_command
from ussd_app.commands.phone import NoScreen
from ussd_app.config import Settings, SettingsError, is_loopback, load
from ussd_app.deliveries import voucher_sms
from ussd_app.embedded import EmbeddedError
from ussd_app.menus.model import Limits
from ussd_app.msisdn import InvalidMsisdn, Msisdn, parse
from ussd_app.operators.mtn_momo import PRODUCTS, SANDBOX
from ussd_app.seals import Seals
from ussd_app.web import serving

Result = TypeVar("Result")

cli = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)


@cli.command()
def demo(
    country: Annotated[str | None, typer.Option(help="ISO code of the country to play in; else COUNTRY")] = None,
    port: Annotated[int, typer.Option(help="port on 127.0.0.1")] = 8000,
    directory: Annotated[Path, typer.Option("--data", help="where its own stores are")] = demo_command.DATA_DIR,
    *,
    stay: Annotated[bool, typer.Option(help="keep running after the journey")] = True,
    configured_stores: Annotated[
        bool, typer.Option("--in-configured-stores", help="use DATABASE_URL and REDIS_URL, if only demos ever did")
    ] = False,
) -> None:
    """Play a whole journey on this machine: stores, sandbox, server, worker and a phone, with nothing set up."""
    stores = load(alone.Stores) if configured_stores else None
    given = demo_command.environment(country or load(alone.Played).country, port, directory, stores)
    with alone.alone(directory, given):
        raise typer.Exit(demo_command.start(port, stay=stay))


@cli.command()
def serve(
    host: Annotated[str, typer.Option()] = "127.0.0.1",
    port: Annotated[int, typer.Option()] = 8000,
    workers: Annotated[int, typer.Option(help="processes; the sandbox lives in one")] = 1,
    trusted_proxies: Annotated[str, typer.Option(help="addresses whose X-Forwarded-For is believed")] = "127.0.0.1",
) -> None:
    """Answer aggregators, operators and senders."""
    _are_proxies(trusted_proxies)
    settings, stores = app.with_stores(load(Settings))
    if stores:
        _migrate(settings)
    if settings.sandbox and workers > 1:
        raise SettingsError("SANDBOX is set, and its handsets live in one process: use --workers 1")
    if not is_loopback(f"http://{host}") and settings.loopback and not settings.allow_open_ussd:
        raise SettingsError(f"PUBLIC_URL is {settings.public_url}, and --host {host} lets others in: set PUBLIC_URL")
    _refuse_demo(settings)
    if workers > 1:
        app.Application(settings).web()  # what is wrong with the settings is said once, here
        log.configure(settings.log_level)
    application = "ussd_app.app:create" if workers > 1 else app.create(settings)
    serving.serve(application, host, port, workers=workers, trusted_proxies=trusted_proxies)


@cli.command()
def work() -> None:
    """Run the jobs; any number of these may run anywhere."""
    settings, stores = app.with_stores(load(Settings))
    if stores:
        _migrate(settings)
    _refuse_demo(settings)
    log.configure(settings.log_level)

    async def run() -> None:
        async with app.Application(settings) as application:
            await worker.run(application.jobs)

    asyncio.run(run())


@cli.command()
def dial(
    code: Annotated[str, typer.Argument(help="what is dialled, such as '*920*55#'")],
    number: Annotated[str, typer.Option("--as", help="the phone's own number")],
    through: Annotated[str, typer.Option(help="the aggregator that carries it")] = "africastalking",
    url: Annotated[str, typer.Option(help="the server")] = "http://127.0.0.1:8000",
    record: Annotated[Path | None, typer.Option(help="write the dialogue as a journey, masked")] = None,
) -> None:
    """Be a phone in the terminal, against any running server."""
    raise typer.Exit(dial_command.run(code, number, through, url, record))


@cli.command()
def check(
    directory: Annotated[Path | None, typer.Argument(help="a menus folder; the one in use by default")] = None,
    missing: Annotated[str | None, typer.Option(help="list what this language lacks")] = None,
) -> None:
    """Every fault of the menus at once, as file:line: message."""
    folder = directory or app.menus_dir(load(Settings))
    if missing:
        lacking = menus.missing(folder, missing)
        typer.echo("\n".join(map(str, lacking)) or f"nothing is missing in {missing}")
        raise typer.Exit(bool(lacking))
    faults = menus.check(folder, limits=Limits())
    for fault in faults:
        typer.echo(str(fault))
    raise typer.Exit(bool(faults))


@cli.command()
def draw() -> None:
    """The menus as a mermaid diagram."""
    typer.echo(menus.draw(menus.load(app.menus_dir(load(Settings)), limits=Limits())))


@cli.command()
def migrate() -> None:
    """Bring the database to the newest shape."""
    settings, stores = app.with_stores(load(Settings))
    _migrate(settings)
    if stores:
        stores.stop()


@cli.command()
def doctor(
    send_sms: Annotated[str | None, typer.Option(help="send a real SMS to this number")] = None,
    collect: Annotated[str | None, typer.Option(help="collect one unit of money from this number")] = None,
    *,
    addresses: Annotated[bool, typer.Option(help="show callback addresses whole, secrets included")] = False,
) -> None:
    """Look at settings, stores, credentials and callback addresses, one line each."""
    settings, _ = app.with_stores(load(Settings))
    log.configure("CRITICAL")  # every line it would say is one of the doctor's own
    texted, payer = _number("--send-sms", send_sms, settings), _number("--collect", collect, settings)
    looked = doctor_command.run(app.Application(settings), texted, payer, whole=addresses)
    raise typer.Exit(asyncio.run(looked))


@cli.command("setup-momo")
def setup_momo(
    collection_key: Annotated[str, typer.Option(prompt=True, hide_input=True, help="subscription key of Collection")],
    disbursement_key: Annotated[str, typer.Option(prompt=True, hide_input=True, help="and of Disbursement")],
    env_file: Annotated[Path, typer.Option(help="where the variables are written")] = Path(".env"),
    base_url: Annotated[str, typer.Option()] = SANDBOX,
    *,
    collect: Annotated[bool, typer.Option(help="collect one euro from a test number")] = False,
) -> None:
    """Make MTN MoMo sandbox users and keys, try them, and write them to .env."""
    keys = dict(zip(PRODUCTS, (collection_key, disbursement_key), strict=True))

    async def run() -> None:
        async with http.client() as client:
            variables = await setup_momo_command.provision(client, load(Settings).public_url, keys, base_url)
            status = await setup_momo_command.prove(client, Clock(), variables, collect=collect)
        typer.echo(f"tokens fetched{f'; trial: {status}' if status else ''}")
        setup_momo_command.write_env(env_file, variables)
        typer.echo(f"{len(variables)} variables written to {env_file}")

    asyncio.run(run())


@cli.command("register-till")
def register_till(
    operator: Annotated[str, typer.Argument(help="an operator at whose till people pay")] = "daraja",
) -> None:
    """Tell an operator where payments to our till are confirmed."""
    _run(lambda application: register_till_command.run(application, operator))


@cli.command()
def vouchers(
    product: Annotated[str, typer.Argument(help="the product, as menus/bundles.toml calls it")],
    codes: Annotated[Path, typer.Argument(help="a file of codes or credentials, one a line", exists=True)],
) -> None:
    """Add voucher codes to the stock that is sold from the menus; all of a file, or none."""

    async def run(application: app.Application) -> None:
        async with application:
            seals = Seals(application.settings.secret_keys, voucher_sms.PURPOSE)
            lines = codes.read_text().splitlines()
            added = await voucher_sms.stock(application.store, seals, product, lines, application.clock.now())
            typer.echo(f"{added} codes of {product} added")

    _run(run)


@cli.command("float")
def float_(
    operator: Annotated[str | None, typer.Argument(help="whose; all are shown where none is named")] = None,
    amount: Annotated[str, typer.Option("--put", help="put there from a bank; below zero: taken out")] = "",
    side: Annotated[str, typer.Option(help="collection or disbursement, where they are two accounts")] = "disbursement",
    note: Annotated[str, typer.Option(help="the bank's reference")] = "",
) -> None:
    """Show what operators hold for us, or book what a treasurer has moved between a bank and one of them."""
    if operator is None or not amount:
        _run(lambda application: treasury.show(application, operator))
    else:
        _run(lambda application: treasury.put(application, operator, amount, side, note))


@cli.command()
def parked() -> None:
    """List the payments that wait for a person, and what callbacks have claimed about each."""
    _run(treasury.parked)


@cli.command()
def decide(
    payment: Annotated[str, typer.Argument(help="its id, as `parked` shows it, or the code of its order")],
    by: Annotated[str, typer.Option(help="who decides, for the audit")],
    receipt: Annotated[str, typer.Option(help="the operator's own id of it, from its statement: with --paid")] = "",
    *,
    paid: Annotated[bool, typer.Option("--paid/--unpaid", help="what the operator's statement shows")],
) -> None:
    """Book by hand what the operator's statement shows of a payment; docs/running.md has what becomes of it."""
    _run(lambda application: treasury.decide(application, payment, paid=paid, receipt=receipt, by=by))


@cli.command()
def refund(
    code: Annotated[str, typer.Argument(help="the order's, as `parked` shows it")],
    by: Annotated[str, typer.Option(help="who decides, for the audit")],
) -> None:
    """Ask once more for a refund that has failed, when what stood in its way is mended."""
    _run(lambda application: treasury.refund(application, code, by))


@cli.command()
def bench(
    seconds: Annotated[float, typer.Option(help="for each rate")] = 5.0,
    outage_seconds: Annotated[float, typer.Option(help="how long an operator is away, with --outage")] = 300.0,
    *,
    quick: Annotated[bool, typer.Option("--quick", help="fewer of everything: a minute or so")] = False,
    outage: Annotated[bool, typer.Option("--outage", help="measure an operator's absence too: minutes")] = False,
) -> None:
    """Measure this machine against a floor app, and print ratios."""
    from ussd_app import bench as measuring  # noqa: PLC0415 - no other command waits for what only this one needs

    load = measuring.QUICK if quick else measuring.Load(seconds=seconds)
    raise typer.Exit(measuring.run(load, outage_seconds if outage else 0.0))


def _run(command: Callable[[app.Application], Coroutine[None, None, None]]) -> None:
    """Run what needs the stores and nothing else, and end what was started for it."""
    settings, stores = app.with_stores(load(Settings))
    _migrate(settings)
    log.configure(settings.log_level)
    try:
        asyncio.run(command(app.Application(settings)))
    finally:
        if stores:
            stores.stop()


def _are_proxies(named: str) -> None:
    """Raise SettingsError where one is no address: it would never be met, and ``*`` has callers name their own."""
    for proxy in named.split(","):
        try:
            ip_network(proxy.strip())
        except ValueError:
            raise SettingsError(f"--trusted-proxies {proxy.strip()} is no address and no range of them") from None


def _number(option: str, text: str | None, settings: Settings) -> Msisdn | None:
    try:
        return parse(text, settings.country) if text else None
    except InvalidMsisdn:
        raise SettingsError(f"{option} {text} is no mobile number of {settings.country}") from None


def _migrate(settings: Settings) -> None:
    if settings.database_url:
        migrations.upgrade(app.sqlalchemy_url(settings.database_url.get_secret_value()))


def _refuse_demo(settings: Settings) -> None:
    if settings.database_url and not settings.sandbox:
        alone.refuse_demo(app.sqlalchemy_url(settings.database_url.get_secret_value()))


# What a person can mend.
PLAIN = (
    SettingsError, EmbeddedError, menus.MenuFaults, setup_momo_command.SetupError, voucher_sms.BadLine,
    treasury.TreasuryError, NoScreen, register_till_command.RegisterError,
)  # fmt: skip


def _said_plainly(command: Callable[[], Result]) -> Result:
    """Run, and turn what is PLAIN into one line and exit code 2."""
    try:
        return command()
    except PLAIN as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None


def main() -> None:
    """Start here."""
    # Ended by SIGTERM we still leave in order: the stores we started are stopped by the last process that uses them.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    _said_plainly(cli)


if __name__ == "__main__":
    main()
