"""The sandbox answers as the wire documents say, to the byte: scenes in tests/sandbox/*.toml."""

from typing import Any

import pytest
from conftest import FakeClock
from sandbox import World, play, scenes


def rows(name: str) -> pytest.MarkDecorator:
    """One test for each scene of a file."""
    return pytest.mark.parametrize("scene", scenes(name), ids=lambda scene: scene["name"])


@rows("mtn_momo")
async def test_mtn_momo(scene: dict[str, Any], clock: FakeClock) -> None:
    """MTN MoMo's half plays the scene."""
    await play(World(clock), scene, clock.advance)


@rows("mtn")
async def test_mtn(scene: dict[str, Any], clock: FakeClock) -> None:
    """MTN SMS's half plays the scene."""
    await play(World(clock), scene, clock.advance)


@rows("africastalking")
async def test_africastalking(scene: dict[str, Any], clock: FakeClock) -> None:
    """Africa's Talking's half plays the scene."""
    told = ("airtime_africastalking", "bundles_africastalking", "insights_africastalking")
    urls = {name: f"https://pay.example.org/callbacks/{name}/s" for name in told}
    world = World(clock, urls | {"africastalking": "https://pay.example.org/sms/africastalking/reports"})
    await play(world, scene, clock.advance)
