"""Which camera is meant, and why it can't be had: on a fake machine up to the ioctls."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from pathlib import Path

import pytest
from fake_cameras import FakeDecoder, Machine, Node

from edgeagent.capture.camera import CameraSource
from edgeagent.capture.decoder import DecoderSource
from edgeagent.capture.devices import ENUM_FMT, QUERYCAP, Devices
from edgeagent.config.model import CameraConfig
from edgeagent.errors import Busy, ConfigError, NotPermitted, SourceLost

KEY = "sources.cam.device"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    (tmp_path / "dev").mkdir()
    return machine


def test_the_numbers_of_the_ioctls() -> None:
    """_IOR('V', 0, 104 bytes) and _IOWR('V', 2, 64 bytes) by the kernel's own rule."""
    ior, iowr, group = 2, 3, ord("V")
    assert ior << 30 | 104 << 16 | group << 8 == QUERYCAP
    assert iowr << 30 | 64 << 16 | group << 8 | 2 == ENUM_FMT


def test_a_camera_counts_once_though_it_has_two_nodes(machine: Machine) -> None:
    machine.plug(0, Node("Logi C920"), serial="logi-1")
    (camera,) = machine.devices().cameras()
    assert camera.path == "/dev/video0"
    assert camera.card == "Logi C920"
    assert camera.driver == "uvcvideo"
    assert camera.formats == ("YUYV", "MJPG")
    assert camera.links == (
        "/dev/v4l/by-id/usb-logi-1-video-index0",
        "/dev/v4l/by-path/pci-0-usb-0:0-video-index0",
    )
    assert camera.name == camera.links[0]


@pytest.mark.parametrize("device", ["", "0", "/dev/video0", "/dev/v4l/by-id/usb-a-video-index0"])
def test_one_camera_may_be_named_in_any_way(machine: Machine, device: str) -> None:
    machine.plug(0, Node(), serial="a")
    assert machine.devices().choose(device, KEY).path == "/dev/video0"


@pytest.mark.parametrize("device", ["0", "/dev/video0", "2", "/dev/video2"])
def test_a_bare_index_is_refused_where_two_exist(machine: Machine, device: str) -> None:
    machine.plug(0, Node("Left"), serial="a")
    machine.plug(2, Node("Right"), serial="b")
    with pytest.raises(ConfigError, match=rf"{KEY}: '{device}' may be another camera") as caught:
        machine.devices().choose(device, KEY)
    assert "/dev/v4l/by-id/usb-a-video-index0 (Left)" in caught.value.remedy
    assert "/dev/v4l/by-id/usb-b-video-index0 (Right)" in caught.value.remedy


def test_a_second_camera_that_is_forbidden_counts_too(machine: Machine) -> None:
    machine.plug(0, Node(), serial="a")
    machine.plug(2, Node(error=errno.EACCES), serial="b")
    with pytest.raises(ConfigError, match="because 2 are connected"):
        machine.devices().choose("0", KEY)


def test_none_named_where_two_exist(machine: Machine) -> None:
    machine.plug(0, Node(), serial="a")
    machine.plug(2, Node(), serial="b")
    with pytest.raises(ConfigError, match="2 cameras are connected, and none is named"):
        machine.devices().choose("", KEY)


def test_a_lasting_name_follows_the_camera(machine: Machine) -> None:
    machine.plug(0, Node("Left"), serial="a")
    machine.plug(2, Node("Right"), serial="b")
    name = "/dev/v4l/by-id/usb-b-video-index0"
    assert machine.devices().choose(name, KEY).path == "/dev/video2"
    machine.unplug(2)
    with pytest.raises(SourceLost, match=r"is not connected; connected: .*usb-a.*\(Left\)"):
        machine.devices().choose(name, KEY)
    machine.plug(4, Node("Right"), serial="b")
    assert machine.devices().choose(name, KEY).path == "/dev/video4"


def test_a_metadata_node_is_no_camera(machine: Machine) -> None:
    machine.plug(0, Node(), serial="a")
    with pytest.raises(ConfigError, match="/dev/video1 gives no pictures"):
        machine.devices().choose("/dev/video1", KEY)


def test_no_camera_at_all(machine: Machine) -> None:
    with pytest.raises(SourceLost, match="no camera is connected") as caught:
        machine.devices().choose("", KEY)
    assert "Raspberry Pi" in caught.value.remedy
    with pytest.raises(SourceLost, match="/dev/video0: is not connected"):
        machine.devices().choose("/dev/video0", KEY)


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (errno.EACCES, NotPermitted, "may not open it"),
        (errno.EPERM, NotPermitted, "may not open it"),
        (errno.EBUSY, Busy, "is in use"),
        (errno.ENODEV, SourceLost, "is not connected"),
        (errno.ENXIO, SourceLost, "is not connected"),
        (errno.EIO, SourceLost, "input/output error"),
    ],
)
def test_what_the_kernel_says_is_explained(
    machine: Machine, code: int, kind: type[Exception], words: str
) -> None:
    machine.plug(0, Node(error=code), serial="a")
    for device in ("", "/dev/video0"):
        with pytest.raises(kind, match=f"/dev/video0: .*{words}"):
            machine.devices().choose(device, KEY)


def test_who_holds_it_is_told(machine: Machine) -> None:
    machine.plug(0, Node(), serial="a")
    machine.hold(0, 4711, "motion")
    assert machine.devices().holders("/dev/video0") == ["motion (4711)"]
    with pytest.raises(Busy, match=r"/dev/video0: is in use by motion \(4711\)"):
        FakeDecoder(machine, opens=False).open()


def test_this_machine_can_be_asked() -> None:
    """The real system calls, whatever is connected here; a wrong node is no camera."""
    Devices().cameras()
    handle = os.open("/dev/null", os.O_RDWR)
    try:
        with pytest.raises(OSError, match="Inappropriate ioctl"):
            fcntl.ioctl(handle, QUERYCAP, bytearray(struct.calcsize("16s32s32sIII12x")))
    finally:
        os.close(handle)


# --- the decoder ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "format", "formats", "code"),
    [
        ([1280, 720], "auto", ("YUYV", "MJPG"), "MJPG"),
        ([640, 480], "auto", ("YUYV", "MJPG"), "YUYV"),
        (None, "auto", ("YUYV", "MJPG"), "MJPG"),
        ([1280, 720], "auto", ("YUYV",), "YUYV"),
        ([640, 480], "MJPG", ("YUYV", "MJPG"), "MJPG"),
        ([1280, 720], "YUYV", ("YUYV", "MJPG"), "YUYV"),
    ],
)
def test_large_pictures_are_taken_as_mjpg(
    machine: Machine, size: list[int] | None, format: str, formats: tuple[str, ...], code: str
) -> None:
    machine.plug(0, Node("Cam", formats=formats))
    decoder = FakeDecoder(machine, size=size, format=format)
    opened = decoder.open()
    width, height = size or (640, 480)
    assert opened.note == f"Cam, {width}x{height} {code}, 30 fps"
    assert opened.rate_hz == 30.0
    decoder.close()
    assert decoder.fake.released


def test_another_size_than_asked_for_is_told(machine: Machine) -> None:
    machine.plug(0, Node("Cam"))
    opened = FakeDecoder(machine, size=[1920, 1080]).open()
    assert opened.note == "Cam, 1280x720 MJPG, 30 fps (1920x1080 was asked for)"


def test_a_camera_that_does_not_start(machine: Machine) -> None:
    machine.plug(0, Node("Cam"))
    with pytest.raises(SourceLost, match="/dev/video0: Cam does not start"):
        FakeDecoder(machine, opens=False).open()


def test_a_camera_that_is_unplugged_while_the_driver_goes_on(machine: Machine) -> None:
    machine.plug(0, Node("Cam"))
    decoder = FakeDecoder(machine)
    decoder.open()
    for _ in range(3):
        decoder.grab()
        assert decoder.picture(None).shape == (480, 640, 3)
    machine.unplug(0)
    decoder._looked = 0.0
    with pytest.raises(SourceLost, match="was unplugged"):
        decoder.grab()


def test_a_number_that_went_to_another_camera(machine: Machine) -> None:
    machine.plug(0, Node("Cam"))
    decoder = FakeDecoder(machine)
    decoder.open()
    # Kept aside, so that the new node can't get the old one's inode.
    (machine.root / "dev/video0").rename(machine.root / "gone")
    machine.plug(0, Node("Other"))
    decoder._looked = 0.0
    with pytest.raises(SourceLost, match="was unplugged"):
        decoder.grab()


def test_a_camera_that_stops(machine: Machine) -> None:
    machine.plug(0, Node("Cam"))
    decoder = FakeDecoder(machine)
    decoder.open()
    decoder.fake.gives = 0
    with pytest.raises(SourceLost, match="the camera has stopped"):
        decoder.grab()


def test_a_driver_that_gives_its_last_picture_late(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.plug(0, Node("Cam"))
    decoder = FakeDecoder(machine)
    decoder.open()
    clock = iter([100.0, 104.1])
    monkeypatch.setattr("edgeagent.capture.v4l2.time.monotonic", lambda: next(clock))
    with pytest.raises(SourceLost, match="no pictures any more"):
        decoder.grab()


# --- the source ----------------------------------------------------------------------------


@pytest.mark.skipif(bool(Devices().cameras()), reason="a camera is connected here")
def test_the_source_on_a_machine_without_cameras() -> None:
    source = CameraSource("cam", CameraConfig(device="/dev/v4l/by-id/usb-none-video-index0"))
    with pytest.raises(SourceLost, match="usb-none-video-index0: is not connected"):
        source.open()
    source.close()
    assert source.pid == 0


def test_a_second_camera_ends_nothing_that_worked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ambiguous at the first start is an error for ever; later it may pass."""
    answers: list[Exception | None] = [ConfigError("two"), None, ConfigError("two")]

    def open_once(_: DecoderSource) -> None:
        answer = answers.pop(0)
        if answer is not None:
            raise answer

    monkeypatch.setattr(DecoderSource, "open", open_once)
    source = CameraSource("cam", CameraConfig(device="0"))
    with pytest.raises(ConfigError):
        source.open()
    source.open()
    with pytest.raises(SourceLost, match="two"):
        source.open()
