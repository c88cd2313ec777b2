"""A light that blinks, and does afterwards what it did before."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.device.lights import blink, light
from edgeagent.errors import NotPermitted, Unavailable


def made(root: Path, name: str, trigger: str = "none [mmc0] heartbeat\n") -> Path:
    folder = root / "sys/class/leds" / name
    folder.mkdir(parents=True)
    (folder / "brightness").write_text("0\n")
    (folder / "max_brightness").write_text("255\n")
    (folder / "trigger").write_text(trigger)
    return folder


@pytest.mark.parametrize(
    ("names", "chosen"),
    [(["PWR", "ACT", "mmc0::"], "ACT"), (["input3::capslock", "blue:user"], "blue:user"),
     (["led1", "led0"], "led0"), (["mmc1::", "red:fault"], "red:fault")],
)  # fmt: skip
def test_the_light_that_a_person_sees(tmp_path: Path, names: list[str], chosen: str) -> None:
    for name in names:
        made(tmp_path, name)
    assert light(tmp_path).name == chosen


def test_no_light(tmp_path: Path) -> None:
    made(tmp_path, "input0::numlock")
    with pytest.raises(Unavailable, match="no light"):
        light(tmp_path)


def test_it_blinks_and_is_given_back(tmp_path: Path) -> None:
    folder = made(tmp_path, "ACT")
    seen: list[tuple[str, str]] = []

    def wait(seconds: float) -> None:
        seen.append(((folder / "brightness").read_text(), (folder / "trigger").read_text()))

    assert blink(folder, 1.5, wait) == 3
    assert seen == [("255", "none"), ("0", "none")] * 3
    assert (folder / "trigger").read_text() == "mmc0"
    assert (folder / "brightness").read_text() == "0"


def test_it_is_given_back_when_it_is_cancelled(tmp_path: Path) -> None:
    folder = made(tmp_path, "ACT")

    def wait(seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        blink(folder, 9.0, wait)
    assert (folder / "trigger").read_text() == "mmc0"


def test_who_may_not_set_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made(tmp_path, "ACT")

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refused)
    with pytest.raises(NotPermitted) as caught:
        blink(folder, 1.0, lambda _: None)
    assert "sudo edgeagent identify" in caught.value.remedy
