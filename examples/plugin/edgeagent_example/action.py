"""An action: a line in a file when an event begins and when it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgeagent.types import Draft


class Note:
    """Option: ``file``."""

    def __init__(self, pipeline: str, options: dict[str, Any]) -> None:
        self._pipeline = pipeline
        self._file = Path(options["file"])

    def act(self, draft: Draft) -> None:
        line = {"pipeline": self._pipeline, "phase": draft.data["phase"],
                "label": draft.data["label"]}  # fmt: skip
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
