"""The benchmark measures something, at counts too small to mean anything."""

from pathlib import Path

import pytest

from ussd_app import bench, embedded
from ussd_app.bench.figures import Figure, of_floor
from ussd_app.bench.stage import Stage
from ussd_app.bench.statements import Sent

SMALL = bench.Load(
    seconds=0.01, phones=2, deep=1, placings=2, paid=2, at_once=(2,), senders=3, diallers=4
)  # fmt: skip


@pytest.mark.long
def test_every_figure_is_measured(tmp_path: Path, stores: embedded.Stores) -> None:
    """Each part brings its lines, none of them is a failure to measure, and counts are what was asked for."""
    figures = {figure.what: figure.measured for figure in bench.measure(Stage(tmp_path, stores), SMALL)}
    assert list(figures) == [
        "menu hop, of the floor",
        "one menu hop",
        "dialogue of 4 hops with its dial, known person, of the floor",
        "dialogue of 4 hops, stranger who registers, of the floor",
        "dial alone, of the floor",
        "CPU of a dial against a menu hop",
        "hop 20 against hop 2",
        "send money's dialogue: CPU of the web process",
        "live dialogue in Redis",
        "3 strangers at once register and send money",
        "4 phones dial in one second, three presses",
        "memory of the web process, grown by both crowds",
        "payments, 2 at once",
        "payment: CPU of the worker",
        "approval to second SMS, 10 payments begun a second: p95",
        "send money, dial to last SMS",
        "send money, refunded, dial to last SMS",
        "airtime, dial to last SMS",
        "holds and posts on one float",
        "breaker, limiter and token of a call",
        "memory after import",
        "ussd-app --help",
    ]
    assert figures["3 strangers at once register and send money"].startswith("0 wrong, 0 over 5 s, 0 busy")
    assert figures["4 phones dial in one second, three presses"].startswith("0 wrong, 0 over 5 s, 0 busy")
    assert "5 hops" in figures["send money's dialogue: CPU of the web process"]
    assert not figures["holds and posts on one float"].startswith("0 ")


def test_a_part_that_breaks_is_a_line(tmp_path: Path, stores: embedded.Stores) -> None:
    """The bench goes on: whoever reads it sees which part could not be measured, and why."""
    figures = list(bench.measure(Stage(tmp_path / "nowhere", stores), SMALL))
    assert [figure.what for figure in figures if figure.missed][:2] == ["not measured", "not measured"]
    assert "FileNotFoundError" in figures[0].measured
    assert "holds and posts on one float" in [figure.what for figure in figures]


@pytest.mark.parametrize(
    ("ours", "ratio", "missed"), [((30.0, 10.0, 20.0), "2.00", False), ((5.0, 5.0, 5.0), "0.50", True)]
)
def test_a_ratio_is_the_median_of_rounds(ours: tuple[float, ...], ratio: str, *, missed: bool) -> None:
    """Each round of ours is compared with the floor's beside it."""
    figure = of_floor("hop", ours, (10.0, 10.0, 10.0), 0.9)
    assert figure == Figure("hop, of the floor", figure.measured, ">= 0.9", missed)
    assert figure.measured.startswith(f"{ratio} (")


def test_what_was_sent_prints_no_values() -> None:
    """Statements are counted, and shown only where a test asks for them."""
    assert repr(Sent(("SELECT 1",), commits=1)) == "Sent(commits=1, jobs=0)"
