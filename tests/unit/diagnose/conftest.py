"""A healthy device in a folder, to be broken one thing at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from edgeagent.config.load import load
from edgeagent.diagnose.context import Context
from edgeagent.diagnose.doctor import Look
from edgeagent.diagnose.finding import Finding

Make = Callable[..., Context]
Ask = Callable[..., list[Finding]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Root of a made-up machine with a machine-id, memory and a temperature."""
    root = tmp_path / "root"
    for name, text in {
        "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
        "proc/meminfo": "MemTotal: 500000 kB\nMemAvailable: 300000 kB\n",
        "proc/self/mountinfo": "22 1 8:1 / / rw - ext4 /dev/root rw\n",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "50000\n",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "0\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def make(tmp_path: Path, root: Path) -> Make:
    """A context of a configuration given as flags."""

    def context(flags: Sequence[str] = (), **changed: object) -> Context:
        (tmp_path / "agent.toml").touch()
        (tmp_path / "data").mkdir(exist_ok=True)
        loaded = load(tmp_path / "agent.toml", flags=["device.id=door-7", *flags])
        plain = Context(tmp_path / "data", loaded, root=root)
        return replace(plain, **changed)  # type: ignore[arg-type]

    return context


@pytest.fixture
def ask() -> Ask:
    """The findings of one check, as a list."""

    def findings(look: Look, context: Context) -> list[Finding]:
        return list(look(context))

    return findings
