"""What becomes of a sample that is worth a label: its picture, redacted, with what was found in
that very picture; nothing where privacy forbids it; a copy for who asks."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeagent.agent.pooling import Onlooker, Sampler
from edgeagent.config.drift import Pool as Keys
from edgeagent.config.model import Config, Privacy
from edgeagent.stages import Seen
from edgeagent.store.pool import Pool, read
from edgeagent.types import Evidence, Frame, Label, Window

UNSURE = [Label("yes", 0.52), Label("no", 0.48)]


def frame(number: int) -> Frame:
    return Frame("cam", number, np.zeros((60, 80, 3), np.uint8), 0, 1000.0 * number)


class Bench:
    """A pipeline of which only the outside is there, and its pool."""

    def __init__(self, folder: Path, pictures: Any = "events", **keys: Any) -> None:
        self.answer: Evidence | None = Evidence("image/jpeg", b"redacted", 0)
        self.pipeline = SimpleNamespace(
            name="door", model="m@1/int8", picture=lambda _sample: self.answer,
            lately=deque(),
            stages=SimpleNamespace(found=lambda: (UNSURE, ()), labels=("yes", "no")),
        )  # fmt: skip
        agent = SimpleNamespace(
            loaded=SimpleNamespace(config=Config(privacy=Privacy(pictures))), device="door-7",
            boot="b", clock_trusted=True,
        )  # fmt: skip
        self.pool = Pool(folder, 1 << 20)
        self.work: list[Any] = []
        self.kept = Sampler(
            self.pipeline,
            Keys(**{"pause": "10 s", **keys}),
            self.pool,
            agent,
            self.work.append,  # type: ignore[arg-type]
        )
        self.keeping = Onlooker(None, self.kept)
        self.keeping.begin("m@1/int8", 0.5, None)

    def does(self) -> None:
        while self.work:
            self.work.pop(0)()


def test_a_doubtful_sample_is_kept_and_the_next_one_waits(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for number in range(1, 12):
        bench.keeping.saw(frame(number), UNSURE)
        bench.does()
    first, second = bench.pool.samples()
    meta, body = read(first)
    assert body == b"redacted"
    assert (meta["frame"], meta["reason"], meta["useful"]) == (1, "uncertain", 96)
    assert (meta["labels"], meta["size"], meta["device"]) == (["yes", "no"], [80, 60], "door-7")
    assert meta["predictions"][0] == {"label": "yes", "score": 0.52}
    assert read(second)[0]["frame"] == 11


def test_while_one_is_written_no_other_is_taken(tmp_path: Path) -> None:
    bench = Bench(tmp_path, pause="1 ms")
    for number in range(1, 9):
        bench.keeping.saw(frame(number), UNSURE)
    assert len(bench.work) == 1


def test_boxes_are_those_of_the_picture_that_is_shown(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    earlier = [Label("no", 0.9)]
    bench.pipeline.lately.append(Seen(3, 0, earlier))
    bench.answer = Evidence("image/jpeg", b"redacted", 3)
    bench.keeping.saw(frame(5), UNSURE)
    bench.does()
    ((meta, _),) = [read(its) for its in bench.pool.samples()]
    assert (meta["frame"], meta["predictions"]) == (3, [{"label": "no", "score": 0.9}])
    # Of a picture about which nothing is remembered, nothing could be said.
    bench.answer = Evidence("image/jpeg", b"redacted", 2)
    bench.keeping.saw(frame(50), UNSURE)
    bench.does()
    assert len(bench.pool.samples()) == 1
    assert bench.kept.withheld == 1


def test_without_a_picture_nothing_is_kept_and_that_is_counted(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.answer = None
    bench.keeping.saw(frame(1), UNSURE)
    bench.does()
    assert bench.pool.samples() == []
    assert bench.kept.withheld == 1


@pytest.mark.parametrize(("pictures", "sounds"), [("events", 1), ("asked", 0), ("never", 0)])
def test_sound_is_as_private_as_a_picture_and_a_sensor_is_not(
    tmp_path: Path, pictures: str, sounds: int
) -> None:
    bench = Bench(tmp_path, pictures)
    values = np.zeros((800, 1), np.float32)
    bench.keeping.saw(Window("mic", 1, values, 16_000.0, ("left",), 0, 1000.0), UNSURE)
    bench.does()
    assert len(bench.pool.samples()) == sounds
    bench.keeping.saw(Window("imu", 2, values, 100.0, ("x",), 0, 99_000.0), UNSURE)
    bench.does()
    assert len(bench.pool.samples()) == sounds + 1
    meta, _ = read(bench.pool.samples()[-1])
    assert (meta["type"], meta["rate_hz"], meta["channels"]) == ("application/x-npy", 100.0, ["x"])


def test_what_the_version_in_the_shadow_says_goes_along(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.pipeline.lately.append(Seen(4, 0, UNSURE))
    bench.keeping.disagreed(frame(4), [{"kind": "label", "label": "no", "score": 0.8}])
    bench.does()
    ((meta, _),) = [read(its) for its in bench.pool.samples()]
    assert (meta["reason"], meta["useful"]) == ("disagreement", 100)
    assert meta["shadow"][0]["label"] == "no"
    assert meta["predictions"][0]["label"] == "yes"


def test_a_full_disk_is_said_and_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeagent.errors import StoreFull

    bench = Bench(tmp_path)

    def full(*_: Any) -> str:
        raise StoreFull("the disk is full")

    monkeypatch.setattr(bench.pool, "keep", full)
    bench.keeping.saw(frame(1), UNSURE)
    bench.does()
    assert bench.kept.fault == "the disk is full"
    monkeypatch.undo()
    bench.keeping.saw(frame(20), UNSURE)
    bench.does()
    assert bench.kept.fault == ""
    assert len(bench.pool.samples()) == 1
