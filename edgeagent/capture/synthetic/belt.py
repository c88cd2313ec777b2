"""A conveyor belt seen from above: the belt, its rails, its light and the parts on it."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from edgeagent.capture.synthetic.parts import LABELS, Part, Sprite, draw
from edgeagent.capture.synthetic.streams import FRAME, PART, SCENE, stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.types import Box

    Floats = NDArray[np.float32]
    Picture = NDArray[np.uint8]

_RAIL = 0.085
"""Height of each guide rail, as a share of the frame's height."""
_PITCH = 0.36
"""Length of belt, as a share of the frame's width, on which at most one part lies."""
_EMPTY = 0.1
"""Share of places on the belt that stay empty."""
_NOISE_PAD = 64
_SPRITES_KEPT = 24


class Truth(Struct, frozen=True):
    """One part that is in the picture."""

    label: str
    box: Box
    """x1, y1, x2, y2 in 0..1 of the frame, cut at its edges."""
    part: int
    """Identity of the part: the same in every frame that shows it."""
    visible: float = 1.0
    """Share of the part's box that lies inside the frame."""


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
        rng = stream(seed, SCENE)
        self._belt = _belt_texture(rng, self.width, self.height)
        self._rails, shade = _rails(rng, self.width, self.height)
        self._lamp = _lamp(rng, self.width, self.height) * shade
        self._phase: list[float] = rng.uniform(0.0, 2 * math.pi, 3).tolist()
        self._grain = _grain(rng, self.width, self.height)
        self._sprites: OrderedDict[int, Sprite] = OrderedDict()

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

    def _part(self, number: int) -> Part | None:
        rng = stream(self.seed, PART, number)
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
        return Part(label, kind, radius, offset, y, int(rng.integers(2**31)))

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

    def _truth(self, label: str, number: int, sprite: Sprite, left: int, top: int) -> Truth | None:
        x1, y1, x2, y2 = sprite.extent
        full = (x2 - x1) * (y2 - y1)
        x1, x2 = (min(max(x + left, 0), self.width) for x in (x1, x2))
        y1, y2 = (min(max(y + top, 0), self.height) for y in (y1, y2))
        seen = (x2 - x1) * (y2 - y1)
        if seen <= 0:
            return None
        box = (x1 / self.width, y1 / self.height, x2 / self.width, y2 / self.height)
        return Truth(label, box, number, seen / full)

    def _sprite(self, number: int, part: Part) -> Sprite:
        sprite = self._sprites.get(number)
        if sprite is None:
            sprite = draw(part, self.width / 320.0)
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
        y, x = stream(self.seed, FRAME, n).integers(0, _NOISE_PAD, 2)
        image += self._grain[:, y : y + self.height, x : x + self.width]
        np.clip(image, 0.0, 255.0, out=image)
        return np.ascontiguousarray(image.astype(np.uint8).transpose(1, 2, 0))


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
    cloudy = rng.standard_normal((height // 8 + 2, -(-period // 8)), np.float32)
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
