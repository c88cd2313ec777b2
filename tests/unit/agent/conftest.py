"""Puts this folder's helpers on the path; a library that a test may change."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def models(repository: Path, tmp_path: Path) -> Path:
    shutil.copytree(repository / "models" / "parts", tmp_path / "models" / "parts")
    return tmp_path / "models"
