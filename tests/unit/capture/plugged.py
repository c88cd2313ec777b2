"""Sources as plugins bring them, for tests of those that run in a child."""

from __future__ import annotations

import ctypes
import time
from typing import Any

import numpy as np

from edgeagent.capture.source import Wanted
from edgeagent.errors import SourceEnded, SourceLost
from edgeagent.types import Frame, Window


class Plugged:
    hangs = True
    live = True

    def __init__(self, name: str, options: dict[str, Any], wanted: Wanted) -> None:
        self.name = name
        self.options = options
        self.wanted = wanted
        self.number = 0

    def open(self) -> None:
        if self.options.get("shut"):
            raise SourceLost("the door is shut")

    def read(self) -> Frame | Window:
        self.number += 1
        time.sleep(0.01)
        if self.number > self.options.get("count", 10**9):
            self.stop()
        return self.sample()

    def stop(self) -> None:
        how = self.options["then"]
        if how == "hang":
            ctypes.PyDLL(None).sleep(3600)
        if how == "bug":
            raise ZeroDivisionError("a bug of the plugin")
        raise SourceEnded

    def sample(self) -> Frame | Window:
        pixels = np.full((20, 30, 3), self.number % 256, np.uint8)
        return Frame(self.name, self.number, pixels, 0, 0.0)

    def close(self) -> None:
        return


class Windows(Plugged):
    def sample(self) -> Frame | Window:
        length = self.wanted.length or 8
        values = np.full((length, 2), self.number + 0.25, np.float32)
        return Window(self.name, self.number, values, 100.0, ("x", "y"), 0, 0.0)
