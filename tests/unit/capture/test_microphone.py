"""A microphone: arecord on an ALSA device whose sound comes from a FIFO, as fast as it is made."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeagent.capture.audio import open_audio
from edgeagent.capture.source import Wanted
from edgeagent.capture.unit import CaptureUnit
from edgeagent.config.model import AudioConfig
from edgeagent.errors import EdgeAgentError
from edgeagent.types import Window

RATE = 16_000
ALSA = """
</usr/share/alsa/alsa.conf>
pcm.mic {{ type file slave.pcm "null" file "/dev/null" infile "{fifo}" format "raw" }}
"""

needs_arecord = pytest.mark.skipif(
    shutil.which("arecord") is None or not Path("/usr/share/alsa/alsa.conf").exists(),
    reason="arecord is not installed (apt install alsa-utils)",
)


class Microphone:
    """An ALSA device ``mic``: what is spoken into it comes out, as fast as it is spoken."""

    def __init__(self, folder: Path, level: float) -> None:
        self.fifo = folder / "sound"
        os.mkfifo(self.fifo)
        self.config = folder / "alsa.conf"
        self.config.write_text(ALSA.format(fifo=self.fifo))
        self._handle = os.open(self.fifo, os.O_RDWR)
        self._ended = threading.Event()
        self._said = 0
        self.level = level
        self._thread = threading.Thread(target=self._speak)
        self._thread.start()

    def _speak(self) -> None:
        """A tone of 1 kHz, a twentieth of a second each time."""
        block = RATE // 20
        began = time.monotonic()
        count = 0
        while not self._ended.wait(max(0.0, began + count / 20 - time.monotonic())):
            at = np.arange(count * block, (count + 1) * block)
            tone = self.level * 32767 * np.sin(2 * np.pi * 1000 * at / RATE)
            os.write(self._handle, tone.astype("<i2").tobytes())
            count += 1

    def close(self) -> None:
        self._ended.set()
        # What waits in the FIFO may block the writer.
        drain = os.open(self.fifo, os.O_RDONLY | os.O_NONBLOCK)
        while self._thread.is_alive():
            try:
                os.read(drain, 1 << 16)
            except BlockingIOError:
                self._thread.join(0.05)
        os.close(drain)
        os.close(self._handle)


@pytest.fixture
def microphone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Microphone]:
    its = Microphone(tmp_path, getattr(request, "param", 0.25))
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(its.config))
    yield its
    its.close()


@pytest.fixture
def recording() -> Iterator[Callable[..., tuple[CaptureUnit, Any]]]:
    started: list[tuple[CaptureUnit, threading.Thread]] = []

    def run(unit: CaptureUnit) -> None:
        with contextlib.suppress(EdgeAgentError):
            unit.run()

    def start(config: AudioConfig, wanted: Wanted) -> tuple[CaptureUnit, Any]:
        unit = CaptureUnit("mic", open_audio("mic", config, wanted), config)
        mailbox = unit.subscribe(32)
        thread = threading.Thread(target=run, args=(unit,))
        thread.start()
        started.append((unit, thread))
        return unit, mailbox

    yield start
    for unit, thread in started:
        unit.stop()
        thread.join(5)
        assert not thread.is_alive()


def window(mailbox: Any, timeout_s: float = 10.0) -> Window:
    its = mailbox.get(timeout_s)
    assert isinstance(its, Window)
    return its


@needs_arecord
def test_overlapping_windows_in_real_time(microphone: Microphone, recording: Any) -> None:
    wanted = Wanted(rate_hz=RATE, length=RATE // 2, hop=RATE // 4)
    unit, mailbox = recording(AudioConfig(device="mic"), wanted)
    first = window(mailbox)
    began = time.monotonic()
    found = [window(mailbox) for _ in range(6)]
    assert 1.2 < time.monotonic() - began < 2.0, "a window each 250 ms"
    assert first.values.shape == (RATE // 2, 1) and first.rate_hz == RATE
    joined = np.concatenate([found[0].values, *(its.values[-RATE // 4 :] for its in found[1:])])
    spectrum = np.abs(np.fft.rfft(joined[:, 0]))
    assert int(spectrum.argmax()) * RATE / len(joined) == pytest.approx(1000, abs=2)
    assert np.array_equal(found[1].values[: RATE // 4], found[0].values[RATE // 4 :])
    steps = [later.mono_ms - its.mono_ms for its, later in pairwise(found)]
    assert sum(steps) / len(steps) == pytest.approx(250, abs=40)
    health = unit.health()
    assert health.state == "ok" and health.detail["xruns"] == 0
    assert health.detail["level_db"] == pytest.approx(20 * np.log10(0.25 / np.sqrt(2)), abs=0.5)
    assert health.detail["note"] == "16000 Hz, 1 ch, S16_LE"


@needs_arecord
@pytest.mark.parametrize("microphone", [0.0001], indirect=True)
def test_quiet_windows_are_not_looked_at(microphone: Microphone, recording: Any) -> None:
    wanted = Wanted(rate_hz=RATE, length=RATE // 10)
    unit, mailbox = recording(AudioConfig(device="mic", quiet=-40), wanted)
    deadline = time.monotonic() + 10
    while unit.health().detail.get("quiet", 0) < 5 and time.monotonic() < deadline:
        assert mailbox.get(0.05) is None
    assert unit.health().state == "ok", "silence is no fault"
    microphone.level = 0.5
    assert np.abs(window(mailbox).values).max() > 0.1


@needs_arecord
def test_another_rate_is_resampled(microphone: Microphone, recording: Any) -> None:
    wanted = Wanted(rate_hz=8000, length=4000)
    unit, mailbox = recording(AudioConfig(device="mic", rate_hz=RATE), wanted)
    window(mailbox)
    its = window(mailbox)
    assert its.rate_hz == 8000
    assert int(np.abs(np.fft.rfft(its.values[:, 0])).argmax()) == 500  # of 2 Hz bins
    assert "resampled to 8000 Hz" in unit.health().detail["note"]


@needs_arecord
def test_a_recorder_that_is_killed_is_started_anew(microphone: Microphone, recording: Any) -> None:
    unit, mailbox = recording(AudioConfig(device="mic"), Wanted(rate_hz=RATE, length=1600))
    window(mailbox)
    os.kill(unit.source._recorder._child.pid, signal.SIGKILL)
    began = time.monotonic()
    while unit.reopened == 0 and time.monotonic() - began < 10:
        mailbox.get(0.1)
    assert unit.reopened == 1 and time.monotonic() - began < 4


@needs_arecord
def test_a_device_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recording: Any
) -> None:
    unit, _ = recording(AudioConfig(device="hw:CARD=Nothing"), Wanted(rate_hz=RATE, length=1600))
    deadline = time.monotonic() + 10
    while unit.state not in ("lost", "failed") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert "hw:CARD=Nothing" in unit.health().reason and unit.health().state == "down"


# --- arecord itself is a script: what ALSA says ----------------------------------------------


@pytest.fixture
def arecord(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def put(script: str) -> None:
        place = tmp_path / "bin"
        place.mkdir(exist_ok=True)
        (place / "arecord").write_text(f"#!/bin/sh\n{script}\n")
        (place / "arecord").chmod(0o755)
        monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")

    return put


@pytest.mark.parametrize(
    ("said", "told", "never"),
    [
        ("arecord: main:831: audio open error: Device or resource busy", "is in use", False),
        ("audio open error: Permission denied", "may not record", True),
        ("audio open error: No such file or directory", "is not connected", False),
        ("arecord: set_params:1349: Channels count non available", "so many channels", True),
        ("ALSA lib pcm.c: Unknown PCM hw:9", "ALSA knows no such device", True),
        ("something else", "something else", False),
    ],
)
def test_why_it_can_not_record(
    arecord: Any, recording: Any, said: str, told: str, never: bool
) -> None:
    arecord(f"echo '{said}' >&2; exit 1")
    unit, _ = recording(AudioConfig(device="hw:9"), Wanted(length=16))
    deadline = time.monotonic() + 10
    while unit.state not in ("lost", "failed") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert told in unit.health().reason
    assert (unit.state == "failed") == never


def test_overruns_break_a_window_off_and_are_counted(arecord: Any, recording: Any) -> None:
    arecord(
        "head -c 1000 /dev/zero; sleep 0.2; echo 'overrun!!! (at least 12.5 ms long)' >&2; "
        "sleep 0.2; head -c 2000 /dev/zero | tr '\\000' '\\001'; sleep 30"
    )
    unit, mailbox = recording(AudioConfig(device="hw:1"), Wanted(rate_hz=RATE, length=1000))
    its = window(mailbox)
    assert (its.values == its.values[0]).all(), "all of behind the hole"
    assert unit.health().detail["xruns"] == 1 and unit.health().detail["unused"] == 500


def test_a_rate_that_the_device_does_not_have(arecord: Any, recording: Any) -> None:
    arecord(
        "echo 'Warning: rate is not accurate (requested = 16000Hz, got = 48000Hz)' >&2; sleep 0.1; "
        "head -c 96000 /dev/zero; sleep 30"
    )
    unit, mailbox = recording(AudioConfig(device="hw:1"), Wanted(rate_hz=RATE, length=8000))
    assert window(mailbox).rate_hz == RATE
    assert unit.health().detail["note"] == "48000 Hz, 1 ch, S16_LE, resampled to 16000 Hz"


def test_samples_of_32_bits_where_there_are_no_others(arecord: Any, recording: Any) -> None:
    arecord(
        'case "$*" in *S16_LE*) echo "Sample format non available" >&2; exit 1;; esac; '
        "printf '\\000\\000\\000\\100%.0s' 1 2 3 4 5 6 7 8; sleep 30"
    )
    unit, mailbox = recording(AudioConfig(device="hw:1", channel=1), Wanted(rate_hz=RATE, length=4))
    assert window(mailbox).values[:, 0].tolist() == [0.5] * 4
    assert unit.health().detail["note"] == "16000 Hz, 2 ch, S32_LE"


def test_without_arecord(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recording: Any) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    unit, _ = recording(AudioConfig(device="hw:1"), Wanted(length=4))
    deadline = time.monotonic() + 10
    while unit.state != "failed" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert "arecord, which is not installed" in unit.health().reason
    assert unit.error is not None and "alsa-utils" in unit.error.remedy
