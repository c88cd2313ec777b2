"""Who may read a file: its owner, groups and lists of access, and the folders on the way to it."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

_ACL = "system.posix_acl_access"
_ENTRY = struct.Struct("<HHI")
_USER, _GROUP, _MASK = 0x02, 0x08, 0x10
_READ = 4


class Access(Struct, frozen=True):
    """Of one place."""

    owner: str
    group: str
    mode: str
    """As ``ls`` writes it, e.g. ``-rw-r-----``."""
    readers: tuple[str, ...]
    """Who may read it: users, ``group NAME``, ``everybody on this machine``; root may always."""


def access(path: Path) -> Access:
    """Who may read a file, or look into a folder. Raises OSError."""
    state = path.stat()
    readers = list(_named(path, state))
    if state.st_mode & stat.S_IRUSR:
        readers.insert(0, _user(state.st_uid))
    if state.st_mode & stat.S_IROTH and _all_may_come(path):
        readers.append("everybody on this machine")
    return Access(
        _user(state.st_uid), _group(state.st_gid), stat.filemode(state.st_mode),
        tuple(dict.fromkeys(its for its in readers if its != "root")),
    )  # fmt: skip


def _named(path: Path, state: os.stat_result) -> Iterator[str]:
    """Groups and users that mode or list name. With a list the mode's group is its mask."""
    entries = _acl(path)
    mask = next((bits for tag, bits, _ in entries if tag == _MASK), 7)
    own = next((bits for tag, bits, _ in entries if tag == 0x04), state.st_mode >> 3 & 7)
    if own & mask & _READ:
        yield f"group {_group(state.st_gid)}"
    for tag, bits, which in entries:
        if tag == _USER and bits & mask & _READ:
            yield _user(which)
        elif tag == _GROUP and bits & mask & _READ:
            yield f"group {_group(which)}"


def _acl(path: Path) -> list[tuple[int, int, int]]:
    """(tag, permissions, id) of each entry (linux/posix_acl_xattr.h); none where there is no
    list."""
    try:
        data = os.getxattr(path, _ACL)
    except OSError:
        return []
    return [_ENTRY.unpack_from(data, at) for at in range(4, len(data) - 7, _ENTRY.size)]


def _all_may_come(path: Path) -> bool:
    """Whether everybody may enter all folders above it."""
    try:
        return all(its.stat().st_mode & stat.S_IXOTH for its in path.absolute().parents)
    except OSError:
        return False


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"gid {gid}"
