"""A board that gets hot: two RC stages (die and heat sink) with power that grows with the work,
and a firmware that halves the work above 80 °C, as a Raspberry Pi's does.
"""

from __future__ import annotations

import math
import random
from pathlib import Path

from msgspec import Struct

from edgeagent.device.strain import Strain, look

LIMIT_C = 80.0
_ZONE = "sys/class/thermal/thermal_zone0"
_BITS = "sys/devices/platform/soc/soc:firmware/get_throttled"


class Board(Struct, frozen=True):
    """Degrees above the surroundings that each stage gives at rest and at full work."""

    name: str
    ambient_c: float
    idle_k: float
    sink_k: float
    """Of the heat sink, at full work."""
    die_k: float
    """Of the die above the heat sink, at full work."""
    sink_s: float
    die_s: float = 6.0

    def best(self, ambient_c: float | None = None) -> float:
        """The largest share of full work that stays at the limit for ever."""
        room = LIMIT_C - (self.ambient_c if ambient_c is None else ambient_c) - self.idle_k
        return max(0.0, min(1.0, room / (self.sink_k + self.die_k)))


class World:
    """A board's physics in virtual time; with ``root`` also the kernel's files that show it."""

    def __init__(
        self, board: Board, root: Path | None = None, seed: int = 1, noise_k: float = 0.3
    ) -> None:
        self.board = board
        self.ambient_c = board.ambient_c
        self.sink = self.die = 0.0
        self.throttled = False
        self.root = root
        self._noise_k = noise_k
        self._rng = random.Random(seed)
        self._seen = 0.0
        if root is not None:
            _write(root, f"{_ZONE}/type", "cpu-thermal\n")
        self._show()

    @property
    def degrees(self) -> float:
        return self.ambient_c + self.board.idle_k + self.sink + self.die

    def step(self, share: float, seconds: float) -> float:
        """Let time pass at a share of full work; what was really done of it."""
        self.throttled = self.degrees >= LIMIT_C or (self.throttled and self.degrees > LIMIT_C - 2)
        done = min(share, 0.5) if self.throttled else share
        board = self.board
        for value, rise, time_s in (("sink", board.sink_k, board.sink_s),
                                    ("die", board.die_k, board.die_s)):  # fmt: skip
            here = getattr(self, value)
            setattr(self, value, here + (done * rise - here) * (1 - math.exp(-seconds / time_s)))
        self._show()
        return done

    def look(self) -> Strain:
        """What the agent sees of it."""
        if self.root is not None:
            return look(("cpu-thermal",), self.root)
        slowed = ("throttled",) if self.throttled else ()
        return Strain(degrees=self._seen, zone="cpu-thermal", slowed=slowed)

    def _show(self) -> None:
        """Half a degree is the sensor's step."""
        self._seen = round(2 * (self.degrees + self._rng.gauss(0.0, self._noise_k))) / 2
        if self.root is not None:
            _write(self.root, f"{_ZONE}/temp", f"{self._seen * 1e3:.0f}\n")
            _write(self.root, _BITS, "4\n" if self.throttled else "0\n")


def _write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text, encoding="ascii")
