"""What a part looks like: outline, metal, harmless marks, and the fault it may have."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

LABELS = ("whole", "cracked", "missing")
"""What a part on the belt can be, in the order of the `parts` model's classes."""

_SUPERSAMPLE = 2


class Part(Struct, frozen=True):
    """What part number k is and where it lies; lengths in pixels of the frame."""

    label: str
    kind: str
    radius: float
    offset: int
    """Distance of its centre downstream of the start of its place on the belt."""
    y: int
    seed: int


class Sprite(Struct, frozen=True):
    """A part ready to be laid on the belt: premultiplied (3, h, w) and coverage (h, w) 0..1."""

    colour: Floats
    cover: Floats
    extent: tuple[int, int, int, int]
    """Bounding box of the part itself (without its shadow) inside the sprite, pixels."""


class _Grid(Struct, frozen=True):
    """Coordinates of a sprite's fine pixels around its centre, in pixels of the frame."""

    x: Floats
    y: Floats
    rho: Floats
    phi: Floats
    size: int
    """Width and height of the sprite in pixels of the frame."""


def draw(part: Part, scale: float) -> Sprite:
    """Draw a part with its fault and shadow. ``scale`` = pixels per pixel at 320 wide."""
    rng = np.random.default_rng(part.seed)
    grid = _grid(part.radius)
    depth = _outline(rng, part, grid)
    fracture = np.full_like(depth, 1e3)
    if part.label == "missing":
        fracture = _bite(rng, part.radius, grid)
        depth = np.minimum(depth, fracture)
    colour = _metal(rng, part, grid, depth, scale)
    # Broken faces are rough and bright: they show where the piece was.
    fresh = np.exp(-((np.maximum(fracture, 0) / (1.6 * scale)) ** 2))
    rough = rng.uniform(0.75, 1.25, depth.shape).astype(np.float32)
    colour += fresh * 0.65 * (_planes(205, 210, 214) * rough - colour)
    if part.label == "cracked":
        _crack(rng, part.radius, grid, colour, scale)
    fine = _SUPERSAMPLE
    solid = np.clip(depth * fine + 0.5, 0.0, 1.0)
    lift = 2.6 * scale
    shadow = _shifted(depth, round(lift * fine), round(1.25 * lift * fine))
    dark = 0.62 * np.clip(0.5 + shadow / (2.4 * lift), 0.0, 1.0) ** 1.3
    cover = solid + (1.0 - solid) * dark
    small = _shrink(solid, grid.size)
    ys, xs = np.nonzero(small > 0.5)
    extent = (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)
    return Sprite(_shrink(colour * solid, grid.size), _shrink(cover, grid.size), extent)


def _grid(radius: float) -> _Grid:
    size = 2 * math.ceil(radius * 1.32) + 1
    axis = (np.arange(size * _SUPERSAMPLE, dtype=np.float32) + 0.5) / _SUPERSAMPLE - size / 2
    x, y = (np.asarray(values, np.float32) for values in np.meshgrid(axis, axis))
    return _Grid(x, y, np.hypot(x, y), np.arctan2(y, x), size)


def _shrink(values: Floats, size: int) -> Floats:
    """Average of the fine pixels of each pixel, (…, size, size)."""
    fine = _SUPERSAMPLE
    shape = (*values.shape[:-2], size, fine, size, fine)
    return np.asarray(values.reshape(shape).mean(axis=(-3, -1)), np.float32)


def _planes(blue: float, green: float, red: float) -> Floats:
    """A colour that multiplies with or adds to a picture of colour planes."""
    return np.array([blue, green, red], np.float32)[:, None, None]


def _shifted(values: Floats, dx: int, dy: int) -> Floats:
    """``values`` moved right and down, the uncovered edge filled with its lowest value."""
    out = np.full_like(values, values.min())
    out[dy:, dx:] = values[:-dy, :-dx]
    return out


def _outline(rng: np.random.Generator, part: Part, grid: _Grid) -> Floats:
    """Distance to the nearest edge (positive inside), about right in pixels of the frame."""
    radius = part.radius
    turn = rng.uniform(0, 2 * math.pi)
    rim: Floats | float = radius
    if part.kind == "gear":
        teeth = int(rng.integers(14, 21))
        wave = np.cos(teeth * (grid.phi - turn))
        rim = radius * (0.92 + 0.08 * np.tanh(2.6 * wave))
    bore = {"gear": 0.20, "washer": 0.42, "flange": 0.24, "pulley": 0.17}[part.kind]
    bore *= radius * rng.uniform(0.9, 1.1)
    depth = np.minimum(rim - grid.rho, grid.rho - bore)
    holes = {"gear": (0, 5, 6), "flange": (4, 6, 6)}.get(part.kind)
    if holes:
        count = int(rng.choice(holes))
        ring, hole = (0.60, 0.125) if part.kind == "gear" else (0.66, 0.10)
        for k in range(count):
            angle = turn + 2 * math.pi * k / count
            hx, hy = ring * radius * math.cos(angle), ring * radius * math.sin(angle)
            depth = np.minimum(depth, np.hypot(grid.x - hx, grid.y - hy) - hole * radius)
    return np.asarray(depth, np.float32)


_FINISHES: dict[str, tuple[tuple[float, float, float], float]] = {
    "steel": ((176, 172, 166), 0.30),
    "zinc": ((186, 184, 186), 0.18),
    "brass": ((96, 168, 206), 0.28),
    "bronze": ((92, 132, 178), 0.24),
    "white": ((206, 212, 214), 0.03),
    "orange": ((52, 122, 226), 0.03),
    "blue": ((196, 132, 70), 0.03),
}
"""Name → BGR colour and how much it shines like turned metal."""


def _metal(
    rng: np.random.Generator, part: Part, grid: _Grid, depth: Floats, scale: float
) -> Floats:
    """Lit surface (3, fine, fine) in grey levels: turned face, bevelled edges, marks."""
    names = ("white", "orange", "blue") if part.kind == "pulley" else ("steel", "zinc", "brass")
    if part.kind in ("flange", "gear"):
        names = ("steel", "bronze", "zinc")
    base, shine = _FINISHES[str(rng.choice(names))]
    radius = part.radius
    # Grooves of turning reflect the lamp as two opposite bright wedges.
    wedge = np.cos(grid.phi - rng.uniform(0.4, 1.2)) ** 2
    grooves = rng.standard_normal(256).astype(np.float32)
    ring = grooves[np.minimum((grid.rho / radius * 90).astype(np.int32), 255)]
    shade = 0.86 + shine * (wedge**3 - 0.25) + 0.16 * shine * ring
    shade += 0.05 * (-grid.x - grid.y) / radius
    hub = {"gear": 0.36, "pulley": 0.34, "flange": 0.42}.get(part.kind)
    if hub:
        step = (grid.rho - hub * radius) / (1.1 * scale)
        facing = (-grid.x - 1.25 * grid.y) / (1.6 * grid.rho + 1e-3)
        shade += 0.22 * np.exp(-(step**2)) * facing
    if part.kind == "pulley":
        groove = (grid.rho - 0.80 * radius) / (0.055 * radius)
        shade -= 0.24 * np.exp(-(groove**2))
    gy, gx = np.gradient(depth * _SUPERSAMPLE)
    edge = np.clip(1.0 - depth / (2.4 * scale), 0.0, 1.0)
    shade += 0.40 * edge * (-0.6 * -gx - 0.8 * -gy)
    shade -= 0.30 * np.clip(1.0 - depth / (0.8 * scale), 0.0, 1.0)
    shade = _marks(rng, part, grid, shade, scale)
    return np.asarray(np.maximum(shade, 0.05) * _planes(*base), np.float32)


def _marks(
    rng: np.random.Generator, part: Part, grid: _Grid, shade: Floats, scale: float
) -> Floats:
    """Harmless scuffs and a smear of oil, which a good part may have as well."""
    for _ in range(int(rng.integers(0, 4))):
        angle, reach = rng.uniform(0, math.pi), rng.uniform(0.1, 0.3) * part.radius
        cx, cy = rng.uniform(-0.7, 0.7, 2) * part.radius
        along = (grid.x - cx) * math.cos(angle) + (grid.y - cy) * math.sin(angle)
        across = (grid.y - cy) * math.cos(angle) - (grid.x - cx) * math.sin(angle)
        line = np.exp(-((across / (0.45 * scale)) ** 2) - ((along / reach) ** 2) ** 2)
        shade = shade + rng.uniform(-0.10, 0.16) * line
    if rng.random() < 0.35:
        cx, cy = rng.uniform(-0.6, 0.6, 2) * part.radius
        spread = rng.uniform(0.12, 0.25) * part.radius
        smear = np.exp(-(((grid.x - cx) ** 2 + (grid.y - cy) ** 2) / spread**2))
        shade = shade * (1.0 - 0.16 * smear)
    return shade


def _bite(rng: np.random.Generator, radius: float, grid: _Grid) -> Floats:
    """Distance from a jagged piece broken out of the rim (negative inside the gap)."""
    angle = rng.uniform(0, 2 * math.pi)
    reach = rng.uniform(0.46, 0.60) * radius
    cx, cy = 1.02 * radius * math.cos(angle), 1.02 * radius * math.sin(angle)
    dx, dy = grid.x - cx, grid.y - cy
    corners = rng.uniform(0.72, 1.22, 12)
    turns = (np.arctan2(dy, dx) / (2 * np.pi)) % 1.0
    jagged = np.interp(turns, np.arange(13) / 12, np.append(corners, corners[0]))
    return np.asarray(np.hypot(dx, dy) - reach * jagged, np.float32)


def _crack(
    rng: np.random.Generator, radius: float, grid: _Grid, colour: Floats, scale: float
) -> None:
    """Draw a dark branching crack that starts at the rim, in place."""
    angle = rng.uniform(0, 2 * math.pi)
    heading = angle + math.pi + float(rng.choice((-1.0, 1.0))) * rng.uniform(0.22, 0.5)
    start = (1.03 * radius * math.cos(angle), 1.03 * radius * math.sin(angle))
    trunk = _walk(rng, start, heading, rng.uniform(1.15, 1.6) * radius)
    fork = int(rng.integers(2, 4))
    turn = float(rng.choice((-1.0, 1.0))) * rng.uniform(0.6, 1.0)
    branch = _walk(rng, trunk[fork], heading + turn, rng.uniform(0.4, 0.65) * radius)
    wide = rng.uniform(1.9, 2.6) * scale
    gap = np.minimum(
        _far_from(grid, trunk, wide, 0.45 * wide), _far_from(grid, branch, 0.6 * wide, 0.3 * wide)
    )
    fine = _SUPERSAMPLE
    lip = _shifted(-gap, fine, fine)
    bright = np.clip(lip / (0.6 * scale) + 0.5, 0.0, 1.0) * (gap > 0)
    colour *= 1.0 + 0.30 * bright
    dark = np.clip(0.5 - gap * 1.4 / scale, 0.0, 1.0)
    colour += 0.94 * dark * (_planes(20, 20, 24) - colour)


def _walk(
    rng: np.random.Generator, start: tuple[float, float], heading: float, length: float
) -> list[tuple[float, float]]:
    """Points of a jagged line from ``start``."""
    points = [start]
    steps = rng.uniform(0.6, 1.4, 6)
    steps *= length / steps.sum()
    for k, step in enumerate(steps):
        bend = heading + (0.5 if k % 2 else -0.5) * rng.uniform(0.3, 1.3)
        x, y = points[-1]
        points.append((x + step * math.cos(bend), y + step * math.sin(bend)))
    return points


def _far_from(grid: _Grid, points: list[tuple[float, float]], wide: float, narrow: float) -> Floats:
    """Distance to a line that thins from half width ``wide`` to ``narrow``; negative inside."""
    gap = np.full_like(grid.x, 1e3)
    count = len(points) - 1
    for k, ((ax, ay), (bx, by)) in enumerate(pairwise(points)):
        ux, uy = bx - ax, by - ay
        t = ((grid.x - ax) * ux + (grid.y - ay) * uy) / (ux * ux + uy * uy)
        t = np.clip(t, 0.0, 1.0)
        half = wide + (narrow - wide) * (k + t) / count
        gap = np.minimum(gap, np.hypot(grid.x - ax - t * ux, grid.y - ay - t * uy) - half)
    return np.asarray(gap, np.float32)
