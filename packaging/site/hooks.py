"""What mkdocs is told: documents stand where a checkout has them, so their links are put right.

The README is the first page, and what lies beside `docs` is taken along: other documents as pages,
examples and the like as files.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
PAGES = {"README.md": "index.md"} | {
    name: name for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
}
"""Of the checkout's root → of the site."""
_LINK = re.compile(r"(\]\()(?!https?:|mailto:|#)([^)\s#]+)((?:#[^)\s]*)?\))")


def on_files(files: Files, config: Any) -> Files:
    """Take along what the documents link to outside their own folder."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf-8")))
    linked: set[str] = set()
    for file in files.documentation_pages():
        for _, target, _ in _LINK.findall(file.content_string):
            place = _in_checkout(file.src_uri, target)
            linked.add(_entrance(place) if (ROOT / place).is_dir() else place)
    for place in sorted(linked):
        if _is_taken_along(place):
            files.append(File.generated(config, f"files/{place}", abs_src_path=str(ROOT / place)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Each link as it is in the site."""
    here = page.file.src_uri

    def put(match: re.Match[str]) -> str:
        place = _in_checkout(here, match[2])
        return (
            f"{match[1]}{posixpath.relpath(_in_site(place), posixpath.dirname(here) or '.')}"
            f"{match[3]}"
        )

    return _LINK.sub(put, markdown)


def _in_checkout(page: str, target: str) -> str:
    """Where a link of a page leads to, from the checkout's root."""
    outside = {its: source for source, its in PAGES.items()}
    its = outside.get(page, f"docs/{page}")
    return posixpath.normpath(posixpath.join(posixpath.dirname(its), target))


def _is_taken_along(place: str) -> bool:
    return not place.startswith("docs/") and place not in PAGES and (ROOT / place).is_file()


def _in_site(place: str) -> str:
    if place in PAGES:
        return PAGES[place]
    if (ROOT / place).is_dir():
        place = _entrance(place)
    return place.removeprefix("docs/") if place.startswith("docs/") else f"files/{place}"


def _entrance(folder: str) -> str:
    """The file that stands for a folder: a page that opens from a file has no listings."""
    files = sorted(
        its.relative_to(ROOT).as_posix() for its in (ROOT / folder).rglob("*") if its.is_file()
    )
    return next((its for its in files if its == f"{folder}/README.md"), files[0])
