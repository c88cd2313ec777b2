"""The documents as pages: built strictly, nothing asked of another host."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SITE = Path(__file__).resolve().parents[3] / "packaging" / "site"


@pytest.fixture(scope="module")
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_check", SITE / "check.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.html", '<script src="https://unpkg.com/iframe-worker/shim"></script>'),
        ("a.html", "<script defer src=//cdn.example/x.js></script>"),
        ("a.html", '<link rel="stylesheet" href="https://fonts.example/css?family=Roboto">'),
        ("a.html", '<img alt="" src="http://badge.example/build.svg">'),
        ("a.html", '<pre class="mermaid">graph</pre>'),
        ("a.css", "@font-face { src: url('https://fonts.example/a.woff2') }"),
        ("a.css", '@import "https://fonts.example/a.css";'),
    ],
)
def test_what_is_asked_of_others_is_found(
    check: ModuleType, tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    assert len(list(check.asked(tmp_path))) == 1


def test_links_and_own_files_are_no_requests(check: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<a href="https://theupdateframework.io">TUF</a><img src="images/belt.png">'
        '<script src="assets/iframe-worker.js"></script><link href="a.css" rel="stylesheet">'
    )
    assert list(check.asked(tmp_path)) == []


@pytest.mark.usefixtures("in_full")
def test_the_site_is_built_and_asks_nobody(tmp_path: Path) -> None:
    python = SITE.parents[1] / ".venv-docs" / "bin" / "python"
    if not python.exists():
        pytest.skip("its environment is not there: make site")
    built = subprocess.run(
        [python, "-m", "mkdocs", "build", "--quiet", "--config-file", SITE / "mkdocs.yml",
         "--site-dir", tmp_path / "site"],
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    done = subprocess.run(
        [sys.executable, SITE / "check.py", tmp_path / "site"], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "reference" / "config.html").read_text()
    assert "[sources.&lt;name&gt;.sight]" in page
