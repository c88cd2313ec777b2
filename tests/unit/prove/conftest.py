"""A package that is good and may be spoilt: a copy of our digits classifier."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgeagent.manifest import Package, load_package
from edgeagent.prove.golden import write_golden
from edgeagent.prove.lint import write_files


@pytest.fixture
def package(repository: Path, tmp_path: Path) -> Package:
    folder = tmp_path / "models" / "digits" / "1.0.0"
    shutil.copytree(repository / "models" / "digits" / "1.0.0", folder)
    package = load_package(folder)
    write_golden(package)
    write_files(package)
    return load_package(folder)
