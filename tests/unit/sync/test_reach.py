"""Messages under way follow the line: a simulated queue with its rate and latency."""

from __future__ import annotations

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.sync.reach import Reach


class Line:
    """One message after the other, ``each_s`` each, and ``latency_s`` until the answer."""

    def __init__(self, each_s: float, latency_s: float) -> None:
        self.each_s, self.latency_s = each_s, latency_s
        self.free_at = 0.0

    def answer_at(self, now: float) -> float:
        self.free_at = max(now, self.free_at) + self.each_s
        return self.free_at + self.latency_s


def run(reach: Reach, line: Line, seconds: float) -> tuple[float, list[float]]:
    """Messages a second, and the queueing delay of each message of the second half."""
    now, done, queued = 0.0, 0, []
    under_way: deque[tuple[float, float]] = deque()
    while now < seconds:
        while len(under_way) < reach.messages:
            answer = line.answer_at(now)
            if now > seconds / 2:
                queued.append(answer - now - line.latency_s - line.each_s)
            under_way.append((now, answer))
        sent, now = under_way.popleft()
        done += 1
        reach.answered(sent, now)
    return done / now, queued


@settings(max_examples=60, deadline=None)
@given(each_s=st.floats(0.001, 0.4), latency_s=st.floats(0.001, 2.0))
def test_a_line_is_filled_and_no_more(each_s: float, latency_s: float) -> None:
    rate, queued = run(Reach(20), Line(each_s, latency_s), 400 * (each_s + latency_s))
    possible = min(1 / each_s, 20 / (each_s + latency_s))
    assert rate > 0.85 * possible
    assert max(queued) < 0.4 + 3 * each_s + 0.1


def test_a_line_that_has_become_longer_is_learned_again() -> None:
    reach = Reach(20)
    run(reach, Line(0.01, 0.02), 30.0)
    assert reach.messages == 20
    now = 1000.0
    for step in range(400):
        now += 2.0
        reach.answered(now - 1.5, now)
        if step == 20:
            assert reach.messages < 2
    assert reach.messages > 19


def test_what_was_sent_before_a_step_takes_no_further_one() -> None:
    reach = Reach(20)
    run(reach, Line(0.01, 0.02), 30.0)
    for number in range(20):
        reach.answered(40.0 + number * 0.001, 41.0 + number * 0.01)
    once = reach.messages
    assert 3 < once < 6
    reach.answered(41.1, 42.0)
    assert reach.messages < once
    reach.begin()
    assert reach.messages == 1.0
