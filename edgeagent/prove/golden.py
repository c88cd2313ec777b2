"""Golden samples: what a package's own model answers to a few confident samples.

They travel with the package and are asked again on every device, through the whole path from
file to prediction: a wrong colour order, a misread quantization or a broken delegate shows
here before it shows in the field.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from edgeagent.config.model import Runtime
from edgeagent.errors import EdgeAgentError, NotFound, PackageError
from edgeagent.infer import Receipt
from edgeagent.manifest import Package
from edgeagent.prove.compare import Told, Tolerance, differences, same_top, tell
from edgeagent.prove.predict import Predictor
from edgeagent.prove.samples import first_sample, readable

VERSION = 1
DEFAULT = "golden/expected.json"


class Sample(msgspec.Struct):
    """One sample file, beside ``expected.json``, and what is expected of it."""

    file: str
    predictions: list[dict[str, Any]]


class Expected(msgspec.Struct):
    """The content of ``golden/expected.json``."""

    v: int
    reference: str
    """Runtime and kernels that gave the answers, such as ``litert 2.3.0 xnnpack``."""
    samples: list[Sample]


class Report(Struct):
    """What a comparison found."""

    model: str
    receipt: Receipt
    reference: str
    samples: int = 0
    same_top: int = 0
    faults: list[str] = field(default_factory=list)
    """One sentence per difference beyond the tolerance; empty = passed."""

    @property
    def passed(self) -> bool:
        return not self.faults


def reference_of(receipt: Receipt) -> str:
    """Runtime and kernels in one word each: ``litert 2.3.0 xnnpack``."""
    places = [place for place in receipt.placement if place != "builtin"]
    return f"{receipt.runtime} {'+'.join(places).lower() or 'builtin'}"


def sample_files(package: Package) -> list[Path]:
    """Files in the package's golden folder that are samples, by name."""
    folder = _expected_path(package).parent
    if not folder.is_dir():
        raise NotFound(
            f"{folder}: the package has no golden samples",
            remedy="Put a few confident samples there, or name a folder with --samples.",
        )
    return sorted(file for file in folder.iterdir() if file.is_file() and readable(file))


def write_golden(
    package: Package, samples: Sequence[Path] = (), runtime: Runtime | None = None
) -> Expected:
    """Run samples through the package and write its ``expected.json``.

    Args:
        package: the package; its golden folder is made.
        samples: files that are copied into the golden folder; empty = those that lie there.
        runtime: the reference to use; None = the first variant that runs.

    Raises:
        NotFound: there are no samples.
        InputError, ModelError: a sample or the model can't be used.
    """
    target = _expected_path(package)
    target.parent.mkdir(parents=True, exist_ok=True)
    for file in samples:
        kept = target.parent / file.name
        if not kept.exists() or not kept.samefile(file):
            kept.write_bytes(file.read_bytes())
    files = sample_files(package)
    if not files:
        raise NotFound(
            f"{target.parent} holds no samples", remedy="Name a folder of them with --samples."
        )
    with Predictor(package, runtime) as predictor:
        told = [Sample(file.name, _ask(predictor, file)) for file in files]
        expected = Expected(VERSION, reference_of(predictor.receipt), told)
    text = json.dumps(msgspec.to_builtins(expected), indent=1, ensure_ascii=False)
    target.write_text(text + "\n", encoding="utf-8")
    return expected


def check_golden(package: Package, runtime: Runtime | None = None) -> Report:
    """Run the golden samples and compare with what is expected, within the tolerance.

    Raises:
        NotFound: the package has no ``expected.json``.
        PackageError: it can't be read.
        ModelError: the model can't be run.
    """
    with Predictor(package, runtime) as predictor:
        return check(predictor)


def check(predictor: Predictor) -> Report:
    """As `check_golden`, of a package that is open."""
    package = predictor.package
    expected = read_expected(package)
    tolerance = tolerance_of(package)
    folder = _expected_path(package).parent
    report = Report(predictor.model, predictor.receipt, expected.reference)
    for sample in expected.samples:
        report.samples += 1
        try:
            got = _ask(predictor, folder / sample.file)
        except EdgeAgentError as error:
            report.faults.append(f"{sample.file}: {error}")
            continue
        _judge(report, package, sample, got, tolerance)
    if report.samples and report.same_top < tolerance.top1 * report.samples:
        report.faults.append(
            f"best label right in {report.same_top} of {report.samples} samples "
            f"(at least {tolerance.top1:.0%} expected)"
        )
    return report


def read_expected(package: Package) -> Expected:
    """The package's ``expected.json``. Raises NotFound, PackageError."""
    file = _expected_path(package)
    try:
        expected = msgspec.json.decode(file.read_bytes(), type=Expected)
    except FileNotFoundError as error:
        raise NotFound(
            f"{file}: the package has no golden answers",
            remedy=f"Write them: edgeagent models golden {package.folder} --samples DIR",
        ) from error
    except (OSError, msgspec.DecodeError) as error:
        raise PackageError(
            f"{file}: can't be read: {error}",
            remedy=f"Write it anew: edgeagent models golden {package.folder}",
        ) from error
    if expected.v != VERSION:
        raise PackageError(
            f"{file}: version {expected.v} of golden answers, this agent reads {VERSION}"
        )
    for sample in expected.samples:
        _inside(file, sample.file)
    return expected


def tolerance_of(package: Package) -> Tolerance:
    """The manifest's tolerance. Raises PackageError for a name that means nothing."""
    given = package.manifest.golden.tolerance if package.manifest.golden else {}
    unknown = sorted(set(given) - set(Tolerance.__struct_fields__))
    if unknown:
        raise PackageError(
            f"{package.folder / 'model.toml'}: golden.tolerance.{unknown[0]} is unknown; "
            f"known: {', '.join(Tolerance.__struct_fields__)}"
        )
    return Tolerance(**given)


def _judge(
    report: Report, package: Package, sample: Sample, got: list[Told], tolerance: Tolerance
) -> None:
    threshold = package.manifest.output.threshold
    report.same_top += same_top(sample.predictions, got)
    try:
        faults = differences(sample.predictions, got, threshold, tolerance)
    except (KeyError, TypeError, AttributeError) as error:
        faults = [f"expected.json does not describe predictions ({error!r})"]
    report.faults += [f"{sample.file}: {fault}" for fault in faults]


def _ask(predictor: Predictor, file: Path) -> list[Told]:
    # Each sample is its own stream, or the order of the files would matter.
    predictor.reset()
    answer = predictor(first_sample(file, predictor.package))
    return [tell(prediction) for prediction in answer.predictions]


def _expected_path(package: Package) -> Path:
    golden = package.manifest.golden
    return package.path(golden.expected if golden else DEFAULT)


def _inside(file: Path, name: str) -> None:
    if not (file.parent / name).resolve().is_relative_to(file.parent.resolve()):
        raise PackageError(f"{file}: the sample {name!r} lies outside the golden folder")
