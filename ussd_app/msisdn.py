"""MSISDNs: one spelling inside (E.164 with plus) whatever was typed or sent; their country and their network."""

import re
from collections.abc import Mapping
from functools import lru_cache
from zoneinfo import ZoneInfo

import phonenumbers
from babel.core import get_global
from phonenumbers import PhoneNumber, PhoneNumberType, carrier, timezone

from ussd_app import networks

# Country (ISO 3166) -> currency of its wallets (where two, the local one).
CURRENCIES: Mapping[str, str] = {code: country.currency for code, country in networks.TABLE.countries.items()}

# Numbers of older plans (wire/operators.md section 5): country -> what matches a national number, and what it is now.
RENUMBERED = {
    "BJ": ((r"(\d{8})", r"01\1"),),  # since 2024 every number begins with 01
    # Since 2021 the old number stands behind its operator's own two digits; what was nobody's of these is refused.
    "CI": (
        (r"((?:0[1-3]|[457][0-3])\d{6})", r"01\1"),
        (r"((?:0[4-6]|[45789][4-6])\d{6})", r"05\1"),
        (r"((?:0[7-9]|[45789][7-9])\d{6})", r"07\1"),
    ),
    # Since 2019 a 6 or a 7 stands where the 0 did, which was put before seven digits in its day.
    "GA": ((r"0?([256]\d{6})", r"6\1"), (r"0?([47]\d{6})", r"7\1")),
}

# Shorter numbers than these are valid there, and have no wallet.
DIGITS_MIN = {"LR": 9, "CD": 9, "GA": 8}

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
        number = _number(self)
        national, named = phonenumbers.national_significant_number(number), carrier.name_for_number(number, "en")
        return networks.TABLE.network(self.country, national, named)


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
            number = _renumbered(phonenumbers.parse(candidate, country))
        except phonenumbers.NumberParseException:
            continue
        if _may_pay(number):
            return Msisdn(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
    raise InvalidMsisdn(text)


def _number(msisdn: Msisdn) -> PhoneNumber:
    return phonenumbers.parse(str(msisdn), None)


def _renumbered(number: PhoneNumber) -> PhoneNumber:
    """The number as the present plan of its country has it."""
    national = phonenumbers.national_significant_number(number)
    region = phonenumbers.region_code_for_country_code(number.country_code or 0)
    for old, new in RENUMBERED.get(region, ()):
        if re.fullmatch(old, national):
            return phonenumbers.parse(f"+{number.country_code}{re.sub(old, new, national)}", None)
    return number


def _may_pay(number: PhoneNumber) -> bool:
    """Whether it is a mobile number that may have a wallet."""
    if not phonenumbers.is_valid_number(number) or phonenumbers.number_type(number) not in MOBILE:
        return False
    digits = len(phonenumbers.national_significant_number(number))
    return digits >= DIGITS_MIN.get(phonenumbers.region_code_for_number(number) or "", 0)


def _zone(number: PhoneNumber) -> ZoneInfo:
    """Unicode knows the zones of each country, `phonenumbers` which of several is a number's own."""
    region = phonenumbers.region_code_for_number(number)
    if region in {None, phonenumbers.REGION_CODE_FOR_NON_GEO_ENTITY}:
        return UTC
    zones = get_global("territory_zones")[region]
    likely = (zone for zone in timezone.time_zones_for_number(number) if zone in zones)
    return ZoneInfo(next(likely, zones[0]))
