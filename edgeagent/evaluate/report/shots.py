"""A sample as a small picture inside a page."""

from __future__ import annotations

import base64
from html import escape
from itertools import islice
from typing import TYPE_CHECKING

from edgeagent.errors import EdgeAgentError
from edgeagent.prove.samples import read_samples
from edgeagent.types import Frame

if TYPE_CHECKING:
    from edgeagent.evaluate.data import Case
    from edgeagent.manifest import Package
    from edgeagent.types import Window

_WIDTH = 320
_TINY = 96
"""Narrower pictures are shown with their pixels."""
_POINTS = 300


def shot(package: Package, case: Case, number: int) -> str:
    """An ``<img>`` or, of values, an ``<svg>``; words where the sample can't be read again."""
    try:
        sample = next(islice(read_samples(case.path, package), number, None), None)
    except EdgeAgentError as error:
        return f"<p>{escape(str(error))}</p>"
    if sample is None:
        return "<p>It is not there any more.</p>"
    return _picture(sample) if isinstance(sample, Frame) else _curve(sample)


def _picture(frame: Frame) -> str:
    from edgeagent.decide.picture import jpeg, scaled

    data = base64.b64encode(jpeg(scaled(frame.pixels, _WIDTH))).decode()
    kind = ' class="tiny"' if frame.pixels.shape[1] < _TINY else ""
    return f'<img{kind} alt="" src="data:image/jpeg;base64,{data}">'


def _curve(window: Window) -> str:
    """The first channels over time, each scaled to its own span."""
    step = max(1, len(window.values) // _POINTS)
    lines = []
    for channel in range(min(6, window.values.shape[1])):
        values = window.values[::step, channel]
        low, span = float(values.min()), float(values.max() - values.min()) or 1.0
        points = " ".join(
            f"{100 * place / max(1, len(values) - 1):.1f},{95 - 90 * (value - low) / span:.1f}"
            for place, value in enumerate(values.tolist())
        )
        lines.append(f'<polyline class="line l{channel}" vector-effect="non-scaling-stroke" '
                     f'points="{points}"/>')  # fmt: skip
    return (f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" width="100%" height="120">'
            f'{"".join(lines)}</svg>')  # fmt: skip
