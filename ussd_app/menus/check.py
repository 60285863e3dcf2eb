"""Proves a menus' directory without running it: every fault at once, as ``file:line: message``."""

from pathlib import Path

from ussd_app.menus import draft as drafts
from ussd_app.menus.draft import Draft, Text
from ussd_app.menus.faults import Fault
from ussd_app.menus.measure import measure
from ussd_app.menus.model import Limits
from ussd_app.menus.paths import Paths
from ussd_app.menus.screens import Resolver, build
from ussd_app.menus.signature import resolve
from ussd_app.menus.translations import compare
from ussd_app.menus.variables import Variables


def check(directory: Path, limits: Limits | None = None, *, actions: Resolver = resolve) -> list[Fault]:
    """Everything an editor must put right, by file and line; empty where the menus may be used."""
    return sorted(set(examine(directory, limits or Limits(), actions).faults))


def missing(directory: Path, language: str, *, actions: Resolver = resolve) -> list[Text]:
    """The English texts that are not said in a language yet, in the order of the files."""
    draft = drafts.read(directory)
    build(draft, actions)
    usable = next((catalog.usable for catalog in draft.catalogs if catalog.language == language), {})
    texts = sorted(draft.texts.values(), key=lambda text: (text.file, text.line))
    return [text for text in texts if text.id not in usable]


def examine(directory: Path, limits: Limits, actions: Resolver) -> Draft:
    """The menus as read, with every fault found in them."""
    draft = drafts.read(directory)
    build(draft, actions)
    paths = Paths(draft)
    draft.faults += paths.faults()
    draft.faults += Variables(draft, paths).faults()
    for catalog in draft.catalogs:
        draft.faults += compare(catalog, draft.english)
    draft.faults += measure(draft, paths, limits)
    return draft
