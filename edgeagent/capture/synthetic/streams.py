"""Random numbers by world and purpose: any frame or stretch is drawn without those before it."""

from __future__ import annotations

import numpy as np

# The numbers are part of every world: another one gives other pictures and other samples than
# those the shipped models were trained on.
SCENE, PART, FRAME, MACHINE, SENSOR = 0, 1, 3, 4, 5


def stream(seed: int, purpose: int, number: int = 0) -> np.random.Generator:
    """Random numbers of world ``seed`` for one purpose: of the whole, or of its ``number``-th."""
    return np.random.default_rng((seed, purpose, number))
