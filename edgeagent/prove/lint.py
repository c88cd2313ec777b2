"""Whether a model package keeps what it promises, before anybody depends on it.

`lint` looks at everything that can be known without samples: keys, files and their hashes,
and whether inputs, outputs and labels fit the model files, which are really opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from msgspec import Struct

from edgeagent import __version__
from edgeagent.config.model import Runtime
from edgeagent.durable import put
from edgeagent.errors import (
    EdgeAgentError,
    NotFound,
    NotPermitted,
    RuntimeMissing,
    StoreError,
    unwritable,
)
from edgeagent.infer import open_package
from edgeagent.interpret.decoder import open_decoder
from edgeagent.manifest import HANDLER, FileEntry, Package, Variant, load_package, sha256_of
from edgeagent.packaged.permit import read
from edgeagent.prepare.inputs import Prepare
from edgeagent.prove.golden import read_expected, tolerance_of
from edgeagent.prove.semver import is_version, version_order
from edgeagent.prove.tomltext import with_files

Level = Literal["error", "warning"]
LARGE_BYTES = 20 << 20
"""Over this, fetching one variant takes minutes on the links that devices have."""
_NEEDS_LABELS = ("classify", "ssd", "yolo", "yolox", "fastestdet", "mask")
_BUDGET = ("p95_ms", "pss_mb")


class Finding(Struct, frozen=True):
    """One thing that is wrong (error) or unwise (warning) about a package."""

    level: Level
    place: str
    """File and key, such as ``models/parts/1.2.0/model.toml: labels``."""
    problem: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.level}: {self.place}: {self.problem}"


def lint(folder: Path, *, fix: bool = False, fetched: bool = False) -> list[Finding]:
    """Everything found, errors first; empty = the package is good.

    Args:
        folder: the package, ``{name}/{version}/``.
        fix: write ``[files]`` with the present sizes and hashes first.
        fetched: a device has brought only the variant that it needs, and opens it later, in a
            child process: other variants may be missing, and nothing is opened here.

    Raises:
        NotFound: there is no model.toml.
        NotPermitted, StoreFull: ``fix`` can't write it.
    """
    try:
        package = load_package(folder)
        if fix:
            write_files(package)
            package = load_package(folder)
    except (NotFound, NotPermitted, StoreError):
        raise
    except EdgeAgentError as error:
        # One finding per line: the manifest's faults come all at once.
        return [
            Finding("error", str(folder / "model.toml"), line, error.remedy)
            for line in str(error).splitlines()
        ]
    found = [
        *_naming(package),
        *_licence(package),
        *_files(package, fetched),
        *_labels(package),
        *_golden(package),
        *_reference(package),
        *_budget(package),
        *_code(package),
        *(() if fetched else _variants(package)),
    ]
    return sorted(found, key=lambda finding: finding.level != "error")


def list_files(folder: Path) -> dict[str, FileEntry]:
    """What ``[files]`` should say: every file but model.toml, hidden and temporary ones."""
    listed = {}
    for file in sorted(folder.rglob("*")):
        parts = file.relative_to(folder).parts
        ignored = any(part.startswith(".") or part == "__pycache__" for part in parts)
        if ignored or not file.is_file() or parts == ("model.toml",) or file.name.endswith("~"):
            continue
        listed["/".join(parts)] = FileEntry(file.stat().st_size, sha256_of(file))
    return listed


def write_files(package: Package) -> None:
    """Write ``[files]`` into model.toml, leaving everything else as people wrote it."""
    file = package.folder / "model.toml"
    try:
        text = with_files(file.read_text(encoding="utf-8"), list_files(package.folder))
        put(file, text.encode())
    except OSError as error:
        raise unwritable(file, error) from error


# --- checks: each gives its findings -------------------------------------------------------


def _naming(package: Package) -> Iterator[Finding]:
    place = _place(package)
    name, version = package.name, package.version
    if not re.fullmatch(r"[a-z0-9-]{1,64}", name):
        yield Finding("error", f"{place}: name", f"{name!r} is not [a-z0-9-]{{1,64}}")
    if not is_version(version):
        yield Finding(
            "error", f"{place}: version", f"{version!r} is no version", "Write it like 1.2.0."
        )
    folder = package.folder.resolve()
    if (folder.parent.name, folder.name) != (name, version):
        yield Finding(
            "warning",
            f"{place}: name",
            f"{name}@{version} lies in {folder.parent.name}/{folder.name}",
            f"A library finds it in {name}/{version}/ only.",
        )
    needed = package.manifest.min_agent
    if needed and version_order(_padded(needed)) > version_order(_padded(__version__)):
        yield Finding(
            "error", f"{place}: min_agent", f"needs edgeagent {needed}, this is {__version__}"
        )


def _licence(package: Package) -> Iterator[Finding]:
    if not (package.manifest.licence or package.manifest.license):
        yield Finding(
            "error",
            f"{_place(package)}: licence",
            "nothing says under which licence the model may be used",
            'Add licence = "Apache-2.0" or what applies.',
        )


def _files(package: Package, fetched: bool) -> Iterator[Finding]:
    place, manifest = _place(package), package.manifest
    fix = f"Write it: edgeagent models lint --fix {package.folder}"
    variants = {variant.file for variant in manifest.variant}
    for variant in () if fetched else manifest.variant:
        yield from _variant_file(package, variant)
    if not manifest.files:
        yield Finding("error", f"{place}: files", "[files] is missing", fix)
        return
    present = list_files(package.folder)
    for name in sorted(set(manifest.files) | set(present)):
        listed, there = manifest.files.get(name), present.get(name)
        if there is None and fetched and name in variants:
            continue
        if there is None:
            yield Finding("error", f"{place}: files", f"{name} is listed and missing", fix)
        elif listed is None:
            yield Finding("error", f"{place}: files", f"{name} is not listed", fix)
        elif listed.bytes != there.bytes:
            told = f"{name} has {there.bytes} bytes, listed are {listed.bytes}"
            yield Finding("error", f"{place}: files", told, fix)
        elif listed.sha256 != there.sha256:
            yield Finding("error", f"{place}: files", f"{name} has another sha256", fix)


def _variant_file(package: Package, variant: Variant) -> Iterator[Finding]:
    place = f"{_place(package)}: variant {variant.file}"
    try:
        path = package.path(variant.file)
    except EdgeAgentError as error:
        yield Finding("error", place, str(error))
        return
    if not path.is_file():
        yield Finding("error", place, "the file is missing")
    elif path.stat().st_size > LARGE_BYTES:
        megabytes = path.stat().st_size / 1e6
        yield Finding(
            "warning",
            place,
            f"{megabytes:.0f} MB are {megabytes * 8:.0f} s at 1 Mbit/s",
            "Quantize or prune it if devices fetch it over slow links.",
        )


def _labels(package: Package) -> Iterator[Finding]:
    place, labels = f"{_place(package)}: labels", package.labels
    if not labels and package.manifest.output.decoder in _NEEDS_LABELS:
        yield Finding(
            "warning",
            place,
            "there are none: classes will be called by their numbers",
            "Write labels.txt, one label a line in the order of the classes.",
        )
    twice = sorted({label for label in labels if labels.count(label) > 1} - {"???"})
    if twice:
        yield Finding("warning", place, f"{', '.join(twice)} more than once")


def _golden(package: Package) -> Iterator[Finding]:
    place = f"{_place(package)}: golden"
    write = f"Write them: edgeagent models golden {package.folder} --samples DIR"
    try:
        tolerance_of(package)
        expected = read_expected(package)
    except NotFound:
        level: Level = "error" if package.manifest.golden else "warning"
        yield Finding(level, place, "there are no golden answers", write)
        return
    except EdgeAgentError as error:
        yield Finding("error", place, str(error), error.remedy)
        return
    if not package.manifest.golden:
        yield Finding("warning", place, "[golden] is missing: default tolerances apply")
    if not expected.samples:
        yield Finding("error", place, "expected.json has no samples", write)
    name = package.manifest.golden.expected if package.manifest.golden else "golden/expected.json"
    folder = package.path(name).parent
    for sample in expected.samples:
        if not (folder / sample.file).is_file():
            yield Finding("error", place, f"the sample {sample.file} is missing", write)


def _reference(package: Package) -> Iterator[Finding]:
    name = package.manifest.reference
    if not name:
        return
    from edgeagent.drift.reference import decoded
    from edgeagent.errors import InputError

    file = package.path(name)
    try:
        decoded(file.read_bytes(), file)
    except OSError as error:
        yield Finding("error", f"{_place(package)}: reference", f"{name}: {error.strerror}")
    except InputError as error:
        yield Finding("error", f"{_place(package)}: reference", str(error), error.remedy)


def _budget(package: Package) -> Iterator[Finding]:
    for profile, budget in package.manifest.budget.items():
        for key, value in budget.items():
            place = f"{_place(package)}: budget.{profile}.{key}"
            if key not in _BUDGET:
                yield Finding("warning", place, f"unknown; known: {', '.join(_BUDGET)}")
            elif value <= 0:
                yield Finding("error", place, f"{value:g} can never be kept")


def _code(package: Package) -> Iterator[Finding]:
    """What can be said of a `handler.py` without running it."""
    place, needed = str(package.folder / HANDLER), package.manifest.output.decoder == "handler"
    if not package.brings_code:
        if needed:
            yield Finding("error", place, 'it is missing, and decoder = "handler" needs it',
                          "Write def decode(outputs, about): docs/handlers.md.")  # fmt: skip
        return
    import ast

    try:
        tree = ast.parse(read(package), HANDLER)
    except (EdgeAgentError, SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        yield Finding("error", place, f"line {line}: {error.msg}" if line else str(error))  # type: ignore[union-attr]
        return
    does = {its.name for its in tree.body if isinstance(its, ast.FunctionDef)}
    if needed and "decode" not in does:
        yield Finding("error", place, 'it has no function decode, and decoder = "handler" asks it')
    if not does & {"decode", "rule"}:
        yield Finding("warning", place, "it has neither decode nor rule: nobody will ask it")


def _variants(package: Package) -> Iterator[Finding]:
    for variant in package.manifest.variant:
        place = f"{_place(package)}: variant {variant.file}"
        try:
            if package.path(variant.file).is_file():
                _open(package, variant)
        except EdgeAgentError as error:
            elsewhere = isinstance(error, RuntimeMissing) or bool(variant.requires)
            said = str(error).removeprefix(f"{_place(package)}: ")
            problem = f"not checked here: {said}" if elsewhere else said
            yield Finding("warning" if elsewhere else "error", place, problem, error.remedy)


def _open(package: Package, variant: Variant) -> None:
    """Open a variant as the agent would. Raises what does not fit."""
    session, _ = open_package(package, Runtime(variant=variant.file))
    try:
        Prepare(package, session.inputs)
        if package.manifest.output.decoder != "handler":  # nobody has signed it yet: `_code`
            open_decoder(package, session.outputs)
    finally:
        session.close()


def _place(package: Package) -> str:
    return str(package.folder / "model.toml")


def _padded(version: str) -> str:
    """``0.1`` → ``0.1.0``: min_agent may leave out what does not matter."""
    return version + ".0" * (2 - version.count(".")) if version.count(".") < 2 else version
