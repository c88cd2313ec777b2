"""How loud a window is, and whether it is loud enough to be looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.capture.source import Tally

_STRETCH_S = 0.1
SILENCE_DB = -120.0


def level_db(values: NDArray[np.float32], rate_hz: float) -> float:
    """dBFS (root mean square) of the loudest tenth of a second of (n, 1): a short word in a long
    window of silence is loud. −120 = nothing at all."""
    rows = max(1, min(len(values), round(_STRETCH_S * rate_hz)))
    whole = values[: len(values) // rows * rows, 0].reshape(-1, rows)
    power = float(np.einsum("ij,ij->i", whole, whole).max()) / rows
    return max(SILENCE_DB, 10 * float(np.log10(power + 1e-12)))


class Gate:
    """Lets windows through that are loud enough.

    Args:
        quiet: dBFS below which a window is not looked at; None = all are.
        tally: gets ``level_db`` of the last window and how many were ``quiet``.
    """

    def __init__(self, quiet: float | None, tally: Tally) -> None:
        self._quiet = quiet
        self._figures = tally.figures
        self._count = 0

    def opens(self, values: NDArray[np.float32], rate_hz: float) -> bool:
        """Whether a window (n, 1) is to be looked at."""
        level = level_db(values, rate_hz)
        self._figures["level_db"] = round(level, 1)
        if self._quiet is None or level >= self._quiet:
            return True
        self._count += 1
        self._figures["quiet"] = self._count
        return False
