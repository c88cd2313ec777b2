"""Scenes that need no hardware: a conveyor belt seen from above, a bearing that wears out.

Both are functions of (seed, position): any frame or stretch of samples can be asked for in
any order and comes out the same, so a replay, a test and a training run see one world. What
is in the picture is known exactly (`Truth`, `VibrationScene.severity`), which makes these
scenes the ground truth of the shipped models and of the demo. Only numpy is needed.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.types import Box

    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]
    Picture = NDArray[np.uint8]

LABELS = ("whole", "cracked", "missing")
"""What a part on the belt can be, in the order of the `parts` model's classes."""

_RAIL = 0.085
"""Height of each guide rail, as a share of the frame's height."""
_PITCH = 0.36
"""Length of belt, as a share of the frame's width, on which at most one part lies."""
_EMPTY = 0.1
"""Share of places on the belt that stay empty."""
_SUPERSAMPLE = 2
_NOISE_PAD = 64
_SPRITES_KEPT = 24

# Purposes of random numbers: a stream is seeded by (seed, purpose, number).
_SCENE, _PART, _GRAIN, _FRAME, _MACHINE, _SENSOR = range(6)


@dataclass(frozen=True, slots=True)
class Truth:
    """One part that is in the picture."""

    label: str
    box: Box
    """x1, y1, x2, y2 in 0..1 of the frame, cut at its edges."""
    part: int
    """Identity of the part: the same in every frame that shows it."""
    visible: float = 1.0
    """Share of the part's box that lies inside the frame."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What part number k is and where it lies; lengths in pixels of the frame."""

    label: str
    kind: str
    radius: float
    offset: int
    """Distance of its centre downstream of the start of its place on the belt."""
    y: int
    seed: int


@dataclass(frozen=True, slots=True)
class _Sprite:
    """A part ready to be laid on the belt: premultiplied (3, h, w) and coverage (h, w) 0..1."""

    colour: Floats
    cover: Floats
    extent: tuple[int, int, int, int]
    """Bounding box of the part itself (without its shadow) inside the sprite, pixels."""


@dataclass(frozen=True, slots=True)
class _Grid:
    """Coordinates of a sprite's fine pixels around its centre, in pixels of the frame."""

    x: Floats
    y: Floats
    rho: Floats
    phi: Floats
    size: int
    """Width and height of the sprite in pixels of the frame."""


# --- the belt ------------------------------------------------------------------------------


class BeltScene:
    """Parts passing under a camera on a moving belt, left to right.

    Args:
        seed: the world: belt, lamp, parts and their faults.
        size: width, height of the pictures in pixels.
        speed: belt travel per frame as a share of the width.
        fault_rate: share of parts that are cracked or have a piece broken out.
    """

    def __init__(
        self,
        seed: int = 0,
        size: tuple[int, int] = (320, 240),
        *,
        speed: float = 0.016,
        fault_rate: float = 0.3,
    ) -> None:
        self.seed = seed
        self.width, self.height = size
        self.fault_rate = fault_rate
        self._step = max(1, round(speed * self.width))
        self._pitch = round(_PITCH * self.width)
        rng = _rng(seed, _SCENE)
        self._belt = _belt_texture(rng, self.width, self.height)
        self._rails, shade = _rails(rng, self.width, self.height)
        self._lamp = _lamp(rng, self.width, self.height) * shade
        self._phase: list[float] = rng.uniform(0.0, 2 * math.pi, 3).tolist()
        self._grain = _grain(rng, self.width, self.height)
        self._sprites: OrderedDict[int, _Sprite] = OrderedDict()

    def render(self, n: int) -> tuple[Picture, list[Truth]]:
        """Frame number ``n`` ≥ 0: uint8 (height, width, 3) BGR and the parts in it."""
        travel = n * self._step
        image = self._belt_at(travel)
        truths = []
        for number in self._parts_at(travel):
            truth = self._lay(image, number, travel)
            if truth is not None:
                truths.append(truth)
        rows = self._rails.shape[1]
        image[:, :rows] = self._rails
        image[:, -rows:] = self._rails[:, ::-1]
        light, tint = self._light(n)
        image *= light
        image *= tint[:, None, None]
        return self._sensor(image, n), truths

    def part(self, number: int) -> str:
        """Label of part ``number``; empty where the belt has no part."""
        part = self._part(number)
        return "" if part is None else part.label

    def _belt_at(self, travel: int) -> Floats:
        """The visible stretch of belt, (3, height, width) grey levels.

        Colour planes come first throughout: numpy is three times as fast that way.
        """
        start = -travel % (self._belt.shape[2] - self.width)
        return np.array(self._belt[:, :, start : start + self.width])

    def _parts_at(self, travel: int) -> range:
        """Numbers of the places on the belt that may reach into the frame."""
        first = max(0, travel // self._pitch - 1)
        last = (travel + self.width) // self._pitch + 1
        return range(first, last + 1)

    def _part(self, number: int) -> _Part | None:
        rng = _rng(self.seed, _PART, number)
        if rng.random() < _EMPTY:
            return None
        label = LABELS[0]
        if rng.random() < self.fault_rate:
            label = LABELS[1 + int(rng.integers(2))]
        kind = str(rng.choice(("gear", "washer", "flange", "pulley")))
        radius = float(rng.uniform(0.105, 0.128)) * self.width
        slack = self._pitch - 2.0 * radius - 4.0
        offset = round(radius + 2.0 + rng.uniform(0.0, max(0.0, slack)))
        margin = _RAIL * self.height + radius + 0.012 * self.width
        low, high = min(margin, self.height / 2), max(self.height - margin, self.height / 2)
        y = round(rng.uniform(low, high))
        return _Part(label, kind, radius, offset, y, int(rng.integers(2**31)))

    def _lay(self, image: Floats, number: int, travel: int) -> Truth | None:
        """Composite part ``number`` in place; None where it does not show."""
        part = self._part(number)
        if part is None:
            return None
        x = travel - number * self._pitch - self._pitch + part.offset + self.width
        reach = round(part.radius * 1.5)
        if x + reach <= 0 or x - reach >= self.width:
            return None
        sprite = self._sprite(number, part)
        height, width = sprite.cover.shape
        left, top = x - width // 2, part.y - height // 2
        x1, x2 = max(0, left), min(self.width, left + width)
        y1, y2 = max(0, top), min(self.height, top + height)
        if x1 >= x2 or y1 >= y2:
            return None
        cut = np.s_[y1 - top : y2 - top, x1 - left : x2 - left]
        ground = image[:, y1:y2, x1:x2]
        ground *= 1.0 - sprite.cover[cut]
        ground += sprite.colour[:, cut[0], cut[1]]
        return self._truth(part.label, number, sprite, left, top)

    def _truth(self, label: str, number: int, sprite: _Sprite, left: int, top: int) -> Truth | None:
        x1, y1, x2, y2 = sprite.extent
        full = (x2 - x1) * (y2 - y1)
        x1, x2 = (min(max(x + left, 0), self.width) for x in (x1, x2))
        y1, y2 = (min(max(y + top, 0), self.height) for y in (y1, y2))
        seen = (x2 - x1) * (y2 - y1)
        if seen <= 0:
            return None
        box = (x1 / self.width, y1 / self.height, x2 / self.width, y2 / self.height)
        return Truth(label, box, number, seen / full)

    def _sprite(self, number: int, part: _Part) -> _Sprite:
        sprite = self._sprites.get(number)
        if sprite is None:
            sprite = _draw_part(part, self.width / 320.0)
            self._sprites[number] = sprite
            if len(self._sprites) > _SPRITES_KEPT:
                self._sprites.popitem(last=False)
        return sprite

    def _light(self, n: int) -> tuple[Floats, Floats]:
        """Brightness (height, width) and colour (3,): lamp, daylight, someone walking past."""
        drift = 1.0 + 0.10 * math.sin(2 * math.pi * n / 911.0 + self._phase[0])
        flicker = 1.0 + 0.015 * math.sin(2 * math.pi * n / 7.3 + self._phase[1])
        warmth = 0.03 * math.sin(2 * math.pi * n / 1433.0 + self._phase[2])
        tint = np.array([1.0 - warmth, 1.0, 1.0 + warmth], np.float32)
        along = np.full(self.width, drift * flicker, np.float32)
        # A passer-by darkens a soft band of the picture now and then.
        place = ((n / 260.0 + self._phase[0]) % 3.0) * 1.6 - 0.3
        if place < 1.3:
            u = np.arange(self.width, dtype=np.float32) / self.width
            along *= 1.0 - 0.30 * np.exp(-(((u - place) / 0.16) ** 2))
        return self._lamp * along, tint

    def _sensor(self, image: Floats, n: int) -> Picture:
        """Add the sensor's noise and round to uint8."""
        y, x = _rng(self.seed, _FRAME, n).integers(0, _NOISE_PAD, 2)
        image += self._grain[:, y : y + self.height, x : x + self.width]
        np.clip(image, 0.0, 255.0, out=image)
        return np.ascontiguousarray(image.astype(np.uint8).transpose(1, 2, 0))


def _rng(seed: int, purpose: int, number: int = 0) -> np.random.Generator:
    return np.random.default_rng((seed, purpose, number))


def _smooth(values: Floats, passes: int, wrap: bool) -> Floats:
    """Blur rows and columns by (1 2 1)/4 ``passes`` times; columns wrap around if asked."""
    for _ in range(passes):
        rows = np.pad(values, ((1, 1), (0, 0)), mode="edge")
        values = np.asarray((rows[:-2] + 2 * values + rows[2:]) / 4, np.float32)
        columns = np.pad(values, ((0, 0), (1, 1)), mode="wrap" if wrap else "edge")
        values = np.asarray((columns[:, :-2] + 2 * values + columns[:, 2:]) / 4, np.float32)
    return values


def _belt_texture(rng: np.random.Generator, width: int, height: int) -> Floats:
    """A repeating stretch of belt, (3, height, period + width): weave, wear, stains, a splice."""
    period = 3 * width
    scale = width / 320.0
    hues = ((58, 62, 38), (66, 58, 44), (56, 56, 54), (72, 52, 34), (48, 62, 52))
    base = np.array(hues[int(rng.integers(len(hues)))], np.float32) * rng.uniform(0.85, 1.2)
    y, x = np.mgrid[0:height, 0:period].astype(np.float32)
    pitch = 4.0 * scale
    turns = round(period / pitch) / period
    weave = np.cos(2 * np.pi * (x * turns + y / pitch)) * np.cos(
        2 * np.pi * (x * turns - y / pitch)
    )
    coarse = _smooth(rng.standard_normal((height, period), np.float32), 1, wrap=True)
    cloudy = rng.standard_normal((height // 8 + 2, period // 8), np.float32)
    cloudy = np.kron(_smooth(cloudy, 4, wrap=True), np.ones((8, 8), np.float32))
    cloudy = _smooth(cloudy[:height, :period], 6, wrap=True)
    shade = 1.0 + 0.07 * weave + 0.05 * coarse + 0.16 * cloudy
    _wear(rng, shade, scale)
    splice = rng.uniform(0.0, period)
    slant = (x - splice + 0.35 * (y - height / 2)) / scale
    shade *= 1.0 - 0.35 * np.exp(-((slant / 1.2) ** 2)) + 0.20 * np.exp(-(((slant - 3) / 1.4) ** 2))
    # The beginning is there twice, so that any frame is one slice.
    shade = np.concatenate((shade, shade[:, :width]), axis=1)
    return np.asarray(shade * base[:, None, None], np.float32)


def _wear(rng: np.random.Generator, shade: Floats, scale: float) -> None:
    """Streaks along the belt and a few dark oil spots, in place."""
    height, period = shade.shape
    streaks = _smooth(rng.standard_normal((height, 1), np.float32), 1, wrap=False)
    shade *= 1.0 + 0.05 * streaks
    for _ in range(int(rng.integers(4, 9))):
        radius = rng.uniform(4.0, 13.0) * scale
        cx, cy = rng.uniform(0, period), rng.uniform(0.1, 0.9) * height
        x = (np.arange(period) - cx + period / 2) % period - period / 2
        y = np.arange(height) - cy
        spot = (x[None, :] / (1.6 * radius)) ** 2 + (y[:, None] / radius) ** 2
        shade *= 1.0 - 0.28 * np.exp(-(spot**2))


def _rails(rng: np.random.Generator, width: int, height: int) -> tuple[Floats, Floats]:
    """The upper guide rail (3, rows, width), and the shadow both cast (height, 1)."""
    rows = max(4, round(_RAIL * height))
    y = (np.arange(rows, dtype=np.float32) + 0.5) / rows
    profile = 148.0 + 40.0 * np.cos((y - 0.25) * 2.4) - 60.0 * (y > 0.9)
    profile -= 95.0 * np.exp(-(((y - 0.52) / 0.09) ** 2))
    brushed = _smooth(rng.standard_normal((rows, width), np.float32), 1, wrap=False)
    streak = np.cumsum(rng.standard_normal((rows, width)), axis=1) * 0.25
    grey = profile[:, None] + 5.0 * brushed + (streak - streak.mean(axis=1, keepdims=True)) * 0.6
    scale = width / 320.0
    for x in np.arange(rng.uniform(10, 40), width / scale, 80.0) * scale:
        dx, dy = np.arange(width) - x, (np.arange(rows) - 0.52 * rows)
        rho = np.hypot(dx[None, :], dy[:, None]) / scale
        head = np.clip((5.2 - rho) * scale + 0.5, 0.0, 1.0)
        grey += head * (150.0 - 5.0 * (dx[None, :] + 2 * dy[:, None]) / scale - grey)
        socket = np.clip((2.0 - rho) * scale + 0.5, 0.0, 1.0)
        grey -= 70.0 * socket + 75.0 * np.exp(-(((rho - 5.6) / 0.8) ** 2))
    rail = np.clip(grey, 12, 235) * np.array([1.02, 1.0, 0.97])[:, None, None]
    inside = np.arange(height) - rows
    edge = np.minimum(inside, height - 1 - 2 * rows - inside)
    upper = np.where(inside < height / 2, 0.55, 0.25)
    shade = 1.0 - np.where(edge < 0, 0.0, upper * np.exp(-np.maximum(edge, 0) / (5.0 * scale)))
    return np.asarray(rail, np.float32), np.asarray(shade, np.float32)[:, None]


def _lamp(rng: np.random.Generator, width: int, height: int) -> Floats:
    """Brightness by place (height, width): a lamp's spot and a vignette."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    cx, cy = rng.uniform(0.3, 0.7) * width, rng.uniform(0.2, 0.6) * height
    spot = np.exp(-(((x - cx) / (0.55 * width)) ** 2 + ((y - cy) / (0.75 * height)) ** 2))
    level = rng.uniform(0.78, 0.95)
    return np.asarray(level + rng.uniform(0.15, 0.4) * spot, np.float32)


def _grain(rng: np.random.Generator, width: int, height: int) -> Floats:
    """Noise to cut from, (3, height + pad, width + pad) grey levels; mostly luminance."""
    shape = (height + _NOISE_PAD, width + _NOISE_PAD)
    grey = rng.standard_normal((1, *shape), np.float32)
    colour = rng.standard_normal((3, *shape), np.float32)
    return np.asarray(rng.uniform(2.0, 4.0) * (0.8 * grey + 0.5 * colour), np.float32)


# --- parts ---------------------------------------------------------------------------------


def _draw_part(part: _Part, scale: float) -> _Sprite:
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
    return _Sprite(_shrink(colour * solid, grid.size), _shrink(cover, grid.size), extent)


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


def _outline(rng: np.random.Generator, part: _Part, grid: _Grid) -> Floats:
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
    rng: np.random.Generator, part: _Part, grid: _Grid, depth: Floats, scale: float
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
    rng: np.random.Generator, part: _Part, grid: _Grid, shade: Floats, scale: float
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


# --- the bearing ---------------------------------------------------------------------------

BALLS, BALL_MM, PITCH_MM = 9, 7.94, 39.04
"""Geometry of a deep-groove ball bearing 6205, contact angle 0."""

_SPEED_PERIOD_S = 23.0
_SPEED_SWING = 0.004
_RING_OUT_S = 0.016
"""An impact's ringing is over after this time."""
_CHUNK = 4096
_AXES = ("x", "y", "z")
_GAINS = (1.0, 0.6, 0.3)
"""How strongly the load side, the other radial side and the axis feel an impact."""


def bpfo(shaft_hz: float) -> float:
    """Rate in Hz at which balls pass a point of the outer ring."""
    return shaft_hz * BALLS / 2 * (1.0 - BALL_MM / PITCH_MM)


class VibrationScene:
    """Acceleration (m/s²) on the housing of a motor whose bearing's outer ring spalls.

    The sum of: the shaft's rotation and harmonics; a tone from the mains; contact noise that
    excites a structural resonance, as any bearing does; for a damaged ring one impact per
    passing ball (`bpfo`, with a little slip), each ringing out as a decaying sinusoid at the
    resonance; all swelling with the load; and the sensor's own noise.

    Args:
        seed: the machine: speed, harmonics, resonance, noise.
        rate_hz: samples per second; the resonance (2.6 to 3.3 kHz) needs 8 kHz.
        channels: 1 (x) or 3 (x, y, z).
        healthy_s: for so long the bearing is sound.
        fail_s: from then on severity is 1; between, it grows.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        rate_hz: float = 8000.0,
        channels: int = 1,
        healthy_s: float = 60.0,
        fail_s: float = 300.0,
    ) -> None:
        if channels not in (1, 3):
            raise ValueError(f"channels must be 1 or 3, not {channels}")
        self.seed = seed
        self.rate_hz = rate_hz
        self.channels = _AXES[:channels]
        self.healthy_s = healthy_s
        self.fail_s = fail_s
        rng = _rng(seed, _MACHINE)
        self.shaft_hz = float(rng.uniform(24.2, 24.9))
        self.resonance_hz = float(rng.uniform(2600.0, 3300.0))
        self._decay_s = float(rng.uniform(0.0012, 0.0020))
        self._harmonics = rng.uniform((0.5, 0.2, 0.08, 0.04), (1.1, 0.5, 0.2, 0.12)).tolist()
        self._phases = rng.uniform(0.0, 2 * math.pi, 8).tolist()
        self._contact = float(rng.uniform(0.25, 0.40))
        self._sensor_noise = float(rng.uniform(0.08, 0.12))
        self._chunks: OrderedDict[int, Floats] = OrderedDict()
        delay = np.arange(round(_RING_OUT_S * rate_hz)) / rate_hz
        ringing = self._ringing(delay)
        self._kernel = ringing / np.sqrt(np.sum(ringing**2))

    def severity(self, second: float) -> float:
        """Damage 0..1 at a time since the start."""
        if self.fail_s <= self.healthy_s:
            return float(second >= self.healthy_s)
        share = (second - self.healthy_s) / (self.fail_s - self.healthy_s)
        return float(min(max(share, 0.0), 1.0) ** 1.5)

    def block(self, start: int, n: int) -> Floats:
        """Samples ``start`` … ``start + n − 1``, float32 (n, channels), m/s².

        Neighbouring blocks join without a seam, however the samples are divided.
        """
        t = (start + np.arange(n)) / self.rate_hz
        load = self._load(t)
        turns = 2 * math.pi * self._turns(t)
        past = len(self._kernel) - 1
        noise = self._noise(start - past, n + past)
        contact = np.convolve(noise[:, -1], self._kernel, mode="valid")
        impacts = self._impacts(start, n) + self._contact * np.sqrt(load) * contact
        out = np.empty((n, len(self.channels)), np.float32)
        for axis in range(len(self.channels)):
            out[:, axis] = _GAINS[axis] * impacts
            out[:, axis] += load * self._rotation(turns, axis)
            out[:, axis] += 0.05 * np.sin(2 * math.pi * 100.0 * t + self._phases[4 + axis])
            out[:, axis] += self._sensor_noise * noise[past:, axis]
        return out

    def _rotation(self, turns: Doubles, axis: int) -> Doubles:
        """Shaft and harmonics as one axis feels them: a quarter turn later at the side."""
        total = np.zeros_like(turns)
        for order, (size, phase) in enumerate(zip(self._harmonics, self._phases, strict=False), 1):
            total += size * np.sin(order * (turns - axis * math.pi / 2) + phase)
        return total * (1.0, 0.8, 0.3)[axis]

    def _load(self, t: Doubles) -> Doubles:
        """Load of the machine relative to its mean."""
        slow = np.sin(2 * math.pi * t / 17.0 + self._phases[6])
        quick = np.sin(2 * math.pi * t / 5.3 + self._phases[7])
        return np.asarray(1.0 + 0.15 * slow + 0.08 * quick, np.float64)

    def _turns(self, t: Doubles) -> Doubles:
        """Revolutions of the shaft since the start; its speed wanders slowly."""
        swing = _SPEED_SWING * _SPEED_PERIOD_S / (2 * math.pi)
        wander = swing * (1.0 - np.cos(2 * math.pi * t / _SPEED_PERIOD_S))
        return np.asarray(self.shaft_hz * (t + wander), np.float64)

    def _ringing(self, delay: Doubles) -> Doubles:
        """Response of the structure to one impact of size 1."""
        wave = np.sin(2 * math.pi * self.resonance_hz * delay)
        return np.asarray(wave * np.exp(-delay / self._decay_s), np.float64)

    def _impacts(self, start: int, n: int) -> Doubles:
        """Ringing of the balls' passes over the damaged place, (n,)."""
        out = np.zeros(n)
        ends = np.array([start / self.rate_hz - _RING_OUT_S, (start + n) / self.rate_hz])
        per_turn = bpfo(1.0)
        low, high = self._turns(np.maximum(ends, 0.0)) * per_turn
        if self.severity(ends[1]) == 0.0:
            return out
        passes = np.arange(max(1, math.floor(low) - 1), math.ceil(high) + 2)
        # Balls slip: passes come a little early or late, and hit with unequal force.
        slip = 0.03 * (_uniform(self.seed, 2 * passes) - 0.5)
        force = 0.7 + 0.6 * _uniform(self.seed, 2 * passes + 1)
        wanted = (passes + slip) / per_turn
        times = wanted / self.shaft_hz
        for _ in range(3):
            times = times - (self._turns(times) - wanted) / self.shaft_hz
        force = force * self._load(times)
        for time, push in zip(times.tolist(), force.tolist(), strict=True):
            first = math.ceil(time * self.rate_hz)
            a, b = max(first, start), min(first + len(self._kernel), start + n)
            if a < b:
                size = push * _hit(self.severity(time))
                delay = np.arange(a, b) / self.rate_hz - time
                out[a - start : b - start] += size * self._ringing(delay)
        return out

    def _noise(self, start: int, n: int) -> Floats:
        """Standard normal noise (n, channels + 1): each sensor axis, then the contact."""
        first, last = start // _CHUNK, (start + n - 1) // _CHUNK
        pieces = []
        for number in range(first, last + 1):
            chunk = self._chunks.get(number)
            if chunk is None:
                # Numbers before the start are needed too, and seeds can't be negative.
                rng = _rng(self.seed, _SENSOR, number + 1)
                chunk = rng.standard_normal((_CHUNK, len(self.channels) + 1), np.float32)
                self._chunks[number] = chunk
                if len(self._chunks) > 4:
                    self._chunks.popitem(last=False)
            pieces.append(chunk)
        joined = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        offset = start - first * _CHUNK
        return joined[offset : offset + n]


def _hit(severity: float) -> float:
    """Size of an impact in m/s²."""
    return float(20.0 * severity**1.2)


def _uniform(seed: int, numbers: NDArray[np.int64]) -> Doubles:
    """A random number in 0..1 for each whole number, by hashing (splitmix64)."""
    z = numbers.astype(np.uint64) + np.uint64((seed * 0x9E3779B97F4A7C15) % 2**64)
    z = (z + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray((z ^ (z >> np.uint64(31))) / 2.0**64, np.float64)
