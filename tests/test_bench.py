"""The benchmark measures something, at counts too small to mean anything."""

from pathlib import Path

from ussd_app.commands import bench


def test_every_figure_is_measured(tmp_path: Path, redis_url: str, database: str) -> None:
    """Hops of both servers, depth, bytes, payments, tokens and postings come out as numbers of these counts."""
    load = bench.Load(seconds=0.1, phones=3, deep=2, payments=2)
    figures = {figure.what: figure for figure in bench.measure(tmp_path, redis_url, database, load)}
    assert list(figures) == [
        "menu-only hops a second",
        "one such hop",
        "hop 20 against hop 2",
        "live dialogue in Redis",
        "send money, approval to second SMS",
        "tokens fetched",
        "postings on one hot float row",
    ]
    assert "240 hops in 1 rounds, 3 phones at once" in figures["menu-only hops a second"].measured
    assert not figures["live dialogue in Redis"].missed
    assert "(2 payments, 4 at once, one worker)" in figures["send money, approval to second SMS"].measured
    assert figures["tokens fetched"].measured.startswith("3 for ")
    assert not figures["postings on one hot float row"].measured.startswith("0 ")
