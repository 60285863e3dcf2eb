"""Countries and their networks, as data: networks.toml beside this file, or the file NETWORKS_FILE names.

A network goes by the name `phonenumbers` gives it, so a provider's own ``countries`` need nothing here to be found:
the table adds what digits and names do not tell (wire/operators.md sections 1 to 3).
"""

import tomllib
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ussd_app.money import Money, exponent

PACKAGED = Path(__file__).with_name("networks.toml")

Digits = Annotated[str, StringConstraints(pattern="^[0-9]+$")]
Region = Annotated[str, StringConstraints(pattern="^[A-Z]{2}$")]
Major = Annotated[Decimal, Field(gt=0)]


class Settings(BaseSettings):
    """``NETWORKS_FILE``."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True)

    networks_file: Path = PACKAGED


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one payment may be; where ``largest`` is None the operator itself refuses."""

    smallest: Money
    largest: Money | None


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Network(_Entry):
    """One network of a country, under its name in `phonenumbers`."""

    codes: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    prefixes: tuple[Digits, ...] = ()
    min: Major | None = None
    max: Major | None = None
    payout_min: Major | None = None


class Country(_Entry):
    """One country: its money, and the networks of which there is more to say than their names."""

    currency: Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")]
    decimals: Annotated[int, Field(ge=0)]
    portable: bool
    min: Major = Decimal(1)
    max: Major | None = None
    networks: dict[str, Network] = {}

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.decimals > exponent(self.currency):
            raise ValueError(f"{self.currency} has no {self.decimals} decimals")
        own = [(each.min, each.max, each.payout_min) for each in self.networks.values()]
        for amount in (bound for bounds in [(self.min, self.max), *own] for bound in bounds if bound):
            if amount != round(amount, self.decimals):
                raise ValueError(f"{amount} has more than {self.decimals} decimals")
        for name in self.networks:
            bounds = self.bounds(name)
            if bounds.largest and not bounds.smallest <= bounds.largest:
                raise ValueError(f"the max of {name} is below its min")
        said = [code.casefold() for name, each in self.networks.items() for code in {name.casefold(), *each.codes}]
        if len(said) != len(set(said)):
            raise ValueError("two networks share a code")
        return self

    def bounds(self, network: str, *, out: bool = False) -> Bounds:
        """What one payment from, or ``out`` to, a wallet of this network may be."""
        own = self.networks.get(network, Network())
        smallest, largest = (out and own.payout_min) or own.min or self.min, own.max or self.max
        return Bounds(Money.of(smallest, self.currency), Money.of(largest, self.currency) if largest else None)


class Table(_Entry):
    """All of it, as it was on one day."""

    dated: date
    countries: Annotated[dict[Region, Country], Field(min_length=1)]

    def step(self, country: str, currency: str) -> int:
        """The smallest difference between two amounts sent towards an operator, in minor units."""
        known = self.countries.get(country)
        if known is None or known.currency != currency:
            return 1
        return int(10 ** (exponent(currency) - known.decimals))

    def bounds(self, country: str, network: str, *, out: bool = False) -> Bounds | None:
        """What one payment there may be (see Country.bounds); None in a country that is not in the table."""
        known = self.countries.get(country)
        return known.bounds(network, out=out) if known else None

    def network(self, country: str, national: str, named: str) -> str:
        """Whose range a national number lies in, where `phonenumbers` names it ``named``."""
        networks = self.countries[country].networks if country in self.countries else {}
        ours = ((prefix, name) for name, each in networks.items() for prefix in each.prefixes)
        found = max(((len(p), name) for p, name in ours if national.startswith(p)), default=None)
        return found[1] if found else next((name for name, each in networks.items() if named in each.also), named)

    def told(self, country: str, code: str) -> str | None:
        """The network of this country an aggregator means by a code or a word; None for one of elsewhere or unknown."""
        networks = self.countries[country].networks if country in self.countries else {}
        word = code.strip().casefold()
        return next((name for name, each in networks.items() if word in _words(name, each)), None)


def read(path: Path) -> Table:
    """A table from a file; raises ValueError with one line that says where it is wrong."""
    try:
        told = tomllib.loads(path.read_text("utf-8"))
        return Table.model_validate({"dated": told.pop("dated", None), "countries": told})
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"] if part != "countries")
        raise ValueError(f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}") from None
    except ValueError as error:  # no TOML, or no UTF-8
        raise ValueError(f"{path}: {error}") from None


def step(country: str, currency: str) -> int:
    """What ``Operator.step(currency)`` answers where the operator has no rule of its own: see Table.step.

    ``step("KE", "KES")`` is 100: whole shillings.
    """
    return TABLE.step(country, currency)


def _words(name: str, network: Network) -> set[str]:
    return {name.casefold(), *(code.casefold() for code in network.codes)}


def _configured() -> Table:
    try:
        return read(Settings().networks_file)
    except ValueError as error:
        # Everything is built on this table when it is first imported, so there is nobody yet to tell it better.
        raise SystemExit(f"NETWORKS_FILE {error}") from None


TABLE = _configured()
