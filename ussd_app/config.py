"""Settings from the environment (and ``.env``), read once. Knows no provider: each declares its own class."""

import hashlib
import hmac
from importlib import import_module
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Names = Annotated[tuple[str, ...], NoDecode]


class SettingsError(Exception):
    """A setting is missing or wrong; the message is one line that names the variable."""


class Environment(BaseSettings):
    """Base of every settings class: fields are variables, lists are comma-separated, unknown ones are ignored."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True)

    @field_validator("*", mode="before")
    @classmethod
    def _split(cls, value: Any, info: Any) -> Any:  # noqa: ANN401 - pydantic's own signature
        field = cls.model_fields[info.field_name]
        if isinstance(value, str) and field.annotation not in {str, SecretStr} and "tuple" in str(field.annotation):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value


class Settings(Environment):
    """What the whole application shares. Documented for people in ``.env.example``."""

    service_code: str = "*920*55#"
    public_url: str = "http://127.0.0.1:8000"
    secret_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    redis_url: SecretStr | None = None
    database_url: SecretStr | None = None
    data_dir: Path = Path(".data")
    country: str = Field(default="GH", pattern="^[A-Z]{2}$")
    aggregators: Names = ("africastalking", "mtn")
    operators: Names = ("mtn_momo",)
    senders: Names = ("mtn", "africastalking", "console")
    menus_dir: Path | None = None
    daily_limit: int = 5_000  # major units a person may send in 24 hours
    payment_limit: int = 2_000  # major units in one payment
    prompt_delay_ms: int = 1_000  # between the END of a dialogue and the operator's prompt (design.md law 7)
    log_level: str = "INFO"
    sandbox: bool = False  # serve the imitated providers at /sandbox
    allow_sandbox: bool = False
    allow_open_ussd: bool = False

    @field_validator("service_code")
    @classmethod
    def _is_dialled(cls, value: str) -> str:
        if not value.strip("*#").replace("*", "").isdigit():
            raise ValueError("must look like *920*55#")
        return f"*{value.strip('*#')}#"

    @field_validator("public_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must be an http or https address")
        return value.rstrip("/")

    @property
    def code(self) -> str:
        """The service code without its first ``*`` and last ``#``: ``920*55``."""
        return self.service_code.strip("*#")

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach us."""
        return is_loopback(self.public_url)

    def key(self, purpose: str) -> bytes:
        """The newest secret key, bound to one purpose (32 bytes)."""
        return hmac.digest(self.secret_keys[0].get_secret_value().encode(), purpose.encode(), "sha256")

    def keys(self, purpose: str) -> tuple[bytes, ...]:
        """Every secret key, newest first, bound to one purpose."""
        return tuple(hmac.digest(k.get_secret_value().encode(), purpose.encode(), "sha256") for k in self.secret_keys)

    def callback_secret(self, provider: str) -> str:
        """The unguessable path segment of a provider's callbacks, where it has no setting of its own."""
        return hashlib.sha256(self.key(f"callback:{provider}")).hexdigest()[:32]


SettingsClass = TypeVar("SettingsClass", bound=Environment)


def load(cls: type[SettingsClass], **given: Any) -> SettingsClass:  # noqa: ANN401 - any field of the class
    """Read one settings class; raises SettingsError naming the first variable that is wrong."""
    try:
        return cls(**given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        prefix = cls.model_config.get("env_prefix", "")
        described = cls.model_fields[field].description if field in cls.model_fields else None
        said = "is not set" if first["type"] == "missing" else first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{(prefix + field).upper()} {said}{f' ({described})' if described else ''}") from None


def provider(folder: str, name: str) -> Any:  # noqa: ANN401 - a module is what it declares
    """The module of a configured provider, found by its name alone: ``provider("operators", "mtn_momo")``."""
    if not name.isidentifier():
        raise SettingsError(f"{folder.upper()} names {name!r}, which is no provider's name")
    try:
        return import_module(f"ussd_app.{folder}.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"ussd_app.{folder}.{name}":
            raise
        raise SettingsError(f"{folder.upper()} names {name!r}, and there is no ussd_app/{folder}/{name}.py") from None


def is_loopback(url: str) -> bool:
    """Whether an address leads to this machine only."""
    host = urlsplit(url).hostname or ""
    return host == "localhost" or (host.replace(".", "").replace(":", "").isalnum() and _loopback_ip(host))


def allowed(address: str, networks: tuple[str, ...]) -> bool:
    """Whether a caller's IP address lies in one of the CIDR ranges; an empty list allows all."""
    if not networks:
        return True
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    return any(ip in ip_network(network, strict=False) for network in networks)


def _loopback_ip(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
