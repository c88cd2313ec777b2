"""Schedule, trigger, rates: which samples pass, and what is counted."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.capture.gate.gate import Gate
from edgeagent.config.model import Gate as GateConfig
from edgeagent.config.model import Motion, Pipeline, Trigger, Zone
from edgeagent.types import Frame, Window

STILL = np.full((60, 80, 3), 100, np.uint8)


def gate(config: GateConfig, **keys: object) -> Gate:
    zones = {"door": Zone([(0, 0), (1, 0), (1, 1)])}
    return Gate(Pipeline(model="m", zones=zones, gate=config), **keys)  # type: ignore[arg-type]


def frame(when_s: float, at: str = "", pixels: np.ndarray = STILL) -> Frame:
    at_ns = 0
    if at:
        day = datetime.fromisoformat(f"2026-11-25T{at}").replace(tzinfo=timezone.utc)
        at_ns = int(day.timestamp()) * 10**9
    return Frame("cam", 1, pixels, at_ns, 0.0, stream_ms=1e3 * when_s)


def test_at_most_so_many_pass() -> None:
    its = gate(GateConfig(max_fps=2.0))
    assert sum(its.passes(frame(number / 10)) for number in range(100)) == 20
    assert its.tally() == {
        "passed": 20, "held": 80, "held_by": {"rate": 80}, "saved": 0.8, "moving": 0.0,
    }  # fmt: skip


def test_at_least_so_many_pass_although_nothing_moves() -> None:
    its = gate(GateConfig(motion=Motion(hold="0 s"), min_fps=0.5))
    passed = [number / 10 for number in range(300) if its.passes(frame(number / 10))]
    later = [when for when in passed if when > 3]
    assert np.diff(later).max() < 2.05
    assert 12 <= len(later) <= 15


def test_a_stricter_gate_lets_fewer_pass_where_nothing_moves() -> None:
    its = gate(GateConfig(motion=Motion(hold="0 s"), min_fps=0.5))
    assert its.selects
    its.strictness = 3.0
    passed = [number / 10 for number in range(300) if its.passes(frame(number / 10))]
    assert 3 <= len([when for when in passed if when > 3]) <= 5
    assert not gate(GateConfig(max_fps=2.0)).selects


def test_a_stricter_gate_wants_to_see_more_move() -> None:
    passed = {}
    for strictness in (1.0, 4.0):
        its = gate(GateConfig(motion=Motion(area=0.02, hold="0 s"), min_fps=0.0))
        its.strictness = strictness
        for number in range(40):
            its.passes(frame(number / 10))
        moved = STILL.copy()
        moved[10:25, 10:30] = 220  # one sixteenth of the picture
        passed[strictness] = its.passes(frame(4.0, pixels=moved))
    assert passed == {1.0: True, 4.0: False}


def test_the_schedule_is_local_time_and_open_while_the_clock_is_not_trusted() -> None:
    keys = GateConfig(schedule=["mon-fri 08:00-18:00"])
    berlin = gate(keys, timezone="Europe/Berlin")
    assert not berlin.passes(frame(0, "06:59:59"))
    assert berlin.passes(frame(1, "07:00:00"))
    assert berlin.held == {"schedule": 1}
    assert gate(keys, timezone="Europe/Berlin", trusted=lambda: False).passes(frame(0, "03:00:00"))


class Other:
    """A pipeline with an open event."""

    def __init__(self) -> None:
        self.open: tuple[str, str] | None = None

    def has(self, labels: Collection[str], zones: Collection[str]) -> bool:
        return self.open is not None and (not labels or self.open[0] in labels)


def test_another_pipeline_opens_it_and_it_stays_open_for_a_while() -> None:
    other = Other()
    keys = GateConfig(trigger=Trigger("yard", labels=["person"], hold="3 s"))
    its = gate(keys, other=other)
    assert not its.passes(frame(0))
    other.open = ("dog", "")
    assert not its.passes(frame(1))
    other.open = ("person", "")
    assert its.passes(frame(2))
    other.open = None
    assert its.passes(frame(4.9))
    assert not its.passes(frame(5.1))
    assert its.held == {"trigger": 3}


def test_without_the_other_pipeline_nothing_is_held_back() -> None:
    assert gate(GateConfig(trigger=Trigger("yard"))).passes(frame(0))


def test_windows_do_not_move() -> None:
    its = gate(GateConfig(motion=Motion()))
    window = Window("imu", 1, np.zeros((4, 1), np.float32), 100.0, ("x",), 0, 0.0)
    assert its.passes(window)


def test_a_gate_without_a_configuration_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="no gate"):
        Gate(Pipeline(model="m"))


@given(st.lists(st.floats(0.001, 3.0), min_size=1, max_size=60), st.floats(0.2, 20.0))
def test_every_sample_is_counted_once(steps: list[float], rate: float) -> None:
    its = gate(GateConfig(motion=Motion(), max_fps=rate))
    when, passed = 0.0, 0
    for step in steps:
        when += step
        passed += its.passes(frame(when))
    tally = its.tally()
    assert tally["passed"] == passed
    assert tally["passed"] + tally["held"] == len(steps)
    assert sum(tally["held_by"].values()) == tally["held"]
