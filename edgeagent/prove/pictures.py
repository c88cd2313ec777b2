"""A package that knows good pictures, made from a folder of them, on the device.

Nothing is trained: a backbone's feature maps of good pictures are remembered, and the
threshold is fitted on pictures that the memory did not hold. Each picture is looked at in
several places: what stands still, like a rail, would else be known only as it falls on the
grid of the cells there and then, and a camera that moved by a hair would find it unusual.
"""

from __future__ import annotations

import re
import shutil
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace

from edgeagent.capture.files import natural
from edgeagent.capture.pictures import SUFFIXES
from edgeagent.config.model import Runtime
from edgeagent.errors import InputError, NotFound, NotPermitted, StoreFull, UsageError
from edgeagent.infer import open_package
from edgeagent.interpret.cells import Cells
from edgeagent.manifest import Golden, Manifest, OutputSpec, Package, load_package
from edgeagent.prepare.inputs import Prepare
from edgeagent.prove.backbone import Backbone, cut_backbone
from edgeagent.prove.golden import write_golden
from edgeagent.prove.lint import write_files
from edgeagent.prove.remember import remember, threshold_of
from edgeagent.prove.samples import first_sample
from edgeagent.prove.semver import is_version
from edgeagent.prove.tomltext import table_text
from edgeagent.types import Frame, Placement

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST = 10
ADVISED = 50
BACKBONE = "parts"
"""The package whose inner maps are taken where nobody names another."""
VIEWS = 3
"""Looks at each picture: as it is, and moved by up to half a cell."""
STEPS = 2
"""Steps after the pictures."""
_MEMORY = "memory.npz"
_GOOD = 3
"""Good pictures among the golden samples."""


class Fitted(Struct):
    """A package of good pictures, and how it came about."""

    package: Package
    pictures: int
    backbone: str
    threshold: float
    usual: float
    """Median score of good pictures that the memory did not hold."""
    notes: list[str] = field(default_factory=list)
    """What a person should know: files left out, sizes that differ, too few pictures."""


class _Seen(Struct):
    files: list[Path] = field(default_factory=list)
    cells: list[NDArray[np.float32]] = field(default_factory=list)
    """`VIEWS` of each file, the one as it is first."""
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    left_out: list[str] = field(default_factory=list)


def fit_pictures(
    folder: Path,
    backbone: Package,
    models: Path,
    name: str = "",
    version: str = "0.1.0",
    tell: Callable[[str], None] = lambda _step: None,
) -> Fitted:
    """Make ``models/{name}/{version}/`` of a folder of good pictures.

    Args:
        folder: pictures of what is as it should be, of one camera; `LEAST` or more.
        backbone: any package with one picture for its input.
        models: folder of packages; name: by default that of the folder.
        tell: told of each step: every file's name, and `STEPS` more.

    Raises:
        InputError: too few pictures can be used.
        NotFound: the folder is not there, or has no pictures.
        UsageError: the package is there already, or its name is none.
        ModelError: the backbone has no feature maps, or can't be opened.
        NotPermitted, StoreFull: the package can't be written.
    """
    files = good_pictures(folder)
    name = name or _name(folder)
    target = _free(models, name, version)
    part = target.with_name(f".{target.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        fitted = _fit(files, backbone, part, (name, version), tell)
        part.replace(target)
    except PermissionError as error:
        raise NotPermitted(f"{target}: may not be written") from error
    except OSError as error:
        raise StoreFull(f"{target}: can't be written: {error.strerror}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    fitted.package = load_package(target)
    return fitted


def _fit(
    files: list[Path],
    source: Package,
    part: Path,
    named: tuple[str, str],
    tell: Callable[[str], None],
) -> Fitted:
    backbone = cut_backbone(source, part)
    seen = _look(files, backbone, part, tell)
    if all(np.array_equal(cells, seen.cells[0]) for cells in seen.cells[::VIEWS]):
        raise InputError(
            f"{files[0].parent}: all {len(seen.files)} pictures are the same, so nothing tells "
            "what may differ",
            remedy="Take pictures of different good things, at different times.",
        )
    tell("remembering")
    memory, scores = remember(seen.cells, backbone.pixels, VIEWS)
    (part / _MEMORY).write_bytes(memory.data())
    threshold = round(threshold_of(scores), 3)
    manifest = _manifest(named, source, backbone, threshold, scores)
    (part / "model.toml").write_text(table_text(manifest), encoding="utf-8")
    tell("golden samples")
    _golden(part, seen, scores)
    write_files(load_package(part))
    return Fitted(
        load_package(part), len(seen.files), f"{backbone.origin}, maps {', '.join(backbone.maps)}",
        threshold, statistics.median(scores), _notes(seen),
    )  # fmt: skip


def _look(files: list[Path], backbone: Backbone, part: Path, tell: Callable[[str], None]) -> _Seen:
    """The backbone's maps of all pictures that can be read. Raises InputError for too few."""
    seen = _Seen()
    described = Manifest(
        name="backbone", version="0.1.0", task="embed", output=OutputSpec(decoder="none"),
        input=[backbone.input], variant=[backbone.variant],
    )  # fmt: skip
    package = Package(part, described, ())
    session, _ = open_package(package, Runtime())
    try:
        prepare = Prepare(package, session.inputs)
        rng = np.random.default_rng(0)
        cells = Cells(session.outputs, backbone.pixels, planar=backbone.planar)
        for file in files:
            tell(file.name)
            try:
                frame = first_sample(file, package)
                prepared = prepare(frame)
            except InputError as error:
                seen.left_out.append(str(error))
                continue
            assert isinstance(frame, Frame)
            reach = _half_a_cell(frame.pixels, cells.grid, prepared.placement)
            for view in range(VIEWS):
                if view:
                    moved = _moved(frame.pixels, rng.uniform(-reach, reach))
                    prepared = prepare(replace(frame, pixels=moved))
                outputs = session.run(prepared.tensors)
                seen.cells.append(cells(outputs, prepared.tensors[0]))
            seen.sizes[frame.pixels.shape[1], frame.pixels.shape[0]] += 1
            seen.files.append(file)
    finally:
        session.close()
    if len(seen.files) < LEAST:
        of = f" of {len(files)} files" if seen.left_out else ""
        raise InputError(
            f"{files[0].parent}: {_count(len(seen.files), 'usable picture')}{of}, and at least "
            f"{LEAST} are needed" + "".join(f"\n  {one}" for one in seen.left_out),
            remedy=f"Take more pictures of what is as it should be: about {ADVISED}, "
            "in all the light and all the places that occur.",
        )
    return seen


def _half_a_cell(
    pixels: NDArray[np.uint8], grid: tuple[int, int], place: Placement
) -> NDArray[np.float64]:
    """Rows and columns of a picture that half a cell covers, at least one."""
    covered = np.multiply(grid, (place.height, place.width))
    return np.maximum(1.0, pixels.shape[:2] / (2 * covered))


def _moved(pixels: NDArray[np.uint8], by: NDArray[np.float64]) -> NDArray[np.uint8]:
    """A picture moved by some rows and columns, its edges drawn out."""
    for axis, away in enumerate(np.rint(by).astype(int)):
        last = pixels.shape[axis] - 1
        pixels = pixels.take(np.clip(np.arange(last + 1) + away, 0, last), axis)
    return pixels


def _manifest(
    named: tuple[str, str],
    source: Package,
    backbone: Backbone,
    threshold: float,
    scores: Sequence[float],
) -> Manifest:
    return Manifest(
        name=named[0],
        version=named[1],
        task="anomaly",
        licence=source.manifest.licence or source.manifest.license or "not told by the backbone",
        description="Pictures that are not like the good ones it was made from.",
        output=OutputSpec(
            decoder="patches",
            threshold=threshold,
            gallery=_MEMORY,
            layout="columns" if backbone.planar else "rows",
        ),
        input=[backbone.input],
        variant=[backbone.variant],
        golden=Golden(tolerance={"score": 0.15}),
        provenance={
            "backbone": backbone.origin,
            "maps": list(backbone.maps),
            "pictures": len(scores),
            "held_out_scores": [
                round(float(np.quantile(scores, share)), 3) for share in (0, 0.5, 1)
            ],
        },
    )


def _golden(part: Path, seen: _Seen, scores: Sequence[float]) -> None:
    """The best understood good pictures, and one of them with a piece torn out."""
    from edgeagent.decide.picture import jpeg

    order = np.argsort(scores)[:_GOOD].tolist()
    samples = part / "golden"
    samples.mkdir()
    for number, at in enumerate(order, 1):
        shutil.copyfile(seen.files[at], samples / f"good-{number}{seen.files[at].suffix.lower()}")
    frame = first_sample(seen.files[order[0]], load_package(part))
    assert isinstance(frame, Frame)
    (samples / "torn.jpg").write_bytes(jpeg(_torn(frame.pixels), 95))
    write_golden(load_package(part))


def _torn(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A copy with a chequered patch in its middle, a sixth of the picture wide."""
    torn: NDArray[np.uint8] = pixels.copy()
    height, width = torn.shape[:2]
    side = max(8, min(height, width) // 6)
    top, left = (height - side) // 2, (width - side) // 2
    rows, columns = np.mgrid[0:side, 0:side] * 4 // side
    squares = ((rows + columns) % 2 * 255).astype(np.uint8)
    torn[top : top + side, left : left + side] = squares if torn.ndim == 2 else squares[..., None]
    return torn


def _notes(seen: _Seen) -> list[str]:
    notes = [f"left out: {reason}" for reason in seen.left_out]
    if len(seen.sizes) > 1:
        most = ", ".join(f"{size[0]} × {size[1]} ({n})" for size, n in seen.sizes.most_common(3))
        notes.append(
            f"The pictures have {len(seen.sizes)} sizes: {most}. All are scaled to one: take them "
            "with the camera and the size that the pipeline will have."
        )
    if len(seen.files) < ADVISED:
        notes.append(
            f"{len(seen.files)} pictures are few: with about {ADVISED} the threshold is surer "
            "and fewer good pictures look unusual."
        )
    return notes


def good_pictures(folder: Path) -> list[Path]:
    """The pictures of a folder in natural order. Raises NotFound, NotPermitted."""
    if not folder.is_dir():
        raise NotFound(
            f"{folder}: there is no such folder",
            remedy="Name a folder of pictures of what is as it should be.",
        )
    try:
        entries = [entry for entry in folder.iterdir() if entry.is_file()]
    except OSError as error:
        raise NotPermitted(f"{folder}: {error.strerror}") from error
    files = [entry for entry in entries if entry.suffix.lower() in SUFFIXES]
    if not files:
        held = (
            f"none of its {_count(len(entries), 'file')} is a picture" if entries else "it is empty"
        )
        raise NotFound(
            f"{folder}: {held}",
            remedy=f"Put about {ADVISED} pictures (JPEG, PNG …) of what is as it should be there.",
        )
    return sorted(files, key=natural)


def _free(models: Path, name: str, version: str) -> Path:
    if not re.fullmatch(r"[a-z0-9-]{1,64}", name) or not is_version(version):
        raise UsageError(
            f"{name!r} {version!r}: a name is [a-z0-9-]{{1,64}}, a version like 1.2.0",
            remedy="Choose them with --name and --version.",
        )
    target = models / name / version
    if target.exists():
        raise UsageError(
            f"{target} exists already",
            remedy="Choose another --version (or --name), or remove it first.",
        )
    return target


def _name(folder: Path) -> str:
    return re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-")[:64].strip("-")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
