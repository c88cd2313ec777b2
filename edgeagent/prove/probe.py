"""What shapes don't tell and one run does: units of boxes, logits or probabilities.

Some things show in the answers to any picture: whether boxes are counted in pixels, whether
scores add up to one. Whatever is settled so is told with its reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeagent.errors import EdgeAgentError
from edgeagent.interpret.outputs import real
from edgeagent.prepare.inputs import Prepare
from edgeagent.types import Frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.infer import Session
    from edgeagent.manifest import Package
    from edgeagent.prove.guess import Guess
    from edgeagent.types import TensorSpec

    Floats = NDArray[np.float32]

_SIDE = 320
_STRIDES = (8, 16, 32, 64)


def settle(guess: Guess, session: Session, package: Package) -> None:
    """Correct a guess by what the model answers to a picture of noise and edges.

    A model that can't be run so stays as it was guessed.
    """
    tried = {"yolo": _boxes, "classify": _scores, "mask": _pixels}.get(guess.family)
    if tried is None or guess.states or guess.output.nms == "graph":
        return
    if [spec.kind for spec in guess.inputs] != ["image"]:
        return
    try:
        prepared = Prepare(package, session.inputs)(Frame("probe", 1, _picture(), 0, 0.0))
        outputs = session.run(prepared.tensors)
    except EdgeAgentError as error:
        guess.reasons.append(f"A trial run failed, so nothing more is known: {error}")
        return
    shown = [real(values, spec) for values, spec in zip(outputs, session.outputs, strict=True)]
    if all(np.isfinite(values).all() for values in shown):
        tried(guess, shown, list(session.outputs))


def _picture() -> NDArray[np.uint8]:
    """Smooth colours with edges and grain: what is left of a photograph by statistics."""
    rng = np.random.default_rng(7)
    coarse = rng.integers(0, 256, (8, 8, 3), np.uint8)
    picture = np.repeat(np.repeat(coarse, _SIDE // 8, axis=0), _SIDE // 8, axis=1)
    grain = rng.integers(-20, 21, picture.shape)
    return np.clip(picture + grain, 0, 255).astype(np.uint8)


def _boxes(guess: Guess, outputs: list[Floats], specs: list[TensorSpec]) -> None:
    """Decoded boxes follow their cells across the picture; raw ones do not."""
    del specs
    size = guess.inputs[0].size
    if len(outputs) != 1 or size is None:
        return
    table = outputs[0][0]
    rows = table.T if guess.output.layout == "columns" else table
    across = _columns_of_cells(size, len(rows))
    if across is None:
        return
    middles = rows[:, 0]
    if middles.std() == 0:
        return
    follow = float(np.corrcoef(middles, across)[0, 1])
    if follow > 0.7:
        pixels = float(middles.max()) > 2
        guess.output.units = "pixels" if pixels else "normalized"
        guess.reasons.append(
            f"Seen in a trial run: middles of boxes reach {middles.max():.3g}, so they count in "
            f"{'pixels' if pixels else 'shares of the picture'}."
        )
    elif guess.output.layout == "rows" and not guess.output.objectness and rows.shape[1] > 5:
        guess.family = "yolox"
        guess.output.decoder = "yolox"
        guess.output.units = "normalized"
        guess.output.layout = "auto"
        for spec in guess.inputs:
            # Since its version 0.1.1 pixels go in as they are, BGR.
            spec.mean, spec.scale, spec.colour = [0.0], [1.0], "bgr"
        guess.reasons = [
            f"{len(rows)} candidates, one for each cell, whose middles do not follow the cells "
            f"in a trial run: offsets, as YOLOX gives them, and {rows.shape[1] - 5} classes.",
            "YOLOX takes BGR pixels as they are, 0..255.",
            "Write the labels in the order of the classes.",
        ]
    else:
        guess.confidence = "guess"
        guess.reasons.append(
            "In a trial run the boxes did not follow their cells: they may need decoding that "
            "this decoder does not do. Look at pictures before you trust them."
        )


def _columns_of_cells(size: tuple[int, int], count: int) -> Floats | None:
    """The middle of each candidate's cell across the picture, 0..1."""
    strides = strides_of(size, count)
    if strides is None:
        return None
    taken, each = strides
    places = []
    for stride in taken:
        rows, columns = -(-size[1] // stride), -(-size[0] // stride)
        line = (np.arange(columns) + 0.5) / columns
        places.append(np.tile(line, rows * each))
    return np.concatenate(places).astype(np.float32)


def strides_of(size: tuple[int, int], count: int) -> tuple[tuple[int, ...], int] | None:
    """Which strides give so many candidates, and how many a cell: ``((8, 16, 32), 1)``."""
    cells = {
        stride: -(-size[0] // stride) * -(-size[1] // stride) for stride in _STRIDES
    }  # fmt: skip
    for taken in ((8, 16, 32), (16, 32), (8,), (16,), (32,), (8, 16, 32, 64)):
        total = sum(cells[stride] for stride in taken)
        for each in (1, 3):
            if total * each == count:
                return taken, each
    return None


def _scores(guess: Guess, outputs: list[Floats], specs: list[TensorSpec]) -> None:
    rows = [values for values in outputs if values.size >= 2]
    if len(rows) != 1 or specs[0].quantization is not None:
        return
    told = _nature(rows[0].reshape(1, -1))
    guess.output.activation = "softmax" if told == "logits" else "none"
    guess.reasons[1:2] = [
        "Write labels.txt, one label a line in the order of the classes.",
        f"Seen in a trial run: the values are {told}.",
    ]


def _pixels(guess: Guess, outputs: list[Floats], specs: list[TensorSpec]) -> None:
    values = outputs[0]
    size = guess.inputs[0].size
    if values.ndim != 4 or guess.output.activation == "none" or size is None:
        return
    del specs
    planar = values.shape[1] < values.shape[3]
    told = _nature(values[0].reshape(values.shape[1], -1).T if planar else
                   values[0].reshape(-1, values.shape[3]))  # fmt: skip
    guess.output.activation = "softmax" if told == "logits" else "none"
    guess.reasons = [one for one in guess.reasons if "activation" not in one]
    guess.reasons.append(f"Seen in a trial run: the values of a pixel are {told}.")


def _nature(rows: Floats) -> str:
    """What rows of values are."""
    if rows.min() < -1e-3 or rows.max() > 1.001:
        return "logits"
    if np.abs(rows.sum(axis=1) - 1).max() < 0.02:
        return "probabilities that add up to 1"
    return "scores between 0 and 1, each for itself"
