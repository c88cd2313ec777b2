"""What a served model has done, as Triton's statistics and metrics tell it: counts and
nanoseconds, of requests and of executions (a batch is one)."""

from __future__ import annotations

import threading
import time
from typing import Any

KINDS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")


class Tally:
    """Of one version. Added to by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[str, list[int]] = {kind: [0, 0] for kind in KINDS}
        self._batches: dict[int, list[int]] = {}
        self.inferences = 0
        self.executions = 0
        self.last_ms = 0
        self.rejected: dict[str, int] = {}
        """Requests that were not taken: ``full``, ``late``, ``gone``."""

    def executed(self, rows: int, requests: int, ns: int) -> None:
        """One run of the model over ``rows`` of ``requests`` requests."""
        with self._lock:
            self.executions += 1
            self.inferences += rows
            self._of["compute_infer"][0] += requests
            self._of["compute_infer"][1] += ns * requests
            batch = self._batches.setdefault(rows, [0, 0])
            batch[0] += 1
            batch[1] += ns

    def answered(self, began: int, queued: int, input_ns: int, output_ns: int) -> None:
        """One request, answered; instants and spans of perf_counter_ns."""
        ended = time.perf_counter_ns()
        with self._lock:
            self._add("success", ended - began)
            self._add("queue", queued)
            self._add("compute_input", input_ns)
            self._add("compute_output", output_ns)
            self.last_ms = time.time_ns() // 1_000_000

    def failed(self, began: int) -> None:
        with self._lock:
            self._add("fail", time.perf_counter_ns() - began)

    def refused(self, why: str) -> None:
        with self._lock:
            self.rejected[why] = self.rejected.get(why, 0) + 1

    def _add(self, kind: str, ns: int) -> None:
        its = self._of[kind]
        its[0] += 1
        its[1] += ns

    def span(self, kind: str) -> tuple[int, int]:
        """Count and nanoseconds of one of `KINDS`."""
        count, ns = self._of[kind]
        return count, ns

    def document(self, name: str, version: str) -> dict[str, Any]:
        """One entry of ``model_stats``."""
        with self._lock:
            spans = {kind: {"count": count, "ns": ns} for kind, (count, ns) in self._of.items()}
            batches = [
                {
                    "batch_size": rows,
                    "compute_infer": {"count": count, "ns": ns},
                }
                for rows, (count, ns) in sorted(self._batches.items())
            ]
        none = {"count": 0, "ns": 0}
        return {
            "name": name,
            "version": version,
            "last_inference": self.last_ms,
            "inference_count": self.inferences,
            "execution_count": self.executions,
            "inference_stats": {**spans, "cache_hit": none, "cache_miss": none},
            "batch_stats": batches,
        }
