"""What runs the jobs: any number of these processes, each killable at any moment.

A job's argument is an id. It looks at the row first and acts second, so that running it twice is harmless; one that
raises, or whose worker dies, is run again.
"""

import asyncio
from contextlib import nullcontext
from functools import partial
from uuid import UUID

import procrastinate
from procrastinate import JobContext, RetryStrategy, builtin_tasks
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Status
from procrastinate.signals import on_stop
from sqlalchemy import text

from ussd_app import log, metrics
from ussd_app.groups.jobs import JOBS
from ussd_app.jobs import MONEY
from ussd_app.msisdn import CURRENCIES
from ussd_app.orders import Orders
from ussd_app.payments import floats, recovery
from ussd_app.promises.keeper import Keeper
from ussd_app.sims import Sims
from ussd_app.till import Tills

CONCURRENCY = 20  # jobs at once; most of each is waiting for a provider
POLL_SECONDS = 0.5
HEARTBEAT_SECONDS = 2.0
STALLED_SECONDS = 10.0
TEND = "* * * * * */5"  # every five seconds: the sixth field
GRACE_SECONDS = 15.0
KEEP_FAILED_HOURS = 24 * 30

AGAIN = RetryStrategy(max_attempts=500, linear_wait=5)

OLDEST_DUE = text("""
    SELECT coalesce(extract(epoch FROM now() - min(coalesce(j.scheduled_at, e.at))), 0)
    FROM procrastinate_jobs j JOIN procrastinate_events e ON e.job_id = j.id AND e.type = 'deferred'
    WHERE j.status = 'todo' AND (j.scheduled_at IS NULL OR j.scheduled_at <= now())
""")


def register(app: procrastinate.App, orders: Orders, sims: Sims, *, tend: str = TEND) -> None:
    """Say what each job name runs; ``tend`` is how often what nobody asks for is seen to."""
    messages = orders.messages
    _register_orders(app, orders)

    @app.task(name="sims.ask", retry=AGAIN)
    async def ask(check: str) -> None:
        await sims.inquire(check)

    for name, run in JOBS.items():
        app.task(name=name, retry=AGAIN)(partial(run, orders.groups))

    # No retry: a failed pump that waits for its next try would hold back younger ones of its lock; tend wakes it.
    @app.task(name="messages.pump")
    async def pump(sender: str) -> None:
        await messages.pump(sender)

    @app.periodic(cron=tend)
    @app.task(name="worker.tend", queue="tend", priority=MONEY + 1, queueing_lock="worker.tend", pass_context=True)
    async def look_after(context: JobContext, timestamp: int) -> None:  # noqa: ARG001 - Procrastinate hands it over
        await _retry_stalled(context.app)
        await messages.wake()
        async with orders.store.look() as connection:
            metrics.OLDEST_DUE_JOB_SECONDS.set(float((await connection.execute(OLDEST_DUE)).scalar_one()))
        await recovery.look(orders.payments)

    @app.periodic(cron="*/10 * * * *")
    @app.task(name="floats.ask", queue="tend", queueing_lock="floats.ask")
    async def ask_balances(timestamp: int) -> None:  # noqa: ARG001 - Procrastinate hands it over
        await floats.ask(orders.payments, CURRENCIES[orders.settings.country])

    @app.periodic(cron="17 3 * * *")
    @app.task(name="worker.sweep", queue="tend", queueing_lock="worker.sweep", pass_context=True)
    async def sweep(context: JobContext, timestamp: int) -> None:  # noqa: ARG001 - Procrastinate hands it over
        await builtin_tasks.remove_old_jobs(context, max_hours=KEEP_FAILED_HOURS, remove_failed=True)


def _register_orders(app: procrastinate.App, orders: Orders) -> None:
    @app.task(name="payments.submit", retry=AGAIN)
    async def submit(payment: str) -> None:
        await orders.submit(UUID(payment))

    @app.task(name="payments.poll", retry=AGAIN)
    async def poll(payment: str, number: int) -> None:
        await orders.poll(UUID(payment), number)

    @app.task(name="payments.confirm", retry=AGAIN)
    async def confirm(payment: str) -> None:
        await orders.confirm(UUID(payment))

    @app.task(name="orders.tell_delay", retry=AGAIN)
    async def tell_delay(order: str, step: str) -> None:
        await orders.tell_delay(UUID(order), step)


def register_till(app: procrastinate.App, tills: Tills) -> None:
    """The same of what is paid to our till."""

    @app.task(name="till.look_up", retry=AGAIN)
    async def look_up(deposit: str, number: int) -> None:
        await tills.look_up(UUID(deposit), number)


def register_promises(app: procrastinate.App, keeper: Keeper, *, tend: str = TEND) -> None:
    """The same of what dead web processes have promised."""

    @app.periodic(cron=tend)
    @app.task(name="promises.take_up", queue="tend", queueing_lock="promises.take_up")
    async def take_up(timestamp: int) -> None:  # noqa: ARG001 - Procrastinate hands it over
        await keeper.take_up()

    @app.periodic(cron="23 3 * * *")
    @app.task(name="promises.sweep", queue="tend", queueing_lock="promises.sweep")
    async def sweep(timestamp: int) -> None:  # noqa: ARG001 - Procrastinate hands it over
        await keeper.promises.sweep()


async def run(app: procrastinate.App, *, signals: bool = True) -> None:
    """Work until told to stop (SIGINT or SIGTERM); jobs under way get GRACE_SECONDS to end."""
    told = asyncio.Event()
    with on_stop(told.set) if signals else nullcontext():
        stopping = asyncio.create_task(told.wait())
        working = asyncio.create_task(_work(app))
        try:
            while not told.is_set():
                await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if working.done() and not told.is_set():
                    working = asyncio.create_task(_work(app))
        finally:
            stopping.cancel()
            working.cancel()  # which Procrastinate takes as a request to stop gracefully
            await asyncio.gather(working, stopping, return_exceptions=True)


async def _work(app: procrastinate.App) -> None:
    """One life of Procrastinate's worker, which ends as if told to whenever Postgres is away."""
    try:
        await app.run_worker_async(
            concurrency=CONCURRENCY,
            fetch_job_polling_interval=POLL_SECONDS,
            update_heartbeat_interval=HEARTBEAT_SECONDS,
            stalled_worker_timeout=STALLED_SECONDS,
            shutdown_graceful_timeout=GRACE_SECONDS,
            install_signal_handlers=False,
            delete_jobs="successful",
        )
    except ConnectorException as error:
        log.get(__name__).warning("worker lost Postgres", error=str(error))
    await asyncio.sleep(POLL_SECONDS)


async def _retry_stalled(app: procrastinate.App) -> None:
    """Put back what a dead worker was doing; a periodic job comes again by itself."""
    for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=STALLED_SECONDS):
        log.get(__name__).warning("job of a dead worker", job=job.id, task=job.task_name)
        if job.queueing_lock:
            await app.job_manager.finish_job(job, status=Status.FAILED, delete_job=True)
        else:
            await app.job_manager.retry_job(job)
