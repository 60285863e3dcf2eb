"""What becomes of a test that hangs."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
TESTS = """
import asyncio, time, pytest

pytestmark = pytest.mark.anyio

@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"

@pytest.fixture
async def slow():
    yield
    await asyncio.Event().wait()

async def test_waits():
    await asyncio.Event().wait()

async def test_catches():
    while True:
        try:
            await asyncio.sleep(60)
        except Exception:
            pass

def test_sleeps():
    time.sleep(60)

@pytest.mark.long
def test_may_take_longer():
    time.sleep(1)

async def test_never_ends(slow):
    pass

async def test_is_quick():
    await asyncio.sleep(0)
"""


def test_a_test_that_hangs_fails_with_its_name_and_the_next_is_run(tmp_path: Path) -> None:
    """Waiting, sleeping or catching, in the test or in its fixture."""
    (tmp_path / "test_hangs.py").write_text(TESTS)
    options = ["-o", "deadline_seconds=0.5", "-o", "long_deadline_seconds=20", "-o", "markers=long", "-p", "deadline"]
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "--rootdir", str(tmp_path), "-c", "/dev/null", *options]
    env = {"PYTHONPATH": str(HERE), "PATH": ""}
    run = subprocess.run([*command, str(tmp_path)], env=env, capture_output=True, text=True, check=False, timeout=60)
    said = {line.split(" - ")[0] for line in run.stdout.splitlines() if line.startswith(("PASSED", "FAILED", "ERROR"))}
    assert {line.partition("::")[0].split()[0] + " " + line.partition("::")[2] for line in said} == {
        "FAILED test_waits", "FAILED test_catches", "FAILED test_sleeps", "PASSED test_may_take_longer",
        "PASSED test_never_ends", "ERROR test_never_ends", "PASSED test_is_quick",
    }, run.stdout + run.stderr  # fmt: skip
    assert "test_waits hangs: 0.5 s are over" in run.stdout
