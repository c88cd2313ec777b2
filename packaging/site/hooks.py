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
VENDOR = Path(__file__).resolve().parent / "vendor"
WORKER = "assets/iframe-worker.js"
"""Search works in a worker, which browsers refuse to pages that are opened from files."""
_LINK = re.compile(r"(\]\()(?!https?:|mailto:|#)([^)\s#]+)((?:#[^)\s]*)?\))")


def on_config(config: Any) -> Any:
    """The navigation holds what there is: a page that it does not name stands under "More"."""
    there = {its.name for its in (ROOT / "docs").glob("*.md")} | set(PAGES.values())
    named: set[str] = set()
    config.nav = [its for its in (_there(one, there, named) for one in config.nav) if its]
    if more := sorted(there - named):
        config.nav.append({"More": more})
    return config


def _there(entry: Any, there: set[str], named: set[str]) -> Any:
    """An entry of the navigation without the pages that are not there; None = nothing is left."""
    if isinstance(entry, str):
        named.add(entry)
        return entry if "/" in entry or entry in there else None
    ((title, inside),) = entry.items()
    if isinstance(inside, str):
        return {title: inside} if _there(inside, there, named) else None
    kept = [its for its in (_there(one, there, named) for one in inside) if its]
    return {title: kept} if kept else None


def on_files(files: Files, config: Any) -> Files:
    """Take along what the documents link to outside their own folder."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf-8")))
    files.append(File.generated(config, WORKER, abs_src_path=str(VENDOR / "iframe-worker.js")))
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

    # `<name>` in a heading is text, not an element of HTML.
    markdown = re.sub(r"^#.*$", lambda its: its[0].replace("<", "&lt;"), markdown, flags=re.M)
    return _LINK.sub(put, markdown)


def _in_checkout(page: str, target: str) -> str:
    """Where a link of a page leads to, from the checkout's root."""
    outside = {its: source for source, its in PAGES.items()}
    its = page[len("files/") :] if page.startswith("files/") else f"docs/{page}"
    its = outside.get(page, its)
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
