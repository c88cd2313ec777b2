"""Who may read a file: by modes, by lists, and by the folders on the way."""

from __future__ import annotations

import grp
import os
import struct
from pathlib import Path

import pytest

from edgeagent.privacy.access import access

GROUP = grp.getgrgid(os.getgid()).gr_name


def listed(*entries: tuple[int, int, int]) -> bytes:
    """As the kernel keeps it (linux/posix_acl_xattr.h, version 2)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *its) for its in entries)


@pytest.mark.parametrize(
    ("mode", "readers"),
    [(0o600, ()), (0o640, (f"group {GROUP}",)), (0o604, ()), (0o200, ())],
)
def test_modes_below_a_private_folder(tmp_path: Path, mode: int, readers: tuple[str, ...]) -> None:
    folder = tmp_path / "private"
    folder.mkdir()
    file = folder / "file"
    file.touch()
    folder.chmod(0o750)
    file.chmod(mode)
    its = access(file)
    assert tuple(name for name in its.readers if name != its.owner) == readers
    assert its.mode.startswith("-")


def test_everybody_only_where_everybody_may_come(tmp_path: Path) -> None:
    place = Path("/proc/self/status")  # everybody may enter all folders above it
    assert "everybody on this machine" in access(place).readers
    hidden = tmp_path / "file"
    hidden.touch()
    hidden.chmod(0o604)
    tmp_path.chmod(0o700)
    assert "everybody on this machine" not in access(hidden).readers


def test_lists_of_access_and_their_mask(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    entries = [(0x01, 6, 0), (0x02, 4, 4242), (0x02, 4, 4243), (0x04, 0, 0), (0x08, 4, 4244),
               (0x10, 4, 0), (0x20, 0, 0)]  # fmt: skip
    try:
        os.setxattr(file, "system.posix_acl_access", listed(*entries))
    except OSError as error:
        pytest.skip(f"this file system has no lists of access: {error}")
    named = access(file).readers
    assert {"uid 4242", "uid 4243", "gid 4244"} - {
        its.removeprefix("group ") for its in named
    } == set()
    assert f"group {GROUP}" not in named
    masked = [its if its[0] != 0x10 else (0x10, 2, 0) for its in entries]
    os.setxattr(file, "system.posix_acl_access", listed(*masked))
    assert "uid 4242" not in access(file).readers
