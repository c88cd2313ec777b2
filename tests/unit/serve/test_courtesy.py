"""The server's thread stands still for pipelines, but not for ever."""

from __future__ import annotations

import threading
import time

from edgeagent.serve.http.courtesy import LONGEST_S, Courtesy


def test_nobody_ahead_costs_nothing() -> None:
    courtesy = Courtesy(lambda: False)
    courtesy()
    assert courtesy.waited_s == 0.0


def test_it_waits_until_the_step_is_done() -> None:
    at_work = threading.Event()
    at_work.set()
    courtesy = Courtesy(at_work.is_set)
    courtesy._longest_s = 30.0
    threading.Timer(0.02, at_work.clear).start()
    courtesy()
    assert not at_work.is_set()
    assert courtesy.waited_s > 0.01


def test_pipelines_that_never_rest_leave_a_slice() -> None:
    courtesy = Courtesy(lambda: True)
    began = time.perf_counter()
    courtesy()
    assert time.perf_counter() - began >= LONGEST_S
    waited = courtesy.waited_s
    courtesy._free_until = time.perf_counter() + 30.0
    courtesy()  # within its slice
    assert courtesy.waited_s == waited
