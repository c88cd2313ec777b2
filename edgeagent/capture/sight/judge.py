"""Which fault a picture shows, against the view that was learned. Pure functions.

Thresholds were set on real pictures and clips with some 300 degradations of known kind, and on
the same ones at other brightnesses and noise levels (tests/unit/capture/sight).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from edgeagent.capture.sight.glance import cells
from edgeagent.capture.sight.view import View, alike

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.capture.sight.glance import Glance

Fault = Literal["dark", "bright", "blurred", "frozen", "covered", "moved", "garbage"]

_TEXTURED = 1.5
"""Mean gradient of a cell that has something to recognise it by."""
_ENOUGH = 0.05
"""Share of textured cells below which a view can't be recognised at all: an empty wall."""


class Likeness:
    """How a picture compares with the view, as far as there is something to compare."""

    def __init__(self, seen: Glance, view: View) -> None:
        textured = view.texture > _TEXTURED
        self.recognisable = float(textured.mean()) >= _ENOUGH
        # Less light makes everything flatter, which is no loss; more light gives no credit.
        gain = float(np.clip(seen.mean / max(view.mean, 1.0), 0.3, 1.0))
        gone = seen.texture < 0.3 * gain * view.texture
        self.lost = float(gone[textured].mean()) if textured.any() else 0.0
        """Share of the textured cells that have become plain."""
        self.edges = alike(seen.edges, view.edges)
        self.levels = alike(cells(seen.luma), cells(view.luma))
        self.activity = seen.coarse / max(view.coarse, 1e-3)
        self.sharpness = _sharpness(seen, view, textured, gain)


def judge(seen: Glance, view: View | None) -> Fault | None:
    """The worst fault of a picture; None = none. ``frozen`` takes several: see `still`.

    Without a view only what can be said of any picture.
    """
    if view is None:
        return _of_any_picture(seen)
    return _broken(seen, view) or _exposed(seen, view) or _changed(Likeness(seen, view), view)


def _of_any_picture(seen: Glance) -> Fault | None:
    if seen.plain > 0.3 or seen.smeared > 0.3 or seen.noise > 25 or seen.blocky > 3:
        return "garbage"
    if seen.high < 24:
        return "dark"
    return "bright" if seen.low > 235 else None


def _broken(seen: Glance, view: View) -> Fault | None:
    """What a decoder makes of a stream that lacks something."""
    broken = (
        seen.plain > view.plain + 0.15
        or seen.smeared > view.smeared + 0.2
        or seen.noise > 2 * view.noise + 16
        or seen.blocky > 1.8 * view.blocky
    )
    return "garbage" if broken else None


def _exposed(seen: Glance, view: View) -> Fault | None:
    if seen.high < min(36.0, 0.5 * view.high):
        return "dark"
    if seen.low > max(195.0, view.low + 40):
        return "bright"
    if seen.bright > max(0.4, view.bright + 0.2) and Likeness(seen, view).lost > 0.3:
        return "bright"
    return None


def _changed(its: Likeness, view: View) -> Fault | None:
    """Order matters: a covered lens shows another view as well, a blurred one has lost edges."""
    if not its.recognisable:
        return None
    strange = its.edges < min(0.45, 0.55 * view.spread)
    if its.lost > 0.6 and its.levels < 0.95 and its.edges < 0.7:
        return "covered"
    if its.lost > 0.35 and its.levels < 0.85 and its.activity < 0.6:
        return "covered"
    if its.sharpness < 0.55 and its.levels > 0.9 * max(view.steady, 0.3):
        return "blurred"
    return "moved" if strange else None


def _sharpness(seen: Glance, view: View, textured: NDArray[np.bool_], gain: float) -> float:
    """Fine detail for the coarse detail that there is, beside that of the view; 1 = as usual.

    Saturated cells say nothing: their detail is burnt away.
    """
    used = textured & (cells(seen.luma) < 240) & (cells(seen.luma) > 8)
    if used.mean() < _ENOUGH:
        return 1.0
    now = seen.sharp / (seen.texture + 0.5 * gain)
    usual = view.sharp / (view.texture + 0.5)
    return float(np.median(now[used] / (usual[used] + 0.05)))
