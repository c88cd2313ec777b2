"""The course of drift: learned, told once, over, kept; by the samples' own time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from edgeagent.drift.chapter import Chapter
from edgeagent.drift.files import Files
from edgeagent.drift.look import look
from edgeagent.drift.outputs import doubt, measured
from edgeagent.drift.reference import MOST, Reference
from edgeagent.drift.watch import Drift, DriftSettings
from edgeagent.errors import InputError
from edgeagent.types import Anomaly, Detection, Draft, Frame, Joint, Label, Regression, Window

DAY_MS = 86.4e6
STEP_MS = 720_000.0
SETTINGS = DriftSettings(every_ms=STEP_MS, learn_ms=4 * DAY_MS, samples=48)
SURE = [Label("screw", 0.95), Label("nut", 0.05)]


class Machine:
    """Windows of a machine that runs at some speed; its load goes up and down with the day."""

    def __init__(self, drift: Drift) -> None:
        self.drift = drift
        self.rng = np.random.default_rng(3)
        self.number = 0
        self.offset = 0.0
        self.hertz = 8.0
        self.answers: list[Any] = SURE

    def sees(self, samples: int) -> None:
        for _ in range(samples):
            self.number += 1
            when = self.number * STEP_MS
            day = np.sin(2 * np.pi * when / DAY_MS)
            time = np.arange(64) / 100.0
            wave = np.sin(2 * np.pi * self.hertz * (time + self.rng.random()))
            values = (wave + 0.3 * self.rng.normal(size=64) + day + self.offset).astype(np.float32)
            window = Window("imu", self.number, values[:, None], 100.0, ("x",), 10**9 * self.number,
                            when, stream_ms=when)  # fmt: skip
            self.drift.saw(window, self.answers)

    def days(self, days: float) -> None:
        self.sees(round(DAY_MS / STEP_MS * days))


def machine(tmp_path: Path, settings: DriftSettings = SETTINGS) -> tuple[Machine, list[Draft]]:
    told: list[Draft] = []
    drift = Drift("vib", settings, Files(tmp_path, lambda: None), told.append)
    drift.begin("bearing@1.0.0/int8", 0.5, None)
    return Machine(drift), told


def test_days_like_the_first_tell_nothing_and_a_shift_is_told_once(tmp_path: Path) -> None:
    its, told = machine(tmp_path)
    its.days(2)
    assert its.drift.status()["state"] == "learning"
    assert its.drift.status()["learned"] == pytest.approx(0.5, abs=0.01)
    its.days(8)
    assert its.drift.status()["state"] == "watching"
    assert told == []

    its.offset = 6.0
    its.days(1)
    (draft,) = told
    assert (draft.kind, draft.pipeline, draft.source) == ("health", "vib", "imu")
    assert draft.data["fault"] == "drift"
    assert draft.data["phase"] == "new"
    first = draft.data["changed"][0]
    assert first["feature"] == "x mean"
    assert first["now"][1] - first["was"][1] > 4.0
    assert first["distance"] > first["limit"]
    assert first["n"] == 48
    assert draft.data["reason"] in its.drift.reason

    its.offset = 0.0
    its.days(1)
    assert [one.data["phase"] for one in told] == ["new", "end"]
    assert told[1].data["lasted_s"] == pytest.approx(86_400, rel=0.5)
    assert its.drift.reason == ""


def test_a_new_speed_and_another_mix_of_labels_are_found(tmp_path: Path) -> None:
    its, told = machine(tmp_path)
    its.days(4.5)
    its.hertz = 16.0
    began = its.number
    while not told:
        its.sees(1)
        assert its.number - began <= 48
    assert told[0].data["changed"][0]["feature"] == "x rhythm"
    its.hertz = 8.0
    its.days(1)
    its.answers = [Label("nut", 0.95), Label("screw", 0.05)]
    its.days(1)
    assert [one.data["phase"] for one in told] == ["new", "end", "new"]
    assert told[2].data["changed"][0]["label"] in ("nut", "screw")
    assert "of the answers" in told[2].data["reason"]


def test_what_may_change_is_not_told(tmp_path: Path) -> None:
    ignoring = replace(SETTINGS, ignore=frozenset({"mean", "labels"}))
    its, told = machine(tmp_path, ignoring)
    its.days(4.5)
    its.offset, its.answers = 6.0, [Label("nut", 0.95), Label("screw", 0.05)]
    its.days(1)
    assert told == []


def test_nothing_is_said_before_there_are_enough_looks(tmp_path: Path) -> None:
    its, told = machine(tmp_path)
    its.days(4.5)
    its.offset = 100.0
    its.sees(15)
    assert told == []


def test_learning_goes_on_after_a_kill_and_an_incident_is_not_told_again(tmp_path: Path) -> None:
    its, _ = machine(tmp_path)
    its.days(2.4)
    assert its.drift.due
    its.drift.keep()
    # Killed here: what is on disk is all that the next process has.
    after, told = machine(tmp_path)
    assert after.drift.status()["learned"] == pytest.approx(0.6, abs=0.01)
    assert after.drift.status()["looks"] == its.drift.status()["looks"]
    after.number = its.number
    after.days(2.4)
    assert after.drift.status()["state"] == "watching"
    after.offset = 6.0
    after.days(1)
    assert len(told) == 1
    after.drift.keep()

    again, told = machine(tmp_path)
    assert again.drift.reason == after.drift.reason
    again.number, again.offset = after.number, 6.0
    again.days(1)
    assert told == []
    again.offset = 0.0
    again.days(1)
    assert [one.data["phase"] for one in told] == ["end"]


def test_another_version_learns_anew_and_the_old_one_is_remembered(tmp_path: Path) -> None:
    its, told = machine(tmp_path)
    its.days(4.5)
    its.offset = 6.0
    its.days(1)
    its.drift.begin("bearing@1.1.0/int8", 0.5, None)
    assert told[-1].data["because"] == "the model was changed"
    assert its.drift.status()["learned"] == 0.0
    its.drift.begin("bearing@1.0.0/int8", 0.5, None)
    assert its.drift.status()["state"] == "watching"


def test_learning_anew_by_command_forgets_what_was_kept(tmp_path: Path) -> None:
    its, told = machine(tmp_path)
    its.days(4.5)
    its.offset = 6.0
    its.days(1)
    its.drift.learn()
    assert told[-1].data["because"] == "it is learned anew"
    its.drift.keep()
    assert not list((tmp_path / "drift").rglob("*.sketches"))
    its.days(5)
    assert its.drift.status()["state"] == "watching"
    assert len(told) == 2


def test_a_damaged_file_is_said_and_learned_anew(tmp_path: Path) -> None:
    its, _ = machine(tmp_path)
    its.days(2.4)
    its.drift.keep()
    (file,) = (tmp_path / "drift").rglob("*.sketches")
    file.write_bytes(file.read_bytes()[:-40])
    after, _ = machine(tmp_path)
    assert "can't be read" in after.drift.status()["fault"]
    assert after.drift.status()["learned"] == 0.0


def test_little_is_written_and_nothing_once_it_is_learned(tmp_path: Path) -> None:
    files = Files(tmp_path, lambda: None)
    drift = Drift("vib", SETTINGS, files)
    drift.begin("bearing@1.0.0/int8", 0.5, None)
    its = Machine(drift)
    for _ in range(90):
        its.days(0.05)
        if drift.due:
            drift.keep()
    learned = files.written
    assert 0 < learned < 300_000
    its.days(3)
    assert not drift.due


def test_chapters_are_few_and_the_most_alike_become_one() -> None:
    reference = Reference()
    rng = np.random.default_rng(2)
    for number in range(60):
        chapter = Chapter()
        for value in rng.normal(loc=10.0 * (number % 3), size=60):
            chapter.add({"x": float(value)}, "a")
        if number > 30:
            reference.widen(chapter, 10, 0.0)
        reference.take(chapter, 10)
    assert len(reference.chapters) <= MOST
    assert reference.looks == 3600
    medians = sorted(
        round(its.numbers["x"].quantiles((0.5,))[0] / 10) for its in reference.chapters
    )
    assert set(medians) == {0, 1, 2}
    assert reference.usual["x"] < 0.25


def test_looks_at_pictures() -> None:
    rng = np.random.default_rng(5)
    sharp = rng.integers(0, 255, (120, 160, 3), np.uint8)
    grey = Frame("cam", 1, sharp[..., 0], 0, 0.0)
    seen = look(Frame("cam", 1, sharp, 0, 0.0))
    dark = look(Frame("cam", 2, sharp // 4, 0, 0.0))
    soft = np.repeat(np.repeat(sharp[::4, ::4], 4, 0), 4, 1)
    assert dark["brightness"] == pytest.approx(seen["brightness"] / 4, rel=0.05)
    assert look(Frame("cam", 3, soft, 0, 0.0))["sharpness"] < 0.5 * seen["sharpness"]
    assert set(look(grey)) == {"brightness", "contrast", "sharpness"}


def test_looks_at_sound_and_at_joint_samples() -> None:
    time = np.arange(16_000) / 16_000

    def tone(hertz: float, loud: float) -> Window:
        values = (loud * np.sin(2 * np.pi * hertz * time)).astype(np.float32)[:, None]
        return Window("mic", 1, values, 16_000.0, ("left",), 0, 0.0)

    seen = look(tone(1000.0, 0.1))
    assert seen["pitch"] == pytest.approx(1000.0, rel=0.05)
    assert seen["loudness"] == pytest.approx(-23.0, abs=0.1)
    assert seen["hum"] < 0.01 < 0.9 < look(tone(100.0, 0.1))["hum"]
    assert set(look(tone(1000.0, 0.0))) == {"loudness"}
    joint = Joint(tone(1000.0, 0.1), {"a": tone(1000.0, 0.1), "b": tone(500.0, 0.1)})
    assert look(joint)["b: pitch"] < look(joint)["a: pitch"]


def test_answers_of_all_kinds() -> None:
    assert measured(SURE, 0.5)[1] == "screw"
    assert measured(SURE, 0.99)[1] == "(nothing)"
    boxes = [Detection("cat", 0.9, (0, 0, 1, 1)), Detection("cat", 0.3, (0, 0, 1, 1))]
    assert measured(boxes, 0.5) == ({"score": 0.9, "things": 1.0}, "cat")
    assert measured([], 0.5) == ({"things": 0.0}, "(nothing)")
    assert measured([Anomaly(3.0, 2.0)], 0.5) == ({"score": 1.5, "things": 1.0}, "anomaly")
    assert measured([Anomaly(1.0, 2.0)], 0.5) == ({"score": 0.5, "things": 0.0}, "(nothing)")
    assert measured([Regression("rpm", 900.0)], 0.5)[0] == {"rpm": 900.0}


def test_doubt_is_largest_at_the_threshold_and_between_two_labels() -> None:
    assert doubt([Detection("cat", 0.5, (0, 0, 1, 1))], 0.5) == 1.0
    assert doubt([Detection("cat", 0.99, (0, 0, 1, 1))], 0.5) < 0.1
    assert doubt([Label("a", 0.51), Label("b", 0.49)], 0.3) > 0.9
    assert doubt(SURE, 0.5) < 0.2
    assert doubt([], 0.5) == 0.0


def test_the_packages_reference_is_used_from_the_first_hour(tmp_path: Path) -> None:
    from edgeagent.drift.reference import encoded

    its, _ = machine(tmp_path / "one")
    its.days(4.5)
    usual = tmp_path / "reference.sketches"
    usual.write_bytes(encoded(its.drift._reference, None, None))
    told: list[Draft] = []
    drift = Drift("vib", SETTINGS, Files(tmp_path / "two", lambda: None), told.append)
    drift.begin("bearing@1.0.0/int8", 0.5, usual)
    assert drift.status()["state"] == "watching"
    assert drift.status()["reference"] == "package"
    other = Machine(drift)
    other.days(4)
    assert told == []
    other.offset = 6.0
    other.days(1)
    assert told[0].data["reference"] == "package"
    drift.begin("bearing@1.2.0/int8", 0.5, tmp_path / "gone")
    assert "can't be read" in drift.fault


def test_a_broken_reference_says_what_to_do(tmp_path: Path) -> None:
    from edgeagent.drift.reference import decoded

    with pytest.raises(InputError, match="can't be read") as caught:
        decoded(b"nonsense", tmp_path / "x")
    assert "models reference" in caught.value.remedy
