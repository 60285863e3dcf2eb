"""What may stand in a text: words, names and filters, and nothing that computes."""

from dataclasses import dataclass
from functools import lru_cache

from jinja2 import StrictUndefined, TemplateSyntaxError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment


@dataclass(frozen=True, slots=True)
class Placeholder:
    """``{{ name }}`` or ``{{ name | filter }}``."""

    name: str
    filter: str | None

    def __str__(self) -> str:
        return "{{ " + (f"{self.name} | {self.filter}" if self.filter else self.name) + " }}"


# What people try, in words.
NAMES = {
    "Getattr": "attributes",
    "Getitem": "attributes",
    "Call": "calls",
    "Const": "values",
    "Filter": "filters with arguments or one after the other",
}


class NotAllowed(ValueError):
    """A text holds something else than words, names and filters."""


def environment() -> ImmutableSandboxedEnvironment:
    """Jinja2 with nothing in it: no filters, tests or globals of its own."""
    # A handset shows text, not HTML: nothing is to be escaped.
    jinja = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    jinja.filters, jinja.tests, jinja.globals = {}, {}, {}
    return jinja


_PARSER = environment()
TEXTS = 8192  # parsed once, though several checks look at each


@lru_cache(maxsize=TEXTS)
def pieces(text: str) -> tuple[str | Placeholder, ...]:
    """The words and placeholders of a text in their order; raises NotAllowed."""
    if "{" not in text:
        return (text,)
    try:
        parsed = _PARSER.parse(text)
    except TemplateSyntaxError as error:
        raise NotAllowed(f"not a text: {error.message}") from None
    except RecursionError:
        raise NotAllowed("not a text: nested too deeply") from None
    found: list[str | Placeholder] = []
    for statement in parsed.body:
        if not isinstance(statement, nodes.Output):
            raise _not_allowed(statement)
        found += [_piece(node) for node in statement.nodes]
    return tuple(found)


def placeholders(text: str) -> frozenset[Placeholder]:
    """What a text asks to be filled in; raises NotAllowed."""
    return frozenset(piece for piece in pieces(text) if isinstance(piece, Placeholder))


def _piece(node: nodes.Node) -> str | Placeholder:
    match node:
        case nodes.TemplateData(data=words):
            return str(words)
        case nodes.Name(name=name):
            return Placeholder(name, None)
        case nodes.Filter(node=nodes.Name(name=name), name=filter_, args=[], kwargs=[], dyn_args=None, dyn_kwargs=None):
            return Placeholder(name, filter_)
    raise _not_allowed(node)


def _not_allowed(node: nodes.Node) -> NotAllowed:
    kind = type(node).__name__
    return NotAllowed(f"only words, names and filters may stand in a text, not {NAMES.get(kind, f'`{kind.lower()}`')}")
