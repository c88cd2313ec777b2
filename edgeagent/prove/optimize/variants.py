"""From a package with a float variant to a version with smaller ones, each measured and judged."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from edgeagent.config.model import Runtime
from edgeagent.errors import (
    ModelError,
    PackageError,
    ProofFailed,
    RuntimeMissing,
    UsageError,
    unwritable,
)
from edgeagent.manifest import Package, Variant, load_package
from edgeagent.prove.agreement import Agreement
from edgeagent.prove.bench.labelled import is_right
from edgeagent.prove.bench.measure import bench
from edgeagent.prove.bench.plan import Candidate, Plan
from edgeagent.prove.bench.probe import Probe
from edgeagent.prove.bench.result import Measured
from edgeagent.prove.lint import write_files
from edgeagent.prove.optimize import calibration, onnx, tflite
from edgeagent.prove.optimize.kinds import Kept, Kind
from edgeagent.prove.semver import is_version
from edgeagent.prove.tomltext import table_text

Tell = Callable[[str], None]

LOSS = 0.02
"""Accuracy that a variant may lose by default."""
_FLOATS = ("fp32", "float32", "")
_WORST = 12
"""Samples of a variant that are shown."""
_SECONDS = 1.5
_LONGEST = 160
"""Letters of a tool's or runtime's complaint."""


class Worst(Struct, frozen=True):
    """A sample that a variant answers otherwise than the float model."""

    file: str
    was: str
    now: str
    label: str = ""
    """What a person says that it is."""


class Judged(Struct):
    """A variant: what it costs, and what it is worth."""

    file: str
    runtime: str
    precision: str
    bytes: int = 0
    ms: float | None = None
    cpu_ms: float | None = None
    pss_mb: float | None = None
    right: int | None = None
    samples: int = 0
    """Labelled samples, and how many it answers rightly."""
    agrees: int | None = None
    compared: int = 0
    """Samples on which it says the same as the float model."""
    kept: Kept | None = None
    golden: str = ""
    """The first golden sample that it fails."""
    failed: str = ""
    """Why it could not be made, or does not run."""
    written: bool = False
    why: str = ""
    """Why it is not in the package."""
    front: bool = False
    """No other variant is both faster and as good."""
    worst: list[Worst] = field(default_factory=list)

    @property
    def quality(self) -> float | None:
        """Share of samples that are right, or else answered as the float model does."""
        if self.right is not None and self.samples:
            return self.right / self.samples
        return self.agrees / self.compared if self.agrees is not None and self.compared else None


class Optimized(Struct):
    """What was made."""

    source: str
    """``parts@1.0.0``"""
    package: str
    """Name and version of the new one …"""
    folder: str
    """… and where it lies."""
    calibrated_on: int
    measured_by: str
    """``accuracy`` (labelled samples) or ``agreement`` (with the float model)."""
    variants: list[Judged]
    notes: list[str] = field(default_factory=list)


class Wish(Struct, frozen=True):
    """What is asked for."""

    kinds: Sequence[Kind]
    samples: Sequence[Path]
    """To calibrate with, and to compare on where there are no labels."""
    labelled: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    loss: float = LOSS
    version: str = ""
    """Of the new package; empty = the next patch."""
    seconds: float = _SECONDS


def optimize(
    package: Package, models: Path, wish: Wish, tell: Tell = lambda _doing: None
) -> Optimized:
    """Write ``models/{name}/{version}`` with the variants that are good enough.

    Raises:
        PackageError: the package has no float variant to start from.
        InputError: there is nothing to calibrate with.
        RuntimeMissing: the tools are not installed.
        UsageError: that version is there already.
        NotPermitted, StoreFull: it can't be written.
    """
    sources = [one for one in package.manifest.variant if one.precision in _FLOATS]
    if not sources:
        known = ", ".join(f"{one.file} ({one.precision})" for one in package.manifest.variant)
        raise PackageError(
            f"{package.name}@{package.version} has no float variant to start from: {known}",
            remedy='Add the float file to model.toml, [[variant]], with precision = "fp32".',
        )
    version = wish.version or _next(package.version)
    folder = _copied(package, models, version)
    try:
        return _Work(package, folder, wish, tell).run(sources, version)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


class _Work:
    def __init__(self, package: Package, folder: Path, wish: Wish, tell: Tell) -> None:
        self.package = package
        self.folder = folder
        self.wish = wish
        self.tell = tell
        self.labelled = [(label, file) for label, its in wish.labelled.items() for file in its]
        self.notes: list[str] = []

    def run(self, sources: Sequence[Variant], version: str) -> Optimized:
        made: list[tuple[Judged, Variant]] = []
        calibrated = 0
        for source in sources:
            judged = Judged(source.file, source.runtime, source.precision)
            made.append((judged, source))
            _refuse_integers(self.package, source)
            feeds = calibration.feeds(self.package, source, self.wish.samples)
            calibrated = max(calibrated, len(feeds))
            made += list(self._made(source, feeds))
        if calibrated < calibration.ENOUGH and any(kind.calibrated for kind in self.wish.kinds):
            self.notes.append(
                f"Calibrated on {calibrated} samples only: ranges may be too narrow for others "
                f"(at least {calibration.ENOUGH}, better 100, of the sort seen in use)."
            )
        self._write([variant for _, variant in made if variant not in sources], version)
        self._measure(made)
        self._choose(made, sources)
        good = [its for judged, its in made if judged.written and its not in sources]
        self._write(good, version)
        mark_front([judged for judged, _ in made])
        return Optimized(
            f"{self.package.name}@{self.package.version}", f"{self.package.name}@{version}",
            str(self.folder), calibrated, "accuracy" if self.labelled else "agreement",
            [judged for judged, _ in made], self.notes,
        )  # fmt: skip

    def _made(
        self, source: Variant, feeds: list[calibration.Feed]
    ) -> Iterator[tuple[Judged, Variant]]:
        ending = Path(source.file).suffix
        for kind in self.wish.kinds:
            name = f"{self.package.name}-{kind.name}{ending}"
            judged = Judged(name, source.runtime, kind.name)
            variant = Variant(name, source.runtime, kind.name, dict(source.requires))
            self.tell(f"making {name}")
            try:
                file = self.package.path(source.file)
                content = _tool(source.runtime).quantized(file, kind, feeds)
            except RuntimeMissing:
                raise  # the tool, for all kinds alike
            except ModelError as error:
                judged.failed = str(error)
                yield judged, variant
                continue
            try:
                (self.folder / name).write_bytes(content)
            except OSError as error:
                raise unwritable(self.folder / name, error) from error
            yield judged, variant

    def _write(self, added: Sequence[Variant], version: str) -> None:
        """The new package with these variants besides its own; files of others are removed."""
        manifest = load_package(self.folder).manifest
        manifest.version = version
        manifest.variant = [*self.package.manifest.variant]
        manifest.variant += [one for one in added if (self.folder / one.file).is_file()]
        names = {one.file for one in manifest.variant}
        for file in self.folder.glob(f"{self.package.name}-*"):
            if file.name not in names and file.suffix in (".tflite", ".onnx"):
                file.unlink()
        manifest.files = {}
        manifest.provenance = {
            **self.package.manifest.provenance,
            "optimized_from": f"{self.package.name}@{self.package.version}",
        }
        (self.folder / "model.toml").write_text(table_text(manifest), encoding="utf-8")
        write_files(load_package(self.folder))

    # --- judgement -------------------------------------------------------------------------

    def _measure(self, made: Sequence[tuple[Judged, Variant]]) -> None:
        """Time all in turns; then ask each about all samples."""
        there = [(judged, variant) for judged, variant in made if not judged.failed]
        candidates = [
            Candidate(self.folder, Runtime(variant=variant.file), title=variant.file)
            for _, variant in there
        ]
        plan = Plan(seconds=self.wish.seconds, turns=8, starts=1, most_s=2 * self.wish.seconds)
        result = bench(candidates, plan, self.tell)
        self.notes += result.notes
        for (judged, variant), measured in zip(there, result.candidates, strict=True):
            _figures(judged, measured)
            judged.bytes = (self.folder / variant.file).stat().st_size
            if not judged.failed:
                judged.kept = _tool(variant.runtime).kept(self.folder / variant.file)
        said = {judged.file: self._said(judged) for judged, _ in there}
        float_of = {judged.runtime: said[judged.file] for judged, _ in reversed(there)
                    if judged.precision in _FLOATS}  # fmt: skip
        for judged, _ in there:
            if not judged.failed:
                self._compare(judged, float_of.get(judged.runtime, []), said[judged.file])

    def _said(self, judged: Judged) -> list[list[dict[str, Any]] | None]:
        """What a variant says about each sample; None = it can't use it."""
        if judged.failed:
            return []
        self.tell(f"asking {judged.file}")
        candidate = Candidate(self.folder, Runtime(variant=judged.file))
        try:
            with Probe(120.0) as probe:
                opened = probe.open(candidate)
                return list(
                    opened.ask("told", 900.0, files=[str(it) for it in self._files()])["told"]
                )
        except ProofFailed as error:
            judged.failed = str(error)
            return []

    def _files(self) -> list[Path]:
        return [file for _, file in self.labelled] or list(self.wish.samples)

    def _compare(self, judged: Judged, floats: Sequence[Any], said: Sequence[Any]) -> None:
        agreement = Agreement()
        threshold = self.package.manifest.output.threshold
        task = self.package.manifest.task
        right = 0
        for number, (file, was, now) in enumerate(zip(self._files(), floats, said, strict=False)):
            label = self.labelled[number][0] if self.labelled else ""
            good = now is not None and bool(label) and is_right(label, now, task)
            right += good
            if was is None or now is None:
                continue
            same = agreement.add(was, now, threshold)
            if not same or (label and not good):
                judged.worst.append(Worst(str(file), spoken(was), spoken(now), label))
        judged.worst = judged.worst[:_WORST]
        judged.agrees, judged.compared = agreement.agreed, agreement.samples
        if self.labelled:
            judged.right, judged.samples = right, len(said)

    def _choose(self, made: Sequence[tuple[Judged, Variant]], sources: Sequence[Variant]) -> None:
        """Which of them go into the package."""
        floats = [judged.quality for judged, variant in made if variant in sources]
        floor = max((q for q in floats if q is not None), default=1.0) - self.wish.loss
        for judged, variant in made:
            quality = judged.quality
            if variant in sources:
                judged.written = True
            elif judged.failed:
                judged.why = judged.failed.replace(f"{self.folder}/", "")[:_LONGEST]
            elif judged.golden:
                judged.why = f"golden samples: {judged.golden}"
            elif quality is None or quality < floor - 1e-9:
                judged.why = f"{quality or 0:.1%} is below {floor:.1%}"
            else:
                judged.written = True


def mark_front(variants: Sequence[Judged]) -> None:
    """The Pareto front over time and quality."""
    there = [its for its in variants if its.ms is not None and its.quality is not None]
    for its in there:
        its.front = not any(
            (other.ms or 0) <= (its.ms or 0) and (other.quality or 0) >= (its.quality or 0)
            and ((other.ms or 0) < (its.ms or 0) or (other.quality or 0) > (its.quality or 0))
            for other in there
        )  # fmt: skip


def spoken(told: Sequence[dict[str, Any]]) -> str:
    """Predictions in a few words: ``cat 0.93, dog 0.41``."""
    words = []
    for one in sorted(told, key=lambda its: -float(its.get("score", 0.0)))[:3]:
        what = one.get("label") or one.get("name") or one["kind"]
        value = one.get("score", one.get("value"))
        words.append(f"{what} {value:.2f}" if isinstance(value, (int, float)) else str(what))
    return ", ".join(words) or "nothing"


def _figures(judged: Judged, measured: Measured) -> None:
    judged.failed = measured.failed
    single = measured.of("single")
    if single is not None:
        judged.ms, judged.cpu_ms = single.p50_ms, single.cpu_ms
    judged.pss_mb = measured.pss_mb or None
    if measured.golden is not None and measured.golden.faults:
        judged.golden = measured.golden.faults[0]


def _refuse_integers(package: Package, source: Variant) -> None:
    """A file with float inputs may hold integers: what was quantized can't be again. Raises
    PackageError."""
    found = _tool(source.runtime).kept(package.path(source.file))
    if found.whole or found.weights:
        raise PackageError(
            f"{source.file} is quantized already ({found.sentence()})",
            remedy="Start from the float model that it was made of, or correct its precision in "
            "model.toml.",
        )


def _tool(runtime: str) -> Any:
    return tflite if runtime == "litert" else onnx


def _copied(package: Package, models: Path, version: str) -> Path:
    if not is_version(version):
        raise UsageError(f"--version {version}: a version looks like 1.2.0")
    folder = models / package.name / version
    if folder.exists():
        raise UsageError(f"{folder} exists already", remedy="Choose another --version.")
    try:
        shutil.copytree(package.folder, folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    return folder


def _next(version: str) -> str:
    """The patch after a version."""
    numbers = version.partition("-")[0].split(".")
    return ".".join([*numbers[:2], str(int(numbers[2]) + 1)])
