"""The GSM 03.38 alphabet: what a text costs on a handset, and how to keep it inside (3GPP TS 23.038 and 23.040)."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION = frozenset("\f^{}\\[~]|€")  # two septets each

# (one part, each of several parts) in septets or UTF-16 units.
GSM_LIMITS = (160, 153)
UCS2_LIMITS = (70, 67)
LAST_OF_ONE_UNIT = "\uffff"  # of UCS-2: whatever comes behind it takes two

# What keeps a text inside the alphabet without changing its meaning.
REPLACEMENTS: Mapping[str, str] = {
    "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-", "\u2026": "...",
    "\u00a0": " ", "\u202f": " ", "\u2009": " ", "\t": " ", "`": "'", "\u2022": "-",
    "\u20a6": "NGN ", "\u20b5": "GHS ", "\u0254": "o", "\u025b": "e", "\u0186": "O", "\u0190": "E",
    "\u0153": "oe", "\u0152": "OE", "\u00ab": '"', "\u00bb": '"', "\r": "",
}  # fmt: skip


# What one_line leaves as it is, at one septet a character.
HARMLESS = re.compile(r"[A-Za-z0-9.,'-]+(?: [A-Za-z0-9.,'-]+)*")


@dataclass(frozen=True, slots=True)
class Parts:
    """How a text travels: its encoding (``gsm`` or ``ucs2``) and in how many parts."""

    encoding: str
    count: int


def septets(text: str) -> int | None:
    """Length in septets, or None where a character is outside the alphabet."""
    if BASIC.issuperset(text):  # as nearly all are, and this way counted six times as fast
        return len(text)
    total = 0
    for char in text:
        if char in BASIC:
            total += 1
        elif char in EXTENSION:
            total += 2
        else:
            return None
    return total


def to_gsm(text: str) -> str:
    """The same words in the GSM alphabet: accents it lacks are dropped, what has no likeness becomes ``?``."""
    if septets(text) is not None and "\r" not in text:
        return text
    return "".join(_one(char) for char in text)


def parts(text: str) -> Parts:
    """Encoding and number of SMS parts, counted part by part since no character may straddle two."""
    if not text:
        raise ValueError("an empty text is not sent")
    gsm = septets(text) is not None
    single, several = GSM_LIMITS if gsm else UCS2_LIMITS
    costs = [2 if (char in EXTENSION if gsm else char > LAST_OF_ONE_UNIT) else 1 for char in text]
    if sum(costs) <= single:
        return Parts("gsm" if gsm else "ucs2", 1)
    count, used = 1, 0
    for cost in costs:
        if used + cost > several:
            count, used = count + 1, 0
        used += cost
    return Parts("gsm" if gsm else "ucs2", count)


def cut(text: str, limit: int) -> str:
    """The longest beginning of a GSM text within ``limit`` septets."""
    used = 0
    for index, char in enumerate(text):
        used += 2 if char in EXTENSION else 1
        if used > limit:
            return text[:index]
    return text


def one_line(text: str, limit: int) -> str:
    """What a person typed, as harmless data: one line, GSM only, no controls, at most ``limit`` septets."""
    if len(text) <= limit and HARMLESS.fullmatch(text):
        return text
    kept = "".join(" " if char.isspace() else char for char in text if char.isspace() or char.isprintable())
    return cut(to_gsm(" ".join(kept.split())), limit)


def _one(char: str) -> str:
    if char in REPLACEMENTS:
        return REPLACEMENTS[char]
    if char in BASIC or char in EXTENSION:
        return char
    decomposed = unicodedata.normalize("NFKD", char)
    return "".join(c for c in decomposed if c in BASIC or c in EXTENSION) or "?"
