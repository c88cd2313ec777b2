"""Kernel and drivers of accelerators: what vendors' libraries must fit, and speed depends on."""

from __future__ import annotations

import platform
from pathlib import Path

_MODULES = ("apex", "gasket", "galcore", "ethosu", "hailo_pci", "intel_vpu", "amdxdna", "rknpu",
            "rocket", "etnaviv", "fastrpc", "nvgpu", "nvidia")  # fmt: skip
"""Kernel modules of accelerators, whose versions must fit their libraries."""


def kernel() -> str:
    """Its release: ``6.12.47+rpt-rpi-v8``."""
    return platform.release()


def drivers(root: Path = Path("/")) -> dict[str, str]:
    """Module of an accelerator that is loaded → its version, or that of its sources; without those
    that tell neither."""
    found = {}
    for module in _MODULES:
        for key in ("version", "srcversion"):
            try:
                told = (root / "sys/module" / module / key).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                continue
            found[module] = told
            break
    return found
