"""How a view usually looks: learned at set-up, kept beside the outbox, adapted slowly."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from edgeagent.capture.sight.glance import ACROSS, DOWN, HEIGHT, WIDTH, Glance, cells
from edgeagent.errors import InputError, unwritable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

_VERSION = 1
_FIGURES = ("mean", "low", "high", "bright", "coarse", "noise", "plain", "smeared", "blocky")

_KEPT = (*_FIGURES, "spread", "steady", "stir")


class View(Struct, frozen=True):
    """What is usual; figures as in `Glance`."""

    mean: float
    low: float
    high: float
    bright: float
    coarse: float
    noise: float
    plain: float
    smeared: float
    blocky: float
    luma: Floats
    edges: Floats
    texture: Floats
    sharp: Floats
    spread: float = 1.0
    """How well the pictures of the set-up agreed with this view, 0..1 (`alike` of the worst)."""
    steady: float = 1.0
    """The same for the brightness of its cells: low where large things move."""
    still_s: float = 0.0
    """The longest time that pictures stayed the same; infinite = they do not change."""
    stir: float = 0.0
    """The least change from look to look that was usual, levels; 0 = unknown."""


def learn(glances: Sequence[Glance], *, still_s: float = 0.0, stir: float = 0.0) -> View:
    """The view behind some glances; what passes through it is left out by the median."""
    figures = {name: float(np.median([getattr(its, name) for its in glances])) for name in _FIGURES}
    edges = np.median([its.edges for its in glances], axis=0).astype(np.float32)
    luma = np.median([its.luma for its in glances], axis=0).astype(np.float32)
    sharp = np.median([its.sharp for its in glances], axis=0).astype(np.float32)
    spread = min(alike(its.edges, edges) for its in glances)
    steady = min(alike(cells(its.luma), cells(luma)) for its in glances)
    return View(
        **figures, luma=luma, edges=edges, texture=cells(edges), sharp=sharp, spread=spread,
        steady=steady, still_s=still_s, stir=stir,
    )  # fmt: skip


def adapted(view: View, seen: Glance, share: float) -> View:
    """The view moved by ``share`` towards what is seen: light and seasons change."""
    figures = {
        name: (1 - share) * getattr(view, name) + share * getattr(seen, name) for name in _FIGURES
    }
    edges = (1 - share) * view.edges + share * seen.edges
    luma = (1 - share) * view.luma + share * seen.luma
    sharp = (1 - share) * view.sharp + share * seen.sharp
    return replace(view, **figures, luma=luma, edges=edges, texture=cells(edges), sharp=sharp)


def alike(one: Floats, other: Floats) -> float:
    """Correlation of two maps, -1..1; 0 where one of them is flat."""
    a, b = one - one.mean(), other - other.mean()
    length = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / length if length > 0 else 0.0


def save(view: View, file: Path, identity: str) -> None:
    """Keep a view, and whose it is. Raises as `errors.unwritable`."""
    text = json.dumps(
        {
            "v": _VERSION,
            "of": identity,
            **{name: round(getattr(view, name), 4) for name in _KEPT},
            "still_s": None if math.isinf(view.still_s) else round(view.still_s, 2),
            "luma": _packed(view.luma, 1.0),
            "edges": _packed(view.edges, 4.0),
            "sharp": np.round(view.sharp, 3).tolist(),
        }
    )
    beside = file.with_suffix(".new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="ascii")
        beside.replace(file)
    except OSError as error:
        raise unwritable(file, error) from error


def load(file: Path, identity: str) -> View | None:
    """The view that was kept; None where there is none, or one of something else.

    Raises:
        InputError: what is there is no view; it has to be learned anew.
    """
    try:
        table: dict[str, Any] = json.loads(file.read_text(encoding="ascii"))
        if table["v"] != _VERSION or table["of"] != identity:
            return None
        edges = _unpacked(table["edges"], 4.0)
        return View(
            **{name: float(table[name]) for name in _KEPT},
            still_s=math.inf if table["still_s"] is None else float(table["still_s"]),
            luma=_unpacked(table["luma"], 1.0),
            edges=edges,
            texture=cells(edges),
            sharp=np.array(table["sharp"], np.float32).reshape(DOWN, ACROSS),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, binascii.Error) as error:
        raise InputError(f"{file}: is no view that was learned: {error}") from error


def _packed(values: Floats, scale: float) -> str:
    levels = np.clip(np.rint(values * scale), 0, 255).astype(np.uint8)
    return base64.b64encode(levels.tobytes()).decode()


def _unpacked(text: str, scale: float) -> Floats:
    levels = np.frombuffer(base64.b64decode(text), np.uint8)
    values: Floats = levels.reshape(HEIGHT, WIDTH).astype(np.float32) / np.float32(scale)
    return values
