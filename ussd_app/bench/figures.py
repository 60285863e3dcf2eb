"""What the bench prints: a figure a line, each beside what it is compared with."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the result; ``target`` is what is wanted at least, and ``missed`` whether it was not reached."""

    what: str
    measured: str
    target: str = ""
    missed: bool = False


def percentile(seconds: Sequence[float], which: int) -> float:
    """One percentile, from 1 to 99; that of a single value is the value."""
    if len(seconds) == 1:
        return seconds[0]
    return quantiles(seconds, n=100, method="inclusive")[which - 1]


def percentiles(seconds: Sequence[float], high: int) -> str:
    """The median and one high percentile, in milliseconds."""
    return f"p50 {percentile(seconds, 50) * 1000:.1f} ms, p{high} {percentile(seconds, high) * 1000:.1f} ms"


def of_floor(what: str, ours: Sequence[float], floor: Sequence[float], least: float, note: str = "") -> Figure:
    """Rates of ours beside the floor's, which were measured in turns: the ratio is the median of the pairs'."""
    ratio = median(mine / base for mine, base in zip(ours, floor, strict=True))
    rates = f"{ratio:.2f} ({median(ours):.0f} against {median(floor):.0f} a second{f'; {note}' if note else ''})"
    return Figure(f"{what}, of the floor", rates, f">= {least:g}" if least else "", ratio < least)


def at_most(what: str, value: float, most: float, unit: str = "", note: str = "") -> Figure:
    """A figure that should be small."""
    return Figure(what, f"{value:.2f}{unit}{f' ({note})' if note else ''}", f"<= {most:g}{unit}", value > most)
