"""A package description for a bare model file, guessed from its tensors.

A file says what its tensors are, never what they mean. What is proposed here comes with how
sure it is and why, and the labels, the licence and the scaling of a float input remain for a
person to check.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Literal

from msgspec import Struct, field

from edgeagent.config.model import Runtime
from edgeagent.errors import UsageError, unwritable
from edgeagent.infer import open_package
from edgeagent.manifest import Manifest, OutputSpec, Package, Variant, load_package
from edgeagent.prove import families, probe
from edgeagent.prove.lint import write_files
from edgeagent.prove.semver import is_version
from edgeagent.prove.tomltext import table_text
from edgeagent.types import TensorSpec

Confidence = Literal["sure", "likely", "guess"]
RUNTIMES: dict[str, Literal["litert", "onnx"]] = {".tflite": "litert", ".onnx": "onnx"}
"""Ending of a model file → what runs it."""


class Proposal(Struct):
    """A package that was never written: its manifest, and how far to trust it."""

    package: Package
    family: str
    """``ssd``, ``yolo`` … as `decoder` names it; ``none`` = not recognised."""
    confidence: Confidence
    reasons: list[str] = field(default_factory=list)
    """What was seen, and what a person must still check."""


def propose(file: Path, name: str = "", version: str = "0.1.0", licence: str = "") -> Proposal:
    """Describe a bare ``.tflite`` or ``.onnx`` file. Only a person knows its licence.

    Raises:
        ModelError: the file can't be opened; RuntimeMissing where its runtime isn't installed.
        UsageError: it is no such file.
    """
    runtime = RUNTIMES.get(file.suffix.lower())
    if runtime is None:
        raise UsageError(f"{file}: a model file ends in .tflite or .onnx")
    variant = Variant(file=file.name, runtime=runtime)
    stub = Manifest(
        name=name or _name(file.stem),
        version=version,
        licence=licence,
        task="embed",
        output=OutputSpec(decoder="none"),
        input=[],
        variant=[variant],
    )
    session, _ = open_package(Package(file.parent, stub, ()), Runtime())
    try:
        inputs, outputs = session.inputs, session.outputs
        guess = families.recognise(inputs, outputs)
        stub.input, stub.state = guess.inputs, guess.states
        probe.settle(guess, session, Package(file.parent, stub, ()))
    finally:
        session.close()
    variant.precision = _precision(inputs, outputs)
    stub.task = guess.task
    stub.output = guess.output
    stub.input = guess.inputs
    stub.state = guess.states
    return Proposal(
        Package(file.parent, stub, guess.labels), guess.family, guess.confidence, guess.reasons
    )


def write_package(proposal: Proposal, models: Path) -> Package:
    """Make ``models/{name}/{version}/`` with the model file, its labels and model.toml.

    Raises:
        UsageError: the folder is there already, or name or version can't name a folder.
        NotPermitted, StoreFull: it can't be written.
    """
    manifest = proposal.package.manifest
    if not re.fullmatch(r"[a-z0-9-]{1,64}", manifest.name) or not is_version(manifest.version):
        raise UsageError(
            f"{manifest.name!r} {manifest.version!r}: a name is [a-z0-9-]{{1,64}}, "
            "a version like 1.2.0"
        )
    folder = models / manifest.name / manifest.version
    if folder.exists():
        raise UsageError(
            f"{folder} exists already", remedy="Choose another version or remove it first."
        )
    labels = proposal.package.labels
    if labels:
        manifest.labels = "labels.txt"
    try:
        folder.mkdir(parents=True)
        for variant in manifest.variant:
            shutil.copyfile(proposal.package.path(variant.file), folder / variant.file)
        if labels:
            (folder / "labels.txt").write_text("\n".join(labels) + "\n", encoding="utf-8")
        (folder / "model.toml").write_text(manifest_text(proposal), encoding="utf-8")
        write_files(load_package(folder))
    except OSError as error:
        raise unwritable(folder, error) from error
    return load_package(folder)


def manifest_text(proposal: Proposal) -> str:
    """The proposal as model.toml, with its reasons as comments."""
    manifest = proposal.package.manifest
    head = [f"# Proposed from {manifest.variant[0].file}: {proposal.family}"]
    head[0] += f" ({proposal.confidence})."
    head += [f"# {reason}" for reason in proposal.reasons]
    return "\n".join(head) + "\n" + table_text(manifest)


def _name(stem: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:64].strip("-")
    return name or "model"


def _precision(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> str:
    """What the tensors are; the weights inside may be smaller."""
    kinds = {spec.dtype for spec in (*inputs, *outputs)}
    for kind in ("int8", "uint8", "int16", "float16"):
        if kind in kinds:
            return {"float16": "fp16"}.get(kind, kind)
    return "fp32"
