"""A machine with cameras, up to the system calls: device nodes, links, ioctls, OpenCV."""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgeagent.capture.devices import CAN_CAPTURE, CAN_STREAM, ENUM_FMT, QUERYCAP, Devices
from edgeagent.capture.v4l2 import V4l2Decoder

METADATA = 0x00800000


@dataclass
class Node:
    """What the driver behind one node answers."""

    card: str = "HD Webcam"
    able: int = CAN_CAPTURE | CAN_STREAM
    formats: tuple[str, ...] = ("YUYV", "MJPG")
    error: int = 0
    """errno of every ioctl."""


@dataclass
class Machine:
    """A root folder with /dev and /proc, and the kernel behind it."""

    root: Path
    nodes: dict[int, Node] = field(default_factory=dict)

    def plug(self, number: int, node: Node, serial: str = "", metadata: bool = True) -> None:
        """Connect a USB camera at /dev/videoN, with its metadata node behind it."""
        self._add(number, node)
        if serial:
            self._link("by-id", f"usb-{serial}-video-index0", number)
            self._link("by-path", f"pci-0-usb-0:{number}-video-index0", number)
        if metadata:
            self._add(number + 1, Node(node.card, METADATA | CAN_STREAM, ()))
            if serial:
                self._link("by-path", f"pci-0-usb-0:{number}-video-index1", number + 1)

    def unplug(self, number: int) -> None:
        for index in (number, number + 1):
            self.nodes.pop(index, None)
            (self.root / "dev" / f"video{index}").unlink(missing_ok=True)
        for link in (self.root / "dev/v4l").rglob("*"):
            if link.is_symlink() and not link.exists():
                link.unlink()

    def hold(self, number: int, pid: int, name: str) -> None:
        """Let another process have a node open."""
        handles = self.root / "proc" / str(pid) / "fd"
        handles.mkdir(parents=True)
        (handles / "3").symlink_to((self.root / "dev" / f"video{number}").resolve())
        (handles.parent / "comm").write_text(name + "\n")

    def devices(self) -> Devices:
        return Devices(str(self.root), self.ioctl)

    def ioctl(self, handle: int, request: int, data: bytearray) -> int:
        """The system call, as `fcntl.ioctl` with a mutable buffer."""
        name = Path(os.readlink(f"/proc/self/fd/{handle}")).name
        node = self.nodes[int(name.removeprefix("video"))]
        if node.error:
            raise OSError(node.error, os.strerror(node.error))
        if request == QUERYCAP:
            assert len(data) == 104
            # `capabilities` is of the whole device, `device_caps` of this node.
            data[:] = struct.pack(
                "16s32s32sIIIIII", b"uvcvideo", node.card.encode(), b"usb-1", 0x60000,
                0x80000000 | CAN_CAPTURE | METADATA | CAN_STREAM, node.able, 0, 0, 0,
            )  # fmt: skip
        elif request == ENUM_FMT:
            assert len(data) == 64
            (index,) = struct.unpack_from("I", data)
            if index >= len(node.formats):
                raise OSError(errno.EINVAL, "Invalid argument")
            struct.pack_into("I", data, 44, int.from_bytes(node.formats[index].encode(), "little"))
        else:
            raise OSError(errno.ENOTTY, "Inappropriate ioctl for device")
        return 0

    def _add(self, number: int, node: Node) -> None:
        (self.root / "dev").mkdir(exist_ok=True)
        (self.root / "dev" / f"video{number}").touch()
        self.nodes[number] = node

    def _link(self, kind: str, name: str, number: int) -> None:
        folder = self.root / "dev" / "v4l" / kind
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(f"../../video{number}")


class FakeVideo:
    """`cv2.VideoCapture` on a camera that can 640x480 and 1280x720."""

    def __init__(self, opens: bool, settings: list[int]) -> None:
        self.opens = opens
        self.settings = dict(zip(settings[::2], settings[1::2], strict=True))
        wanted = (
            self.settings.get(cv2.CAP_PROP_FRAME_WIDTH, 640),
            self.settings.get(cv2.CAP_PROP_FRAME_HEIGHT, 480),
        )
        self.size = wanted if wanted in ((640, 480), (1280, 720)) else (1280, 720)
        self.code = self.settings.get(cv2.CAP_PROP_FOURCC, int.from_bytes(b"YUYV", "little"))
        self.grabs = 0
        self.gives = 10**9
        self.released = False

    def isOpened(self) -> bool:  # noqa: N802
        return self.opens

    def get(self, key: int) -> float:
        values = {
            cv2.CAP_PROP_FRAME_WIDTH: self.size[0],
            cv2.CAP_PROP_FRAME_HEIGHT: self.size[1],
            cv2.CAP_PROP_FPS: 30.0,
            cv2.CAP_PROP_FOURCC: self.code,
        }
        return float(values[key])

    def grab(self) -> bool:
        self.grabs += 1
        return self.grabs <= self.gives

    def retrieve(self, into: Any = None) -> tuple[bool, Any]:
        return True, np.full((self.size[1], self.size[0], 3), self.grabs % 256, np.uint8)

    def release(self) -> None:
        self.released = True


class FakeDecoder(V4l2Decoder):
    """The decoder on a fake machine."""

    def __init__(
        self, machine: Machine, device: str = "", size: list[int] | None = None,
        format: str = "auto", opens: bool = True,
    ) -> None:  # fmt: skip
        super().__init__("sources.cam.device", device, size, format, str(machine.root))
        self.machine = machine
        self.opens = opens
        self.fake = FakeVideo(opens, [])

    def devices(self) -> Devices:
        return self.machine.devices()

    def video(self, path: str, settings: list[int]) -> Any:
        assert Path(path).exists()
        self.fake = FakeVideo(self.opens, settings)
        return self.fake
