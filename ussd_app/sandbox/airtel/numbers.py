"""Subscribers as Airtel Money names them, and what the last three digits of a number bring about.

Numbers are national, without country code or leading 0 (wire/momo.md section 2.3). The outcomes are those of
wire/operators.md section 7 but 001 to 009, so that people can answer prompts by hand; 065 to 069 are Airtel's own.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import phonenumbers

from ussd_app.msisdn import InvalidMsisdn, Msisdn, parse

CARRIERS = ("Airtel", "Warid")  # the second was bought by it in Congo (wire/operators.md section 2)
ZERO_KEPT = {"CG", "GA"}  # the leading 0 is part of the number; whether it is sent is not known, so both are taken

Final = Literal["TS", "TF", "TIP", "TA", "TE"]


@dataclass(frozen=True, slots=True)
class Fate:
    """How a request ends if nobody has a say.

    It stands at ``status`` with the code for its kind, and succeeds ``succeeds_after`` so many seconds where that is
    set; the caller is answered an HTTP error in ``http``, or what ``said`` names, whatever was done, and nothing is
    where it is not ``taken``.
    """

    status: Final
    collection: str = "001"
    disbursement: str = "001"
    succeeds_after: float | None = None
    http: int | None = None
    said: Literal["field validation", "refused inside", "nobody"] | None = None
    taken: bool = True
    callback: Literal["told", "lost", "doubled", "first", "forged"] = "told"


FATES: Mapping[int, Fate] = {
    10: Fate("TIP", "006", "006", succeeds_after=5.0),
    19: Fate("TF", "003", "003"),
    29: Fate("TF", "010", "012"),
    39: Fate("TF", "008", "013"),
    40: Fate("TF", "002", "005"),
    41: Fate("TE", "029", "005"),
    42: Fate("TF", "005", "005"),
    43: Fate("TF", "010", "010"),
    44: Fate("TF", http=503, taken=False),
    45: Fate("TIP", "006", "006"),
    49: Fate("TF", "007", "007"),
    50: Fate("TS", http=500),
    51: Fate("TF", http=500, taken=False),
    52: Fate("TIP", "006", "006", succeeds_after=30.0, http=504),
    60: Fate("TA", "000", "000", succeeds_after=30.0),
    61: Fate("TS", callback="lost"),
    62: Fate("TS", callback="doubled"),
    63: Fate("TS", callback="first"),
    64: Fate("TS", callback="forged"),
    65: Fate("TS", said="field validation"),
    66: Fate("TF", "004", "004", said="field validation"),
    67: Fate("TF", said="refused inside", taken=False),
    68: Fate("TS", said="refused inside"),
    69: Fate("TF", disbursement="012", said="nobody", taken=False),
}


def fate(msisdn: str) -> Fate | None:
    """What a number's last three digits say; None for an ordinary one."""
    return FATES.get(int(msisdn[-3:]))


def subscriber(text: str, country: str) -> Msisdn | str:
    """The number a national one stands for, or the code that refuses it."""
    if not text.isascii() or not text.isdigit():
        return "ESB000036"
    zeroes = ("", "0") if country in ZERO_KEPT else ("",)
    written = [zero + text for zero in zeroes if len(zero + text) == _length(country)]
    if not written:
        return "ESB000033"
    for number in written:
        with suppress(InvalidMsisdn):
            return parse(f"+{phonenumbers.country_code_for_region(country)}{number}", country)
    return "ESB000036"


def national(msisdn: str, country: str) -> str:
    """A number as KYC shows it."""
    return msisdn.removeprefix(str(phonenumbers.country_code_for_region(country)))


def _length(country: str) -> int:
    """Digits of a mobile number of a country."""
    example = phonenumbers.example_number_for_type(country, phonenumbers.PhoneNumberType.MOBILE)
    return len(phonenumbers.national_significant_number(example)) if example else 0
