"""Samples of several sources by their times: laws, and who waits for whom."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent import clock
from edgeagent.capture.joiner import Joiner
from edgeagent.capture.mailbox import Mailbox
from edgeagent.errors import SourceEnded
from edgeagent.types import Joint, Window

instants = st.lists(st.floats(0, 100), min_size=1, max_size=30).map(sorted)


def sample(source: str, when_ms: float, *, recorded: bool = True) -> Window:
    values = np.zeros((1, 1), np.float32)
    stream_ms = when_ms if recorded else None
    return Window(source, 1, values, 1.0, ("x",), 0, when_ms, stream_ms=stream_ms)


def recording(source: str, times_s: list[float]) -> Mailbox:
    box = Mailbox(1000, live=False)
    for when in times_s:
        box.put(sample(source, when * 1e3))
    box.end()
    return box


def everything(joiner: Joiner) -> list[Joint]:
    found = []
    with pytest.raises(SourceEnded):
        while True:
            its = joiner.get(1.0)
            assert its is not None
            found.append(its)
    return found


@settings(deadline=None)
@given(instants, instants, st.floats(0.01, 20))
def test_the_partner_is_the_last_one_not_later_else_the_next(
    leads: list[float], others: list[float], within: float
) -> None:
    joiner = Joiner({"a": recording("a", leads), "b": recording("b", others)}, within)
    found = everything(joiner)
    assert len(found) == len(leads)
    for joint, when in zip(found, leads, strict=True):
        near = [its for its in others if abs(its * 1e3 - when * 1e3) <= within * 1e3]
        earlier = [its for its in near if its * 1e3 <= when * 1e3]
        expected = max(earlier) if earlier else min(near, default=None)
        if expected is None:
            assert "b: nothing within" in joint.missing and "b" not in joint.parts
        else:
            assert not joint.missing
            assert joint.parts["b"].when_ms == expected * 1e3
            assert joint.parts["a"] is joint.lead and joint.when_ms == when * 1e3


@given(instants, st.data())
def test_time_that_goes_back_breaks_nothing(leads: list[float], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(leads))
    others = data.draw(st.permutations(leads))
    joiner = Joiner({"a": recording("a", shuffled), "b": recording("b", others)}, 1.0)
    for joint in everything(joiner):
        assert joint.missing or abs(joint.parts["b"].when_ms - joint.when_ms) <= 1000


def live(source: str, *ages_s: float) -> Mailbox:
    box = Mailbox(64, live=True)
    for age in ages_s:
        box.put(sample(source, clock.mono_ms() - age * 1e3, recorded=False))
    return box


def test_a_live_partner_that_is_there_is_not_waited_for() -> None:
    joiner = Joiner({"a": live("a", 0.0), "b": live("b", 3.0, 0.1)}, 5.0)
    began = time.monotonic()
    its = joiner.get(1.0)
    assert its is not None and not its.missing and time.monotonic() - began < 0.1
    assert its.when_ms - its.parts["b"].when_ms < 200


def test_a_live_partner_is_waited_for_as_long_as_it_may_count() -> None:
    box = live("b")
    joiner = Joiner({"a": live("a", 0.0), "b": box}, 2.0)
    threading.Timer(0.2, lambda: box.put(sample("b", clock.mono_ms(), recorded=False))).start()
    its = joiner.get(1.0)
    assert its is not None and not its.missing


def test_a_dead_partner_is_told_with_its_last_sign() -> None:
    joiner = Joiner({"a": live("a", 0.0), "b": live("b", 12.0)}, 0.1)
    began = time.monotonic()
    its = joiner.get(1.0)
    assert its is not None and time.monotonic() - began < 0.5
    assert its.missing == "b: nothing within 0.1 s of a; its last one is 12.0 s older"


def test_a_fast_partner_is_taken_while_the_lead_is_waited_for() -> None:
    box = live("b")
    joiner = Joiner({"a": live("a"), "b": box}, 1.0)
    ended = threading.Event()

    def feed() -> None:
        while not ended.wait(0.005):
            box.put(sample("b", clock.mono_ms(), recorded=False))

    thread = threading.Thread(target=feed)
    thread.start()
    assert joiner.get(1.0) is None
    ended.set()
    thread.join()
    assert box.offered > 60 and box.dropped < box.offered / 4


def test_a_closed_one_takes_nothing_any_more() -> None:
    lead, other = live("a", 0.0), live("b", 0.0)
    joiner = Joiner({"a": lead, "b": other}, 1.0)
    joiner.close()
    assert lead.ended and other.ended
    with pytest.raises(SourceEnded):
        joiner.get(0.1)
