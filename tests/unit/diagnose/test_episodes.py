"""Episodes of runs, and runs beside each other."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edgeagent.diagnose.episodes import Episode, compare, differing, episodes


def event(t: float, phase: str, key: str = "e-1", **data: Any) -> dict[str, Any]:
    return {"kind": "event", "t": t, "data": {"id": key, "phase": phase, "label": "crack", **data}}


def episode(began_s: float, ended_s: float, label: str = "crack", score: float = 0.9) -> Episode:
    return Episode(f"e-{began_s}", label, began_s, ended_s, score)


def test_phases_become_one_episode() -> None:
    found = episodes([
        event(1.0, "new", score=0.6, zones=["in"], box=[0, 0, 1, 1]),
        {"kind": "result", "t": 1.5, "data": {"predictions": []}},
        event(2.0, "update", score=0.9, zones=["out"], box=[0, 0, 0.5, 0.5]),
        event(4.0, "end", score=0.9, zones=["out"]),
    ])  # fmt: skip
    box = (0, 0, 1, 1)
    assert found == [Episode("e-1", "crack", 1.0, 4.0, 0.9, ("in", "out"), box=box)]


def test_an_episode_that_is_still_open_lasts_until_it_was_last_told() -> None:
    assert episodes([event(3.0, "new", score=0.7)]) == [Episode("e-1", "crack", 3.0, 3.0, 0.7)]


def test_a_run_agrees_with_itself() -> None:
    run = [episode(1, 2), episode(1.2, 5), episode(9, 9, "dent")]
    pairs = compare(run, run)
    assert [pair.verdict for pair in pairs] == ["same"] * 3
    assert all(pair.first == pair.second for pair in pairs)


def test_what_differs_is_said() -> None:
    first = [episode(1, 2), episode(5, 8, score=0.9), episode(20, 21, "dent")]
    second = [episode(5.1, 12, score=0.5), episode(20, 21, "scratch")]
    told = [(pair.verdict, pair.why) for pair in compare(first, second)]
    assert told == [
        ("gone", ""),
        ("changed", "score 0.90 → 0.50; ended 8.0 s → 12.0 s"),
        ("gone", ""),
        ("new", ""),
    ]


def test_the_longest_shared_time_makes_the_pair() -> None:
    first, second = [episode(0.5, 10)], [episode(0, 3), episode(1, 12)]
    pairs = compare(first, second)
    assert [(pair.verdict, pair.second) for pair in pairs] == [
        ("new", second[0]),
        ("changed", second[1]),
    ]


runs = st.lists(
    st.builds(
        lambda began, length, label, score: episode(began, began + length, label, score),
        st.floats(0, 100),
        st.floats(0, 20),
        st.sampled_from(["a", "b"]),
        st.floats(0, 1),
    ),
    max_size=8,
)


@given(runs, runs)
def test_every_episode_is_told_exactly_once(first: list[Episode], second: list[Episode]) -> None:
    pairs = compare(first, second)
    key = repr
    assert sorted((p.first for p in pairs if p.first), key=key) == sorted(first, key=key)
    assert sorted((p.second for p in pairs if p.second), key=key) == sorted(second, key=key)
    assert all(p.first.label == p.second.label for p in pairs if p.first and p.second)


@given(runs)
def test_nothing_differs_from_itself(run: list[Episode]) -> None:
    assert differing(compare(run, run)) == []
