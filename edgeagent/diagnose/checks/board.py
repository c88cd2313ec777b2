"""The device itself: clock, memory, limits, heat."""

from __future__ import annotations

import resource
from collections.abc import Iterator

from edgeagent import clock as time
from edgeagent.device import health
from edgeagent.diagnose.context import Context
from edgeagent.diagnose.finding import Finding, Severity

_MIB = 1 << 20
_LITTLE = 64 * _MIB
"""One small model with its runtime takes about as much."""
_FEW_FILES = 256
_HOT_MARGIN_C = 5.0
_WAITING_PERCENT = 20.0
_UNDER_VOLTAGE = "Use a power supply and cable that hold 5 V under load (3 A or more)."
_COOL = "Give it air: a heat sink, a fan, a larger case; or lower fps."


def profile(context: Context) -> Iterator[Finding]:
    """Which board this is, and why we think so."""
    match = context.board()
    its = match.profile
    said = f"this is a {its.title} (profile {its.name})"
    if not its.verified:
        said += "; nobody has run the agent on one yet, its figures come from documents"
    yield Finding("profile", "ok", said, "; ".join(match.evidence))


def clock(_: Context) -> Iterator[Finding]:
    """Without a trusted clock records say `unsynced`, and TLS may fail."""
    if time.synced():
        yield Finding("clock", "ok", f"the clock is synchronised ({time.rfc3339(time.wall_ns())})")
        return
    wrong = time.wall_ns() < time.BUILD_TIME_S * 1_000_000_000
    said = f"the clock is not synchronised, it says {time.rfc3339(time.wall_ns())}"
    yield Finding(
        "clock", "problem", said + (", which can't be" if wrong else ""),
        "adjtimex(2), systemd-timesyncd's mark",
        "timedatectl set-ntp true; where it can't reach a server: NTP= in "
        "/etc/systemd/timesyncd.conf",
    )  # fmt: skip


def memory(context: Context) -> Iterator[Finding]:
    """Enough for a model more, and nobody waiting for it."""
    known = health.memory(context.root)
    available = known.get("available")
    if available is None:
        yield Finding("memory", "note", "this system does not tell its memory", "/proc/meminfo")
        return
    limit, used = known.get("limit"), known.get("used")
    if limit is not None:
        available = min(available, max(0, limit - (used or 0)))
    how = "/proc/meminfo" + ("" if limit is None else f", memory.max = {limit // _MIB} MiB")
    said = f"{available // _MIB} MiB of memory are available"
    if available < _LITTLE:
        remedy = "See who has it: ps -eo rss,comm --sort -rss | head"
        if limit is not None and limit - (used or 0) == available:
            remedy = "Raise MemoryMax of the service: sudo systemctl edit edgeagent"
        yield Finding("memory", "problem", f"only {said}", how, remedy)
    else:
        yield Finding("memory", "ok", said, how)
    waiting = health.pressure(context.root).get("memory", 0.0)
    if waiting > _WAITING_PERCENT:
        yield Finding(
            "memory", "problem", f"programs wait for memory {waiting:.0f} % of the time",
            "/proc/pressure/memory", "Stop what is not needed, or use smaller models.",
        )  # fmt: skip


def limits(context: Context) -> Iterator[Finding]:
    """Limits of the process that would stop the agent one day."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY and files < _FEW_FILES:
        yield Finding(
            "limits", "problem", f"only {files} files may be open at once", "RLIMIT_NOFILE",
            "Raise it: LimitNOFILE=1024 in the service (or ulimit -n 1024)",
        )  # fmt: skip
    size, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if size != resource.RLIM_INFINITY:
        yield Finding(
            "limits", "problem", f"files may not grow beyond {size // _MIB} MiB", "RLIMIT_FSIZE",
            "Remove the limit: ulimit -f unlimited",
        )  # fmt: skip
    waiting = health.pressure(context.root).get("cpu", 0.0)
    if waiting > 4 * _WAITING_PERCENT:
        yield Finding("limits", "note", f"programs wait for the CPU {waiting:.0f} % of the time",
                      "/proc/pressure/cpu", "See who has it: top")  # fmt: skip


def temperature(context: Context) -> Iterator[Finding]:
    """How far it is to the temperature at which the processor slows itself down."""
    thermal = context.board().profile.thermal
    hot = health.temperature(thermal.zones, context.root)
    if hot is None:
        yield Finding("temperature", "note", "this device does not tell its temperature",
                      "/sys/class/thermal")  # fmt: skip
        return
    zone, degrees = hot
    said = f"{degrees:.0f} °C; from {thermal.slow_c:g} °C it slows down"
    severity: Severity = "problem" if degrees >= thermal.slow_c - _HOT_MARGIN_C else "ok"
    yield Finding("temperature", severity, said, f"thermal zone {zone}",
                  _COOL if severity == "problem" else "")  # fmt: skip


def throttling(context: Context) -> Iterator[Finding]:
    """Slower than it could be, now or earlier, and why."""
    slow = health.throttle(context.root)
    if slow is None:
        yield Finding("throttling", "note", "this device does not tell whether it is slowed down")
        return
    for said in slow.now:
        remedy = _UNDER_VOLTAGE if said == "under-voltage" else _COOL
        yield Finding("throttling", "problem", f"slowed down now: {said}", slow.how, remedy)
    for said in slow.ever:
        if said not in slow.now:
            remedy = _UNDER_VOLTAGE if said == "under-voltage" else _COOL
            yield Finding(
                "throttling", "note", f"since it was switched on: {said}", slow.how, remedy
            )
    if not slow.now and not slow.ever:
        yield Finding("throttling", "ok", "runs at full speed", slow.how)
