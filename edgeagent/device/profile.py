"""Board profiles: which board this is, and what suits it.

A profile is a file of ``device_profiles/``. All criteria that it names must hold, any entry of
each is enough; of several that match, the one that asks for more wins. A match only proposes:
an accelerator counts once a model ran on it and agreed with the CPU.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from edgeagent.config.check import check_table, faults_text
from edgeagent.config.layer import Layer
from edgeagent.config.paths import shipped
from edgeagent.config.toml import Places, parse_toml, read_plainly
from edgeagent.errors import ConfigError, NotFound

DEVICE_TREE = "sys/firmware/devicetree/base"
"""Rather than /proc/device-tree, which a service with ProcSubset=pid does not see."""
DMI = "sys/class/dmi/id"

_WEIGHT = {"nodes": 20, "compatible": 10, "model": 9, "dmi": 6, "cpu": 5, "arch": 1}


class Node(Struct, forbid_unknown_fields=True):
    """A device node, with its driver where the node alone proves nothing: /dev/accel/accel0 is
    shared by several vendors."""

    path: str
    driver: str = ""


class Detect(Struct, forbid_unknown_fields=True):
    arch: str = ""
    """``x86_64`` | ``aarch64``: of the Python build, not of the kernel."""
    compatible: list[str] = msgspec.field(default_factory=list)
    """Exact entries of the device tree's ``compatible``."""
    model: list[str] = msgspec.field(default_factory=list)
    """Beginnings of the device tree's ``model``."""
    dmi: dict[str, list[str]] = msgspec.field(default_factory=dict)
    """File of /sys/class/dmi/id → beginnings."""
    cpu: list[str] = msgspec.field(default_factory=list)
    """Parts of cpuinfo's model name."""
    nodes: list[Node] = msgspec.field(default_factory=list)


class Thermal(Struct, forbid_unknown_fields=True):
    zones: list[str] = msgspec.field(default_factory=list)
    """Types of thermal zones that count, the most telling first; empty = the hottest."""
    slow_c: float = 80.0
    """From here the processor slows down by itself."""


class Accelerator(Struct, forbid_unknown_fields=True):
    """What could run models besides the CPU."""

    kind: str
    runtime: str
    library: str = ""
    provider: str = ""
    options: dict[str, str] = msgspec.field(default_factory=dict)
    node: Node | None = None
    note: str = ""


class Profile(Struct, forbid_unknown_fields=True):
    """A file of ``device_profiles/``."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9_-]{1,64}$")]
    title: str
    verified: bool = False
    """Somebody ran the agent on this very board; false = written from documents."""
    detect: Detect = msgspec.field(default_factory=Detect)
    threads: Annotated[int, Meta(ge=1, le=64)] | None = None
    """For models; absent = as many as the process may use."""
    memory_mb: Annotated[int, Meta(ge=1)] | None = None
    """Least memory that the board is sold with."""
    thermal: Thermal = msgspec.field(default_factory=Thermal)
    accelerator: list[Accelerator] = msgspec.field(default_factory=list)
    config: dict[str, Any] = msgspec.field(default_factory=dict)
    """Defaults of agent.toml on this board."""
    sources: list[str] = msgspec.field(default_factory=list)
    """Where the figures come from."""


class Match(Struct, frozen=True):
    """A profile and why it was taken."""

    profile: Profile
    evidence: tuple[str, ...]
    file: Path | None = None


class Board(Struct, frozen=True):
    """What a machine says about itself."""

    root: Path = Path("/")
    arch: str = ""

    def architecture(self) -> str:
        # A 32-bit userland may run on a 64-bit kernel: what counts is what Python can load.
        return self.arch or sysconfig.get_platform().rpartition("-")[2]

    def compatible(self) -> list[str]:
        return [part for part in self._tree("compatible").split("\0") if part]

    def model(self) -> str:
        return self._tree("model").rstrip("\0")

    def dmi(self, name: str) -> str:
        return _text(self.root / DMI / name)

    def cpu(self) -> str:
        for line in _text(self.root / "proc/cpuinfo").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
        return ""

    def has(self, node: Node) -> bool:
        """Whether the node exists and, where asked for, belongs to the driver."""
        if not (self.root / node.path.lstrip("/")).exists():
            return False
        return not node.driver or node.driver == self.driver(node.path)

    def driver(self, path: str) -> str:
        """Name of the driver behind a device node, or an empty text."""
        name = Path(path).name
        for link in sorted(self.root.glob(f"sys/class/*/{name}/device/driver")):
            return link.resolve().name
        return ""

    def _tree(self, name: str) -> str:
        return _text(self.root / DEVICE_TREE / name)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip(" \n")
    except OSError:
        return ""


def load_profiles(folders: Sequence[Path] | None = None) -> list[tuple[Profile, Path]]:
    """All profiles of the folders (default: those that are shipped) with their files, by name;
    of two with one name the earlier folder's counts.

    Raises:
        ConfigError: a file is wrong; the text names line and key.
    """
    found: dict[str, tuple[Profile, Path]] = {}
    for folder in shipped("device_profiles") if folders is None else folders:
        for file in sorted(folder.glob("*.toml")):
            profile = _load(file)
            found.setdefault(profile.name, (profile, file))
    return sorted(found.values(), key=lambda its: its[0].name)


def _load(file: Path) -> Profile:
    try:
        # Every start reads all of them: lines are looked for only where something is wrong.
        return msgspec.convert(read_plainly(file), Profile)
    except (OSError, ValueError):
        pass
    try:
        table, places = parse_toml(file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: {error}") from error
    faults = check_table(table, Profile, file=str(file), places=places)
    if faults:
        raise ConfigError(faults_text(faults), faults=tuple(faults))
    return msgspec.convert(table, Profile)


def detect(
    root: Path = Path("/"), *, arch: str = "", folders: Sequence[Path] | None = None
) -> Match:
    """The profile that fits this machine best.

    Args:
        root: of the file system; another one for tests and images.
        arch: overrides the architecture of this Python.
        folders: where profiles lie; default: those that are shipped.

    Raises:
        ConfigError: a profile file is wrong.
    """
    board = Board(root, arch)
    best: Match | None = None
    best_score = 0
    for profile, file in load_profiles(folders):
        evidence = list(_evidence(board, profile.detect))
        if any(not said for _, said in evidence):
            continue
        score = sum(_WEIGHT[kind] for kind, _ in evidence)
        if score > best_score:
            best = Match(profile, tuple(said for _, said in evidence), file)
            best_score = score
    return best or _unknown(board)


def _evidence(board: Board, wanted: Detect) -> Iterator[tuple[str, str]]:
    """Kind of criterion and what was found for it, an empty text where it does not hold."""
    if wanted.compatible:
        known = [its for its in board.compatible() if its in wanted.compatible]
        yield "compatible", f'/{DEVICE_TREE}/compatible has "{known[0]}"' if known else ""
    if wanted.model:
        model = board.model()
        fits = any(model.startswith(beginning) for beginning in wanted.model)
        yield "model", f'/{DEVICE_TREE}/model is "{model}"' if fits else ""
    for name, beginnings in wanted.dmi.items():
        value = board.dmi(name)
        fits = any(value.startswith(beginning) for beginning in beginnings)
        yield "dmi", f'/{DMI}/{name} is "{value}"' if fits else ""
    if wanted.cpu:
        cpu = board.cpu()
        yield "cpu", f'/proc/cpuinfo: "{cpu}"' if any(its in cpu for its in wanted.cpu) else ""
    for node in wanted.nodes:
        said = f"{node.path} with driver {node.driver}" if node.driver else f"{node.path} exists"
        yield "nodes", said if board.has(node) else ""
    if wanted.arch:
        arch = board.architecture()
        yield "arch", f"Python is built for {arch}" if arch == wanted.arch else ""


def _unknown(board: Board) -> Match:
    arch = board.architecture()
    plain = Profile(name="generic", title=f"Unknown board ({arch})")
    return Match(plain, (f"no profile fits a Python built for {arch}",))


def find_profile(name: str, folders: Sequence[Path] | None = None) -> Match:
    """The profile of that name. Raises NotFound, ConfigError."""
    profiles = load_profiles(folders)
    for profile, file in profiles:
        if profile.name == name:
            return Match(profile, ("device.profile names it",), file)
    from edgeagent.config.words import did_you_mean

    names = [profile.name for profile, _ in profiles]
    raise NotFound(f"there is no device profile {name!r}", remedy=did_you_mean(name, names))


def profile_layer(
    root: Path = Path("/"), *, arch: str = "", folders: Sequence[Path] | None = None
) -> Callable[[str], Layer]:
    """The port of `config.load`: ``device.profile`` → the board's defaults as a layer."""

    def layer(name: str) -> Layer:
        if name == "auto":
            match = detect(root, arch=arch, folders=folders)
        else:
            match = find_profile(name, folders)
        known = parse_toml(match.file)[1] if match.file and match.profile.config else Places()
        places = Places({path[1:]: place for path, place in known.items() if path[1:]})
        return Layer(match.profile.config, places)

    return layer


def name_of(wanted: str) -> str:
    """The profile that ``device.profile`` means: itself, or the detected one for ``auto``."""
    return detect().profile.name if wanted == "auto" else wanted
