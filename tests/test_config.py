"""Settings: wrong ones are one line, secrets never print."""

import pytest

from ussd_app import config
from ussd_app.config import Settings, SettingsError, load


def test_lists_are_comma_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    """With or without blanks."""
    monkeypatch.setenv("SENDERS", "mtn, console")
    assert load(Settings).senders == ("mtn", "console")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SERVICE_CODE", "hello", "SERVICE_CODE must look like"),
        ("PUBLIC_URL", "example.org", "PUBLIC_URL must be an http or https address"),
        ("COUNTRY", "Ghana", "COUNTRY "),
        ("DAILY_LIMIT", "much", "DAILY_LIMIT "),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    """Nobody reads a traceback to find a typing error."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{said}[^\n]*$"):
        load(Settings)


def test_an_unknown_provider_is_one_line() -> None:
    """With the file that would make it known."""
    with pytest.raises(SettingsError, match=r"no ussd_app/operators/nobody\.py"):
        config.provider("operators", "nobody")
    with pytest.raises(SettingsError, match="no provider's name"):
        config.provider("operators", "../x")


def test_secrets_print_as_stars(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a repr, a log line or a traceback with locals."""
    monkeypatch.setenv("SECRET_KEYS", "first-secret,second-secret")
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hush@h/d")
    settings = load(Settings)
    for hidden in ("first-secret", "second-secret", "hush"):
        assert hidden not in repr(settings)
        assert hidden not in str(settings.model_dump())


def test_keys_are_bound_to_their_purpose_and_stay_readable_after_rotation() -> None:
    """Newest first; one purpose's key is no other's."""
    old, new = load(Settings, secret_keys="old"), load(Settings, secret_keys="new,old")
    assert new.key("pin") != new.key("session")
    assert old.key("pin") == new.keys("pin")[1]


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://localhost", True),
        ("http://[::1]:1", True),
        ("https://pay.example.org", False),
        ("http://10.0.0.1", False),
        ("http://127.0.0.1.example.org", False),
    ],
)
def test_only_this_machine_is_loopback(url: str, *, loopback: bool) -> None:
    """The sandbox and open callbacks depend on it."""
    assert config.is_loopback(url) is loopback


def test_addresses_are_allowed_by_range() -> None:
    """An empty list allows all; nonsense allows nobody."""
    assert config.allowed("10.1.2.3", ("10.0.0.0/8",))
    assert not config.allowed("11.1.2.3", ("10.0.0.0/8",))
    assert not config.allowed("testclient", ("10.0.0.0/8",))
    assert config.allowed("anything", ())
