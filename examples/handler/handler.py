"""Boxes of a detector that has its own idea of a row, and a rule about what was found.

For the shipped model `parts`: rows of middle x, middle y, width, height and a score a label.
"""

from __future__ import annotations

from edgeagent.handler import About, Detection, Outputs, Seen


def decode(outputs: Outputs, about: About) -> list[Detection]:
    """The best row of each label, if it is sure enough: a belt carries one of a kind at a time."""
    (rows,) = (values[0] for values in outputs.values())
    found = []
    for place, label in enumerate(about.labels):
        best = rows[rows[:, 4 + place].argmax()]
        if best[4 + place] < about.threshold:
            continue
        x, y, width, height = (float(value) for value in best[:4])
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        found.append(Detection(label, float(best[4 + place]), box))
    return found


def rule(seen: Seen, about: About) -> float:
    """How much something matters: a score that grows the longer it lies there."""
    del about
    return seen.score * min(1.0, seen.age / 2.0)
