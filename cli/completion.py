"""Which words can stand here? What the prompt of ``xfelcat sql`` offers while one types.

Pure: the text before the cursor in, words out.

1. After a dot at the start: the prompt's own commands, and what they take.
2. After ``FROM`` or ``JOIN``: views. After ``name.``: the columns of that view or alias.
3. Else the columns of the views that the statement names, then views, functions and keywords.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

__all__ = ["Words"]

_LAST_WORD = re.compile(r"[\w.]*\Z")


@dataclass(frozen=True, slots=True)
class Words:
    """What there is to offer: views with the meaning of each column, functions, keywords."""

    views: Mapping[str, Mapping[str, str]]
    functions: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    commands: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def offer(self, before: str, text: str) -> Iterator[tuple[str, int, str]]:
        """(word, how many characters before the cursor it replaces, what it is), best first.

        ``before`` is the text in front of the cursor, ``text`` all of it.
        """
        if before.lstrip().startswith("."):
            yield from self._of_command(before.lstrip())
            return
        word = _LAST_WORD.search(before)
        typed = word[0] if word else ""
        qualifier, dot, start = typed.rpartition(".")
        if dot:
            columns = self._columns([self._view_of(qualifier, text)])
            yield from _fitting(start, columns.items())
        elif re.search(r"\b(?:FROM|JOIN|DESCRIBE|SUMMARIZE)\s+\w*\Z", before, re.IGNORECASE):
            yield from _fitting(start, ((view, "view") for view in self.views))
        elif start:
            named = [v for v in self.views if re.search(rf"\b{v}\b", text, re.IGNORECASE)]
            yield from _fitting(start, self._columns(named or self.views).items())
            yield from _fitting(start, ((view, "view") for view in self.views))
            yield from _fitting(start, ((word, "") for word in self.keywords))
            yield from _fitting(start, ((name, "function") for name in self.functions))

    def _of_command(self, before: str) -> Iterator[tuple[str, int, str]]:
        command, space, rest = before.partition(" ")
        if not space:
            yield from _fitting(command, ((name, "") for name in self.commands))
        elif not rest.strip() or " " not in rest:
            yield from _fitting(rest, ((word, "") for word in self.commands.get(command, ())))

    def _columns(self, views: Iterable[str]) -> dict[str, str]:
        """The columns of several views, each once, with what they mean."""
        found: dict[str, str] = {}
        for view in views:
            for name, meaning in self.views.get(view, {}).items():
                found.setdefault(name, meaning)
        return found

    def _view_of(self, qualifier: str, text: str) -> str:
        """The view that a name in front of a dot stands for; "" for none."""
        if qualifier.casefold() in self.views:
            return qualifier.casefold()
        for view in self.views:
            if re.search(rf"\b{view}\s+(?:AS\s+)?{re.escape(qualifier)}\b", text, re.IGNORECASE):
                return view
        return ""


def _fitting(start: str, words: Iterable[tuple[str, str]]) -> Iterator[tuple[str, int, str]]:
    folded = start.casefold()
    for word, meaning in words:
        if word.casefold().startswith(folded) and word != start:
            yield word, len(start), meaning
