"""Menus that are too much: refused before they cost anything, and the largest allowed still cheap."""

import shutil
import time
from pathlib import Path

import pytest
from menu_actions import resolve

from ussd_app.menus import check

GOOD = Path(__file__).parent / "broken_menus" / "good"
BOMBS = ["one file", "many files", "links", "a large text", "deep brackets", "deep template"]


@pytest.mark.parametrize("shape", BOMBS)
def test_a_menu_bomb_is_refused_in_two_seconds(shape: str, tmp_path: Path) -> None:
    """Ten thousand screens, a text of a megabyte and deep nesting are refused before they cost anything."""
    shutil.copytree(GOOD, tmp_path / "menus")
    shutil.rmtree(tmp_path / "menus" / "locale")
    for name, content in _bomb(shape).items():
        (tmp_path / "menus" / name).write_text(content)
    begun = time.perf_counter()
    assert check(tmp_path / "menus", actions=resolve)
    assert time.perf_counter() - begun < 2


def _bomb(shape: str) -> dict[str, str]:
    head = 'title = "Bomb"\ncode = "4"\n'
    screens = [f's{number} = {{ end = "x" }}\n' for number in range(10_000)]
    linked = [f'[s{number}]\ndo="send.step"\non.next="s{number + 1}"\n' for number in range(10_000)]
    match shape:
        case "one file":
            return {"bomb.toml": head + "".join(screens)}
        case "many files":
            return {f"bomb{number}.toml": head + "".join(screens[:100]) for number in range(100)}
        case "links":
            return {"bomb.toml": head + "".join(linked[:5_000]), "bombs.toml": head + "".join(linked[5_000:])}
        case "a large text":
            return {"bomb.toml": f'{head}[s]\nend = "{"x" * 1_000_000}"\n'}
        case "deep brackets":
            return {"bomb.toml": f"{head}x = {'[' * 100_000}{']' * 100_000}\n"}
        case _:
            return {"bomb.toml": f'{head}[s]\nend = "{{{{ {"(" * 400}x{")" * 400} }}}}"\n'}


def test_a_thousand_screens_are_checked_in_two_seconds(tmp_path: Path) -> None:
    """The largest menus allowed, each screen leading to the next, cost no more than a bomb."""
    screens = [f'[s{n}]\nask = "text"\nkeep = "s{n % 50}"\ntext = "Say {n}"\nnext = "s{n + 1}"\n' for n in range(900)]
    shutil.copytree(GOOD, tmp_path / "menus")
    shutil.rmtree(tmp_path / "menus" / "locale")
    content = f'title = "Long"\ncode = "4"\n{"".join(screens)}[s900]\nend = "Done {{{{ s1 }}}}"\n'
    (tmp_path / "menus" / "long.toml").write_text(content)
    begun = time.perf_counter()
    assert check(tmp_path / "menus", actions=resolve) == []
    assert time.perf_counter() - begun < 2


def test_menus_have_a_size(tmp_path: Path) -> None:
    """Many files, each small enough, are refused together before any is read."""
    shutil.copytree(GOOD, tmp_path / "menus")
    for number in range(9):
        (tmp_path / "menus" / f"flow_{number}.toml").write_text("#" * 250 * 1024)
    (fault,) = check(tmp_path / "menus", actions=resolve)
    assert "no more than 2,097,152 are read" in fault.message


def test_a_catalogue_has_a_size(tmp_path: Path) -> None:
    """Twenty thousand bundles, all wrong, are one fault."""
    shutil.copytree(GOOD, tmp_path / "menus")
    (tmp_path / "menus" / "bundles.toml").write_text("".join(f"b{number}={{}}\n" for number in range(20_000)))
    begun = time.perf_counter()
    (fault,) = check(tmp_path / "menus", actions=resolve)
    assert str(fault) == "bundles.toml:1: 20,000 bundles, and no more than 500 are read"
    assert time.perf_counter() - begun < 2
