"""The page of the report: one file that needs no other, and that no content can break.

Names and messages come from files of unknown origin, so they never become HTML: they are embedded
as JSON whose ``<``, ``>`` and ``&`` are escaped, and the script writes them as text. A content
security policy allows that script and style only, by their hashes, and no connection at all.
"""

import base64
import hashlib
import html
import json
import os
from collections.abc import Sequence
from datetime import date, datetime
from functools import cache
from importlib import resources
from string import Template
from typing import Any

from ..audit.waivers import Waiver
from ..model.errors import TargetWriteError
from ..questions.execute import Table
from ..questions.export import replacing_file
from ..questions.filters import ALL_RUNS, RunFilter
from ..store.store import Store
from .content import Content, gather

# One script, its files one behind the other.
_SCRIPTS = ("1_elements.js", "2_tables.js", "3_charts.js", "4_sections.js", "5_run.js")
TITLE = "xfelcat: state of the data"


def write_report(
    store: Store,
    where: RunFilter = ALL_RUNS,
    path: str | os.PathLike[str] = "report.html",
    found: "Table | None" = None,
    *,
    is_first: bool = False,
    waivers: Sequence[Waiver] = (),
) -> int:
    """Write the report on the chosen runs to a file, as a whole or not at all; its size in bytes.

    The other arguments are those of ``gather``.

    Raises CatalogNotFoundError where nothing was ingested yet, TargetWriteError where the file
    cannot be written.
    """
    page = render(gather(store, where, found, is_first=is_first, waivers=waivers)).encode()
    try:
        with replacing_file(path) as file:
            file.write(page)
    except OSError as error:
        raise TargetWriteError(os.fspath(path), error.strerror or str(error)) from error
    return len(page)


def render(content: Content) -> str:
    """The page as text."""
    style, script = _packaged("page.css"), "\n".join(map(_packaged, _SCRIPTS))
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)};"
        " base-uri 'none'; form-action 'none'"
    )
    return Template(_packaged("page.html")).substitute(
        policy=policy,
        title=html.escape(TITLE),
        style=style,
        script=script,
        content=_embedded(content),
    )


@cache
def _packaged(name: str) -> str:
    return (resources.files(__package__) / "web" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _embedded(content: Content) -> str:
    """JSON that can stand in a script element: no character of it can end or open anything."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False, default=_plain)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat(" ", "seconds")
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{value!r} has no place on the page")
