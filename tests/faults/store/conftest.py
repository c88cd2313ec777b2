"""Puts the helpers of the unit tests and of this folder on the path."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
for folder in (HERE, HERE.parents[1] / "unit" / "store"):
    sys.path.insert(0, str(folder))


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether the whole runs are wanted (EDGEAGENT_TESTS=full) or the reduced ones."""
    return os.environ.get("EDGEAGENT_TESTS") == "full"
