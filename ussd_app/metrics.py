"""What we measure, for Prometheus. Labels hold names of ours only: no number, no id, no secret, no path."""

import os

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

HOPS = Counter("ussd_hops", "USSD requests answered", ("aggregator", "flow", "outcome"))
REFUSED = Counter("ussd_refused", "Hops refused before anything was begun: a dial, or one that continues", ("what",))
SOCKETS = Gauge("sockets", "Connections of those who call us", multiprocess_mode="livesum")
SOCKETS_SHED = Counter("sockets_shed", "Connections closed because sockets had run out")
HOP_SECONDS = Histogram(
    "ussd_hop_seconds",
    "From the request's last byte to the reply",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 8),
)
PAYMENTS = Counter("payments", "Payments that became final", ("operator", "kind", "outcome"))
PROVIDER_SECONDS = Histogram("provider_seconds", "Calls to outside parties", ("provider", "call"))
TOKEN_REFRESHES = Counter("token_refreshes", "Access tokens fetched", ("provider",))
SMS = Counter("sms", "SMS attempts", ("sender", "outcome"))
BREAKER_OPEN = Gauge(
    "breaker_open",
    "Whether calls to an outside party are held back (1) or made (0)",
    ("provider", "call"),
    multiprocess_mode="mostrecent",  # the process that opens a breaker is rarely the one that closes it
)
BREAKER_OPENINGS = Counter("breaker_openings", "Times a breaker opened", ("provider", "call"))
OLDEST_DUE_JOB_SECONDS = Gauge(
    "oldest_due_job_seconds", "Age of the oldest job that should be running", multiprocess_mode="mostrecent"
)


def page() -> tuple[bytes, str]:
    """The metrics of this process, or of all that share ``PROMETHEUS_MULTIPROC_DIR``, and their content type."""
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # prometheus-client types it in part
    return generate_latest(registry), CONTENT_TYPE_LATEST
