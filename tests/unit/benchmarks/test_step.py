"""A step beside the bare runtime, as `make bench` takes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.models import Subject, belt, own
from benchmarks.step import alternate, row


@pytest.mark.parametrize("runtime", ["litert", "onnx"])
def test_both_sides_run_and_are_compared(runtime: str, tmp_path: Path) -> None:
    subject = Subject("digits", runtime, lambda _: own("digits"), 20, belt)
    figures = row(subject, tmp_path, 20, prepared=True)
    assert figures["ours_us"] > figures["bare_us"] > 0
    assert figures["overhead_us"] == pytest.approx(figures["ours_us"] - figures["bare_us"], abs=0.2)
    assert figures["low"] <= figures["high"] and figures["things"] >= 1


def test_turns_are_taken_and_the_difference_is_found() -> None:
    turns: list[str] = []

    def work(name: str, times: int) -> None:
        turns.append(name)
        sum(range(times))

    found = alternate(lambda: work("ours", 40_000), lambda: work("bare", 20_000), 40)
    assert turns == ["ours", "bare"] * 60
    assert 1.5 < found["low"] <= found["ratio"] <= found["high"] < 2.7
