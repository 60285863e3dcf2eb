"""Settings from the environment (and ``.env``), read once. Knows no provider: each declares its own class."""

import hashlib
import hmac
import re
from importlib import import_module
from ipaddress import IPv6Address, ip_address, ip_network
from pathlib import Path
from pkgutil import iter_modules
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as UnreadableError

from ussd_app.msisdn import CURRENCIES, zone_of


def _one_at_least(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise ValueError("names nobody")
    return value


def _are_networks(value: tuple[str, ...]) -> tuple[str, ...]:
    for network in value:
        ip_network(network, strict=False)
    return value


def _is_segment(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\w.~-]+", value.get_secret_value(), re.ASCII):
        raise ValueError("may hold letters, digits and . _ ~ - only: it stands in an address")
    return value


Names = Annotated[tuple[str, ...], NoDecode, AfterValidator(_one_at_least)]
Networks = Annotated[tuple[str, ...], NoDecode, AfterValidator(_are_networks)]  # CIDR ranges
Segment = Annotated[SecretStr, AfterValidator(_is_segment)]  # a secret that stands in an address


NAMED_BY = {"insights": "SIM_CHECKS"}  # the variable that names a folder's files, where it is not called like it
# What one Ghanaian cedi is worth elsewhere, in round figures.
UNITS = {
    "BIF": 250, "CDF": 200, "ETB": 10, "GMD": 5, "GNF": 700, "KES": 10, "LRD": 15, "LSL": 2, "MGA": 400, "MWK": 150,
    "MZN": 5, "NGN": 100, "RWF": 100, "SLE": 2, "SSP": 400, "SZL": 2, "TZS": 200, "UGX": 300, "XAF": 50, "XOF": 50,
    "ZAR": 2, "ZMW": 2, "ZWG": 2,
}  # fmt: skip
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


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


def _serving(country: str) -> tuple[str, ...]:
    """Every operator's file whose COUNTRIES names this one."""
    folder = import_module("ussd_app.operators").__path__
    names = sorted(found.name for found in iter_modules(folder))
    return tuple(name for name in names if country in getattr(provider("operators", name), "COUNTRIES", ()))


def _cedis(worth: int) -> Any:  # noqa: ANN401 - pydantic's own
    """The default of an amount, by the country that was set before it."""
    return Field(default_factory=lambda data: worth * UNITS.get(CURRENCIES.get(data.get("country"), ""), 1))


class Settings(Environment):
    """What the whole application shares. Documented for people in ``.env.example``."""

    service_code: str = "*920*55#"
    public_url: str = "http://127.0.0.1:8000"
    secret_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    redis_url: SecretStr | None = None
    database_url: SecretStr | None = None
    data_dir: Path = Path(".data")
    country: str = "GH"
    aggregators: Names = ("africastalking", "mtn")
    operators: Names = Field(
        default_factory=lambda data: _serving(data.get("country", "")),
        description="files of ussd_app/operators; unset, all that serve COUNTRY",
    )
    senders: Names = ("mtn", "africastalking", "console")
    deliveries: Names = ("airtime_africastalking", "bundles_africastalking", "voucher_sms")
    sim_checks: str | None = None  # who is asked whether a SIM was swapped, where the aggregator does not show it
    menus_dir: Path | None = None
    # Major units of the country's currency; unset, so many cedis' worth of it.
    daily_limit: PositiveInt = _cedis(5_000)  # what a person may send in 24 hours
    payment_limit: PositiveInt = _cedis(2_000)  # and in one payment
    secured_daily_limit: PositiveInt = _cedis(20_000)  # the same of somebody who has set a PIN
    secured_payment_limit: PositiveInt = _cedis(5_000)
    float_alert: PositiveInt = _cedis(20_000)  # a float that is left with less by a payout is reported
    payments_per_hour: PositiveInt = 20
    new_recipients_per_day: PositiveInt = 10  # whom a person has never paid before
    groups_per_person: PositiveInt = 10
    group_members_max: PositiveInt = 25
    prompt_delay_ms: NonNegativeInt = 1_000  # between the END of a dialogue and the operator's prompt (design.md law 7)
    log_level: str = "INFO"
    sandbox: bool = False  # serve the imitated providers at /sandbox
    allow_sandbox: bool = False
    allow_open_ussd: bool = False

    @field_validator("service_code")
    @classmethod
    def _is_dialled(cls, value: str) -> str:
        if not re.fullmatch(r"\*?[0-9]+(\*[0-9]+)*#?", value):
            raise ValueError("must look like *920*55#")
        return f"*{value.strip('*#')}#"

    @field_validator("public_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        except ValueError:
            usable = False
        if not usable or parts.query or parts.fragment:
            raise ValueError("must be an http or https address")
        return value.rstrip("/")

    @field_validator("country")
    @classmethod
    def _is_served(cls, value: str) -> str:
        if value not in CURRENCIES:
            raise ValueError(f"must be one of {', '.join(sorted(CURRENCIES))}")
        return value

    @field_validator("log_level")
    @classmethod
    def _is_level(cls, value: str) -> str:
        if value.upper() not in LEVELS:
            raise ValueError(f"must be one of {', '.join(LEVELS)}")
        return value.upper()

    @field_validator("menus_dir")
    @classmethod
    def _holds_menus(cls, value: Path | None) -> Path | None:
        if value and not (value / "main.toml").is_file():
            raise ValueError("must be a folder with a main.toml")
        return value

    @property
    def code(self) -> str:
        """The service code without its first ``*`` and last ``#``: ``920*55``."""
        return self.service_code.strip("*#")

    @property
    def zone(self) -> ZoneInfo:
        """The time of our country, in which dates are shown and hours are quiet."""
        return zone_of(self.country)

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


class Calling(Environment):
    """Settings of a provider that calls back: who may, and how it proves itself."""

    callback_secret: Segment | None = None  # made from SECRET_KEYS where unset
    allowed_ips: Networks = ()  # CIDR ranges its callbacks come from
    # Where it, or a gateway before us, signs the body (behind "<timestamp>." where that is sent too) with HMAC-SHA256.
    callback_signing_key: SecretStr | None = None
    callback_signature_header: str = "X-Signature"
    callback_timestamp_header: str | None = None  # seconds since 1970
    callback_replay_seconds: PositiveInt = 300


SettingsClass = TypeVar("SettingsClass", bound=Environment)


def load(cls: type[SettingsClass], **given: Any) -> SettingsClass:  # noqa: ANN401 - any field of the class
    """Read one settings class; raises SettingsError naming the first variable that is wrong."""
    prefix = cls.model_config.get("env_prefix", "")
    try:
        return cls(**given)
    except UnreadableError as error:
        named = re.search(r'field "(\w+)"', str(error))
        raise SettingsError(f"{prefix}{named[1].upper() if named else '...'} is not readable JSON") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        described = cls.model_fields[field].description if field in cls.model_fields else None
        said = "is not set" if first["type"] == "missing" else first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{(prefix + field).upper()} {said}{f' ({described})' if described else ''}") from None


def provider(folder: str, name: str) -> Any:  # noqa: ANN401 - a module is what it declares
    """The module of a configured provider, found by its name alone: ``provider("operators", "mtn_momo")``."""
    variable = NAMED_BY.get(folder, folder.upper())
    if not name.isidentifier():
        raise SettingsError(f"{variable} names {name!r}, which is no provider's name")
    try:
        return import_module(f"ussd_app.{folder}.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"ussd_app.{folder}.{name}":
            raise
        raise SettingsError(f"{variable} names {name!r}, and there is no ussd_app/{folder}/{name}.py") from None


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
    # A socket or a proxy of both families shows an IPv4 caller as ::ffff:196.201.214.200.
    ip = ip.ipv4_mapped or ip if isinstance(ip, IPv6Address) else ip
    return any(ip in ip_network(network, strict=False) for network in networks)


def _loopback_ip(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
