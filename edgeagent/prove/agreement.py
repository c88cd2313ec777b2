"""How far two models say the same about the same samples: what proof, shadow and probation ask.

Other than golden samples (`compare`), where every difference is a fault, two versions are meant
to differ somewhere. So what they saw is paired and counted, and whoever asks judges the counts.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field

from edgeagent.prove.compare import Told, Tolerance, differences, iou

_SAME_PLACE = 0.4
"""Overlap from which two boxes are about the same thing: two versions never place it alike."""
_DOUBT = 0.1
"""What is so near to the threshold may be seen by one and missed by the other."""
_VALUES = Tolerance(score=0.25, iou=_SAME_PLACE)
NOTHING = "nothing"
"""Stands for the label of what only one of them saw."""

Counts = dict[str, int]


class Agreement(Struct):
    """Counts over samples that both saw. ``old`` and ``new`` are the two models."""

    samples: int = 0
    agreed: int = 0
    """Samples about which they said the same."""
    busy: int = 0
    """Samples in which one of them saw anything."""
    same: Counts = field(default_factory=dict)
    """Things by label that both saw alike."""
    changed: Counts = field(default_factory=dict)
    """``"crack → whole"``: things that old and new call differently; ``nothing`` = not seen."""

    def add(self, old: Sequence[Told], new: Sequence[Told], threshold: float) -> bool:
        """Count one sample, as `compare.tell` has it. Returns whether they agree.

        Args:
            threshold: from which score on something counts as seen.
        """
        self.samples += 1
        kinds = {told["kind"] for told in (*old, *new)}
        if not kinds:
            agree = True
        elif kinds <= {"detection", "keypoints"}:
            agree = self._things(old, new, threshold)
        elif kinds <= {"label", "mask"}:
            agree = self._labels(old, new, threshold)
        else:
            agree = self._values(old, new)
        self.agreed += agree
        return agree

    @property
    def share(self) -> float:
        """Of samples about which they agree; 1 without any."""
        return self.agreed / self.samples if self.samples else 1.0

    def merge(self, other: Agreement) -> None:
        """Count what the other one counted."""
        self.samples += other.samples
        self.agreed += other.agreed
        self.busy += other.busy
        for mine, its in ((self.same, other.same), (self.changed, other.changed)):
            for key, count in its.items():
                mine[key] = mine.get(key, 0) + count

    def seen(self) -> tuple[Counts, Counts]:
        """Things by label that the old and that the new one saw."""
        old, new = dict(self.same), dict(self.same)
        for change, count in self.changed.items():
            was, _, now = change.partition(ARROW)
            if was != NOTHING:
                old[was] = old.get(was, 0) + count
            if now != NOTHING:
                new[now] = new.get(now, 0) + count
        return old, new

    def foremost(self) -> tuple[str, int]:
        """The change that came most often, and how often; empty without any."""
        return max(self.changed.items(), key=lambda item: item[1], default=("", 0))

    def _count(self, was: str, now: str) -> None:
        if was == now:
            self.same[was] = self.same.get(was, 0) + 1
        else:
            change = f"{was}{ARROW}{now}"
            self.changed[change] = self.changed.get(change, 0) + 1

    def _things(self, old: Sequence[Told], new: Sequence[Told], threshold: float) -> bool:
        """Pair by place, the same label first."""
        mine = [one for one in old if one["score"] >= threshold]
        rest = list(new)
        agree, busy = True, bool(mine)
        for one in mine:
            match = max(rest, key=lambda its: _likeness(one, its), default=None)
            if match is None or _likeness(one, match) < _SAME_PLACE:
                if one["score"] >= threshold + _DOUBT:
                    self._count(one["label"], NOTHING)
                    agree = False
                continue
            rest.remove(match)
            self._count(one["label"], match["label"])
            agree &= one["label"] == match["label"]
        weak = [one for one in old if one["score"] < threshold]
        for one in rest:
            if one["score"] < threshold + _DOUBT:
                continue
            busy = True
            # What the old one half saw there is no invention of the new one.
            known = any(_likeness(one, its) >= 1 + _SAME_PLACE for its in weak)
            self._count(one["label"] if known else NOTHING, one["label"])
            agree &= known
        self.busy += busy
        return agree

    def _labels(self, old: Sequence[Told], new: Sequence[Told], threshold: float) -> bool:
        """The best label of each, where it is sure enough to be seen at all."""
        was, now = _best(old, threshold), _best(new, threshold)
        if was is None and now is None:
            return True
        self.busy += 1
        sure = max(float(one["score"]) for one in (was, now) if one is not None)
        if (was is None or now is None) and sure < threshold + _DOUBT:
            return True
        names = tuple(str(one["label"]) if one else NOTHING for one in (was, now))
        self._count(*names)
        return names[0] == names[1]

    def _values(self, old: Sequence[Told], new: Sequence[Told]) -> bool:
        """Anomalies by whether they alarm, other values by how near they are."""
        self.busy += 1
        alarms = [_alarms(told) for told in (old, new)]
        if None not in alarms:
            self._count(*("anomaly" if alarm else "usual" for alarm in alarms))
            return alarms[0] == alarms[1]
        agree = not differences(old, new, 0.0, _VALUES)
        name = str((old or new)[0].get("label") or (old or new)[0]["kind"])
        self._count(name, name if agree else f"another {name}")
        return agree


ARROW = " → "


def _likeness(one: Told, other: Told) -> float:
    """Overlap in 0..1, and one more where the labels are the same."""
    if "box" in one and "box" in other:
        overlap = iou(one["box"], other["box"])
    else:
        overlap = 1.0 - _apart(one, other)
    same = one["label"] == other["label"]
    return overlap + 1.0 if same and overlap >= _SAME_PLACE else overlap


def _apart(one: Told, other: Told) -> float:
    """Mean distance of points, in tenths of the frame."""
    pairs = list(zip(one.get("points", ()), other.get("points", ()), strict=False))
    if not pairs:
        return 1.0
    total = sum(abs(a[0] - b[0]) + abs(a[1] - b[1]) for a, b in pairs)
    return min(1.0, 10.0 * float(total) / len(pairs))


def _best(told: Sequence[Told], threshold: float) -> Told | None:
    best = max(told, key=lambda one: float(one["score"]), default=None)
    return best if best is not None and best["score"] >= threshold else None


def _alarms(told: Sequence[Told]) -> bool | None:
    if len(told) != 1 or told[0]["kind"] != "anomaly":
        return None
    return bool(told[0]["score"] > told[0]["threshold"])
