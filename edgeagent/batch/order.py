"""What a batch does: which model, how, over which files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from edgeagent.errors import UsageError
from edgeagent.manifest import HANDLER
from edgeagent.packaged import permit

if TYPE_CHECKING:
    from edgeagent.manifest import Package
    from edgeagent.prove.predict import Predictor


class Order(Struct, frozen=True):
    """How every worker opens the model; plain values, because it travels to other processes."""

    model: str
    """Name, version and precision, as rows tell it."""
    folder: str
    """Of the package."""
    variant: str
    """File of the variant that all workers run: a second kind of kernel would answer otherwise."""
    threads: int = 1
    threshold: float | None = None
    """In place of the package's own."""
    top: int = 0
    """Labels that a classifier tells at most; 0 = as the package says."""
    packaged: str = ""
    """What was found about the package's own code (`packaged.permit.told`), JSON; empty = it has
    none."""


class Job(Struct, frozen=True):
    """One input file."""

    index: int
    """Its place in the order's list."""
    path: str
    name: str
    """What people call it."""
    start: int = 0
    """Samples of it that are told already."""


def order_for(
    package: Package,
    *,
    variant: str = "",
    threads: int = 1,
    threshold: float | None = None,
    top: int = 0,
) -> Order:
    """An order for the variant that will most probably run here, or the one that is named.

    Raises:
        UsageError: it is a bare model file.
        NotFound, RuntimeMissing, ModelError: none can run here.
        PackageError: the variant's file is not the one that was published.
    """
    if not (package.folder / "model.toml").is_file():
        raise UsageError(
            f"{package.folder}: a batch needs a model package, not a model file alone",
            remedy="Make one first: edgeagent models init FILE",
        )
    from edgeagent.infer.variants import check_file, likely
    from edgeagent.prove.predict import model_name

    chosen = likely(package, variant)
    check_file(package, chosen)
    model = model_name(package, chosen)
    told = json.dumps(permit.told(package.folder)) if package.brings_code else ""
    return Order(model, str(package.folder.resolve()), chosen.file, threads, threshold, top, told)


def open_order(order: Order) -> Predictor:
    """The model of an order, opened in this process. Raises as `Predictor`."""
    from edgeagent.config.model import Runtime
    from edgeagent.manifest import load_package
    from edgeagent.prove.predict import Predictor

    package = load_package(Path(order.folder))
    if order.packaged:
        permit.use_told(json.loads(order.packaged))
    if order.top:
        package.manifest.output.top = order.top
    runtime = Runtime(variant=order.variant, threads=order.threads)
    return Predictor(package, runtime, order.threshold)


def identity(order: Order, jobs: Sequence[Job]) -> dict[str, str]:
    """What the rows of a batch depend on, each as a digest: two runs with the same are one."""
    from edgeagent.manifest import sha256_of

    folder = Path(order.folder)
    model = hashlib.sha256()
    code = [HANDLER] if order.packaged else []
    for file in sorted({"model.toml", order.variant, *_labels(folder), *code}):
        model.update(f"{file} {sha256_of(folder / file)}\n".encode())
    inputs = hashlib.sha256()
    for job in jobs:
        inputs.update(f"{job.name} {_state(job.path)}\n".encode())
    asked = msgspec.json.encode([order.threshold, order.top])
    return {
        "model": model.hexdigest(),
        "settings": hashlib.sha256(asked).hexdigest(),
        "inputs": inputs.hexdigest(),
    }


def _labels(folder: Path) -> list[str]:
    from edgeagent.manifest import read_manifest

    labels = read_manifest(folder).labels
    return [labels] if isinstance(labels, str) and labels else []


def _state(path: str) -> str:
    """Size and time of a file; a file that is gone has none, and is told when its turn comes."""
    try:
        found = Path(path).stat()
    except OSError:
        return "-"
    return f"{found.st_size} {found.st_mtime_ns}"
