"""Says every text in every language: compiled when first said, filled in with typed values, GSM-7 throughout."""

from collections.abc import Callable, Iterable, Mapping
from datetime import tzinfo
from typing import Any

from jinja2 import Environment

from ussd_app.gsm import one_line, to_gsm
from ussd_app.menus import template
from ussd_app.menus.kinds import KINDS, filters, number
from ussd_app.menus.translations import Catalog
from ussd_app.msisdn import Msisdn


class _Said:
    """One text in one language, compiled when it is first said: a process says few of them, and starts sooner."""

    __slots__ = ("_jinja", "_say", "variables", "words")

    def __init__(self, words: str, jinja: Environment) -> None:
        self.words = to_gsm(words)
        self._jinja = jinja
        self._say: Callable[..., str] | None = None
        self.variables = frozenset(placeholder.name for placeholder in template.placeholders(self.words))

    def say(self, variables: Mapping[str, Any]) -> str:
        """The words, filled in."""
        if self._say is None:
            self._say = self._jinja.from_string(self.words).render
        return self._say(variables)


class Templates:
    """The menus' Texts. ``septets`` holds the maxima of variables.toml; dates are shown in ``zone``."""

    def __init__(
        self, english: Mapping[str, str], catalogs: Iterable[Catalog], septets: Mapping[str, int], zone: tzinfo
    ) -> None:
        self._septets = septets
        self._said = {"en": _texts(english, "en", zone)}
        for catalog in catalogs:
            usable = {text_id: words for text_id, words in catalog.usable.items() if text_id in english}
            self._said[catalog.language] = _texts(usable, catalog.language, zone)
        self.languages = tuple(self._said)

    def render(self, text_id: str, language: str, variables: Mapping[str, Any]) -> str:
        """The words in GSM-7; a text missing in that language falls back to English. KeyError: no such text."""
        spoken = self._said.get(language)
        said = (spoken.get(text_id) if spoken else None) or self._said["en"][text_id]
        if not said.variables:
            return said.words
        shown = {name: self._data(name, variables[name]) for name in said.variables if name in variables}
        return said.say(shown)

    def _data(self, name: str, value: Any) -> Any:  # noqa: ANN401 - any variable
        """What a person or an operator wrote is data: one line, cut to its variable's maximum (design.md law 17)."""
        if isinstance(value, str) and not isinstance(value, Msisdn):
            return one_line(value, self._septets.get(name, KINDS["text"].septets))
        if isinstance(value, int) and not isinstance(value, bool):
            return number(value, self._septets.get(name, KINDS["number"].septets))
        return value


def _texts(texts: Mapping[str, str], language: str, zone: tzinfo) -> dict[str, _Said]:
    jinja = template.environment()
    jinja.filters.update(filters(language, zone))
    return {text_id: _Said(words, jinja) for text_id, words in texts.items()}
