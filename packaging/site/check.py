"""Does the built site ask anything of another host? ``python check.py build/site``, exit 1 if so.

With Chromium and playwright at hand (``--browser``) its pages are also opened from their files,
without a network, and searched; ``--shots FOLDER`` keeps what a desk and a phone show.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

_LOADED = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*?\s(?:src|srcset)=[\"']?((?:https?:)?//[^\"'\s>]+)"
    r"|<link\b(?![^>]*\brel=[\"']?canonical)[^>]*?\shref=[\"']?((?:https?:)?//[^\"'\s>]+)"
    r"|url\(\s*[\"']?((?:https?:)?//[^\"')]+)|@import\s+[\"']((?:https?:)?//[^\"']+)",
    re.IGNORECASE,
)
"""What a browser fetches by itself; where a reader's click leads is no request of the page."""
_LAZY = re.compile(r"class=[\"']?(?:mermaid|glightbox)\b")
"""What the theme's program would fetch from a CDN."""


def asked(site: Path) -> Iterator[str]:
    """``file: address`` of each."""
    for file in sorted(site.rglob("*")):
        if file.suffix in (".html", ".css", ".svg"):
            text = file.read_text(encoding="utf-8")
            for found in _LOADED.finditer(text):
                yield f"{file.relative_to(site)}: {next(filter(None, found.groups()))}"
            for found in _LAZY.finditer(text):
                yield f"{file.relative_to(site)}: {found[0]} is loaded from another host"


def opened(site: Path, shots: Path | None) -> list[str]:
    """What goes wrong where the site is opened from its files without a network."""
    from playwright.sync_api import sync_playwright

    wrong: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for name, width, height in (("desk", 1280, 800), ("phone", 390, 844)):
            context = browser.new_context(viewport={"width": width, "height": height}, offline=True)
            page = context.new_page()
            page.on(
                "request",
                lambda its: (
                    its.url.startswith(("file:", "data:", "blob:")) or wrong.append(its.url)
                ),
            )
            page.on("pageerror", lambda its: wrong.append(f"a program of a page failed: {its}"))
            for its in ("index", "engineer", "operator", "reference/config"):
                page.goto((site / f"{its}.html").as_uri())
                overflow = "document.documentElement.scrollWidth > innerWidth + 1"
                if page.evaluate(overflow):
                    wrong.append(f"{its}.html: wider than a {name}")
                if shots:
                    page.screenshot(path=str(shots / f"{name}-{its.replace('/', '-')}.png"))
            page.goto((site / "index.html").as_uri())
            if name == "phone":
                page.locator("label.md-header__button[for=__search]").first.click()
            else:
                page.locator("input.md-search__input").click()
            page.get_by_text("Type to start searching").wait_for(timeout=20_000)
            page.locator("input.md-search__input").press_sequentially("covered")
            page.locator(".md-search-result__item").first.wait_for(timeout=20_000)
            if shots:
                page.screenshot(path=str(shots / f"{name}-search.png"))
            context.close()
        browser.close()
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", type=Path)
    parser.add_argument("--browser", action="store_true")
    parser.add_argument("--shots", type=Path)
    given = parser.parse_args()
    if not (given.site / "index.html").is_file():
        print(f"{given.site} is no site", file=sys.stderr)
        return 1
    wrong = list(asked(given.site))
    if given.browser or given.shots:
        if given.shots:
            given.shots.mkdir(parents=True, exist_ok=True)
        wrong += opened(given.site.resolve(), given.shots)
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
