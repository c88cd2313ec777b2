"""What has run on this device before, in this form: models that need no proof at the next start.

A model file or a delegate can take its process down. Whatever this device has never run is
therefore opened in a child process first, once. Versions of deployments have been through a whole
proof, and what is shipped with the agent runs on plain kernels in our own tests; this is for what
people copy or configure themselves.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
from importlib.util import find_spec
from pathlib import Path

import msgspec

from edgeagent import __version__
from edgeagent.config.model import Runtime
from edgeagent.config.paths import shipped
from edgeagent.durable import put
from edgeagent.errors import ModelError, ProofFailed
from edgeagent.infer.delegates import accelerators
from edgeagent.manifest import Package

log = logging.getLogger("edgeagent.models")

_KEPT = 200
_MODULES = {"litert": ("ai_edge_litert", "tflite_runtime"), "onnx": ("onnxruntime",)}


class Proven:
    """Marks in one small file; a file that is lost or damaged costs a second of proof.

    Pipelines open their models at the same time: each mark is written whole, and one that another
    thread overwrites is only proven again.
    """

    def __init__(self, file: Path, *, apart: bool = False) -> None:
        """``apart``: what needs a vendor's library is tried elsewhere (`delegated`)."""
        self._file = file
        self._apart = apart

    def ensure(self, package: Package, runtime: Runtime) -> None:
        """Return once it is known that the model does not take its process down.

        Raises:
            ModelError: it does.
            Busy: no process can be started to find out.
        """
        if harmless(package, runtime) or (self._apart and accelerators(package, runtime)):
            return
        mark = mark_of(package, runtime)
        if mark in self._marks():
            return
        from edgeagent.prove.child import Limits, prove_in_child

        title = f"{package.name}@{package.version}"
        log.info("%s has never run here: it is tried in a process of its own first", title)
        try:
            prove_in_child(package.folder, limits=Limits(calls=20, seconds=3.0), runtime=runtime)
        except ProofFailed as error:
            if error.died:
                raise ModelError(
                    f"{title} is not run: tried in a process of its own, {error}",
                    remedy="Use another version or another delegate.",
                ) from error
            # What it answers was no matter until now, and opening it tells what else is wrong.
            log.warning("%s: %s", title, error)
            return
        self.add(mark)

    def add(self, mark: str) -> None:
        """Remember a mark of `mark_of`."""
        marks = [*[its for its in self._marks() if its != mark], mark][-_KEPT:]
        try:
            put(self._file, json.dumps(marks).encode())
        except OSError as error:
            log.warning("%s: can't be written: %s", self._file, error.strerror)

    def _marks(self) -> list[str]:
        try:
            marks = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        return [mark for mark in marks if isinstance(mark, str)] if isinstance(marks, list) else []


def harmless(package: Package, runtime: Runtime) -> bool:
    """Whether it is one of our own, on the runtimes' own kernels."""
    if runtime.delegate or runtime.provider or runtime.options:
        return False
    folder = package.folder.resolve()
    return any(folder.is_relative_to(place.resolve()) for place in shipped("models"))


def mark_of(package: Package, runtime: Runtime) -> str:
    """Files, libraries, board and how it is run, as one word."""
    parts = [__version__, platform.machine(), str(os.cpu_count())]
    parts.append(json.dumps(msgspec.to_builtins(runtime), sort_keys=True))
    for variant in package.manifest.variant:
        parts += [variant.file, _content(package, variant.file)]
        parts += [_library(module) for module in _MODULES.get(variant.runtime, ())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _content(package: Package, file: str) -> str:
    """Cheap, because it is asked at each start: size and time tell a file that was replaced."""
    try:
        told = package.path(file).stat()
    except OSError:
        return "missing"
    return f"{told.st_size} {told.st_mtime_ns}"


def _library(module: str) -> str:
    """A library that was replaced has another time."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return "absent"
    return f"{spec.origin} {Path(spec.origin).stat().st_mtime_ns}"
