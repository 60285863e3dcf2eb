"""Log lines are JSON, and hold no number whole."""

import json

import pytest
import structlog

from ussd_app import log


def test_numbers_are_masked_wherever_they_stand(
    capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    """By field, in a sentence, and in an exception; ids stay whole."""
    log.configure()
    request.addfinalizer(structlog.reset_defaults)
    log.get("x").info("sent to 233240000001", msisdn="+233240000002", payment="2d9a2d1e-0000-4000-8000-123456789012")
    try:
        int("cannot send to +233240000003")
    except ValueError:
        log.get("x").exception("failed")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert lines[0]["event"] == "sent to 23324****001"
    assert lines[0]["msisdn"] == "23324****002"
    assert lines[0]["payment"] == "2d9a2d1e-0000-4000-8000-123456789012"
    assert "233240000003" not in json.dumps(lines[1])
    assert "23324****003" in lines[1]["exception"]
