"""A decoder in a child process, with decoders that hang, crash, babble and leave."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent import clock
from edgeagent.capture import decoder as decoder_module
from edgeagent.capture import rhythm
from edgeagent.capture.decoder import DecoderSource
from edgeagent.config.model import SourceKeys
from edgeagent.errors import (
    Busy,
    ConfigError,
    EdgeAgentError,
    InputError,
    NotPermitted,
    SourceLost,
)
from edgeagent.testing.capture import Alone
from edgeagent.types import Frame

HERE = Path(__file__).parent


class Played(DecoderSource):
    """One of the decoders of this folder."""

    def __init__(self, name: str, params: dict[str, Any] | None = None, **keys: Any) -> None:
        keys.setdefault("open_s", 1.0)
        super().__init__("cam", f"played_decoders:{name}", origin="test camera", **keys)
        self._params = params or {}

    def params(self) -> dict[str, Any]:
        return self._params


@pytest.fixture
def play() -> Iterator[Callable[..., Played]]:
    made: list[Played] = []

    def make(name: str, params: dict[str, Any] | None = None, **keys: Any) -> Played:
        source = Played(name, params, **keys)
        made.append(source)
        return source

    yield make
    for source in made:
        source.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rhythm, "LEAST_SILENCE_S", 1.2)


def number_of(frame: Frame) -> int:
    return int.from_bytes(frame.pixels.reshape(-1)[:4].tobytes(), "little")


def ended(pid: int) -> bool:
    """Whether no such process runs any more (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state in "ZX"


def until(condition: Callable[[], bool], timeout: float = 5.0) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def lost(source: Played) -> SourceLost:
    """Read until it is lost."""
    with pytest.raises(SourceLost) as caught:
        while True:
            source.read()
    return caught.value


# --- what it gives -------------------------------------------------------------------------


def test_pictures_come_whole_and_in_order(play: Callable[..., Played]) -> None:
    source = play("Counter", {"promise": 100.0})
    source.open()
    assert source.tally.rate_hz == 100.0
    last = 0
    for index in range(40):
        frame = source.read()
        number = number_of(frame)
        assert number > last
        last = number
        assert frame.pixels.shape == (48, 64, 3)
        assert (frame.pixels.reshape(-1)[4:] == number % 256).all()
        assert frame.number == index + 1
        assert frame.origin == "test camera"
        assert 0 <= clock.mono_ms() - frame.mono_ms < 5000
        assert abs(clock.wall_ns() - frame.at_ns) < 10e9


def test_grey_pictures(play: Callable[..., Played]) -> None:
    source = play("Grey")
    source.open()
    assert [source.read().pixels.shape for _ in range(3)] == [(48, 64)] * 3


def test_pictures_that_are_kept_stay_as_they_are(play: Callable[..., Played]) -> None:
    """More than the ring has places for: the later ones are copies, none is overwritten."""
    source = play("Counter", queue=1)
    source.open()
    kept = [source.read() for _ in range(20)]
    numbers = [number_of(frame) for frame in kept]
    assert numbers == sorted(set(numbers))
    source.close()
    for frame, number in zip(kept, numbers, strict=True):
        assert (frame.pixels.reshape(-1)[4:] == number % 256).all()


def test_after_a_pause_the_newest_picture_comes(play: Callable[..., Played]) -> None:
    source = play("Counter")
    source.open()
    first = number_of(source.read())
    dropped = source.tally.dropped
    time.sleep(0.6)
    frames = [source.read() for _ in range(6)]
    # The ring held a few old ones: at most one of them is given.
    assert sum(clock.mono_ms() - frame.mono_ms > 500 for frame in frames) <= 1
    seen = number_of(frames[-1]) - first
    assert seen > 40
    # Every picture that was taken is accounted for.
    assert seen == len(frames) + source.tally.dropped - dropped


def test_fps_is_kept_by_the_child(play: Callable[..., Played]) -> None:
    source = play("Counter", fps=10.0)
    source.open()
    stamps = [source.read().mono_ms for _ in range(8)]
    # 700 ms where nothing is late; without a limit it would be 70 ms.
    assert stamps[-1] - stamps[0] > 500
    assert source.tally.thinned >= 20


def test_a_thinned_stream_is_not_taken_for_silent(
    play: Callable[..., Played], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rhythm, "LEAST_SILENCE_S", 1.3)
    source = play("Counter", fps=0.5)
    source.open()
    first = source.read()
    assert source.read().mono_ms - first.mono_ms > 1900


def test_the_child_loads_only_its_decoder(play: Callable[..., Played]) -> None:
    source = play("Counter")
    source.open()
    assert source.tally.note == "loaded: []"


# --- what goes wrong -----------------------------------------------------------------------


def test_native_code_that_never_returns_is_killed(
    play: Callable[..., Played], impatient: None
) -> None:
    source = play("Ill", {"how": "hang"})
    source.open()
    pid = source.pid
    source.read()
    began = time.monotonic()
    error = lost(source)
    assert "without a picture" in str(error)
    assert time.monotonic() - began < 3.0
    source.close()
    assert ended(pid)


def test_an_opening_that_never_returns_is_ended(
    play: Callable[..., Played], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_module, "_OPEN_SPARE_S", 0.1)
    source = play("Shut", {"how": "hang"})
    with pytest.raises(SourceLost, match="without an answer"):
        source.open()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("crash", "ended by SIGSEGV"),
        ("leave", "ended with code 3"),
        ("grow", "size of the picture changed to 640x480"),
        ("babble", "speaks nonsense"),
        ("raise_a_bug", "ended with code 1"),
    ],
)
def test_ends_are_explained(play: Callable[..., Played], how: str, words: str) -> None:
    source = play("Ill", {"how": how})
    source.open()
    error = lost(source)
    assert words in str(error)
    assert str(error).startswith("test camera: ")
    source.close()
    source._params["after"] = 100
    source.open()
    assert source.read().pixels.any()


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP])
def test_a_child_that_others_kill_or_stop(
    play: Callable[..., Played], impatient: None, sent: signal.Signals
) -> None:
    source = play("Counter")
    source.open()
    pid = source.pid
    source.read()
    os.kill(pid, sent)
    began = time.monotonic()
    lost(source)
    assert time.monotonic() - began < 3.0
    source.close()
    assert ended(pid)
    source.open()
    source.read()


def test_damaged_pictures_are_told_one_by_one(play: Callable[..., Played]) -> None:
    source = play("Ill", {"how": "damage"})
    source.open()
    faults = 0
    frames = 0
    for _ in range(20):
        try:
            source.read()
            frames += 1
        except InputError as error:
            assert re.search(r"picture \d+ is broken", str(error))
            faults += 1
    assert faults >= 5
    assert frames >= 5


def test_complaints_are_heard_and_a_chatty_child_never_waits(play: Callable[..., Played]) -> None:
    heard: list[list[str]] = []
    source = play(
        "Ill",
        {"how": "complain"},
        complaint=re.compile("damaged block"),
        explain=lambda lines: heard.append(lines) or "",  # type: ignore[func-returns-value]
    )
    source.open()
    for _ in range(30):
        source.read()
    assert source.tally.corrupt >= 1


@pytest.mark.parametrize("kind", [NotPermitted, Busy, ConfigError, SourceLost])
def test_errors_keep_their_class(play: Callable[..., Played], kind: type[EdgeAgentError]) -> None:
    source = play("Shut", {"how": kind.__name__})
    with pytest.raises(kind, match="test camera: the door is shut") as caught:
        source.open()
    assert type(caught.value) is kind
    assert caught.value.remedy == "Open it."


def test_secrets_are_never_told(play: Callable[..., Played]) -> None:
    source = play("Ill", {"how": "lose"})
    source.hide("hunter2")
    source.open()
    error = lost(source)
    assert "hunter2" not in str(error)
    assert "has gone, says ***" in str(error)
    assert "admin" not in str(error)


def test_secrets_are_not_on_the_command_line(play: Callable[..., Played]) -> None:
    source = play("Counter", {"promise": 4.75})
    source.open()
    line = Path(f"/proc/{source.pid}/cmdline").read_bytes()
    assert b"4.75" not in line
    assert b"played_decoders" not in line


# --- nothing is left -----------------------------------------------------------------------


@pytest.mark.parametrize("how", ["open", "read"])
def test_interrupting_ends_what_blocks(play: Callable[..., Played], how: str) -> None:
    source = play("Shut", {"how": "hang"}) if how == "open" else play("Ill", {"how": "hang"})
    raised = threading.Event()

    def use() -> None:
        try:
            source.open()
            while True:
                source.read()
        except SourceLost:
            raised.set()

    thread = threading.Thread(target=use)
    thread.start()
    until(lambda: source.pid != 0)
    if how == "read":
        until(lambda: source._number >= 1)
    pid = source.pid
    began = time.monotonic()
    source.interrupt()
    assert raised.wait(1.0)
    assert time.monotonic() - began < 1.0
    thread.join(1)
    source.close()
    until(lambda: ended(pid))
    with pytest.raises(SourceLost, match="stopped"):
        source.open()
    assert source.pid == 0


def test_a_unit_stops_at_once_though_native_code_blocks(play: Callable[..., Played]) -> None:
    source = play("Ill", {"how": "hang"})
    unit = Alone("cam", source, SourceKeys())
    unit.subscribe()
    unit.start()
    until(lambda: unit.read >= 1)
    pid = source.pid
    time.sleep(0.1)
    began = time.monotonic()
    unit.stop()
    assert unit.wait(1.0)
    assert time.monotonic() - began < 1.0
    assert unit.state == "stopped"
    assert ended(pid)


def test_a_unit_brings_a_hanging_decoder_back(play: Callable[..., Played], impatient: None) -> None:
    source = play("Ill", {"how": "hang", "after": 3})
    unit = Alone("cam", source, SourceKeys())
    unit.subscribe()
    unit.start()
    until(lambda: unit.reopened >= 1, timeout=10)
    assert "without a picture" in unit.health().detail["last_error"]
    unit.stop()
    assert unit.wait(1.0)


def test_the_child_ends_with_its_parent_even_while_it_hangs(tmp_path: Path) -> None:
    """The parent is killed by SIGKILL while the child holds the interpreter lock."""
    program = f"""
import sys, time
sys.path[:0] = [{str(HERE)!r}, {str(HERE.parents[2])!r}]
from edgeagent.capture.decoder import DecoderSource
class Played(DecoderSource):
    def params(self):
        return {{"how": "hang"}}
source = Played("cam", "played_decoders:Ill", origin="x")
source.open()
source.read()
print(source.pid, flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert not ended(child)
    time.sleep(0.2)
    parent.kill()
    parent.wait()
    until(lambda: ended(child), timeout=2.0)
    parent.stdout.close()


def test_a_child_that_can_not_be_started(
    play: Callable[..., Played], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    source = play("Counter")
    before = held()
    with pytest.raises(SourceLost, match="no decoder can be started"):
        source.open()
    assert held() == before


def held() -> tuple[int, int, int, int]:
    """File handles, threads, child processes and shared memory of this process."""
    gc.collect()
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    maps = Path("/proc/self/maps").read_text()
    return (
        len(os.listdir("/proc/self/fd")),
        threading.active_count(),
        len(children),
        maps.count("edgeagent-ring"),
    )


def test_fifty_openings_leave_nothing(play: Callable[..., Played]) -> None:
    """Some give a picture, some fail, some are killed in the middle of the handshake."""
    seeing, failing = play("Counter", {"hz": 1000.0}), play("Shut", {"how": "SourceLost"})
    seeing.open()
    seeing.read()
    seeing.close()
    before = held()
    pictures = 0
    for turn in range(50):
        if turn % 5 == 0:
            seeing.open()
            pictures += seeing.read().pixels.any()
            seeing.close()
            seeing.close()
            continue
        killer = threading.Thread(target=kill_soon, args=(failing,)) if turn % 2 else None
        if killer is not None:
            killer.start()
        with pytest.raises(SourceLost):
            failing.open()
        failing.close()
        if killer is not None:
            killer.join()
    assert pictures == 10
    assert held() == before


def kill_soon(source: Played) -> None:
    """Kill the child as soon as there is one; it may have ended by itself already."""
    end = time.monotonic() + 2.0
    while time.monotonic() < end:
        # Read once: 0 would mean our own process group.
        pid = source.pid
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.001)
