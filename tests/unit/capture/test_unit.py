"""The unit around a source: threads, patience, counters, masks, pacing, stopping."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from msgspec.structs import replace

from edgeagent import clock
from edgeagent.capture import unit as unit_module
from edgeagent.capture.mailbox import Mailbox
from edgeagent.capture.source import Tally
from edgeagent.config.model import SourceKeys
from edgeagent.errors import (
    ConfigError,
    InputError,
    NotFound,
    SourceEnded,
    SourceLost,
)
from edgeagent.testing.capture import Alone
from edgeagent.types import Frame, Sample


class Script:
    """A source that does what a list says: an int is a frame, an exception is raised, a
    callable is called, None ends a session with a loss."""

    def __init__(self, *sessions: list[object], live: bool = True) -> None:
        self.live = live
        self.sessions = iter(sessions)
        self.steps: Iterator[object] = iter(())
        self.opened = 0
        self.closed = 0

    def open(self) -> None:
        self.opened += 1
        session = next(self.sessions, None)
        if session is None:
            raise SourceLost("gone for good")
        self.steps = iter(session)
        first = session[0] if session else None
        if isinstance(first, tuple):
            next(self.steps)
            raise first[0]

    def read(self) -> Sample:
        while True:
            step = next(self.steps, None)
            if step is None:
                raise SourceLost("nothing comes any more")
            if isinstance(step, BaseException):
                raise step
            if callable(step):
                step()
                continue
            assert isinstance(step, int)
            return Frame("s", step, np.full((4, 8, 3), 255, np.uint8), 0, 0.0)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_module, "reopen_pause", lambda *_, **__: 0.01)


@pytest.fixture
def run() -> Iterator[Callable[..., Alone]]:
    units: list[Alone] = []

    def make(source: object, **keys: object) -> Alone:
        unit = Alone("s", source, SourceKeys(**keys))  # type: ignore[arg-type]
        units.append(unit)
        return unit

    yield make
    for unit in units:
        unit.stop()


def numbers(mailbox: Mailbox, timeout: float = 5.0) -> list[int]:
    """All numbers until the end."""
    got = []
    try:
        while True:
            sample = mailbox.get(timeout)
            assert sample is not None, "nothing came"
            got.append(sample.number)
    except SourceEnded:
        return got


def until(condition: Callable[[], bool], timeout: float = 5.0) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.002)


def test_a_file_reaches_every_subscriber_whole(run: Callable[..., Alone]) -> None:
    unit = run(Script([*range(50), SourceEnded()], live=False))
    boxes = [unit.subscribe() for _ in range(3)]
    results: list[list[int]] = [[], [], []]

    def take(index: int) -> None:
        results[index] = numbers(boxes[index])

    threads = [threading.Thread(target=take, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    unit.start()
    for thread in threads:
        thread.join(10)
    assert results == [list(range(50))] * 3
    assert unit.wait(5)
    health = unit.health()
    assert (health.state, health.detail["read"], health.detail["dropped"]) == ("ended", 50, 0)
    assert unit.source.closed >= 1  # type: ignore[attr-defined]


def test_a_live_source_never_waits_for_a_pipeline(run: Callable[..., Alone]) -> None:
    unit = run(Script([*range(50), SourceEnded()]), queue=2)
    box = unit.subscribe()
    unit.start()
    assert unit.wait(5)
    assert numbers(box) == [48, 49]
    assert unit.dropped == 48
    assert unit.health().detail["dropped"] == 48


def test_unusable_samples_are_counted_and_reading_goes_on(run: Callable[..., Alone]) -> None:
    bad = InputError("2.png: is a text file, not a picture")
    unit = run(Script([1, bad, 3, bad, SourceEnded()], live=False))
    box = unit.subscribe(4)
    unit.start()
    assert numbers(box) == [1, 3]
    detail = unit.health().detail
    assert (detail["read"], detail["corrupt"]) == (2, 2)
    assert detail["last_error"] == str(bad)


def test_a_lost_source_is_opened_again_and_told_once(
    run: Callable[..., Alone], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    refused = [(SourceLost("refused"),)]
    source = Script([1, 2], refused, refused, [3, SourceEnded()], live=False)
    unit = run(source)
    box = unit.subscribe(8)
    unit.start()
    assert numbers(box) == [1, 2, 3]
    assert source.opened == 4
    assert (unit.reopened, unit.losses.total) == (1, 1)
    messages = [record.getMessage() for record in caplog.records]
    assert [text for text in messages if "is lost" in text] == [
        "source s is lost: nothing comes any more"
    ]
    assert len([text for text in messages if "is back" in text]) == 1


def test_health_while_lost_says_why(run: Callable[..., Alone]) -> None:
    unit = run(Script([1]))
    unit.subscribe()
    unit.start()
    until(lambda: unit.health().reason == "gone for good")
    health = unit.health()
    assert health.state == "down"
    assert health.detail["read"] == 1
    assert health.detail["age_s"] > 0


@pytest.mark.parametrize("error", [NotFound("no such file"), ConfigError("two cameras")])
def test_what_can_never_work_ends_the_unit(run: Callable[..., Alone], error: Exception) -> None:
    source = Script([(error,)])
    unit = run(source)
    box = unit.subscribe()
    unit.start()
    assert numbers(box) == []
    assert unit.wait(5)
    assert unit.error is error
    assert (unit.health().state, unit.health().reason) == ("down", str(error))
    assert source.opened == 1


def test_run_raises_what_a_supervisor_must_know(run: Callable[..., Alone]) -> None:
    unit = run(Script([(NotFound("no such file"),)]))
    with pytest.raises(NotFound):
        unit.run()
    unit.failed(NotFound("no such file"))
    assert unit.state == "failed"


def test_a_bug_in_a_plugin_ends_one_session(run: Callable[..., Alone]) -> None:
    unit = run(Script([1, ZeroDivisionError("oops")], [2, SourceEnded()], live=False))
    box = unit.subscribe(8)
    unit.start()
    assert numbers(box) == [1, 2]
    assert "ZeroDivisionError: oops" in unit.health().detail["last_error"]


def test_flapping_is_told(run: Callable[..., Alone]) -> None:
    came, hold = threading.Event(), threading.Event()
    unit = run(Script([1], [2], [3], [4, came.set, hold.wait, 5]))
    unit.subscribe()
    unit.start()
    assert came.wait(5)
    health = unit.health()
    hold.set()
    assert health.detail["flapping"] is True
    assert health.state == "degraded"
    assert "lost 3 times in 10 min: nothing comes any more" in health.reason


def test_masks_are_applied_before_anybody_sees_the_frame(run: Callable[..., Alone]) -> None:
    half = [(0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)]
    unit = run(Script([1, SourceEnded()], live=False), mask=[half])
    box = unit.subscribe()
    unit.start()
    sample = box.get(5)
    assert isinstance(sample, Frame)
    assert not sample.pixels[:, :4].any()
    assert (sample.pixels[:, 7:] == 255).all()


def test_pixels_that_are_shared_can_not_be_written(run: Callable[..., Alone]) -> None:
    unit = run(Script([1, SourceEnded()], live=False))
    boxes = [unit.subscribe(), unit.subscribe()]
    unit.start()
    first, second = (box.get(5) for box in boxes)
    assert isinstance(first, Frame)
    assert first is second
    with pytest.raises(ValueError, match="read-only"):
        first.pixels[0, 0] = 0


class Recording(Script):
    """A file with times: frame n was taken at n/10 s."""

    def __init__(self, count: int, *, paced: bool) -> None:
        super().__init__([*range(count), SourceEnded()], live=False)
        self.paced = paced
        self.position_s = 0.0

    def read(self) -> Sample:
        sample = super().read()
        self.position_s = sample.number / 10
        return sample


def test_pace_true_hands_over_when_it_was_taken(run: Callable[..., Alone]) -> None:
    unit = run(Recording(4, paced=True))
    box = unit.subscribe()
    times = []
    unit.start()
    try:
        while box.get(5) is not None:
            times.append(time.monotonic())
    except SourceEnded:
        pass
    gaps = np.diff(times)
    assert len(times) == 4
    assert (np.cumsum(gaps) > np.array([0.1, 0.2, 0.3]) - 0.05).all(), gaps


def test_pace_max_does_not_wait(run: Callable[..., Alone]) -> None:
    unit = run(Recording(100, paced=False))
    box = unit.subscribe()
    began = time.monotonic()
    unit.start()
    assert len(numbers(box)) == 100
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("paced", [True, False])
def test_recordings_carry_their_own_time_whatever_the_pace(
    run: Callable[..., Alone], paced: bool
) -> None:
    unit = run(Recording(4, paced=paced))
    box = unit.subscribe()
    unit.start()
    times = []
    with pytest.raises(SourceEnded):
        while (sample := box.get(5)) is not None:
            times.append((sample.when_ms, sample.stream_ms))
    assert times == [(100.0 * n, 100.0 * n) for n in range(4)]


def test_the_living_world_has_the_time_of_the_machine(run: Callable[..., Alone]) -> None:
    unit = run(Script([1, 2]))
    box = unit.subscribe()
    unit.start()
    sample = box.get(5)
    assert sample is not None
    assert sample.stream_ms is None and sample.when_ms == sample.mono_ms


def test_fps_thins_a_recording_by_its_own_time(run: Callable[..., Alone]) -> None:
    unit = run(Recording(100, paced=False), fps=2)
    box = unit.subscribe()
    unit.start()
    assert numbers(box) == list(range(0, 100, 5))
    assert unit.health().detail["thinned"] == 80


def test_stop_ends_a_pace_a_full_mailbox_and_a_pause(run: Callable[..., Alone]) -> None:
    slow = Recording(5, paced=True)
    slow.read = lambda: (
        setattr(slow, "position_s", slow.position_s + 1e6)
        or Frame(  # type: ignore[func-returns-value,method-assign]
            "s", 1, np.zeros((1, 1, 3), np.uint8), 0, 0.0
        )
    )
    full = Script([1, 2, 3, 4], live=False)
    gone = Script()
    for source in (slow, full, gone):
        unit = run(source, queue=1)
        unit.subscribe()
        unit.start()
        until(lambda unit=unit: unit._excused)  # type: ignore[misc]
        began = time.monotonic()
        unit.stop()
        assert unit.wait(1.0)
        assert time.monotonic() - began < 1.0
        assert unit.state == "stopped"


def test_a_source_that_blocks_is_left_behind_and_told(run: Callable[..., Alone]) -> None:
    block = threading.Event()
    unit = run(Script([1, block.wait, 2]))
    unit.subscribe()
    unit.start()
    until(lambda: unit.read == 1)
    unit.deadline_s = 0.05
    until(lambda: unit.health().state == "down")
    assert "hangs in running" in unit.health().reason
    assert time.monotonic() - unit.beat > unit.deadline_s
    unit.stop()
    assert not unit.wait(0.05)
    block.set()
    assert unit.wait(5)


def test_waiting_for_a_slow_pipeline_is_no_silence(run: Callable[..., Alone]) -> None:
    unit = run(Script([1, 2, 3], live=False), queue=1)
    unit.subscribe()
    unit.start()
    until(lambda: unit._excused)
    unit.deadline_s = 0.01
    time.sleep(0.05)
    assert time.monotonic() - unit.beat < 0.01
    assert unit.health().state == "ok"


def test_the_deadline_follows_the_rate(run: Callable[..., Alone]) -> None:
    class Slow(Script):
        tally = Tally(rate_hz=0.5)

    hold = threading.Event()
    unit = run(Slow([1, hold.wait]))
    unit.subscribe()
    unit.start()
    until(lambda: unit.read == 1)
    hold.set()
    assert unit.deadline_s == pytest.approx(40.0)


def test_subscribing_to_what_has_ended_gives_an_ended_mailbox(
    run: Callable[..., Alone],
) -> None:
    unit = run(Script([SourceEnded()]))
    unit.start()
    assert unit.wait(5)
    with pytest.raises(SourceEnded):
        unit.subscribe().get(0)


def test_what_the_source_counts_is_added(run: Callable[..., Alone]) -> None:
    class Counted(Script):
        tally = Tally(dropped=3, corrupt=2, thinned=7, unused=5, note="640x480")

    unit = run(Counted([1, SourceEnded()], live=False))
    box = unit.subscribe()
    unit.start()
    numbers(box)
    detail = unit.health().detail
    assert [detail[key] for key in ("dropped", "corrupt", "thinned", "unused", "note")] == [
        3, 2, 7, 5, "640x480",
    ]  # fmt: skip


def test_a_picture_from_before_a_pause_is_not_looked_at(run: Callable[..., Alone]) -> None:
    class Past(Script):
        def read(self) -> Sample:
            sample = super().read()
            # The second one was taken long ago, as what waits in a socket has been.
            age_ms = 60_000.0 if sample.number == 1 else 0.0
            return replace(sample, mono_ms=clock.mono_ms() - age_ms)

    unit = run(Past([0, 1, 2]), queue=8)
    mailbox = unit.subscribe()
    unit.start()
    first, then = mailbox.get(2.0), mailbox.get(2.0)
    assert first is not None
    assert then is not None
    assert (first.number, then.number) == (0, 2)
    assert unit.health().detail["stale"] == 1


class Pupil:
    """A sight that finds what it is told to."""

    def __init__(self) -> None:
        self.reason = ""
        self.seen = 0
        self.paused = 0
        self.again = False

    def look(self, frame: Frame) -> None:
        assert not frame.pixels.flags.writeable
        self.seen += 1

    def pause(self) -> None:
        self.paused += 1

    def wants_reopening(self) -> bool:
        again, self.again = self.again, False
        return again

    def detail(self) -> dict[str, str]:
        return {"fault": "covered"}


def test_what_a_sight_finds_is_the_health_of_the_source() -> None:
    pupil, gate = Pupil(), threading.Event()
    script = Script([0, 1, gate.wait, 2, gate.wait, 3, gate.wait], [4, gate.wait])
    script.sees = True  # type: ignore[attr-defined]
    unit = Alone("s", script, SourceKeys(), pupil)  # type: ignore[arg-type]
    unit.start()
    try:
        until(lambda: pupil.seen == 2)
        assert unit.health().state == "ok"
        pupil.reason = "is covered"
        health = unit.health()
        assert (health.state, health.reason) == ("degraded", "is covered")
        assert health.detail["sight"] == {"fault": "covered"}
        pupil.again = True
        gate.set()
        until(lambda: pupil.seen == 4)
        assert unit.reopened == 1
        assert pupil.paused >= 1
    finally:
        unit.stop()


def test_a_mailbox_that_is_given_back_gets_nothing_any_more() -> None:
    taken = threading.Event()
    source = Script([1, taken.wait, 2, 3])
    unit = unit_module.CaptureUnit("s", source, SourceKeys())
    guest, host = unit.subscribe(8), unit.subscribe(8)
    thread = threading.Thread(target=unit.run)
    thread.start()
    assert guest.get(5) is not None
    unit.unsubscribe(guest)
    taken.set()
    assert [host.get(5).number for _ in range(3)] == [1, 2, 3]  # type: ignore[union-attr]
    assert guest.offered == 1 and guest.ended
    unit.stop()
    thread.join(5)


class Slow(Script):
    """Shows signs of life, and has no sample for long."""

    def __init__(self) -> None:
        super().__init__([lambda: time.sleep(30)])
        self.alive_at = time.monotonic()
        self.tally = Tally()


def test_a_source_that_lives_may_take_its_time() -> None:
    source = Slow()
    unit = unit_module.CaptureUnit("s", source, SourceKeys())
    threading.Thread(target=unit.run, daemon=True).start()
    deadline = time.monotonic() + 5
    while not source.opened and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert unit.health().state == "ok", "waiting for a first window is no fault"
    source.alive_at = time.monotonic() + 100
    assert unit.beat == source.alive_at
    source.tally.ailing = "t: no value for 9 s"
    assert unit.health().state == "degraded" and unit.health().reason == "t: no value for 9 s"
