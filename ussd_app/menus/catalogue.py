"""Reads bundles.toml: the bundles and vouchers on sale, the network each is for, and the delivery that hands it out."""

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from typing import Annotated

from phonenumbers.carrierdata import CARRIER_DATA
from pydantic import AfterValidator, Field, StringConstraints

from ussd_app.actions import LABEL_SEPTETS_MAX
from ussd_app.gsm import septets
from ussd_app.menus.faults import Fault
from ussd_app.menus.schema import Shape, one_of, shaped
from ussd_app.menus.source import Source
from ussd_app.money import InvalidAmount, parse
from ussd_app.msisdn import CURRENCIES
from ussd_app.orders.bundle import Bundle

BUNDLES_MAX = 500
NAME_SEPTETS_MAX = 14


def _network(value: str) -> str:
    if value not in _networks():
        raise ValueError(f"no number's network is called {value!r}")
    return value


def _short(value: str) -> str:
    if (septets(value) or 999) > NAME_SEPTETS_MAX:
        raise ValueError(f"takes more than {NAME_SEPTETS_MAX} septets of GSM-7")
    return value


def _delivery(value: str) -> str:
    if find_spec(f"ussd_app.deliveries.{value}") is None:
        raise ValueError(f"there is no ussd_app/deliveries/{value}.py")
    return value


Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=40)]


class BundleShape(Shape):
    """One bundle."""

    operator: Annotated[str, AfterValidator(_network)]
    name: Annotated[Line, AfterValidator(_short)]
    size: Line
    validity: Annotated[str, one_of("Day", "Week", "Month")]
    price: str
    currency: Annotated[str, one_of(*sorted(set(CURRENCIES.values())))]
    delivery: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$"), AfterValidator(_delivery)]
    product: Line
    quantity: Annotated[int, Field(ge=1)] | None = None
    unit: Annotated[str, one_of("MB", "GB")] | None = None

    @property
    def item(self) -> Mapping[str, str]:
        """What its delivery is asked for."""
        asked = {"product": self.product, "validity": self.validity, "quantity": self.quantity, "unit": self.unit}
        return {name: str(value) for name, value in asked.items() if value is not None}


def read(source: Source, faults: list[Fault]) -> dict[str, Bundle]:
    """The bundles by id, in the order of the file; what is wrong with any of them goes among the faults."""
    if len(source.data) > BUNDLES_MAX:
        faults.append(source.fault(f"{len(source.data):,} bundles, and no more than {BUNDLES_MAX} are read"))
        return {}
    bundles: dict[str, Bundle] = {}
    for id_, table in source.data.items():
        shape = shaped(BundleShape, source, table, faults, id_)
        if shape is None:
            continue
        before = len(faults)
        bundle = _bundle(id_, shape, source, faults)
        if bundle and (twin := _twin(bundle, bundles)):
            faults.append(source.fault(f"nobody could tell it from {twin}: both are {bundle.label!r}", id_))
        if bundle and len(faults) == before:
            bundles[id_] = bundle
    return bundles


def _bundle(id_: str, shape: BundleShape, source: Source, faults: list[Fault]) -> Bundle | None:
    if (shape.quantity is None) != (shape.unit is None):
        faults.append(source.fault("`quantity` and `unit` stand together or not at all", id_))
    try:
        price = parse(shape.price, shape.currency)
    except InvalidAmount:
        faults.append(source.fault(f"`price`: {shape.price!r} is no amount of {shape.currency}", id_, "price"))
        return None
    bundle = Bundle(id_, shape.operator, shape.name, shape.size, shape.validity, price, shape.delivery, shape.item)
    cost = septets(bundle.label)
    if cost is None:
        faults.append(source.fault(f"its line {bundle.label!r} has a letter that GSM-7 cannot show", id_, "size"))
    elif cost > LABEL_SEPTETS_MAX:
        message = f"its line {bundle.label!r} takes {cost} of {LABEL_SEPTETS_MAX} septets"
        faults.append(source.fault(message, id_, "size"))
    return bundle


def _twin(bundle: Bundle, others: Mapping[str, Bundle]) -> str | None:
    same = (other.id for other in others.values() if (other.operator, other.label) == (bundle.operator, bundle.label))
    return next(same, None)


@cache
def _networks() -> frozenset[str]:
    """Every carrier that Msisdn.network can name."""
    return frozenset(names["en"] for names in CARRIER_DATA.values() if "en" in names)
