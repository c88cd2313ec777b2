"""Video devices of the kernel: which there are, which one is meant, why one can't be had.

Layouts and numbers of the ioctls are those of ``linux/videodev2.h`` (VIDIOC_QUERYCAP,
VIDIOC_ENUM_FMT), the same on all architectures. A USB camera has two nodes, of which the
second gives metadata only: what counts is what a node says it can do.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from edgeagent.errors import Busy, ConfigError, EdgeAgentError, NotPermitted, SourceLost

QUERYCAP = 0x80685600
ENUM_FMT = 0xC0405602
CAN_CAPTURE = 0x00000001 | 0x00001000
CAN_STREAM = 0x04000000
_CAPABILITY = struct.Struct("16s32s32sIII12x")
_FORMAT = struct.Struct("III32sI16x")
_CAPTURE_TYPE = 1
_MOST_FORMATS = 32
_BARE = re.compile(r"^(?:/dev/video)?(\d+)$")
_NODE = re.compile(r"^video(\d+)$")

Ioctl = Callable[[int, int, bytearray], int]


class Camera(NamedTuple):
    """A node that gives pictures."""

    path: str
    """``/dev/video0``: changes over boots."""
    card: str
    """What the driver calls it."""
    driver: str
    formats: tuple[str, ...]
    """FourCCs, e.g. ``MJPG``, ``YUYV``."""
    links: tuple[str, ...]
    """Names that stay: ``/dev/v4l/by-id/…`` first, then by-path."""

    @property
    def name(self) -> str:
        """The best name for a configuration."""
        return self.links[0] if self.links else self.path


class Devices:
    """The machine's video devices.

    Args:
        root: where ``dev`` and ``proc`` are; another one in tests.
        ioctl: the system call.
    """

    def __init__(self, root: str = "/", ioctl: Ioctl | None = None) -> None:
        self._root = Path(root)
        self._ioctl: Ioctl = ioctl or (lambda fd, request, data: fcntl.ioctl(fd, request, data))

    def place(self, path: str) -> Path:
        """Where a path of the machine really is."""
        return self._root / path.lstrip("/")

    def cameras(self) -> list[Camera]:
        """All nodes that give pictures, by number. One that may not be opened is left out."""
        found = []
        for number in self._numbers():
            try:
                camera = self.ask(f"/dev/video{number}")
            except EdgeAgentError:
                continue
            if camera is not None:
                found.append(camera)
        return found

    def ask(self, path: str) -> Camera | None:
        """What a node says of itself; None where it gives no pictures.

        Raises:
            SourceLost, NotPermitted, Busy: it can't be opened.
        """
        try:
            handle = os.open(self.place(path), os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise self.explained(path, error) from error
        try:
            data = bytearray(_CAPABILITY.size)
            self._ioctl(handle, QUERYCAP, data)
            driver, card, _, _, whole, own = _CAPABILITY.unpack(data)
            able = own or whole
            if not able & CAN_CAPTURE or not able & CAN_STREAM:
                return None
            formats = self._formats(handle)
        except OSError as error:
            if error.errno in (errno.ENOTTY, errno.EINVAL):
                return None
            raise self.explained(path, error) from error
        finally:
            os.close(handle)
        return Camera(path, _text(card), _text(driver), formats, self._links(path))

    def choose(self, device: str, key: str) -> Camera:
        """The camera that the configuration means; ``key`` is how errors call the setting.

        Raises:
            ConfigError: it is ambiguous, or no camera.
            SourceLost: it is not connected.
            NotPermitted, Busy: it can't be opened.
        """
        cameras = self.cameras()
        if not device:
            return self._only(cameras, key)
        bare = _BARE.match(device)
        count = max(len(cameras), self._connected())
        if bare and count > 1:
            raise ConfigError(
                f"{key}: {device!r} may be another camera after the next start, "
                f"because {count} are connected",
                remedy=f"Name it by what stays: {_listed(cameras)}",
            )
        path = f"/dev/video{bare[1]}" if bare else self._node_of(device, cameras)
        camera = self.ask(path)
        if camera is None:
            raise ConfigError(
                f"{key}: {device} gives no pictures",
                remedy=f"Connected cameras: {_listed(cameras)}",
            )
        return camera

    def explained(self, path: str, error: OSError) -> EdgeAgentError:
        """The error of a system call as one that people understand."""
        if error.errno in (errno.EACCES, errno.EPERM):
            return NotPermitted(
                f"{path}: user {os.geteuid()} may not open it",
                remedy="Add the user to the group video: sudo usermod -aG video USER",
            )
        if error.errno == errno.EBUSY:
            return self.busy(path)
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
            return SourceLost(f"{path}: is not connected")
        return SourceLost(f"{path}: {(error.strerror or str(error)).lower()}")

    def busy(self, path: str) -> Busy:
        """The error that says who has the device."""
        holders = self.holders(path)
        by = f" by {', '.join(holders)}" if holders else ""
        return Busy(f"{path}: is in use{by}", remedy="End that program, or use another camera.")

    def holders(self, path: str) -> list[str]:
        """Other processes that have the node open, as ``name (pid)``; those we may see."""
        real = str(self.place(path).resolve())
        found = []
        for process in sorted(self.place("/proc").glob("[0-9]*")):
            if process.name == str(os.getpid()):
                continue
            try:
                handles = [str(handle.readlink()) for handle in (process / "fd").iterdir()]
                if real in handles:
                    found.append(f"{(process / 'comm').read_text().strip()} ({process.name})")
            except OSError:
                # Ended meanwhile, or another user's.
                continue
        return found

    def _only(self, cameras: list[Camera], key: str) -> Camera:
        if len(cameras) == 1:
            return cameras[0]
        if cameras:
            raise ConfigError(
                f"{key}: {len(cameras)} cameras are connected, and none is named",
                remedy=f"Name one: {_listed(cameras)}",
            )
        # Asking the first node again tells whether there is none or it is forbidden.
        for number in self._numbers():
            self.ask(f"/dev/video{number}")
        raise SourceLost(
            "no camera is connected",
            remedy="Check the cable and `ls /dev/v4l/by-id`. Cameras at a ribbon cable of a "
            "Raspberry Pi are no V4L2 cameras for programs.",
        )

    def _node_of(self, device: str, cameras: list[Camera]) -> str:
        """The node that a lasting name points to now."""
        place = self.place(device)
        if not place.exists():
            listed = f"; connected: {_listed(cameras)}" if cameras else ""
            raise SourceLost(f"{device}: is not connected{listed}")
        return f"/dev/{place.resolve().name}"

    def _connected(self) -> int:
        """Cameras by their places at the bus, also those that can't be opened now."""
        links = self.place("/dev/v4l/by-path").glob("*-video-index0")
        return len({link.resolve() for link in links})

    def _numbers(self) -> list[int]:
        try:
            names = [entry.name for entry in self.place("/dev").iterdir()]
        except OSError:
            return []
        return sorted(int(match[1]) for match in map(_NODE.match, names) if match)

    def _formats(self, handle: int) -> tuple[str, ...]:
        formats: list[str] = []
        for index in range(_MOST_FORMATS):
            data = bytearray(_FORMAT.pack(index, _CAPTURE_TYPE, 0, b"", 0))
            try:
                self._ioctl(handle, ENUM_FMT, data)
            except OSError:
                # EINVAL: that was the last one.
                break
            code = _FORMAT.unpack(data)[4]
            formats.append(code.to_bytes(4, "little").decode("ascii", "replace").strip())
        return tuple(formats)

    def _links(self, path: str) -> tuple[str, ...]:
        node = self.place(path).resolve()
        found = []
        for kind in ("by-id", "by-path"):
            folder = self.place(f"/dev/v4l/{kind}")
            if folder.is_dir():
                found += [
                    f"/dev/v4l/{kind}/{link.name}"
                    for link in sorted(folder.iterdir())
                    if link.resolve() == node
                ]
        return tuple(found)


def _listed(cameras: list[Camera]) -> str:
    return ", ".join(f"{camera.name} ({camera.card})" for camera in cameras) or "none"


def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode("utf-8", "replace")
