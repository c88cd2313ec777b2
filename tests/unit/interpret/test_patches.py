"""Pictures against a memory of good ones: distances, grids, regions, and memories that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.errors import InferenceError, PackageError
from edgeagent.interpret.cells import Cells, spread
from edgeagent.interpret.patches import Memory, Patches, nearest, read_memory, smoothed
from edgeagent.manifest import InputSpec, Manifest, OutputSpec, Package, Variant
from edgeagent.types import Anomaly, Placement, Prepared, Quantization, TensorSpec

ROWS, COLUMNS = 6, 8
LIGHT = np.array([[1, 1, 1], [0, 0, 0]], np.float32)
FEATURES = 2 + 4
MAPS = TensorSpec("maps", (1, ROWS, COLUMNS, 2), "float32")
GREY = np.full((1, 48, 64, 3), 100, np.uint8)


def memory(**changed: Any) -> Memory:
    """Knows cells whose two features are 0 or 1 and whose colour is that of the rest."""
    usual = np.zeros((3, FEATURES), np.float32)
    usual[1, 0] = usual[2, 1] = 1
    colours = Cells([MAPS], LIGHT, planar=False)([np.zeros(MAPS.shape, np.float32)], GREY)
    tables: dict[str, Any] = {
        "mean": colours[0, 0], "axes": np.eye(FEATURES, dtype=np.float32), "patches": usual,
        "usual": np.full(3, 0.5, np.float32), "pixels": LIGHT,
    }  # fmt: skip
    return Memory(**{**tables, **changed})


def decoder(tmp_path: Path, threshold: float = 2.0, maps: TensorSpec = MAPS) -> Patches:
    (tmp_path / "memory.npz").write_bytes(memory().data())
    how = OutputSpec("patches", gallery="memory.npz", layout="rows")
    manifest = Manifest(
        "m", "1.0.0", "anomaly", how, [InputSpec("image", "image")], [Variant("m", "litert")]
    )
    return Patches(Package(tmp_path, manifest, ()), (maps,), threshold)


def judged(found: Patches, maps: np.ndarray[Any, Any], place: Placement | None = None) -> Anomaly:
    prepared = Prepared([GREY], place) if place else Prepared([GREY])
    (told,) = found([maps.astype(np.float32)], prepared)
    assert isinstance(told, Anomaly)
    return told


def test_what_is_known_is_usual_and_what_is_not_has_a_place(tmp_path: Path) -> None:
    model = decoder(tmp_path)
    maps = np.zeros(MAPS.shape)
    maps[0, :, :3, 0] = 1
    told = judged(model, maps)
    assert told.score == pytest.approx(0, abs=0.01) and not told.alarming and not told.regions
    maps[0, 2:4, 5:7] = 9
    told = judged(model, maps)
    assert told.alarming and told.heat is not None and told.heat.shape == (ROWS, COLUMNS)
    assert np.unravel_index(int(told.heat.argmax()), told.heat.shape)[0] in (2, 3)
    ((box, score),) = told.regions
    assert score == told.score == pytest.approx(float(told.heat.max()))
    x1, y1, x2, y2 = box
    assert x1 <= 5 / COLUMNS and x2 >= 7 / COLUMNS and y1 <= 2 / ROWS and y2 >= 4 / ROWS
    assert x1 > 2 / COLUMNS


def test_a_letterbox_is_cut_away(tmp_path: Path) -> None:
    """A picture in the middle half of the rows: boxes are parts of it, black is not judged."""
    model = decoder(tmp_path)
    place = Placement(0.0, 2 / ROWS, 1.0, 2 / ROWS)
    maps = np.zeros(MAPS.shape)
    maps[0, 0] = 9
    told = judged(model, maps, place)
    assert not told.alarming and told.heat is not None and told.heat.shape == (2, COLUMNS)
    maps[0, 2, 0] = 9
    told = judged(model, maps, place)
    (box, _), *_ = told.regions
    assert box[0] == 0 and box[1] == 0 and 0 < box[2] <= 1 and 0 < box[3] <= 1


def test_scores_count_in_parts_of_what_is_usual_there() -> None:
    wide = memory(usual=np.array([0.5, 5.0, 0.5], np.float32))
    away = np.zeros((ROWS, COLUMNS, FEATURES), np.float32) + memory().mean
    away[..., 0] += 4
    assert memory().unlikeness(away).max() > wide.unlikeness(away).max()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 1000))
def test_nearest_is_what_all_pairs_say(count: int, patches: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(count, 4)).astype(np.float32)
    kept = rng.normal(size=(patches, 4)).astype(np.float32)
    distances, which = nearest(points, kept)
    every = np.linalg.norm(points[:, None] - kept[None], axis=2)
    assert distances.shape[1] == min(3, patches)
    assert distances == pytest.approx(np.sort(every, axis=1)[:, : distances.shape[1]], abs=1e-3)
    assert np.take_along_axis(every, which, axis=1) == pytest.approx(distances, abs=1e-3)


@given(st.integers(1, 60), st.integers(1, 60))
def test_spreading_keeps_what_is_even(have: int, want: int) -> None:
    between = spread(have, want)
    assert between.shape == (want, have)
    assert between.sum(axis=1) == pytest.approx(np.ones(want), abs=1e-5)


def test_smoothing_keeps_even_cells_and_tames_odd_ones() -> None:
    even = np.full((4, 5), 3.0, np.float32)
    assert smoothed(even) == pytest.approx(even)
    odd = np.zeros((5, 5), np.float32)
    odd[2, 2] = 16
    assert smoothed(odd)[2, 2] == 4


@pytest.mark.parametrize("planar", [False, True])
def test_brighter_light_moves_no_colour(planar: bool) -> None:
    rng = np.random.default_rng(1)
    shown = rng.integers(60, 180, (48, 64, 3)).astype(np.float32)
    shape = (1, 2, ROWS, COLUMNS) if planar else MAPS.shape
    cells = Cells([TensorSpec("m", shape, "float32")], LIGHT, planar=planar)

    def colours(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        picture = pixels.transpose(2, 0, 1)[None] if planar else pixels[None]
        return cells([np.zeros(shape, np.float32)], picture)[..., 2:]

    assert colours(shown).shape == (ROWS, COLUMNS, 4)
    assert np.abs(colours(shown * 1.15) - colours(shown)).max() < 0.02
    stained = shown.copy()
    stained[:8, :8, 2] *= 0.3
    assert np.abs(colours(stained) - colours(shown)).max() > 0.5


def test_quantized_maps_are_read_as_what_they_mean() -> None:
    spec = TensorSpec("m", MAPS.shape, "int8", Quantization(0.5, -10))
    got = Cells([spec], LIGHT, planar=False)([np.full(MAPS.shape, 6, np.int8)], GREY)
    assert (got[..., :2] == 8.0).all()


def test_maps_of_two_grids_share_the_finest() -> None:
    coarse = TensorSpec("c", (1, 3, 4, 1), "float32")
    cells = Cells([coarse, MAPS], LIGHT, planar=False)
    assert cells.grid == (ROWS, COLUMNS) and cells.features == 1 + 2 + 4
    values = np.arange(12, dtype=np.float32).reshape(1, 3, 4, 1)
    got = cells([values, np.zeros(MAPS.shape, np.float32)], GREY)
    assert got[0, 0, 0] == 0 and got[-1, -1, 0] == 11
    assert (np.diff(got[..., 0], axis=1) >= 0).all()


# --- what does not fit --------------------------------------------------------------------


def test_no_numbers_are_an_error(tmp_path: Path) -> None:
    maps = np.zeros(MAPS.shape)
    maps[0, 0, 0, 0] = np.nan
    with pytest.raises(InferenceError, match="NaN"):
        judged(decoder(tmp_path), maps)


@pytest.mark.parametrize("shape", [(1, 10), (1, 6, 8), (1, -1, -1, 2)])
def test_outputs_that_are_no_maps(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(PackageError, match="reads feature maps"):
        decoder(tmp_path, maps=TensorSpec("o", shape, "float32"))


def test_a_memory_of_another_model(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="knows 6 features, the model gives 9"):
        decoder(tmp_path, maps=TensorSpec("o", (1, 6, 8, 5), "float32"))


def test_a_memory_comes_back_as_it_went(tmp_path: Path) -> None:
    file = tmp_path / "memory.npz"
    file.write_bytes(memory().data())
    again = read_memory(file)
    assert all(
        (getattr(again, name) == getattr(memory(), name)).all()
        for name in ("mean", "axes", "patches", "usual", "pixels")
    )
    assert memory().data() == again.data()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no memory"),
        (b"PK\x03\x04 cut short", "no memory"),
        (b"\x93NUMPY", "no memory"),
        (memory(usual=np.zeros(2, np.float32)).data(), "do not fit each other"),
        (memory(axes=np.zeros((3, 3), np.float32)).data(), "do not fit each other"),
        (memory(patches=np.full((3, FEATURES), np.nan, np.float32)).data(), "NaN"),
    ],
)
def test_files_that_are_no_memory(tmp_path: Path, content: bytes, told: str) -> None:
    file = tmp_path / "memory.npz"
    file.write_bytes(content)
    with pytest.raises(PackageError, match=told):
        read_memory(file)
    with pytest.raises(PackageError, match="no memory"):
        read_memory(tmp_path / "none.npz")


def test_a_damaged_memory_is_told_never_run(tmp_path: Path) -> None:
    """Any byte changed: read as a sound memory, or refused with our own error."""
    whole = memory().data()
    file = tmp_path / "memory.npz"
    rng = np.random.default_rng(2)
    for at in rng.integers(0, len(whole), 150):
        broken = bytearray(whole)
        broken[at] ^= int(rng.integers(1, 256))
        file.write_bytes(broken)
        try:
            assert read_memory(file).patches.shape[1] > 0
        except PackageError:
            continue


def test_a_package_without_a_memory(tmp_path: Path) -> None:
    manifest = Manifest(
        "m", "1.0.0", "anomaly", OutputSpec("patches"), [InputSpec("image", "image")],
        [Variant("m", "litert")],
    )  # fmt: skip
    with pytest.raises(PackageError, match=r"output\.gallery is missing"):
        Patches(Package(tmp_path, manifest, ()), (MAPS,), 1.0)
