"""The outage part of the benchmark measures something; its own figures need minutes."""

import pytest

from ussd_app.bench import outage


async def test_what_a_call_costs_is_measured(redis_url: str) -> None:
    """In milliseconds, beside what two bare commands take."""
    figure = await outage.cost(redis_url, calls=20)
    assert " ms beyond Redis (" in figure.measured


@pytest.mark.long
async def test_an_outage_is_seen_and_ends(redis_url: str, database: str) -> None:
    """Half a minute of it: hardly a call reaches who fails, and its return is found out."""
    rate, other, back = await outage.measure(redis_url, database, 30)
    assert not rate.missed
    assert other.measured.startswith("p95 ")
    assert not back.missed
