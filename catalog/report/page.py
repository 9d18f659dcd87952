"""The pages of the report: each is one file that needs no other, and that no content can break.

``write_report`` writes one page, ``write_pages`` one of all and one per proposal, with links
between them, ``write_digest`` a short form in Markdown.

Names and messages come from files of unknown origin, so they never become HTML: they are embedded
as JSON whose ``<``, ``>`` and ``&`` are escaped, and the script writes them as text. A content
security policy allows that script and style only, by their hashes, and no connection at all.
"""

import base64
import hashlib
import html
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime
from functools import cache
from importlib import resources
from string import Template
from typing import Any

from ..audit.waivers import Waiver
from ..model.errors import TargetWriteError
from ..questions.execute import Sql, Table, all_of, ask, sql
from ..questions.export import replacing_file
from ..questions.filters import ALL_RUNS, RunFilter
from ..store.store import Store
from .content import Content, PageLimits, gather
from .digest import digest

# One script, its files one behind the other.
_SCRIPTS = (
    *("1_elements.js", "2_tables.js", "3_charts.js"),
    *("4_verdict.js", "5_sections.js", "6_details.js"),
)
TITLE = "xfelcat: state of the data"
_OF_PROPOSAL = PageLimits(detailed=300)  # every run with findings opens


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
    return _write(gather(store, where, found, is_first=is_first, waivers=waivers), path)


def write_pages(
    store: Store,
    where: RunFilter = ALL_RUNS,
    directory: str | os.PathLike[str] = "report",
    found: "Table | None" = None,
    *,
    is_first: bool = False,
    waivers: Sequence[Waiver] = (),
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> int:
    """Write ``index.html`` on the chosen runs, and a page per proposal; how many pages.

    The directory is made where it is absent; pages of before are replaced, other files stay.
    ``progress`` is called with the name, number and count of the pages. The rest is as for
    ``write_report``.
    """
    content = gather(store, where, found, is_first=is_first, waivers=waivers)
    content["links"] = {"pages": True}
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError as error:
        raise TargetWriteError(os.fspath(directory), error.strerror or str(error)) from error
    with store.read_merged() as cursor:
        chosen = sql(
            "SELECT DISTINCT proposal FROM run WHERE {filter} ORDER BY proposal",
            filter=all_of([Sql("proposal IS NOT NULL"), *where.conditions()]),
        )
        proposals = ask(cursor, chosen).column("proposal").to_pylist()
    for number, proposal in enumerate(proposals):
        name = f"p{proposal:06d}.html"
        progress(name, number, len(proposals))
        own = replace(where, proposals=(proposal,))
        part = None if found is None else _of_proposal(found, proposal)
        page = gather(store, own, part, is_first=is_first, waivers=waivers, limits=_OF_PROPOSAL)
        page["links"] = {"home": "index.html", "title": f"p{proposal:06d}: state of the data"}
        _write(page, os.path.join(directory, name))
    _write(content, os.path.join(directory, "index.html"))  # last: its links lead somewhere
    return len(proposals) + 1


def write_digest(
    store: Store,
    where: RunFilter = ALL_RUNS,
    path: str | os.PathLike[str] = "report.md",
    found: "Table | None" = None,
    *,
    is_first: bool = False,
    waivers: Sequence[Waiver] = (),
) -> int:
    """Write the digest of the report as Markdown; the rest is as for ``write_report``."""
    content = gather(store, where, found, is_first=is_first, waivers=waivers)
    return _put(path, digest(content).encode())


def _of_proposal(found: Table, proposal: int) -> Table:
    import pyarrow.compute as pc

    return found.filter(pc.equal(found.column("proposal"), proposal))


def _write(content: Content, path: str | os.PathLike[str]) -> int:
    return _put(path, render(content).encode())


def _put(path: str | os.PathLike[str], data: bytes) -> int:
    try:
        with replacing_file(path) as file:
            file.write(data)
    except OSError as error:
        raise TargetWriteError(os.fspath(path), error.strerror or str(error)) from error
    return len(data)


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
