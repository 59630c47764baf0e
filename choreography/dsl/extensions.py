"""Statement plug-ins: words of your own at the beginning of a statement, and what they become in the tree.

A plug-in reads the raw lines of its statement and answers a node; it cannot change the grammar around it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from ..ast import Extension
from ..errors import Problem
from ..node import Span
from .diagnostics import problem
from .words import DECLARATION_WORDS, STATEMENT_WORDS

PRIORITY_DEFAULT = 100


class ExtensionConflict(ValueError):
    """Two plug-ins want the same word with the same priority, or a word that the language has. The caller's move."""


@dataclass(frozen=True, slots=True)
class StatementExtension:
    """A plug-in: the words its statements begin with, how it reads one, and what is wrong with one.

    `parse` gets the statement's raw text (its line and what is indented below it) and answers an `Extension` node, or
    raises ValueError with a sentence for the person who wrote it; the node's keyword is one of `words`.
    `validate` answers a sentence for each thing that is wrong with a node. A `ProjectableExtension` also projects; a
    protocol with the statement of another cannot be projected.
    """

    name: str
    words: tuple[str, ...]
    parse: Callable[[str], Extension]
    priority: int = PRIORITY_DEFAULT
    validate: Callable[[Extension], Iterable[str]] | None = None


class Extensions:
    """A set of plug-ins, looked up by word; the higher priority wins. Raises ExtensionConflict when none does."""

    def __init__(self, plugins: Iterable[StatementExtension] = ()) -> None:
        self._by_word: dict[str, StatementExtension] = {}
        for plugin in plugins:
            for word in plugin.words:
                self._add(word, plugin)

    def _add(self, word: str, plugin: StatementExtension) -> None:
        if word in STATEMENT_WORDS or word in DECLARATION_WORDS:
            raise ExtensionConflict(f"extension {plugin.name!r} wants {word!r}, which is a word of the language")
        other = self._by_word.get(word)
        if other is not None and other.priority == plugin.priority:
            raise ExtensionConflict(
                f"extensions {other.name!r} and {plugin.name!r} both want {word!r} with priority {plugin.priority}"
            )
        if other is None or plugin.priority > other.priority:
            self._by_word[word] = plugin

    @property
    def words(self) -> frozenset[str]:
        """Every word that begins a plug-in's statement."""
        return frozenset(self._by_word)

    def plugin_of(self, statement: Extension) -> StatementExtension | None:
        """The plug-in whose word a node has as its keyword; None when there is none."""
        return self._by_word.get(statement.keyword)

    def parse_statement(self, raw: str, span: Span) -> Extension | Problem:
        """The node of one statement, or why its plug-in refused it."""
        word = raw.split(None, 1)[0].split("(")[0]
        plugin = next(
            (found for known, found in self._by_word.items() if raw.startswith(known) and word.startswith(known)), None
        )
        assert plugin is not None, "the layout pass only makes such a token for a registered word"
        try:
            return replace(plugin.parse(raw), span=span)
        except ValueError as error:
            return problem(
                "extension_refused", span, keyword=plugin.name, seen=str(error), advice="see its documentation"
            )


NO_EXTENSIONS = Extensions()
