"""Synthetic scenes as sources: the belt as frames, the wearing bearing as windows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeagent import clock
from edgeagent.capture.source import PICTURES, Tally, Wanted
from edgeagent.capture.synthetic import BeltScene, VibrationScene
from edgeagent.errors import ConfigError, SourceEnded
from edgeagent.types import Frame, Sample, Window

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgeagent.config.model import SyntheticConfig

_FPS = 15.0
_RATE_HZ = 8000.0
_LENGTH = 1024


class SyntheticSource:
    """``scene = "belt"``: frames with what is in them as ``truth`` (a list of
    `synthetic.Truth`). ``scene = "vibration"``: windows, ``truth`` = severity 0..1.

    ``pace = "true"`` behaves as a camera or a sensor does: the newest are kept. With ``max``
    it is a file: nothing is lost.
    """

    def __init__(self, name: str, config: SyntheticConfig, wanted: Wanted = PICTURES) -> None:
        self.name = name
        self.live = config.pace == "true"
        self.paced = self.live
        self.position_s = 0.0
        self.thins = True
        self._config = config
        self._wanted = wanted
        self._number = 0
        self._belt: BeltScene | None = None
        self._last: NDArray[np.uint8] | None = None
        self._vibration: VibrationScene | None = None
        self._length = wanted.length or _LENGTH
        self._hop = wanted.hop or self._length
        self._rate_hz = wanted.rate_hz or _RATE_HZ
        self._fps = config.fps or _FPS
        own = self._fps if config.scene == "belt" else self._rate_hz / self._hop
        self.tally = Tally(rate_hz=own if self.live else 0.0, note=f"synthetic {config.scene}")

    def open(self) -> None:
        """Build the scene; numbers go on where they were. Raises ConfigError."""
        config = self._config
        if config.scene == "belt":
            self._belt = BeltScene(config.seed, config.size, fault_rate=config.fault_rate)
            return
        channels = len(self._wanted.channels or ("x",))
        try:
            self._vibration = VibrationScene(
                config.seed,
                rate_hz=self._rate_hz,
                channels=channels,
                healthy_s=config.healthy_s,
                fail_s=config.healthy_s + config.failing_s,
            )
        except ValueError as error:
            raise ConfigError(f"sources.{self.name}: {error}") from error

    def read(self) -> Sample:
        """The next sample. Raises SourceEnded after ``count``."""
        if self._config.count and self._number >= self._config.count:
            raise SourceEnded
        number = self._number
        self._number += 1
        if self._belt is not None:
            return self._frame(self._belt, number)
        if self._vibration is not None:
            return self._window(self._vibration, number)
        raise SourceEnded

    def close(self) -> None:
        """Forget the scene."""
        self._belt = self._vibration = None

    def _frame(self, scene: BeltScene, number: int) -> Frame:
        self.position_s = number / self._fps
        pixels, truths = scene.render(number)
        if self._config.mishaps:
            pixels = self._befallen(pixels, number)
        return Frame(
            self.name, number + 1, pixels, clock.wall_ns(), clock.mono_ms(),
            f"synthetic belt, seed {scene.seed}", truths,
        )  # fmt: skip

    def _befallen(self, pixels: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
        """The picture as a camera gives it that is covered, hangs, or has no light."""
        import numpy as np

        kinds = {
            its.kind for its in self._config.mishaps
            if its.at_s <= self.position_s < its.at_s + its.for_s
        }  # fmt: skip
        if "frozen" in kinds and self._last is not None:
            again: NDArray[np.uint8] = self._last.copy()
            return again
        rng = np.random.default_rng((self._config.seed, number))
        if "covered" in kinds:
            # A dark cloth, through which some light comes, and the noise of the sensor.
            cloth = rng.normal((44, 48, 52), 2.0, pixels.shape)
            pixels = np.asarray(cloth.clip(0, 255), np.uint8)
        elif "dark" in kinds:
            pixels = np.asarray(pixels * 0.04 + rng.random(pixels.shape) * 2, np.uint8)
        self._last = pixels
        return pixels

    def _window(self, scene: VibrationScene, number: int) -> Window:
        start = number * self._hop
        values = scene.block(start, self._length)
        # A window is complete when its last row was measured.
        self.position_s = (start + self._length) / self._rate_hz
        severity = scene.severity((start + self._length / 2) / self._rate_hz)
        channels = self._wanted.channels or scene.channels
        return Window(
            self.name, number + 1, values, self._rate_hz, channels,
            clock.wall_ns(), clock.mono_ms(), f"synthetic vibration, seed {scene.seed}", severity,
        )  # fmt: skip
