"""Time on a device without a trustworthy clock.

CLOCK_BOOTTIME goes on through suspend and never jumps; the kernel's boot id tells whether two
of its readings belong together. Whether the wall clock may be believed is asked of the kernel
(adjtimex's STA_UNSYNC) and of systemd-timesyncd's mark, never guessed from its value alone.
"""

from __future__ import annotations

import ctypes
import os
import time
from datetime import datetime, timezone
from pathlib import Path

_STA_UNSYNC = 0x0040
_TIMESYNC_MARK = Path("/run/systemd/timesync/synchronized")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
BUILD_TIME_S = 1_790_000_000
"""No wall clock before this (2026-09-21) can be right."""


def wall_ns() -> int:
    """Nanoseconds since 1970, as the system believes."""
    return time.time_ns()


def mono_ms() -> float:
    """Milliseconds of CLOCK_BOOTTIME."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) / 1e6


def boot_id() -> str:
    """The kernel's id of this boot, 32 hex digits."""
    try:
        return _BOOT_ID.read_text().strip().replace("-", "")
    except OSError:
        return "unknown"


def synced() -> bool:
    """Whether the wall clock may be trusted.

    ``EDGEAGENT_CLOCK=synced|unsynced`` overrides, for tests and for boards whose RTC is known
    to be good.
    """
    override = os.environ.get("EDGEAGENT_CLOCK")
    if override in ("synced", "unsynced"):
        return override == "synced"
    if time.time() < BUILD_TIME_S:
        return False
    if _TIMESYNC_MARK.exists():
        return True
    return _kernel_synced()


def _kernel_synced() -> bool:
    # struct timex starts with `unsigned modes` and padding; `status` is at 4 longs' distance
    # after modes. 512 bytes are more than any architecture's struct needs.
    buffer = ctypes.create_string_buffer(512)
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    except (OSError, AttributeError):
        return False
    if state < 0:
        return False
    long_size = ctypes.sizeof(ctypes.c_long)
    status = ctypes.c_int.from_buffer(buffer, 5 * long_size).value
    return state != 5 and not status & _STA_UNSYNC


def rfc3339(ns: int) -> str:
    """``2026-11-24T18:29:49.120Z``: UTC, milliseconds."""
    seconds, rest = divmod(ns, 1_000_000_000)
    stamp = datetime.fromtimestamp(seconds, tz=timezone.utc)
    return f"{stamp:%Y-%m-%dT%H:%M:%S}.{rest // 1_000_000:03d}Z"


def parse_rfc3339(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time. Raises ValueError."""
    stamp = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if stamp.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone")
    return int(stamp.timestamp() * 1000) * 1_000_000
