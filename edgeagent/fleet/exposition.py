"""What a collector and its database hold, for Prometheus.

Figures of the process are read as they are; those of the database by a connection of their own,
at most every few seconds however often they are asked for. Names follow Prometheus' own advice:
https://prometheus.io/docs/practices/naming
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from edgeagent.errors import EdgeAgentError, RuntimeMissing, Unavailable, UsageError
from edgeagent.fleet.alerts.incident import KINDS, Book
from edgeagent.fleet.audit import audit
from edgeagent.fleet.collect import Figures
from edgeagent.fleet.database import open_database
from edgeagent.fleet.rollout.ledger import Ledger

_FRESH_S = 10.0


def serve(address: str, url: str, figures: Callable[[], Figures]) -> Callable[[], None]:
    """Answer ``GET /metrics`` at ``HOST:PORT`` on a thread of its own; returns what ends it.

    Raises RuntimeMissing, UsageError, Unavailable (the port is taken).
    """
    try:
        from prometheus_client import CollectorRegistry, start_http_server
    except ImportError as error:
        raise RuntimeMissing(
            "metrics need the package prometheus_client", remedy='pip install "edgeagent[fleet]"'
        ) from error
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or not 0 <= int(port) < 65536:
        raise UsageError(f"--metrics {address!r} is no HOST:PORT", remedy="e.g. 127.0.0.1:9464")
    registry = CollectorRegistry()
    registry.register(_Exposition(url, figures))
    try:
        server, thread = start_http_server(int(port), host or "127.0.0.1", registry)
    except OSError as error:
        raise Unavailable(f"{address}: {error.strerror}") from error

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join(5)

    return end


class _Exposition:
    """A collector in the sense of prometheus_client."""

    def __init__(self, url: str, figures: Callable[[], Figures]) -> None:
        self._url, self._figures = url, figures
        self._lock = threading.Lock()
        self._kept: list[Any] = []
        self._read_at = float("-inf")

    def describe(self) -> list[Any]:
        """Nothing: so that registering it does not read the database."""
        return []

    def collect(self) -> Iterator[Any]:
        yield from _process(self._figures())
        with self._lock:
            if time.monotonic() - self._read_at >= _FRESH_S:
                self._kept = self._read()
                self._read_at = time.monotonic()
            yield from self._kept

    def _read(self) -> list[Any]:
        from prometheus_client.core import GaugeMetricFamily

        reachable = GaugeMetricFamily(
            "edgeagent_database_up", "Whether the fleet's database can be read."
        )
        try:
            found = list(_database(self._url))
        except EdgeAgentError:
            reachable.add_metric([], 0)
            return [reachable]  # It is told by that, and the collector logs why.
        reachable.add_metric([], 1)
        return [reachable, *found]


def _process(figures: Figures) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily

    texts = {
        "records": "Records written to the database.",
        "duplicates": "Records that had come before.",
        "messages": "MQTT messages dealt with.",
        "evidence": "Pieces of evidence that became whole.",
        "refused": "What could not be read.",
        "confirms": "Confirms told to devices.",
        "commits": "Transactions.",
    }
    for name, text in texts.items():
        yield CounterMetricFamily(
            f"edgeagent_collector_{name}", text, value=float(getattr(figures, name))
        )


def _database(url: str) -> Iterator[Any]:
    from prometheus_client.core import GaugeMetricFamily

    db = open_database(url)
    try:
        by_device = ["device"]
        heard = GaugeMetricFamily(
            "edgeagent_device_heard_timestamp_seconds", "When a device was heard last.",
            labels=by_device,
        )  # fmt: skip
        for device, at in db.rows("SELECT device, MAX(last_heard) FROM stream GROUP BY device"):
            heard.add_metric([device], float(at))
        yield heard
        yield from _accounts(db, by_device)
        rollouts = GaugeMetricFamily(
            "edgeagent_rollouts", "Rollouts by their state.", labels=["state"]
        )
        states = [its.state for its in Ledger(db).all()]
        for state in sorted(set(states)):
            rollouts.add_metric([state], states.count(state))
        yield rollouts
        alerts = GaugeMetricFamily("edgeagent_alerts_open", "Open incidents.", labels=["kind"])
        open_ = [its.incident.kind for its in Book(db).open()]
        for kind in KINDS:
            alerts.add_metric([kind], open_.count(kind))
        yield alerts
    finally:
        db.close()


def _accounts(db: Any, labels: list[str]) -> Iterator[Any]:
    """Each record is here, told lost, or missing."""
    from prometheus_client.core import GaugeMetricFamily

    produced = GaugeMetricFamily(
        "edgeagent_device_produced_records", "The highest number known.", labels=labels
    )
    here = GaugeMetricFamily("edgeagent_device_records", "Records that came.", labels=labels)
    lost = GaugeMetricFamily(
        "edgeagent_device_lost_records", "Records that a device told lost.",
        labels=[*labels, "reason"],
    )  # fmt: skip
    missing = GaugeMetricFamily(
        "edgeagent_device_missing_records", "Records that neither came nor are told lost.",
        labels=labels,
    )  # fmt: skip
    sums: dict[str, list[float]] = {}
    reasons: dict[tuple[str, str], int] = {}
    for stream in audit(db).streams:
        mine = sums.setdefault(stream.device, [0, 0, 0])
        mine[0] += stream.produced
        mine[1] += stream.received
        mine[2] += sum(last - first + 1 for first, last in stream.missing)
        for reason, count in stream.gaps.items():
            reasons[stream.device, reason] = reasons.get((stream.device, reason), 0) + count
    for device, (top, received, holes) in sums.items():
        produced.add_metric([device], top)
        here.add_metric([device], received)
        missing.add_metric([device], holes)
    for (device, reason), count in reasons.items():
        lost.add_metric([device, reason], count)
    yield from (produced, here, lost, missing)
