"""``collect --metrics``: what Prometheus reads, by its own parser."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeagent.errors import Unavailable, UsageError
from edgeagent.fleet.archive import Archive, Group
from edgeagent.fleet.collect import Figures
from edgeagent.fleet.database import open_database
from edgeagent.fleet.exposition import serve
from edgeagent.testing.broker import free_port

pytest.importorskip("prometheus_client", reason="of the extra fleet")


def read(port: int) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    from prometheus_client.parser import text_string_to_metric_families as parse

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        families = parse(answer.read().decode())
        return {
            (its.name, tuple(sorted(its.labels.items()))): its.value
            for family in families for its in family.samples
        }  # fmt: skip


def test_the_figures(tmp_path: Path, made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeagent.fleet.exposition._FRESH_S", 0.0)
    url, port = str(tmp_path / "fleet.db"), free_port()
    db = open_database(url)
    lost = made.gap(5, 4, 4, reason="outbox full: thinned")
    records = [made.record(1), made.record(3), lost]
    Archive(db).write(Group(arrivals=[made.arrival(records, "door-7")]))
    db.close()
    figures = Figures(records=2, duplicates=1)
    end: Callable[[], None] = serve(f"127.0.0.1:{port}", url, lambda: figures)
    try:
        found = read(port)
        door = (("device", "door-7"),)
        assert found["edgeagent_collector_records_total", ()] == 2
        assert found["edgeagent_collector_duplicates_total", ()] == 1
        assert found["edgeagent_device_produced_records", door] == 5
        assert found["edgeagent_device_missing_records", door] == 1
        reason = (("device", "door-7"), ("reason", "outbox full: thinned"))
        assert found["edgeagent_device_lost_records", reason] == 1
        assert found["edgeagent_database_up", ()] == 1
        assert found["edgeagent_alerts_open", (("kind", "offline"),)] == 0
        assert found["edgeagent_device_heard_timestamp_seconds", door] > 1e9
        figures.records = 7
        assert read(port)["edgeagent_collector_records_total", ()] == 7
        with pytest.raises(Unavailable):
            serve(f"127.0.0.1:{port}", url, lambda: figures)
        (tmp_path / "fleet.db").write_bytes(b"no database at all, and long enough to be one")
        assert read(port)["edgeagent_database_up", ()] == 0
    finally:
        end()
    with pytest.raises(UsageError):
        serve("somewhere", url, lambda: figures)
