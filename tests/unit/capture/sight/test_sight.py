"""When a fault begins, when it ends, what is told of it, and what is kept of a view."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgeagent.capture.sight.sight import REASONS, Sight, SightSettings
from edgeagent.capture.sight.still import Still
from edgeagent.capture.sight.view import learn, load, save
from edgeagent.capture.synthetic import BeltScene
from edgeagent.errors import InputError
from edgeagent.types import Draft, Frame

Picture = NDArray[np.uint8]
BELT = BeltScene(3, size=(320, 240))
QUICK = SightSettings(looks=6)


class Camera:
    """The belt under a sight, two pictures a second."""

    def __init__(self, settings: SightSettings = QUICK, file: Path | None = None) -> None:
        self.told: list[Draft] = []
        self.sight = Sight("cam", settings, file=file, identity="belt", tell=self.told.append)
        self.number = 0

    def run(self, seconds: float, what: Callable[[Picture], Picture] = lambda its: its) -> None:
        for _ in range(round(2 * seconds)):
            self.number += 1
            pixels = what(BELT.render(7 * self.number)[0])
            now = 500.0 * self.number
            self.sight.look(Frame("cam", self.number, pixels, int(now * 1e6), now))

    @property
    def story(self) -> list[tuple[str, str]]:
        return [(its.data["phase"], its.data["fault"]) for its in self.told]


@pytest.fixture
def camera() -> Camera:
    camera = Camera()
    camera.run(8)
    assert camera.sight.detail() == {"fault": "", "view": "learned"}
    return camera


def covered(pixels: Picture) -> Picture:
    # A dark cloth, with the noise of a sensor.
    noise = np.random.default_rng(int(pixels[0, 0, 0])).integers(0, 6, pixels.shape)
    return (50 + noise).astype(np.uint8)


def turned(pixels: Picture) -> Picture:
    return np.asarray(cv2.resize(np.ascontiguousarray(np.rot90(pixels)), (320, 240)), np.uint8)


def test_covering_is_told_at_its_beginning_and_its_end(camera: Camera) -> None:
    camera.run(10, covered)
    assert camera.story == [("new", "covered")]
    begun = camera.told[0]
    assert begun.kind == "health"
    assert begun.source == "cam"
    assert begun.data["reason"] == REASONS["covered"]
    assert begun.frame <= 16 + 9, "it took more than four seconds"
    assert camera.sight.reason.startswith("is covered (since 1970-01-01T00:00:0")
    camera.run(6)
    assert camera.story == [("new", "covered"), ("end", "covered")]
    assert 8 < camera.told[1].data["lasted_s"] < 14
    assert camera.sight.reason == ""


def test_a_hand_before_the_lens_for_a_moment_is_no_fault(camera: Camera) -> None:
    for _ in range(3):
        camera.run(2, covered)
        camera.run(3)
    assert camera.story == []


def test_the_reason_does_not_change_while_it_lasts(camera: Camera) -> None:
    camera.run(6, covered)
    reason = camera.sight.reason
    camera.run(5, covered)
    assert camera.sight.reason == reason


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        ("dark", lambda its: (its * 0.04).astype(np.uint8)),
        ("bright", lambda its: np.clip(its.astype(int) * 3 + 150, 0, 255).astype(np.uint8)),
        ("blurred", lambda its: cv2.GaussianBlur(its, (0, 0), 3)),
        ("moved", lambda its: turned(its)),
        ("garbage", lambda its: np.concatenate((its[:80], np.full_like(its[80:], 128)))),
    ],
)  # fmt: skip
def test_each_fault_of_the_belt(
    camera: Camera, fault: str, what: Callable[[Picture], Picture]
) -> None:
    camera.run(12, what)
    assert camera.story == [("new", fault)]


def test_frozen_is_told_in_time_and_ends_with_the_first_new_picture(camera: Camera) -> None:
    still = BELT.render(7 * camera.number)[0]
    began = camera.number
    camera.run(6, lambda _: still)
    assert camera.story == [("new", "frozen")]
    assert (camera.told[0].frame - began) / 2 <= 5.0
    camera.run(1.5)
    assert camera.story[-1] == ("end", "frozen")


def test_frozen_under_a_running_clock(camera: Camera) -> None:
    still = BELT.render(7 * camera.number)[0]

    def stamped(_: Picture) -> Picture:
        picture = still.copy()
        cv2.putText(picture, str(camera.number), (4, 14), cv2.FONT_HERSHEY_PLAIN, 1.0, (255,) * 3)
        return picture

    camera.run(6, stamped)
    assert camera.story == [("new", "frozen")]


def test_a_frozen_source_is_opened_anew_once_and_then_seldom(camera: Camera) -> None:
    still = BELT.render(7 * camera.number)[0]
    assert not camera.sight.wants_reopening()
    camera.run(6, lambda _: still)
    assert camera.sight.wants_reopening()
    camera.run(6, lambda _: still)
    assert not camera.sight.wants_reopening()


def test_pictures_that_never_change_are_not_frozen_later() -> None:
    card = BELT.render(1)[0]
    camera = Camera()
    camera.run(30, lambda _: card)
    assert camera.story == []


def test_the_same_picture_encoded_again_and_again_is_frozen() -> None:
    """What a stream server does with a camera that gives nothing new."""
    still = Still(4.0)
    scene = BELT.render(50)[0]
    rng = np.random.default_rng(1)
    for look in range(40):
        still.see(np.clip(scene + rng.normal(0, 3, scene.shape), 0, 255).astype(np.uint8), look / 2)
    still.usual_stir = 2.0
    for look in range(40, 110):
        # A key frame differs a little from what follows it.
        quality = 60 if look % 7 == 0 else 62
        pixels = cv2.imdecode(
            cv2.imencode(".jpg", scene, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR
        )
        still.see(np.asarray(pixels, np.uint8), look / 2)
    assert still.frozen


def test_what_is_not_looked_for_is_not_told() -> None:
    camera = Camera(SightSettings(faults=("frozen",), looks=6))
    camera.run(8)
    camera.run(10, covered)
    assert camera.story == []


def test_a_fault_at_set_up_is_not_learned() -> None:
    camera = Camera()
    camera.run(8, lambda its: (its * 0.02).astype(np.uint8))
    assert camera.story == [("new", "dark")]
    camera.run(8)
    assert camera.sight.detail()["view"] == "learned"
    camera.run(10, covered)
    assert camera.story[-1] == ("new", "covered")


def test_a_view_survives_a_restart_and_is_learned_anew_once_removed(tmp_path: Path) -> None:
    file = tmp_path / "views" / "cam.json"
    first = Camera(file=file)
    first.run(8)
    assert file.stat().st_size < 64_000
    again = Camera(file=file)
    again.run(8, turned)
    again.run(6, turned)
    assert again.story == [("new", "moved")], "it was turned while the agent was away"
    file.unlink()
    again.run(40, turned)
    assert again.story[-1] == ("end", "moved")
    assert file.exists()


def test_another_address_has_another_view(tmp_path: Path) -> None:
    file = tmp_path / "cam.json"
    save(learn_belt(), file, "one")
    assert load(file, "other") is None
    kept = load(file, "one")
    assert kept is not None
    assert np.abs(kept.luma - learn_belt().luma).max() <= 0.5


def test_a_damaged_view_is_told_and_learned_anew(tmp_path: Path) -> None:
    file = tmp_path / "views" / "cam.json"
    file.parent.mkdir()
    file.write_text('{"v": 1, "of": "x", "luma": "////"}')
    with pytest.raises(InputError, match=r"cam\.json"):
        load(file, "x")
    camera = Camera(file=file)
    camera.run(8)
    assert camera.sight.detail()["view"] == "learned"


def learn_belt():  # type: ignore[no-untyped-def]
    from edgeagent.capture.sight.glance import glance

    return learn([glance(BELT.render(9 * number)[0]) for number in range(5)])
