"""Records of drills: marked from the beginning of an event to its end, or not at all."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

from edgeagent.store.export import jsonl
from edgeagent.store.outbox import Outbox
from edgeagent.store.settings import OutboxSettings
from edgeagent.types import Draft


def test_an_event_is_a_test_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    with closing(
        Outbox.open(tmp_path, device="d", settings=OutboxSettings(), boot="b", machine="")
    ) as outbox:

        def tell(key: str, phase: str) -> None:
            outbox.append(Draft("event", "p", 1, 1.0, {"phase": phase, "label": key}, event=key))

        tell("before", "new")
        outbox.append(Draft("result", "p", 1, 1.0, {"label": "real"}))
        outbox.testing = True
        tell("within", "new")
        tell("before", "end")
        outbox.append(Draft("result", "p", 1, 1.0, {"label": "drill"}))
        outbox.testing = False
        tell("within", "update")
        tell("after", "new")
        tell("within", "end")
        outbox.append(Draft("result", "p", 1, 1.0, {"label": "real"}))
        assert outbox.flush(5)
    told = [json.loads(line) for line in jsonl(tmp_path)]
    marked = {(its["data"]["label"], its.get("test", False)) for its in told}
    assert marked == {
        ("before", False), ("within", True), ("after", False), ("real", False), ("drill", True),
    }  # fmt: skip
    assert sum(its.get("test", False) for its in told) == 4
