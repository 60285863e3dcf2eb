"""MSISDNs: one spelling inside (E.164 with plus) whatever was typed or sent; their country and their network."""

import re
from functools import lru_cache
from zoneinfo import ZoneInfo

import phonenumbers
from babel.core import get_global
from phonenumbers import PhoneNumber, PhoneNumberType, carrier, timezone

# Country (ISO 3166) -> currency of its wallets (wire/operators.md section 1; where two, the local one).
CURRENCIES = {
    "GH": "GHS", "UG": "UGX", "KE": "KES", "TZ": "TZS", "RW": "RWF", "ZM": "ZMW", "NG": "NGN", "MW": "MWK",
    "CM": "XAF", "CI": "XOF", "SN": "XOF", "BJ": "XOF", "BF": "XOF", "TG": "XOF", "ML": "XOF", "NE": "XOF",
    "GN": "GNF", "LR": "LRD", "SL": "SLE", "CD": "CDF", "CG": "XAF", "GA": "XAF", "TD": "XAF", "MG": "MGA",
    "MZ": "MZN", "ET": "ETB", "BI": "BIF", "ZW": "ZWG", "BW": "BWP", "LS": "LSL", "SZ": "SZL", "ZA": "ZAR",
    "SS": "SSP", "SC": "SCR", "GM": "GMD",
}  # fmt: skip

UTC = ZoneInfo("UTC")
MOBILE = {PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE}


class InvalidMsisdn(ValueError):
    """The text is no mobile number."""


class Msisdn(str):
    """A valid mobile number in E.164 with plus, such as ``+233240000001``. Make one with parse."""

    __slots__ = ()

    @property
    def digits(self) -> str:
        """Without the plus: ``233240000001``."""
        return self[1:]

    @property
    def masked(self) -> str:
        """For logs and for other people's eyes: ``23324****001``."""
        return mask(self)

    @property
    def national(self) -> str:
        """As people of its country write it, without blanks: ``0240000001``."""
        return re.sub(r"\D", "", phonenumbers.format_number(_number(self), phonenumbers.PhoneNumberFormat.NATIONAL))

    @property
    def country(self) -> str:
        """ISO 3166 code of its numbering plan, such as ``GH``; empty where it has none."""
        return phonenumbers.region_code_for_number(_number(self)) or ""

    @property
    def zone(self) -> ZoneInfo:
        """The time its country keeps, for dates its people read; UTC where it has no country."""
        return _zone(_number(self))

    @property
    def network(self) -> str:
        """The carrier its range was allocated to, as `phonenumbers` names it. Ported numbers make it a guess."""
        return carrier.name_for_number(_number(self), "en")


@lru_cache
def zone_of(country: str) -> ZoneInfo:
    """The time a country keeps; where it has several zones, that of an ordinary mobile number of it."""
    number = phonenumbers.example_number_for_type(country, PhoneNumberType.MOBILE)
    return _zone(number) if number else UTC


def mask(number: str) -> str:
    """Any subscriber id with four digits of its middle hidden, or all of it where it is short."""
    digits = number.lstrip("+")
    return f"{digits[:-7]}****{digits[-3:]}" if len(digits) > 8 else "****"  # noqa: PLR2004 - the rest would tell it


@lru_cache(maxsize=4096)
def parse(text: str, country: str) -> Msisdn:
    """A mobile number in any usual spelling; national ones belong to ``country``. Raises InvalidMsisdn."""
    compact = re.sub(r"[ ().\-]", "", text)
    if not re.fullmatch(r"\+?[0-9]{6,15}", compact):
        raise InvalidMsisdn(text)
    # A country code without its plus parses only after the national reading has failed (wire/operators.md section 5).
    for candidate in (compact, f"+{compact.lstrip('+')}"):
        try:
            number = phonenumbers.parse(candidate, country)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number) and phonenumbers.number_type(number) in MOBILE:
            return Msisdn(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
    raise InvalidMsisdn(text)


def _number(msisdn: Msisdn) -> PhoneNumber:
    return phonenumbers.parse(str(msisdn), None)


def _zone(number: PhoneNumber) -> ZoneInfo:
    """Unicode knows the zones of each country, `phonenumbers` which of several is a number's own."""
    region = phonenumbers.region_code_for_number(number)
    if region in {None, phonenumbers.REGION_CODE_FOR_NON_GEO_ENTITY}:
        return UTC
    zones = get_global("territory_zones")[region]
    likely = (zone for zone in timezone.time_zones_for_number(number) if zone in zones)
    return ZoneInfo(next(likely, zones[0]))
