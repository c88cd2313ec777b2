"""What deciding loads: a keyword pipeline on a small board needs no picture library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from edgeagent.config.model import Pipeline, Privacy, Redact, Rule
from edgeagent.decide.decider import Decide
from edgeagent.decide.track import IouTracker
from edgeagent.types import Label, Window

pipeline = Pipeline("m", on=1, snapshot=True, rules=[Rule("label == 'yes'")], {redact})
decide = Decide("p", pipeline, Privacy({privacy!r}), ("yes",), threshold=0.5)
found = IouTracker().update([Label("yes", 0.9)], 1.0)
assert decide(Window("mic", 1, [], 1.0, (), 1, 1.0), found)
print(*sorted({{"cv2", "numpy"}} & set(sys.modules)))
"""


def loaded(repository: Path, **keys: str) -> str:
    program = PROGRAM.format(**keys)
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=repository, capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


def test_neither_numpy_nor_opencv_without_pictures(repository: Path) -> None:
    assert loaded(repository, redact="", privacy="events") == ""
    redact = "redact=Redact(['yes'])"
    assert loaded(repository, redact=redact, privacy="never") == ""
    assert loaded(repository, redact=redact, privacy="events") == "cv2 numpy"
