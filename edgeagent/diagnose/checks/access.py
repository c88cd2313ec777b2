"""May the agent open its devices, and does an accelerator have all its parts?"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from edgeagent.config.model import AudioConfig, CameraConfig, ModbusConfig, SerialConfig
from edgeagent.diagnose.context import Context
from edgeagent.diagnose.finding import Finding
from edgeagent.errors import EdgeAgentError
from edgeagent.infer.installed import installed

USER = "edgeagent"
_LIBRARIES = ("usr/lib", "usr/lib/*-linux-gnu*", "lib", "lib/*-linux-gnu*", "usr/local/lib")
_CORAL = {("1a6e", "089a"), ("18d1", "9302")}
"""A Coral stick before and after its library has loaded firmware into it."""


def groups(context: Context) -> Iterator[Finding]:
    """The service's user is in the groups that own cameras, sound and serial ports."""
    members = _groups(context.root / "etc/group")
    if not _has_user(context.root / "etc/passwd"):
        yield Finding("groups", "ok", f"there is no user {USER}: the agent runs as somebody else")
        return
    wanted: dict[str, str] = {}
    for name, source in context.config.sources.items():
        if isinstance(source, CameraConfig):
            wanted.setdefault("video", name)
        elif isinstance(source, AudioConfig) and source.device:
            wanted.setdefault("audio", name)
        elif isinstance(source, (SerialConfig, ModbusConfig)) and source.device:
            wanted.setdefault("dialout", name)
    absent = [its for its in wanted if its in members and USER not in members[its]]
    if absent and not _unit_grants(context.root, absent):
        yield Finding(
            "groups", "failed", f"the user {USER} is not in {', '.join(absent)}, and "
            f"{wanted[absent[0]]} needs it", "/etc/group",
            f"sudo usermod -aG {','.join(absent)} {USER} && sudo systemctl restart edgeagent",
            (("usermod", "-aG", ",".join(absent), USER),),
        )  # fmt: skip
        return
    yield Finding("groups", "ok", f"{USER} is in the groups that it needs")


def delegates(context: Context) -> Iterator[Finding]:
    """Libraries of accelerators that pipelines name."""
    from edgeagent.infer.delegates import BUILT_IN, library_of

    told = False
    for name, pipeline in context.config.pipelines.items():
        delegate = pipeline.runtime.delegate
        if delegate in BUILT_IN:
            continue
        library = library_of(delegate)
        if not _is_there(library, context.root):
            told = True
            yield Finding(
                "delegates", "failed", f"pipeline {name}: the library {library} is not installed",
                "folders of the linker", "Install the vendor's package; look: ldconfig -p | grep "
                f"{Path(library).name}",
            )  # fmt: skip
    if not told:
        yield Finding("delegates", "ok", "libraries of accelerators that are named are there")


def accelerators(context: Context) -> Iterator[Finding]:
    """An accelerator and its driver, library and Python package belong together."""
    told = False
    try:
        offered = context.board().profile.accelerator
    except EdgeAgentError:
        offered = []  # `profile` tells
    for its in offered:
        node = its.node
        if node is None or not (context.root / node.path.lstrip("/")).exists():
            continue
        if its.library and not _is_there(its.library, context.root):
            told = True
            yield Finding(
                "accelerators", "note", f"{its.kind} is there, and its library {its.library} is "
                "not: models run on the processor", node.path,
                f"Install the vendor's package; look: ldconfig -p | grep {Path(its.library).name}",
            )  # fmt: skip
    if _coral(context.root) and not _is_there("libedgetpu.so.1", context.root):
        told = True
        yield Finding(
            "accelerators", "problem", "a Coral accelerator is there without its library",
            "USB 1a6e:089a or 18d1:9302, /dev/apex_*", "sudo apt install libedgetpu1-std",
        )  # fmt: skip
    elif _coral(context.root) and _pair_crashes(context.root):
        told = True
        yield Finding(
            "accelerators", "failed", "libedgetpu 16.0 crashes with this version of TFLite",
            "google-coral/edgetpu#812",
            "Install a rebuilt one: https://github.com/feranick/libedgetpu/releases",
        )  # fmt: skip
    if not told:
        yield Finding("accelerators", "ok", "no accelerator lacks a part")


def _coral(root: Path) -> bool:
    if any(root.glob("dev/apex_*")):
        return True
    for device in root.glob("sys/bus/usb/devices/*"):
        pair = tuple(_text(device / name) for name in ("idVendor", "idProduct"))
        if pair in _CORAL:
            return True
    return False


def _pair_crashes(root: Path) -> bool:
    """Google's own package was built for TFLite before 2.12; rebuilt ones say so in the version."""
    status = _text(root / "var/lib/dpkg/status")
    google = re.search(r"^Package: libedgetpu1-(?:std|max)$[^\0]*?^Version: 16\.0$", status, re.M)
    return google is not None and installed("litert") is not None


def _is_there(library: str, root: Path) -> bool:
    """Looked for where the linker looks; loading it here could take the agent down."""
    if "/" in library:
        return (root / library.lstrip("/")).exists()
    named = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    places = [Path(its) for its in named if its]
    places += [place for pattern in _LIBRARIES for place in root.glob(pattern)]
    return any((place / library).exists() for place in places)


def _groups(file: Path) -> dict[str, set[str]]:
    lines = (line.split(":") for line in _text(file).splitlines())
    return {parts[0]: set(parts[3].split(",")) for parts in lines if len(parts) == 4}


def _has_user(file: Path) -> bool:
    return any(line.startswith(f"{USER}:") for line in _text(file).splitlines())


def _unit_grants(root: Path, wanted: list[str]) -> bool:
    """Whether the unit gives them (SupplementaryGroups), whatever /etc/group says."""
    places = ("etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
    granted: set[str] = set()
    for place in places:
        files = [root / place / f"{USER}.service", *root.glob(f"{place}/{USER}.service.d/*.conf")]
        for file in files:
            for line in _text(file).splitlines():
                if line.startswith("SupplementaryGroups="):
                    granted |= set(line.partition("=")[2].split())
    return set(wanted) <= granted


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
