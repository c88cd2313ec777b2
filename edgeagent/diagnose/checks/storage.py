"""Can the agent keep what it must not lose, and for how long?"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgeagent.config.units import size_bytes
from edgeagent.device import health
from edgeagent.diagnose.context import Context
from edgeagent.diagnose.finding import Finding, Severity
from edgeagent.errors import EdgeAgentError, NotFound

_MIB = 1 << 20
_VOLATILE = {"tmpfs", "ramfs"}
_UNSAFE = {"overlay", "nfs", "nfs4", "cifs", "9p", "fuse.sshfs", "vfat", "exfat"}
"""Where SQLite's locks or fsync do not do what they promise, or an image's layer forgets."""
_FEW_INODES = 1000


def folder(context: Context) -> Iterator[Finding]:
    """Writable, and on something that survives a power cut."""
    data = context.data_dir
    owner = f"sudo chown -R edgeagent: {data}"
    if _hidden(data):
        yield Finding(
            "data folder", "failed", f"{data} can't be looked at by this user", "stat(2)",
            "Look as the agent's user: sudo -u edgeagent edgeagent doctor",
        )  # fmt: skip
        return
    if not data.exists():
        parent = next((its for its in data.parents if its.exists()), Path("/"))
        if os.access(parent, os.W_OK | os.X_OK, effective_ids=True):
            yield Finding("data folder", "note", f"{data} does not exist yet; the agent makes it")
        else:
            yield Finding(
                "data folder", "failed", f"{data} does not exist and can't be made in {parent}",
                "access(2)", f"sudo install -d -o $USER {data}",
            )  # fmt: skip
        return
    try:
        with tempfile.TemporaryFile(dir=data) as file:
            file.write(b"doctor")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        full = "Free some space." if error.errno == 28 else owner
        yield Finding(
            "data folder", "failed", f"{data} can't be written to: {error.strerror}",
            "wrote a file and had it synchronised", full,
        )  # fmt: skip
        return
    disk = health.disk(data, context.root)
    where = f"{disk.kind or 'unknown'} at {disk.mount}"
    if disk.kind in _VOLATILE:
        yield Finding(
            "data folder", "problem", f"{data} is in memory: a power cut takes all records",
            where, "Name a folder on a disk: storage.data_dir, or --data-dir",
        )  # fmt: skip
    elif disk.kind in _UNSAFE:
        yield Finding(
            "data folder", "problem",
            f"{data} is on {disk.kind}, which does not keep SQLite's promises after a power cut",
            where, "Use a local file system such as ext4; in a container, a volume.",
        )  # fmt: skip
    else:
        yield Finding("data folder", "ok", f"{data} can be written to", where)


def read_only(context: Context) -> Iterator[Finding]:
    """A file system that the kernel has made read-only, as it does with a failing card."""
    data = context.data_dir
    if _hidden(data):
        return  # `folder` tells
    disk = health.disk(data, context.root)
    if disk.read_only or _mounted_read_only(disk.mount, context.root):
        yield Finding(
            "read-only", "failed", f"{disk.mount} is mounted read-only: nothing can be kept",
            "/proc/self/mountinfo",
            f"See why: dmesg | grep -i error; then: sudo mount -o remount,rw {disk.mount}",
        )  # fmt: skip
    else:
        yield Finding("read-only", "ok", f"{disk.mount} is mounted for writing", disk.kind)


def _mounted_read_only(mount: str, root: Path) -> bool:
    lines = (root / "proc/self/mountinfo").read_text(errors="replace").splitlines()
    options = [its.split()[5].split(",") for its in lines if its.split()[4:5] == [mount]]
    return bool(options) and "ro" in options[-1]


def space(context: Context) -> Iterator[Finding]:
    """What the configuration promises to keep has to fit on the disk."""
    config, data = context.config, context.data_dir
    if _hidden(data):
        return  # `folder` tells
    disk = health.disk(data, context.root)
    used = sum(_size(file) for file in data.rglob("*")) if data.exists() else 0
    allowed = size_bytes(config.storage.max)
    left = max(0, allowed - used)
    how = f"statvfs of {data}; storage.max = {config.storage.max}"
    said = f"{disk.free_bytes // _MIB} MiB free, {used // _MIB} MiB used by the agent"
    if disk.free_bytes < left:
        severity: Severity = "failed" if disk.free_bytes < 8 * _MIB else "problem"
        fits = max(1, (used + disk.free_bytes * 9 // 10) // _MIB)
        yield Finding(
            "space", severity, f"{said}: the {left // _MIB} MiB that it may still write don't fit",
            how, f'Free some space, or set storage.max = "{fits} MiB"',
        )  # fmt: skip
    elif used > allowed:
        yield Finding(
            "space", "problem", f"{said}: more than storage.max allows", how,
            f"See what it is: du -ah {data} | sort -h | tail",
        )  # fmt: skip
    else:
        yield Finding("space", "ok", said, how)
    if 0 < disk.free_inodes < _FEW_INODES:
        yield Finding(
            "space", "problem", f"only {disk.free_inodes} more files can be made at {disk.mount}",
            "statvfs", "Remove files that nobody needs: the file system is out of inodes.",
        )  # fmt: skip
    for name, share in health.wear(context.root).items():
        if share >= 80:
            yield Finding(
                "space", "problem", f"the flash {name} has used up about {share} % of its life",
                f"/sys/block/{name}/device/life_time", "Plan to replace it.",
            )  # fmt: skip


def outbox(context: Context) -> Iterator[Finding]:
    """Whether the account closes; read beside the agent, nothing is locked."""
    from edgeagent.store.verify import resolve, verify

    again = "edgeagent outbox verify --deep"
    try:
        database = resolve(context.data_dir)
        report = verify(database)
    except NotFound:
        yield Finding("outbox", "ok", "there is no outbox yet", str(context.data_dir))
        return
    except EdgeAgentError as error:
        yield Finding("outbox", "failed", f"the outbox can't be read: {error}", "",
                      error.remedy or again)  # fmt: skip
        return
    how = str(database)
    for said in report.problems[:5]:
        yield Finding("outbox", "failed", f"the outbox is not in order: {said}", how, again)
    dropped = sum(report.dropped.values())
    if report.ok:
        said = f"{report.produced} records = {report.delivered} delivered"
        said += f" + {report.pending} pending + {dropped} dropped"
        yield Finding("outbox", "ok", said, how)
    if dropped:
        reasons = ", ".join(f"{reason} {count}" for reason, count in report.dropped.items())
        yield Finding(
            "outbox", "note", f"records were dropped, and told as gaps: {reasons}", how,
            "For longer times offline raise outbox.max",
        )  # fmt: skip
    aside = database.parent.parent / "quarantine"
    if aside.is_dir():
        yield Finding(
            "outbox", "note", "a damaged database was set aside; what could be read of it is sent",
            str(aside), "Look whether the disk is failing: dmesg | grep -i error",
        )  # fmt: skip


def _hidden(data: Path) -> bool:
    """Whether this user may not even see if it is there."""
    try:
        data.exists()
    except PermissionError:
        return True
    return False


def _size(file: Path) -> int:
    try:
        state = file.lstat()
    except OSError:
        return 0  # gone meanwhile
    return state.st_blocks * 512 if file.is_file() else 0
