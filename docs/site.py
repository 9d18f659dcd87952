"""What the built documentation has besides ``docs/``: pages of the root of the repository.

A hook of MkDocs (``mkdocs.yml``): README, changelog and CONTRIBUTING become pages, and links
between them and ``docs/`` lead where the pages are.
"""

import re
from typing import Any

from mkdocs.structure.files import File, Files

_ROOT_PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")
_CODE = re.compile(r"\]\((?:\.\./)?((?:catalog|loader|cli|tests|migrations)/[^)]*|LICENSE)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the root."""
    for name in _ROOT_PAGES:
        with open(name, encoding="utf-8") as page:
            files.append(File.generated(config, name, content=page.read()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Let links lead to pages; what is code is no page."""
    del config, files
    if page.file.src_uri in _ROOT_PAGES:
        markdown = markdown.replace("](docs/", "](")
        markdown = markdown.replace('src="docs/', 'src="')
    markdown = re.sub(r"\]\((?:\.\./)+(README|CHANGELOG|CONTRIBUTING)\.md", r"](\1.md", markdown)
    return _CODE.sub(r"](#)", markdown)
