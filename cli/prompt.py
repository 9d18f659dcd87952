"""The prompt of ``xfelcat sql``: entries, completion and history.

Enter sends what ends with a semicolon or begins with a dot, else it begins a new line. ``Words``
and ``Conversation`` know no terminal.
"""

import re
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs
import typer
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import is_searching
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.lexers import PygmentsLexer
from pygments.lexers.sql import PostgresLexer

from ..catalog.model.errors import XfelcatError, nearest
from ..catalog.questions.sql import describe_views, run_sql, schema_text
from ..catalog.store.store import Store
from .options import say_if_behind
from .output import Format, choose_format, count, say, write_answer

# Completion offers, after a dot at the start, the prompt's own commands and what they take; after
# ``FROM`` or ``JOIN`` views; after ``name.`` the columns of that view or alias; else the columns of
# the views that the statement names, then views, functions and keywords.

_LAST_WORD = re.compile(r"[\w.]*\Z")


@dataclass(frozen=True)
class Words(Completer):
    """What there is to offer: views with the meaning of each column, functions, keywords."""

    views: Mapping[str, Mapping[str, str]]
    functions: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    commands: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """What ``offer`` gives, as the library takes it."""
        before = document.text_before_cursor
        for word, length, meaning in self.offer(before, document.text):
            yield Completion(word, start_position=-length, display_meta=meaning)

    def offer(self, before: str, text: str) -> Iterator[tuple[str, int, str]]:
        """(word, how many characters before the cursor it replaces, what it is), best first.

        ``before`` is the text in front of the cursor, ``text`` all of it.
        """
        if before.lstrip().startswith("."):
            command, space, rest = before.lstrip().partition(" ")
            if not space:
                yield from _fitting(command, ((name, "") for name in self.commands))
            elif " " not in rest.lstrip():
                yield from _fitting(rest, ((word, "") for word in self.commands.get(command, ())))
            return
        word = _LAST_WORD.search(before)
        typed = word[0] if word else ""
        qualifier, dot, start = typed.rpartition(".")
        if dot:
            alias = rf"\s+(?:AS\s+)?{re.escape(qualifier)}\b"
            aliased = (v for v in self.views if re.search(rf"\b{v}{alias}", text, re.IGNORECASE))
            view = qualifier.casefold()
            view = view if view in self.views else next(aliased, "")
            yield from _fitting(start, self._columns([view]).items())
        elif re.search(r"\b(?:FROM|JOIN|DESCRIBE|SUMMARIZE)\s+\w*\Z", before, re.IGNORECASE):
            yield from _fitting(start, ((view, "view") for view in self.views))
        elif start:
            named = [v for v in self.views if re.search(rf"\b{v}\b", text, re.IGNORECASE)]
            yield from _fitting(start, self._columns(named or self.views).items())
            yield from _fitting(start, ((view, "view") for view in self.views))
            yield from _fitting(start, ((word, "") for word in self.keywords))
            yield from _fitting(start, ((name, "function") for name in self.functions))

    def _columns(self, views: Iterable[str]) -> dict[str, str]:
        """The columns of several views, each once, with what they mean."""
        found: dict[str, str] = {}
        for view in views:
            for name, meaning in self.views.get(view, {}).items():
                found.setdefault(name, meaning)
        return found


def _fitting(start: str, words: Iterable[tuple[str, str]]) -> Iterator[tuple[str, int, str]]:
    folded = start.casefold()
    for word, meaning in words:
        if word.casefold().startswith(folded) and word != start:
            yield word, len(start), meaning


_HELP = """\
A statement ends with ; and may have several lines. It reads the catalog and changes nothing.
.schema [VIEW]...     the views, their columns, and an example of each
.format NAME [FILE]   how rows are shown: table, json, csv, paths; with FILE (also parquet) the rows
                      of the next statement go there
.help                 this text
.quit                 leave, as does Ctrl-D
Ctrl-C stops a query, or drops what is typed. Tab completes, Up and Ctrl-R look in the history."""
_FORMATS = tuple(Format)
_COMMANDS = (".schema", ".format", ".help", ".quit")
# What the prompts of sqlite3, duckdb and psql call the same.
_ELSEWHERE = {
    "help": ".help", "\\?": ".help", ".tables": ".schema", "\\d": ".schema", "\\dt": ".schema",
    "exit": ".quit", "quit": ".quit", ".quit": ".quit", ".exit": ".quit", "\\q": ".quit",
    ".mode": ".format",
}  # fmt: skip
_NOT_CODE = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|--[^\n]*|/\*.*?\*/", re.DOTALL)


def as_command(entry: str) -> str:
    """An entry as a command of this prompt, where it is one, or one of another."""
    first, _, rest = entry.rstrip(";").partition(" ")
    command = _ELSEWHERE.get(first.casefold())
    if command is None or (rest and not first.startswith((".", "\\"))):
        return entry
    return f"{command} {rest}".rstrip()


@dataclass
class Conversation:
    """What is asked of a catalog, one entry after the other, and how rows are shown."""

    store: Store
    time_limit: float | None = None
    memory_limit: int | None = None
    chosen: Format = Format.TABLE
    next_output: tuple[Format, Path] | None = field(default=None, init=False)

    def take(self, entry: str) -> bool:
        """Do what an entry asks for; False if it ends the conversation.

        Nothing that is wrong with an entry ends it, and neither does Ctrl-C.
        """
        entry = as_command(entry.strip())
        if entry == ".quit":
            return False
        try:
            if entry.startswith("."):
                self._obey(entry)
            elif entry.strip(";"):
                self._ask(entry)
        except KeyboardInterrupt:
            say("interrupted")
        except XfelcatError as error:
            say(error.worded("prompt"))
        except typer.BadParameter as error:
            say(str(error))
        return True

    def _ask(self, statement: str) -> None:
        started = time.monotonic()
        answer = run_sql(
            self.store, statement, time_limit=self.time_limit, memory_limit=self.memory_limit
        )
        seconds = time.monotonic() - started
        chosen, output = self.next_output or (self.chosen, None)
        rest = "LIMIT and OFFSET, or .format csv FILE"
        write_answer(answer.table, chosen, output, limit=None, rest=rest)
        self.next_output = None
        say(f"{count(answer.table.num_rows, 'row')} in {seconds:.2f} s")

    def _obey(self, entry: str) -> None:
        try:
            command, *words = shlex.split(entry.rstrip(";"))
        except ValueError as error:
            raise typer.BadParameter(f"{entry}: {str(error).lower()}") from None
        if command == ".help":
            typer.echo(_HELP)
        elif command == ".schema":
            typer.echo(schema_text(describe_views(*words)))
        elif command == ".format":
            self._choose(words)
        else:
            near = nearest(command, _COMMANDS, limit=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise typer.BadParameter(f"there is no command {command}{hint} (.help lists them)")

    def _choose(self, words: list[str]) -> None:
        """Set the format of the rows; with a file, that of the next statement's alone."""
        if not words:
            typer.echo(self.chosen)
            return
        if words[0] not in _FORMATS or len(words) > 2:
            raise typer.BadParameter(
                f"write .format NAME [FILE], NAME one of {', '.join(_FORMATS)}"
            )
        output = Path(words[1]).expanduser() if len(words) == 2 else None
        chosen = choose_format(Format(words[0]), output)
        if output is None:
            self.chosen = chosen
        else:
            self.next_output = (chosen, output)
            say(f"the rows of the next statement go to {output}")


def is_complete(text: str) -> bool:
    """Whether Enter sends this: nothing, a command, or a statement up to its semicolon."""
    text = text.strip()
    if not text or as_command(text).startswith("."):
        return True
    code = _NOT_CODE.sub(" ", text).rstrip()
    return code.endswith(";") and not re.search(r"['\"]|/\*", code)


def history() -> History:
    """What was asked before, kept between sessions; in memory where it cannot be kept."""
    directory = Path(platformdirs.user_state_dir("xfelcat", appauthor=False))
    path = directory / "sql_history"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError as error:
        say(f"no history is kept: {path}: {error.strerror}")
        return InMemoryHistory()
    return FileHistory(str(path))


def _words(store: Store) -> Words:
    """What can be completed: the documented views, and what DuckDB knows."""
    views = describe_views()
    with store.read_merged() as cursor:
        functions = cursor.execute(
            "SELECT DISTINCT function_name FROM duckdb_functions()"
            " WHERE function_type IN ('scalar', 'aggregate', 'macro')"
            " AND regexp_full_match(function_name, '[a-z][a-z0-9_]*') ORDER BY ALL"
        ).fetchall()
        keywords = cursor.execute(
            "SELECT DISTINCT upper(keyword_name) FROM duckdb_keywords()"
            " WHERE keyword_category <> 'unreserved'"
            " OR keyword_name IN ('by', 'first', 'last', 'nulls', 'over') ORDER BY ALL"
        ).fetchall()
    return Words(
        {v.name: {c.name: c.meaning for c in v.columns} for v in views},
        tuple(name for (name,) in functions),
        tuple(name for (name,) in keywords),
        {".schema": tuple(v.name for v in views), ".format": _FORMATS, ".help": (), ".quit": ()},
    )


def new_session(store: Store, **options: Any) -> PromptSession[str]:
    """What reads entries; ``options`` are those of PromptSession (input and output, for tests)."""

    bindings = KeyBindings()

    @bindings.add("enter", filter=~is_searching)
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if is_complete(buffer.text):
            buffer.validate_and_handle()
        else:
            buffer.insert_text("\n")

    def continued(width: int, line: int, wrapped: int) -> StyleAndTextTuples:
        return [("", " " * (width - 2) + "> ")]

    return PromptSession(
        "xfelcat> ",
        multiline=True,
        prompt_continuation=continued,
        lexer=PygmentsLexer(PostgresLexer),
        completer=_words(store),
        complete_while_typing=False,
        key_bindings=bindings,
        history=history(),
        enable_history_search=True,
        **options,
    )


def run_prompt(
    store: Store, time_limit: float | None, memory_limit: int | None, chosen: Format
) -> None:
    """Ask for entries and do what they say until the end.

    Raises CatalogNotFoundError where nothing was ingested yet.
    """
    answer = run_sql(store, "SELECT 1 WHERE false")
    for remark in answer.provenance.remarks():
        say(remark)
    say_if_behind(store)
    say(".help says how this works, .schema what can be asked, .quit ends it")
    conversation = Conversation(store, time_limit, memory_limit, chosen)
    session = new_session(store)
    while True:
        try:
            if not conversation.take(session.prompt()):
                return
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
