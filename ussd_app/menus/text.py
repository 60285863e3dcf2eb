"""Says every text in every language: compiled once, filled in with typed values, GSM-7 whatever they hold."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from ussd_app.gsm import one_line, to_gsm
from ussd_app.menus import template
from ussd_app.menus.kinds import KINDS, filters, number
from ussd_app.menus.translations import Catalog
from ussd_app.msisdn import Msisdn


@dataclass(frozen=True, slots=True)
class _Said:
    """One text in one language, and the variables it shows."""

    say: Callable[..., str]
    variables: frozenset[str]


class Templates:
    """The menus' Texts. ``septets`` holds the maxima of variables.toml; dates are shown in ``zone``."""

    def __init__(
        self, english: Mapping[str, str], catalogs: Iterable[Catalog], septets: Mapping[str, int], zone: tzinfo
    ) -> None:
        self._septets = septets
        self._said = {"en": _compiled(english, "en", zone)}
        for catalog in catalogs:
            usable = {text_id: words for text_id, words in catalog.usable.items() if text_id in english}
            self._said[catalog.language] = _compiled(usable, catalog.language, zone)
        self.languages = tuple(self._said)

    def render(self, text_id: str, language: str, variables: Mapping[str, Any]) -> str:
        """The words in GSM-7; a text missing in that language falls back to English. KeyError: no such text."""
        said = self._said.get(language, {}).get(text_id) or self._said["en"][text_id]
        shown = {name: self._data(name, variables[name]) for name in said.variables if name in variables}
        return said.say(shown)

    def _data(self, name: str, value: Any) -> Any:  # noqa: ANN401 - any variable
        """What a person or an operator wrote is data: one line, cut to its variable's maximum (design.md law 17)."""
        if isinstance(value, str) and not isinstance(value, Msisdn):
            return one_line(value, self._septets.get(name, KINDS["text"].septets))
        if isinstance(value, int) and not isinstance(value, bool):
            return number(value, self._septets.get(name, KINDS["number"].septets))
        return value


def _compiled(texts: Mapping[str, str], language: str, zone: tzinfo) -> dict[str, _Said]:
    jinja = template.environment()
    jinja.filters.update(filters(language, zone))
    said = {}
    for text_id, words in texts.items():
        plain = to_gsm(words)
        variables = frozenset(placeholder.name for placeholder in template.placeholders(plain))
        said[text_id] = _Said(jinja.from_string(plain).render if variables else _constant(plain), variables)
    return said


def _constant(words: str) -> Callable[..., str]:
    return lambda _variables: words
