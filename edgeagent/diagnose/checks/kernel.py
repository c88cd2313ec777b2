"""What the kernel has complained about since it was started."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeagent.diagnose.context import Context
from edgeagent.diagnose.finding import Finding, Severity

_TAIL_BYTES = 512 * 1024
_RECORDS = 20_000
_DISK = re.compile(
    r"(?:I/O error, dev|Buffer I/O error on dev|critical medium error, dev) (\w+)"
    r"|(mmc\d+): (?:error -\d+|Card stuck|Timeout waiting for hardware)"
    r"|(nvme\w+|ata[\d.]+): .*(?:failed command|I/O .* timeout|controller is down)"
)
_FILES = re.compile(
    r"(?:EXT4-fs|BTRFS|XFS|F2FS-fs)[ :].*(?:\((\w+)\))?.*(?:error|corrupt)"
    r"|Remounting filesystem read-only", re.I,
)  # fmt: skip
_KILLED = re.compile(r"(?:Out of memory|Memory cgroup out of memory): Killed process \d+ \((\S+)\)")
_POWER = re.compile(r"(?:Under-?voltage detected|over-current change)", re.I)
_USB = re.compile(
    r"usb ([\d.-]+): (?:device descriptor read/\w+, error|device not accepting address"
    r"|reset .*-speed USB device)"
)
_RESETS = 3
"""One reset is nothing: a device that was plugged in gets one."""


def disk_errors(context: Context) -> Iterator[Finding]:
    """Reads or writes of a disk or card have failed."""
    yield from _told(
        context, "disk errors", _DISK, "failed", "the kernel reports failed reads or writes of",
        "Replace it soon: back up with edgeagent outbox export --carry DIR, then see "
        "sudo smartctl -a /dev/{}",
    )  # fmt: skip


def file_system(context: Context) -> Iterator[Finding]:
    """A file system has found itself damaged."""
    yield from _told(
        context, "file system", _FILES, "failed", "a file system is damaged",
        "Have it repaired at the next start: sudo touch /forcefsck && sudo reboot",
    )  # fmt: skip


def killed(context: Context) -> Iterator[Finding]:
    """A program was ended because memory had run out."""
    yield from _told(
        context, "killed", _KILLED, "problem", "for want of memory the kernel has ended",
        "Use a smaller model or fewer pipelines. Who has it: ps -eo rss,comm --sort -rss | head",
    )  # fmt: skip


def power(context: Context) -> Iterator[Finding]:
    """The supply did not hold its voltage, or a USB port drew too much."""
    yield from _told(
        context, "power", _POWER, "problem", "the power supply is too weak",
        "Use a supply and cable that hold 5 V under load; USB devices on a hub with its own. "
        "See: dmesg | grep -i -e voltage -e over-current",
    )  # fmt: skip


def usb(context: Context) -> Iterator[Finding]:
    """A USB device comes and goes."""
    yield from _told(
        context, "usb", _USB, "problem", "a USB device keeps losing its connection:",
        "Try another cable or port, or a hub with its own supply: dmesg | grep 'usb {}'",
        at_least=_RESETS,
    )  # fmt: skip


def _told(
    context: Context, name: str, pattern: re.Pattern[str], severity: Severity, said: str,
    remedy: str, at_least: int = 1,
) -> Iterator[Finding]:  # fmt: skip
    lines, how = messages(context.root)
    if lines is None:
        yield Finding(name, "note", "the kernel's messages can't be read by this user", how,
                      "sudo edgeagent doctor")  # fmt: skip
        return
    found = [(match, line) for line in lines if (match := pattern.search(line))]
    if len(found) < at_least:
        yield Finding(name, "ok", f"nothing of it in {len(lines)} messages of the kernel", how)
        return
    match, line = found[-1]
    what = next((its for its in match.groups() if its), "")
    many = f" ({len(found)} times)" if len(found) > 1 else ""
    yield Finding(
        name, severity, f"{said} {what}".strip() + many, f"{how}: {line[:160]}",
        remedy.format(what or "DEVICE"),
    )  # fmt: skip


def messages(root: Path) -> tuple[Sequence[str] | None, str]:
    """The kernel's messages of this boot, and where they were read; None = they may not be."""
    ring, log = root / "dev/kmsg", root / "var/log/kern.log"
    for file in (ring, log):
        try:
            if file == ring and stat.S_ISCHR(ring.stat().st_mode):
                return _ring(ring), str(file)
            data = file.read_bytes()[-_TAIL_BYTES:]
            return data.decode(errors="replace").splitlines(), str(file)
        except FileNotFoundError:
            continue
        except OSError:
            if not os.access(log, os.R_OK):
                return None, str(file)
    return [], "no log of the kernel"


def _ring(file: Path) -> list[str]:
    """All records of /dev/kmsg (``prio,seq,usec,flags;text``), without waiting for more."""
    lines: list[str] = []
    handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        while len(lines) < _RECORDS:
            try:
                record = os.read(handle, 8192)
            except BlockingIOError:
                break
            except BrokenPipeError:
                continue  # overwritten while it was read; the next read goes on behind it
            lines.append(record.decode(errors="replace").partition(";")[2].partition("\n")[0])
    finally:
        os.close(handle)
    return lines
