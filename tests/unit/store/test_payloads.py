"""Whatever a plugin puts into a record: it is kept as it was, or a gap says why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from store_play import Opener

from edgeagent.store.export import records
from edgeagent.store.intake import NOT_JSON, TOO_LARGE
from edgeagent.store.outbox import Outbox
from edgeagent.store.verify import verify
from edgeagent.types import Draft

TEXT = st.text(st.characters(), max_size=30)
"""Surrogates and NUL too."""
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), TEXT, st.binary(max_size=20),
    st.just(object()), st.just(1 << 4000), st.just("x" * 70_000), st.complex_numbers(),
)  # fmt: skip
DATA = st.dictionaries(
    st.one_of(TEXT, st.integers()),
    st.recursive(
        LEAVES,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)
        ),
        max_leaves=12,
    ),
    max_size=4,
)
KINDS = st.one_of(st.sampled_from(["result", "event", "health", "gap", "blob"]), TEXT)


@given(drafts=st.lists(st.tuples(KINDS, TEXT, DATA, TEXT), min_size=1, max_size=6))
@example(drafts=[("event", "", {"phase": "new"}, "\udd43")])
@example(drafts=[("event", "belt", {"phase": "new", "label": object()}, "a"),
                 ("event", "belt", {"phase": "end"}, "a")])  # fmt: skip
@settings(
    max_examples=40, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
def test_any_payload(opened: Opener, drafts: list[tuple[str, str, Any, str]]) -> None:
    outbox = _shared(opened)
    tickets = [
        outbox.append(Draft(kind, pipeline, data=data, event=event))
        for kind, pipeline, data, event in drafts
    ]
    assert outbox.flush(10), outbox.stats().fault
    assert outbox.alive and not outbox.stats().fault
    kept = {record["seq"] for record, _ in records(outbox.folder)}
    for ticket in tickets:
        assert ticket.seq is not None
        assert (ticket.seq in kept) == (not ticket.lost), ticket.lost
        assert ticket.lost in ("", NOT_JSON, TOO_LARGE)
    batch = outbox.next_batch(max_bytes=1 << 20)
    assert batch
    json.loads(batch.envelope("d1"))
    outbox.delivered(batch)
    report = verify(Path(outbox.folder), deep=True)
    assert report.ok, report


_BY_OPENER: dict[int, Outbox] = {}


def _shared(opened: Opener) -> Outbox:
    """One outbox for all examples of a run."""
    if id(opened) not in _BY_OPENER:
        _BY_OPENER.clear()
        _BY_OPENER[id(opened)] = opened(keep_sent_s=0.0)
    return _BY_OPENER[id(opened)]
