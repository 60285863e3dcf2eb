"""Reads menus/ whole: every file in its shape, and what could not be understood."""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ussd_app.menus import catalogue, source, translations
from ussd_app.menus.faults import Fault
from ussd_app.menus.model import HOME_FLOW, Flow, Screen, SmsTemplate
from ussd_app.menus.schema import NAME, SHAPES, FlowShape, ScreenShape, SmsShape, VariableShape, shaped, words_of
from ussd_app.menus.source import Source
from ussd_app.menus.template import NotAllowed, placeholders
from ussd_app.menus.translations import Catalog
from ussd_app.menus.words import WORDS
from ussd_app.orders.bundle import Bundle

MENUS_BYTES_MAX = 2 * 1024 * 1024
SCREENS_MAX = 1_000
HOME_FILE, SMS_FILE, VARIABLES_FILE, BUNDLES_FILE = f"{HOME_FLOW}.toml", "sms.toml", "variables.toml", "bundles.toml"
RESERVED = frozenset({"words", "sms", "variables", "title"})  # they would mix up the ids of texts


@dataclass(frozen=True, slots=True)
class Text:
    """An English text, where it stands, and the screen (and ``when``) it is a part of: a title, of home."""

    id: str
    words: str
    file: str
    line: int
    screen: str | None = None
    when: str | None = None

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.id}: {' / '.join(self.words.splitlines())}"

    def fault(self, message: str) -> Fault:
        """A fault at this text."""
        return Fault(self.file, self.line, message)


@dataclass(slots=True)
class FlowDraft:
    """One flow's file in its shape; ``sound`` until something in it could not be understood."""

    name: str
    source: Source
    head: FlowShape
    shapes: dict[str, ScreenShape]  # by the screen's name in its file
    screens: frozenset[str]  # every name, also of those without a shape
    sound: bool

    def state(self, screen: str) -> str:
        """A screen's full name."""
        return f"{self.name}.{screen}"


@dataclass(slots=True)
class Draft:
    """Everything menus/ says, understood or not."""

    digest: str
    faults: list[Fault] = field(default_factory=list)
    unreadable: set[str] = field(default_factory=set)  # names of files that are no TOML
    drafts: dict[str, FlowDraft] = field(default_factory=dict)
    flows: dict[str, Flow] = field(default_factory=dict)
    screens: dict[str, Screen] = field(default_factory=dict)
    texts: dict[str, Text] = field(default_factory=dict)
    sms: dict[str, SmsTemplate] = field(default_factory=dict)
    variables: dict[str, VariableShape] = field(default_factory=dict)
    doubtful: set[str] = field(default_factory=set)  # variables whose table is wrong
    catalogs: list[Catalog] = field(default_factory=list)
    bundles: dict[str, Bundle] = field(default_factory=dict)

    @property
    def english(self) -> dict[str, str]:
        """Every text's English words, by id."""
        return {text.id: text.words for text in self.texts.values()}

    def add(self, text: Text) -> None:
        """Take in a text."""
        self.texts[text.id] = text


def read(directory: Path) -> Draft:
    """Every file of a menus' directory, as far as it can be understood; too much of it is not read at all."""
    tomls, catalogs = sorted(directory.glob("*.toml")), sorted(directory.glob("locale/*.po"))
    size = sum(path.stat().st_size for path in (*tomls, *catalogs))
    if size > MENUS_BYTES_MAX:
        return _refused(f"the menus hold {size:,} bytes, and no more than {MENUS_BYTES_MAX:,} are read")
    draft = Draft(_digest((*tomls, *catalogs)))
    sources: list[Source] = []
    for path in tomls:
        parsed = source.read(path)
        if isinstance(parsed, Fault):
            draft.faults.append(parsed)
            draft.unreadable.add(path.stem)
        else:
            sources.append(parsed)
    tables = sum(len(parsed.data) for parsed in sources if parsed.file != BUNDLES_FILE)
    if tables > SCREENS_MAX:
        return _refused(f"the menus have {tables:,} screens, and no more than {SCREENS_MAX:,} are allowed")
    for parsed in sources:
        _read_source(draft, parsed)
    if HOME_FLOW not in draft.drafts and HOME_FLOW not in draft.unreadable:
        draft.faults.append(Fault(HOME_FILE, 1, "there is no such file, and everybody begins in it"))
    read_catalogs = (translations.read(path, draft.faults) for path in catalogs)
    draft.catalogs = [catalog for catalog in read_catalogs if catalog]
    return draft


def _refused(message: str) -> Draft:
    return Draft("", [Fault(HOME_FILE, 1, message)])


def _digest(paths: tuple[Path, ...]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


def _read_source(draft: Draft, parsed: Source) -> None:
    match parsed.file:
        case str(name) if name == SMS_FILE:
            _read_sms(draft, parsed)
        case str(name) if name == VARIABLES_FILE:
            _read_variables(draft, parsed)
        case str(name) if name == BUNDLES_FILE:
            draft.bundles = catalogue.read(parsed, draft.faults)
        case _:
            _read_flow(draft, parsed)


def _read_flow(draft: Draft, parsed: Source) -> None:
    name, before = parsed.file.removesuffix(".toml"), len(draft.faults)
    if not re.fullmatch(NAME, name) or name in RESERVED:
        draft.faults.append(parsed.fault("no flow can have this name: small letters, digits and _ only"))
    tables = {key: value for key, value in parsed.data.items() if isinstance(value, dict)}
    if name == HOME_FLOW:
        _read_words(draft, parsed, tables.pop("words", {}))
    head = {key: value for key, value in parsed.data.items() if not isinstance(value, dict)}
    shaped_head = shaped(FlowShape, parsed, head, draft.faults)
    shapes = {}
    for screen, table in tables.items():
        if shape := _screen(draft, parsed, screen, table):
            shapes[screen] = shape
    sound = len(draft.faults) == before
    draft.drafts[name] = FlowDraft(name, parsed, shaped_head or FlowShape(), shapes, frozenset(tables), sound)


def _screen(draft: Draft, parsed: Source, name: str, table: dict[str, Any]) -> ScreenShape | None:
    kinds = {SHAPES[key]: key for key in table if key in SHAPES}
    if not re.fullmatch(NAME, name) or name in RESERVED:
        draft.faults.append(parsed.fault("no screen can have this name: small letters, digits and _ only", name))
    elif not kinds:
        draft.faults.append(parsed.fault("the screen is of no kind: one of ask, options, from, do, end", name))
    elif len(kinds) > 1:
        draft.faults.append(parsed.fault(f"the screen is of several kinds: {', '.join(kinds.values())}", name))
    else:
        return shaped(next(iter(kinds)), parsed, table, draft.faults, name)
    return None


def _read_words(draft: Draft, parsed: Source, table: dict[str, Any]) -> None:
    said = shaped(words_of(WORDS), parsed, table, draft.faults, "words")
    for name, words in said.model_dump().items() if said else ():
        draft.add(Text(f"words.{name}", words, parsed.file, parsed.line("words", name)))


def _read_sms(draft: Draft, parsed: Source) -> None:
    for name, table in parsed.data.items():
        shape = shaped(SmsShape, parsed, table, draft.faults, name)
        if shape is None:
            continue
        text = Text(f"sms.{name}", shape.text, parsed.file, parsed.line(name, "text"))
        draft.add(text)
        try:
            variables = frozenset(placeholder.name for placeholder in placeholders(shape.text))
        except NotAllowed:  # told with every other text
            continue
        draft.sms[name] = SmsTemplate(name, shape.priority, text.id, variables, shape.parts, shape.validity_minutes)


def _read_variables(draft: Draft, parsed: Source) -> None:
    for name, table in parsed.data.items():
        if shape := shaped(VariableShape, parsed, table, draft.faults, name):
            draft.variables[name] = shape
        else:
            draft.doubtful.add(name)
