"""Translations: one gettext file per language, each entry under the id of its text (``msgctxt``)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polib

from ussd_app.gsm import to_gsm
from ussd_app.menus.faults import Fault
from ussd_app.menus.source import read_text
from ussd_app.menus.template import NotAllowed, Placeholder, pieces, placeholders

SAME = "same"  # the flag of a text that is meant to equal the English


@dataclass(frozen=True, slots=True)
class Entry:
    """One translated text; ``line`` is that of its comments or msgctxt."""

    english: str
    words: str  # in GSM-7; empty where nothing is translated yet
    line: int
    fuzzy: bool
    same: bool


@dataclass(frozen=True, slots=True)
class Catalog:
    """One language's file."""

    language: str
    file: str
    entries: Mapping[str, Entry] = field(repr=False)

    @property
    def usable(self) -> dict[str, str]:
        """The texts that are said in this language; the others are said in English."""
        return {text_id: words for text_id in self.entries if (words := self.words(text_id))}

    def words(self, text_id: str) -> str | None:
        """A text in this language, or None where it is said in English."""
        entry = self.entries.get(text_id)
        return entry.words if entry and entry.words and not entry.fuzzy else None


def read(path: Path, faults: list[Fault]) -> Catalog | None:
    """A language's file, or None; what cannot be used in it is left out and told."""
    name = f"locale/{path.name}"
    text = read_text(path, name)
    if isinstance(text, Fault):
        faults.append(text)
        return None
    try:
        parsed = polib.pofile(str(path), encoding="utf-8")
    except OSError as error:
        found = re.search(r"\(line (\d+)\)", str(error))
        faults.append(Fault(name, int(found[1]) if found else 1, "not a gettext file"))
        return None
    letters = _letters(parsed.metadata.get("X-Transliteration", ""))
    entries: dict[str, Entry] = {}
    for entry in parsed:
        if entry.obsolete:
            continue
        line = entry.linenum or 1
        if entry.msgctxt is None or entry.msgid_plural:
            faults.append(Fault(name, line, "an entry needs the id of its text as msgctxt, and has no plural"))
        elif entry.msgctxt in entries:
            faults.append(Fault(name, line, f"{entry.msgctxt} is translated twice"))
        else:
            words = to_gsm(entry.msgstr.strip().translate(letters))
            if is_lossy(entry.msgstr.translate(letters)):
                faults.append(Fault(name, line, f"{entry.msgctxt} has a letter that GSM-7 cannot show"))
            entries[entry.msgctxt] = Entry(entry.msgid.strip(), words, line, entry.fuzzy, SAME in entry.flags)
    return Catalog(path.stem, name, entries)


def is_lossy(words: str) -> bool:
    """Whether some letter has no likeness in GSM-7, and would be shown as a question mark."""
    return to_gsm(words).count("?") > words.count("?")


def compare(catalog: Catalog, english: Mapping[str, str]) -> list[Fault]:
    """What an editor must translate, or translate again, before every text is said in this language."""
    faults = []
    for text_id, words in english.items():
        entry = catalog.entries.get(text_id)
        if entry is None:
            faults.append(Fault(catalog.file, 1, f"{text_id} is missing"))
        elif problem := _problem(entry, words):
            faults.append(Fault(catalog.file, entry.line, f"{text_id} {problem}"))
    faults += [
        Fault(catalog.file, entry.line, f"{text_id} is no text of the menus")
        for text_id, entry in catalog.entries.items()
        if text_id not in english
    ]
    return faults


def _problem(entry: Entry, english: str) -> str | None:
    if not entry.words:
        return "is not translated"
    if entry.fuzzy:
        return "is fuzzy: someone must confirm it"
    if entry.english != english:
        return "was translated from another English text"
    try:
        wanted = pieces(english)
    except NotAllowed:  # told where the English stands
        return None
    if entry.words == to_gsm(english) and not entry.same and any(map(_is_words, wanted)):
        return f"equals the English; if that is right, flag it `#, {SAME}`"
    return _changed_placeholders(placeholders(english), entry.words)


def _changed_placeholders(wanted: frozenset[Placeholder], words: str) -> str | None:
    try:
        given = placeholders(words)
    except NotAllowed as error:
        return f"cannot be used: {error}"
    if lost := wanted - given:
        return f"lacks {', '.join(sorted(map(str, lost)))}"
    if added := given - wanted:
        return f"adds {', '.join(sorted(map(str, added)))}"
    return None


def _is_words(piece: str | Placeholder) -> bool:
    return isinstance(piece, str) and any(map(str.isalpha, piece))


def _letters(header: str) -> dict[int, str]:
    """``X-Transliteration: ŋ=ng ƒ=f``: how this language writes what GSM-7 lacks, beyond dropping accents."""
    pairs = (pair.partition("=") for pair in header.split())
    return {ord(letter): instead for letter, _, instead in pairs if len(letter) == 1}
