"""A test that hangs fails with its name, and does not hold up all others: a plugin of pytest's, for the main thread."""

from collections.abc import Generator
from contextlib import contextmanager
from signal import ITIMER_REAL, SIGALRM, setitimer, signal  # as they are, whatever a test puts there
from types import FrameType

import pytest

AGAIN_SECONDS = 5.0  # where whoever ran at that moment has swallowed the exception


class Hung(BaseException):
    """Raised where a test hangs; no test and no code of ours catches it by ``except Exception``."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Two deadlines in pyproject.toml."""
    parser.addini("deadline_seconds", "of a test's set-up, its call and its teardown each", default="180")
    parser.addini("long_deadline_seconds", "the same of a test marked long", default="1200")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """The fixtures."""
    with _deadline(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """The test."""
    with _deadline(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """What the fixtures do afterwards."""
    with _deadline(item):
        return (yield)


@contextmanager
def _deadline(item: pytest.Item) -> Generator[None]:
    name = "long_deadline_seconds" if item.get_closest_marker("long") else "deadline_seconds"
    seconds = float(item.config.getini(name))

    def hangs(_signal: int, _frame: FrameType | None) -> None:
        raise Hung(f"{item.nodeid} hangs: {seconds:g} s are over")

    before = signal(SIGALRM, hangs)
    setitimer(ITIMER_REAL, seconds, AGAIN_SECONDS)
    try:
        yield
    finally:
        setitimer(ITIMER_REAL, 0)
        signal(SIGALRM, before)
