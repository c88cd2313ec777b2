"""The generated schemas: valid themselves, true to the contract's examples, strict where due."""

from __future__ import annotations

import copy
from typing import Any

import jsonschema
import pytest

from edgeagent.sync.schema import schemas

EVENT = {
    "seq": 1041, "kind": "event", "pipeline": "door", "at": "2026-11-24T18:29:49.120Z",
    "clock": "synced", "boot": "9f", "mono_ms": 812345, "model": "parts@1.2.0/int8",
    "config": "c3f1", "source": "cam0", "frame": 88123,
    "data": {"id": "e-1041", "phase": "new", "label": "crack", "score": 0.93,
             "box": [0.1, 0.2, 0.3, 0.4], "zones": ["belt"], "track": 17},
    "blobs": [{"sha256": "ab", "bytes": 18211, "type": "image/jpeg"}],
}  # fmt: skip
GAP = {"seq": 1042, "kind": "gap", "from": 1001, "to": 1040, "count": 40,
       "reason": "outbox full: thinned", "dropped": "//8="}  # fmt: skip
UNKNOWN = {
    "seq": 1,
    "kind": "gap",
    "epoch": "01OLD",
    "from": 1,
    "to": None,
    "count": None,
    "reason": "lost",
}
BATCH = {
    "v": 1,
    "device": "door-7",
    "epoch": "01J",
    "first": 1041,
    "last": 1042,
    "records": [EVENT, GAP],
}

GOOD: list[tuple[str, Any]] = [
    ("batch", BATCH),
    ("batch", BATCH | {"records": [UNKNOWN], "news": "ignored"}),
    *(("record", {"seq": 1, "kind": kind, "data": {"anything": [1]}})
      for kind in ("result", "window", "anomaly", "health", "deployment", "blob")),
    ("record", EVENT | {"test": True, "was": {"epoch": "01OLD", "seq": 3}}),
    ("confirm", {"epoch": "01J", "upto": 1040, "missing": [[1001, 1003]], "by": "main"}),
    ("confirm", {"epoch": "01J", "upto": 0}),
    ("status", {"state": "offline", "reasons": ["connection lost"], "since": "", "boot": "9f",
                "version": "0.1", "contract": 1, "epoch": "01J", "seq": 3, "name": "", "site": "",
                "tags": {"line": "3"}}),
    ("command", {"status": "init", "by": "me", "at": "2026-11-24T18:29:49Z", "model": "parts"}),
    ("command", {"status": "executing", "progress": 0.5, "step": "warm-up"}),
]  # fmt: skip
BAD: list[tuple[str, Any]] = [
    ("batch", BATCH | {"v": 2}),
    ("batch", BATCH | {"records": []}),
    ("batch", BATCH | {"device": "a/b"}),
    ("batch", {key: value for key, value in BATCH.items() if key != "epoch"}),
    ("record", EVENT | {"seq": 0}),
    ("record", EVENT | {"kind": "opinion"}),
    ("record", EVENT | {"data": {"id": "e-1"}}),
    ("record", EVENT | {"at": "yesterday"}),
    ("record", {key: value for key, value in GAP.items() if key != "from"}),
    ("confirm", {"epoch": "01J", "upto": -1}),
    ("confirm", {"epoch": "01J", "upto": 1, "missing": [[1, 1]] * 257}),
    ("status", {"state": "fine"}),
    ("command", {"by": "me"}),
    ("command", {"status": "executing", "progress": 2}),
]


@pytest.mark.parametrize("name", schemas())
def test_schemas_are_valid(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schemas()[name])


@pytest.mark.parametrize(("name", "document"), GOOD)
def test_what_the_contract_shows_is_valid(name: str, document: Any) -> None:
    jsonschema.validate(copy.deepcopy(document), schemas()[name])


@pytest.mark.parametrize(("name", "document"), BAD)
def test_what_it_forbids_is_not(name: str, document: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schemas()[name])
