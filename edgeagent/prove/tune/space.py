"""What could be tried: variant × runtime × delegate × threads × options × batch."""

from __future__ import annotations

import ctypes.util
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec.structs import replace

from edgeagent.config.model import Runtime
from edgeagent.device.profile import Accelerator, Board, Profile, detect
from edgeagent.infer import delegates
from edgeagent.infer.installed import installed
from edgeagent.manifest import Package, Variant
from edgeagent.prove.bench.plan import Candidate
from edgeagent.prove.bench.probe import Probe

_BATCHES = (1, 2, 4, 8)


def space_here(
    package: Package, further: Sequence[Candidate] = (), throughput: bool = False
) -> list[Candidate]:
    """All candidates on this device. Raises Busy, ProofFailed where no child can be asked."""
    return space(
        package, detect().profile, len(os.sched_getaffinity(0)),
        providers=find_providers(package), further=further, throughput=throughput,
    )  # fmt: skip


def space(
    package: Package,
    profile: Profile,
    cores: int,
    *,
    providers: Sequence[str] = (),
    further: Sequence[Candidate] = (),
    throughput: bool = False,
    root: Path = Path("/"),
) -> list[Candidate]:
    """All candidates, the default one first.

    Args:
        package: its variants are what can run.
        profile: of the board: which accelerators it may have.
        cores: that this process may use.
        providers: of ONNX Runtime that are installed, besides the CPU's.
        further: what a person wants tried as well.
        throughput: several samples may go together.
        root: of the file system, where accelerators' device nodes are looked for.
    """
    default = Candidate(package.folder, Runtime(), title="defaults")
    present = [its for its in profile.accelerator if _present(its, root)]
    found = [default, *further]
    for variant in package.manifest.variant:
        if variant.runtime != "plugin" and installed(variant.runtime) is None:
            continue
        for runtime in _places(variant, present, providers):
            own = bool(runtime.provider) or runtime.delegate not in delegates.BUILT_IN
            for threads in (1,) if own else _threads(cores):
                candidate = Candidate(package.folder, replace(runtime, threads=threads))
                found += [
                    replace(candidate, batch=batch) for batch in _batches(variant, throughput)
                ]
    return found


def find_providers(package: Package) -> list[str]:
    """ONNX Runtime's providers besides the CPU that could run one of its variants; asked in a
    child, because the runtime must be loaded for it."""
    if not any(its.runtime == "onnx" for its in package.manifest.variant):
        return []
    if installed("onnx") is None:
        return []
    with Probe(30.0) as probe:
        return list(probe.ask("providers")["providers"])


def _present(its: Accelerator, root: Path) -> bool:
    return its.node is None or Board(root).has(its.node)


def _places(
    variant: Variant, present: Sequence[Accelerator], providers: Sequence[str]
) -> Iterator[Runtime]:
    """Delegates and providers on which a variant could run."""
    plain = Runtime(variant=variant.file)
    needed = variant.requires.get("delegate") or variant.requires.get("provider")
    if needed or variant.runtime == "plugin":
        yield plain  # it runs on what it was made for, or not at all
        return
    yield plain
    if variant.runtime == "litert":
        yield replace(plain, delegate="none")
        for its in present:
            if its.runtime == "litert" and its.library and _loads(its.library):
                yield replace(plain, delegate=its.library, options=dict(its.options))
    if variant.runtime == "onnx":
        options = {its.provider: dict(its.options) for its in present if its.runtime == "onnx"}
        for provider in providers:
            yield replace(plain, provider=provider, options=options.get(provider, {}))


def _loads(library: str) -> bool:
    """Whether the linker finds it; whether it works is found out in a child."""
    place = delegates.library_of(library)
    if "/" in place:
        return Path(place).exists()
    return ctypes.util.find_library(place.removeprefix("lib").partition(".so")[0]) is not None


def _threads(cores: int) -> list[int]:
    """1, 2, 4 … and all of them."""
    return sorted({count for count in (1, 2, 4, 8, cores) if count <= cores})


def _batches(variant: Variant, throughput: bool) -> tuple[int, ...]:
    return _BATCHES if throughput and variant.runtime == "onnx" else (1,)
