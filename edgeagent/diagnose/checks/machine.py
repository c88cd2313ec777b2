"""Whether this machine can run what the agent is made of."""

from __future__ import annotations

import re
import struct
import sysconfig
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from edgeagent.config.model import CameraConfig, ImagesConfig, MjpegConfig, RtspConfig, VideoConfig
from edgeagent.diagnose.context import Context
from edgeagent.diagnose.finding import Finding

_LEVEL_2 = ("ssse3", "sse4_1", "sse4_2", "popcnt")
"""x86-64-v2, which numpy's wheels are built for."""
_PICTURES = (CameraConfig, RtspConfig, MjpegConfig, ImagesConfig, VideoConfig)
_MIB = 1 << 20
_SWAPPED_MIB = 64
_HELD = 0.85
"""Share of its full speed below which a processor counts as held back."""


def cpu(context: Context) -> Iterator[Finding]:
    """Instructions that the runtimes are built for, or are slow without."""
    file = context.root / "proc/cpuinfo"
    flags = _flags(file)
    how = "/proc/cpuinfo"
    if not flags:
        yield Finding("cpu", "note", "this system does not tell what its processor can do", how)
        return
    arm = "asimd" in flags or ("fp" in flags and "sse2" not in flags)
    lacking = ["asimd"] if arm and "asimd" not in flags else []
    lacking += [] if arm else [its for its in _LEVEL_2 if its not in flags]
    if lacking:
        yield Finding(
            "cpu", "failed", f"the processor lacks {', '.join(lacking)}, which numpy needs", how,
            "In a virtual machine choose the processor model host, else another machine.",
        )  # fmt: skip
    elif arm and "asimddp" not in flags:
        yield Finding("cpu", "note", "without asimddp int8 models run at about half the speed", how)
    elif not arm and "avx2" not in flags:
        yield Finding("cpu", "note", "without avx2 models run at about half the speed", how)
    else:
        yield Finding("cpu", "ok", "the processor has what the runtimes use", how)


def python(_: Context) -> Iterator[Finding]:
    """A 32-bit Python finds no runtime, also on a 64-bit kernel."""
    platform = sysconfig.get_platform()
    if struct.calcsize("P") == 4 or platform.endswith(("armv7l", "armv6l", "i686")):
        yield Finding(
            "python", "failed", "this Python is 32-bit, and no runtime is made for it",
            f"sysconfig: {platform}", "Install a 64-bit system: uname -m must say aarch64, and "
            "getconf LONG_BIT must say 64",
        )  # fmt: skip
        return
    yield Finding("python", "ok", "this Python is 64-bit", f"sysconfig: {platform}")


def libraries(context: Context) -> Iterator[Finding]:
    """Python packages that the configuration needs, in versions that go together."""
    lacking = False
    config = context.config
    uses_pictures = any(isinstance(its, _PICTURES) for its in config.sources.values())
    if uses_pictures and find_spec("cv2") is None:
        lacking = True
        yield Finding("libraries", "failed", "OpenCV is not installed, and cameras need it",
                      "import cv2", "pip install 'edgeagent[cv]'")  # fmt: skip
    if find_spec("tflite_runtime") is not None and _major("numpy") >= 2:
        lacking = True
        yield Finding("libraries", "failed", "tflite-runtime can't work with numpy 2",
                      f"numpy {version('numpy')}", "pip install 'numpy<2'")  # fmt: skip
    trusted = Path(config.trust.root).is_file()
    if trusted and find_spec("tuf") is None:
        lacking = True
        yield Finding("libraries", "failed", "models can't be checked: tuf is not installed",
                      f"{config.trust.root}", "pip install 'edgeagent[update]'")  # fmt: skip
    if not lacking:
        yield Finding("libraries", "ok", "the packages that are used are installed")


def swap(context: Context) -> Iterator[Finding]:
    """Swapping to flash is slow and wears it out."""
    for line in _lines(context.root / "proc/swaps")[1:]:
        place, _, _, used_kib = line.split()[:4]
        flash = "zram" not in place
        used_mib = int(used_kib) // 1024
        if flash and used_mib > _SWAPPED_MIB:
            yield Finding(
                "swap", "problem", f"{used_mib} MiB are swapped to {place}", "/proc/swaps",
                "Use smaller models, and swap in memory: sudo apt install systemd-zram-generator",
            )  # fmt: skip
            return
    yield Finding("swap", "ok", "next to nothing is swapped", "/proc/swaps")


def frequency(context: Context) -> Iterator[Finding]:
    """Somebody may have set a lower top speed than the processor has."""
    for policy in sorted(context.root.glob("sys/devices/system/cpu/cpufreq/policy*")):
        top, most = _number(policy / "cpuinfo_max_freq"), _number(policy / "scaling_max_freq")
        if top and most and most < _HELD * top:
            yield Finding(
                "frequency", "problem",
                f"the processor is held at {most // 1000} of {top // 1000} MHz", str(policy),
                f"echo {top} | sudo tee {policy}/scaling_max_freq",
            )  # fmt: skip
            return
    yield Finding("frequency", "ok", "the processor may run at its full speed")


def _flags(cpuinfo: Path) -> frozenset[str]:
    for line in _lines(cpuinfo):
        if re.match(r"(?:flags|Features)\s*:", line):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _number(file: Path) -> int:
    lines = _lines(file)
    return int(lines[0]) if lines and lines[0].strip().isdigit() else 0


def _major(package: str) -> int:
    try:
        return int(version(package).partition(".")[0])
    except PackageNotFoundError:
        return 0
