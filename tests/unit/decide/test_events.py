"""When an event begins, changes and ends."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.decide.events import Happenings
from edgeagent.decide.rules import Facts


class Clockwork:
    """Feeds one happening, a sample each 100 ms, and writes down the phases."""

    def __init__(self, **keys: Any) -> None:
        self.all = Happenings("p", **{"on": 2, "off": 3, "threshold": 0.5, **keys})
        self.now = 0.0
        self.told: list[str] = []
        self.data: list[dict[str, Any]] = []

    def step(
        self,
        score: float | None,
        *,
        wanted: bool = True,
        zones: tuple[str, ...] = (),
        after: float = 100.0,
    ) -> str:
        """One sample; None = not there. Returns the phase told, or ""."""
        self.now += after
        phase = ""
        seen = set()
        if score is not None:
            seen.add(1)
            facts = Facts("part", score, zones=zones, track=1)
            happening = self.all.find(1, facts, self.now)
            phase = self.all.sighted(happening, self.now, wanted=wanted) or ""
            if phase:
                self._tell(happening, phase)
        for happening in self.all.missed(seen):
            phase = "end"
            self._tell(happening, phase)
        return phase

    def _tell(self, happening: Any, phase: Any) -> None:
        self.told.append(phase)
        self.data.append({**happening.data(phase), "event": happening.event})
        if phase == "end":
            self.all.close(happening)


def run(clock: Clockwork, scores: Any) -> list[str]:
    return [clock.step(score) for score in scores]


def test_begins_after_on_samples_and_ends_after_off() -> None:
    clock = Clockwork()
    assert run(clock, [0.9, 0.9, 0.9, None, None, None, None]) == ["", "new", "", "", "", "end", ""]
    new, end = clock.data
    assert new == {
        "phase": "new", "label": "part", "score": 0.9, "track": 1, "age_s": 0.1, "event": "p/1",
    }  # fmt: skip
    assert end["event"] == "p/1" and end["age_s"] == 0.2 and end["score"] == 0.9
    assert len(clock.all) == 0


def test_a_miss_before_the_beginning_starts_the_count_again() -> None:
    clock = Clockwork(on=3)
    assert run(clock, [0.9, 0.9, None, 0.9, 0.9, 0.9]) == ["", "", "", "", "", "new"]


def test_short_misses_do_not_end_it() -> None:
    clock = Clockwork()
    told = run(clock, [0.9, 0.9, None, None, 0.9, None, None, 0.9])
    assert [phase for phase in told if phase] == ["new"]


def test_one_sample_is_enough_where_one_is_asked() -> None:
    assert run(Clockwork(on=1), [0.9]) == ["new"]


def test_a_flicker_waits_for_the_median() -> None:
    """Seen twice in a row, but among misses that count as score 0."""
    clock = Clockwork(off=20)
    assert run(clock, [0.9, None, None, None, 0.9, 0.9]) == [""] * 6
    # The median of 0.9 0 0 0 0.9 0.9 is 0.45; one more and it is 0.9.
    assert run(clock, [0.9]) == ["new"]


def test_told_score_is_the_median_of_the_last_ten_and_at_the_end_the_best() -> None:
    clock = Clockwork()
    run(clock, [0.6, 0.7, *[0.9] * 12, None, None, None])
    assert clock.data[0]["score"] == 0.65
    assert clock.data[-1]["score"] == 0.9


def test_zones_and_minutes_are_updates() -> None:
    clock = Clockwork()
    clock.step(0.9)
    assert clock.step(0.9, zones=("a",)) == "new"
    assert clock.step(0.9, zones=("a",), after=900.0) == ""
    assert clock.step(0.9, zones=("a", "b")) == "update"
    assert clock.step(0.9, after=900.0) == ""  # told together with what comes within a second
    assert clock.step(0.9) == "update"
    assert clock.step(0.9, after=59_900.0) == ""
    assert clock.step(0.9) == "update"
    assert [data.get("zones") for data in clock.data] == [["a"], ["a", "b"], None, None]


def test_a_rule_that_no_longer_holds_ends_it_and_it_may_begin_again() -> None:
    clock = Clockwork()
    run(clock, [0.9, 0.9])
    told = [clock.step(0.9, wanted=False) for _ in range(4)]
    assert told == ["", "", "end", ""]
    assert [clock.step(0.9) for _ in range(2)] == ["", "new"]
    assert [data["event"] for data in clock.data] == ["p/1", "p/1", "p/2"]


def test_what_no_rule_wants_is_nothing() -> None:
    clock = Clockwork()
    assert [clock.step(0.9, wanted=False) for _ in range(20)] == [""] * 20
    assert run(clock, [None] * 3) == [""] * 3
    assert len(clock.all) == 0


def test_finish_gives_the_open_ones_only() -> None:
    clock = Clockwork()
    run(clock, [0.9])
    assert clock.all.finish() == []
    clock = Clockwork()
    run(clock, [0.9, 0.9])
    (open_,) = clock.all.finish()
    assert open_.event == "p/1" and len(clock.all) == 0


samples = st.lists(
    st.tuples(
        st.one_of(st.none(), st.floats(0, 1)), st.booleans(), st.sampled_from(["", "a", "b"])
    ),
    max_size=80,
)


@given(story=samples, on=st.integers(1, 4), off=st.integers(1, 5))
@settings(max_examples=300)
def test_phases_always_come_in_order(story: Any, on: int, off: int) -> None:
    clock = Clockwork(on=on, off=off)
    for score, wanted, zone in story:
        clock.step(score, wanted=wanted, zones=(zone,) if zone else ())
    for happening in clock.all.finish():
        clock._tell(happening, "end")
    events: dict[str, list[str]] = {}
    for data in clock.data:
        events.setdefault(data["event"], []).append(data["phase"])
    assert list(events) == [f"p/{k + 1}" for k in range(len(events))]
    for phases in events.values():
        assert phases[0] == "new" and phases[-1] == "end"
        assert set(phases[1:-1]) <= {"update"}


@pytest.mark.parametrize("on", [1, 2, 5])
def test_never_before_on_samples_in_a_row(on: int) -> None:
    clock = Clockwork(on=on)
    told = run(clock, [0.9] * 10)
    assert told.index("new") == on - 1
