"""Looks for a planted pattern in everything that an agent wrote or sent.

Pictures are found by their first bytes wherever they lie (a database page, a blob, an AVI, a
payload), decoded, and searched for the pattern by normalised correlation; raw pixels are looked
for as rows of bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import carve
import cv2
import numpy as np

CELL = 10
"""Side of a field of the board, in pixels of the film."""
FIELDS = 8
BRIGHT, DARK = 235, 20
PLANES = (carve.Plane(640 * 3, CELL * 3, CELL), carve.Plane(640, CELL, CELL))
"""A frame of the film as BGR, and its brightness alone."""
Message = tuple[str, bytes, bool]
"""Topic, payload, whether it was retained."""
FOUND = 0.55
"""Correlation from which on the pattern is there; JPEG at quality 50 leaves 0.9 of it."""


def board(cell: int = CELL) -> Any:
    """A checkerboard, (h, w, 3) BGR."""
    dark = np.indices((FIELDS, FIELDS)).sum(0) % 2 == 0
    flat = np.where(dark, DARK, BRIGHT).astype(np.uint8)
    return np.repeat(np.repeat(flat, cell, 0), cell, 1)[..., None].repeat(3, 2)


def seen(picture: Any, cell: int = CELL) -> float:
    """How surely the board is somewhere in a BGR picture: the largest correlation."""
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) if picture.ndim == 3 else picture
    best = 0.0
    for size in (cell, cell / 2):  # thumbnails and scaled clips
        side = round(FIELDS * size)
        template = cv2.resize(board(cell)[..., 0], (side, side), interpolation=cv2.INTER_AREA)
        # Half of it is enough to know it by, and is what a cover that is too small leaves.
        for part in (template, template[: side // 2], template[:, : side // 2]):
            if grey.shape[0] >= part.shape[0] and grey.shape[1] >= part.shape[1]:
                match = cv2.matchTemplate(grey, np.ascontiguousarray(part), cv2.TM_CCOEFF_NORMED)
                best = max(best, float(np.nan_to_num(match, posinf=0.0, neginf=0.0).max()))
    return best


_known: dict[bytes, float] = {}


def _seen_once(picture: Any) -> float:
    """As `seen`: one picture lies on the disk, went over the wire, and was shown."""
    key = sha256(picture.tobytes()).digest()
    if key not in _known:
        _known[key] = seen(picture)
    return _known[key]


def raw_row(data: bytes) -> bool:
    """Whether a row of the board lies there as raw BGR or grey pixels."""
    field, other = bytes([DARK] * CELL), bytes([BRIGHT] * CELL)
    return any(
        row in data for row in (field * 3 + other * 3 + field * 3, field + other + field + other)
    )


class Found:
    """What was looked at, and where the pattern was."""

    def __init__(self) -> None:
        self.looked = 0
        self.pictures = 0
        self.largest = 0.0
        self.at: list[str] = []

    def look(self, data: bytes, name: str, enough: int = 1 << 30) -> None:
        """Search bytes in every form that they may have, until it was found so often."""
        found = len(self.at)
        self.looked += 1
        if raw_row(data):
            self.at.append(f"{name}: raw")
        for how, picture in carve.pictures(data):
            self.pictures += 1
            likeness = _seen_once(picture)
            self.largest = max(self.largest, likeness)
            if likeness >= FOUND:
                self.at.append(f"{name}: {likeness:.2f} {how}")
            if len(self.at) - found >= enough:
                return

    def memory(self, data: bytes, name: str) -> None:
        """Search a core dump: for pictures, and for frames as they lie in memory."""
        self.at += [f"{name}: {how}" for how in islice(carve.planes(data, PLANES), 2)]
        self.look(data, name, enough=5)

    def folder(self, place: Path) -> None:
        """Everything below a folder."""
        for file in sorted(place.rglob("*")):
            if file.is_file():
                self.look(file.read_bytes(), file.name)

    def payloads(self, messages: list[Message]) -> None:
        """Everything that went over the wire: as it is, and put together."""
        for topic, payload, _ in messages:
            self.look(payload, topic)
        for sha, whole in blobs(messages).items():
            self.look(whole, f"blob {sha[:8]} from the wire")


def blobs(messages: list[Message]) -> dict[str, bytes]:
    """Evidence that came in chunks, put together, by its sha256."""
    chunks: dict[str, dict[int, bytes]] = {}
    for topic, payload, _ in messages:
        parts = topic.split("/")
        if "blob" in parts and parts[-1].isdigit():
            chunks.setdefault(parts[-2], {})[int(parts[-1])] = payload
    return {sha: b"".join(its[index] for index in sorted(its)) for sha, its in chunks.items()}


def shared_memory(pid: int) -> Iterator[tuple[str, bytes]]:
    """Named shared memory of a process, and its files that have no name any more."""
    for file in Path("/dev/shm").glob("*"):
        if file.is_file() and file.stat().st_uid == os.getuid() and "edgeagent" in file.name:
            yield str(file), file.read_bytes()
    for handle in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            target = os.readlink(handle)
            if "(deleted)" in target or target.startswith("/dev/shm"):
                yield target, handle.read_bytes()
        except FileNotFoundError:
            continue  # closed in this very moment: there is nothing in it any more
