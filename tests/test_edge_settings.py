"""Wrong settings: one line that names the variable and exit code 2, for every variable that is documented."""

import re
import signal
import socket
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import structlog
import uvicorn

from ussd_app import __main__ as command
from ussd_app.aggregators import africastalking, hubtel, mtn
from ussd_app.config import Environment, Settings, load
from ussd_app.sandbox import environment

ROOT = Path(__file__).parents[1]
DOCUMENTED = tuple(re.findall(r"^#?([A-Z][A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
CLASSES: tuple[type[Environment], ...] = (
    Settings, africastalking.Settings, hubtel.Settings, mtn.Settings,
    *(import_module(f"ussd_app.{name}").Settings
      for name in ("senders.africastalking", "senders.mtn", "senders.console", "operators.mtn_momo", "operators.airtel",
                   "operators.daraja", "networks")),
)  # fmt: skip
READ = {f"{cls.model_config.get('env_prefix', '')}{name}".upper() for cls in CLASSES for name in cls.model_fields}
PUBLIC = {"PUBLIC_URL": "https://pay.example.org", "AT_USSD_SECRET": "a", "MTN_USSD_SECRET": "b"}


@pytest.fixture
def right(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Settings under which `serve` gets as far as listening, which it then does not."""
    given = {
        **environment(Settings()),
        "SECRET_KEYS": "of the tests",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "DATABASE_URL": "postgresql://u:hush@127.0.0.1:1/d",
        "MENUS_DIR": str(ROOT / "menus"),
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(uvicorn.Config, "bind_socket", lambda _self: socket.socket())
    monkeypatch.setattr(uvicorn.Server, "run", _not_listen)
    monkeypatch.setattr(signal, "signal", lambda *_given: None)  # the tests end as they always do
    monkeypatch.setattr(sys, "argv", ["ussd-app", "serve"])
    yield monkeypatch
    structlog.reset_defaults()


def _not_listen(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
    server.started = True
    for each in sockets:
        each.close()


def _serve() -> int:
    with pytest.raises(SystemExit) as ended:
        command.main()
    return int(ended.value.code or 0)


def test_right_settings_start(right: pytest.MonkeyPatch) -> None:
    """So that what the others meet is what they changed; levels are words, whatever their case."""
    assert _serve() == 0
    right.setenv("LOG_LEVEL", "debug")
    assert _serve() == 0


def test_every_documented_variable_is_read() -> None:
    """Nobody sets what nothing looks at."""
    assert len(DOCUMENTED) > 30
    assert not {name for name in DOCUMENTED if name not in READ}


def test_every_value_the_example_names_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Defaults as written, and the words its comments offer."""
    for line in re.findall(r"^#([A-Z_]+=.+)$", (ROOT / ".env.example").read_text(), re.MULTILINE):
        monkeypatch.setenv(*line.split("=", 1))
    for cls in (Settings, africastalking.Settings, mtn.Settings, hubtel.Settings):
        load(cls)
    offered = re.search(r"# (\w+), (\w+) or (\w+); told from", (ROOT / ".env.example").read_text())
    assert offered
    for style in offered.groups():
        monkeypatch.setenv("MTN_USSD_FORMAT", style)
        load(mtn.Settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SERVICE_CODE", "hello"), ("SERVICE_CODE", "*#"), ("SERVICE_CODE", "*920**55#"), ("SERVICE_CODE", "*٩٢٠#"),
        ("SERVICE_CODE", "*²#"),
        ("PUBLIC_URL", "pay.example.org"), ("PUBLIC_URL", "ftp://x"), ("PUBLIC_URL", "http://"),
        ("PUBLIC_URL", "http://[::1"), ("PUBLIC_URL", "http://127.0.0.1:99999"), ("PUBLIC_URL", "http://127.0.0.1/?a=1"),
        ("COUNTRY", "Ghana"), ("COUNTRY", "XX"), ("COUNTRY", "US"),
        ("REDIS_URL", "127.0.0.1"), ("REDIS_URL", "redis://:hush/y@h:6379"), ("REDIS_URL", "http://x"), ("REDIS_URL", "redis://h:port"),
        ("REDIS_URL", "redis+sentinel://h:abc/m/0"), ("REDIS_URL", "redis+sentinel://h:1/m/x"),
        ("REDIS_URL", "redis+sentinel://h:1"),
        ("DATABASE_URL", "mysql://x"), ("DATABASE_URL", "d"), ("DATABASE_URL", "postgresql://u:hush@h:port/d"),
        ("AGGREGATORS", "nobody"), ("AGGREGATORS", ","), ("AGGREGATORS", "mtn.x"),
        ("OPERATORS", "nobody"), ("OPERATORS", ","), ("SENDERS", "nobody"), ("SENDERS", ","),
        ("SENDERS", "mtn;console"), ("DELIVERIES", "nobody"), ("DELIVERIES", ","), ("SIM_CHECKS", "nobody"),
        ("SIM_CHECKS", "africastalking.x"),
        ("GROUPS_PER_PERSON", "0"), ("GROUP_MEMBERS_MAX", "many"), ("SECURED_DAILY_LIMIT", "-1"),
        ("SECURED_PAYMENT_LIMIT", "0"), ("PAYMENTS_PER_HOUR", "-1"), ("NEW_RECIPIENTS_PER_DAY", "x"),
        ("MTN_USSD_FORMAT", "xml"), ("MTN_USSD_SECRET", "a/b"), ("AT_USSD_SECRET", "é"),
        ("AT_USSD_ALLOWED_IPS", "10.0.0.0/99"), ("MTN_USSD_ALLOWED_IPS", "host"),
        ("MTN_SMS_BASE_URL", "x"), ("MTN_SMS_AUTHENTICATION", "none"), ("MTN_SMS_SENDER_ADDRESS", "x" * 16),
        ("AT_SENDER_ID", "x" * 16),
        ("MTN_MOMO_ENVIRONMENT", "mtn ghana"), ("MTN_MOMO_BASE_URL", "x"), ("MTN_MOMO_ALLOWED_IPS", "10.0.0.0/99"),
        ("MTN_MOMO_ALLOWED_IPS", "mtn.com"), ("MTN_MOMO_CALLBACK_SECRET", "a/b"), ("MTN_MOMO_CALLBACK_SECRET", "a b"),
        ("MTN_MOMO_ONE_WALLET", "perhaps"), ("MTN_MOMO_STEPS", "ten"), ("MTN_MOMO_STEPS", '{"GHS":0}'),
        ("PAYMENT_LIMIT", "much"), ("PAYMENT_LIMIT", "-1"), ("DAILY_LIMIT", "1.5"), ("DAILY_LIMIT", "-1"),
        ("PROMPT_DELAY_MS", "soon"), ("PROMPT_DELAY_MS", "-1"),
        ("AT_REPEAT_WINDOW_MS", "x"), ("AT_REPEAT_WINDOW_MS", "-1"), ("MTN_REPEAT_WINDOW_MS", "-1"),
        ("MENUS_DIR", "/nowhere"), ("LOG_LEVEL", "loud"),
        ("SANDBOX", "perhaps"), ("ALLOW_SANDBOX", "2"), ("ALLOW_OPEN_USSD", "maybe"),
    ],
)  # fmt: skip
def test_wrong_value_is_one_line_and_exit_code_2(
    right: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    """The line begins with or holds the variable's name, and no secret; nothing else is printed."""
    right.setenv(name, value)
    assert _serve() == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    assert name in said
    assert "hush" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "name",
    [
        "AT_USERNAME", "AT_API_KEY", "MTN_CONSUMER_KEY", "MTN_CONSUMER_SECRET", "MTN_SMS_SERVICE_CODE",
        "MTN_MOMO_SUBSCRIPTION_KEY", "MTN_MOMO_API_USER", "MTN_MOMO_API_KEY",
    ],
)  # fmt: skip
@pytest.mark.parametrize("how", ["unset", "empty"])
def test_missing_credential_is_one_line_that_says_where_it_comes_from(
    right: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, how: str
) -> None:
    """A new user finds the page it is copied from."""
    if how == "unset":
        right.delenv(name)
    else:
        right.setenv(name, "")
    assert _serve() == 2
    assert re.fullmatch(rf"{name} is not set \(.+\)\n", capsys.readouterr().err)


# On an address others can reach (law 24)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"SANDBOX": "1"}, "ALLOW_SANDBOX=1"),
        ({"AT_USSD_SECRET": ""}, "AT_USSD_SECRET"),
        ({"MTN_USSD_SECRET": ""}, "MTN_USSD_SECRET"),
        ({"SECRET_KEYS": ""}, "SECRET_KEYS"),
        ({"MTN_USSD_SECRET": "", "PUBLIC_URL": "http://192.168.1.5:8000"}, "ALLOW_OPEN_USSD=1"),
        ({"MTN_USSD_SECRET": "", "PUBLIC_URL": "http://0.0.0.0:8000"}, "ALLOW_OPEN_USSD=1"),
        ({"MTN_USSD_SECRET": "", "PUBLIC_URL": "http://127.0.0.1@evil.example.org"}, "ALLOW_OPEN_USSD=1"),
        ({"MTN_USSD_SECRET": "", "PUBLIC_URL": "http://localhost.example.org"}, "ALLOW_OPEN_USSD=1"),
    ],
)
def test_public_address_refuses_what_is_for_this_machine_only(
    right: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: dict[str, str], says: str
) -> None:
    """Sandbox, open callbacks and a key of its own making need a word of permission."""
    for name, value in (PUBLIC | given).items():
        right.setenv(name, value)
    assert _serve() == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert says in said


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"SANDBOX": "1", "ALLOW_SANDBOX": "1"},
        {"MTN_USSD_SECRET": "", "ALLOW_OPEN_USSD": "1"},
        {"MTN_USSD_SECRET": "", "MTN_USSD_ALLOWED_IPS": "192.0.2.0/24"},
    ],
)
def test_public_address_with_permission_starts(right: pytest.MonkeyPatch, given: dict[str, str]) -> None:
    """What was said explicitly is believed."""
    for name, value in (PUBLIC | given).items():
        right.setenv(name, value)
    assert _serve() == 0
