"""What is there now, for automations: the open events of one pipeline, counted.

Derived from the records themselves, so that the state topic and the account can't disagree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from edgeagent.types import Draft


class Numbered(Protocol):
    """A receipt of the store: ``seq`` is None until the record is committed."""

    @property
    def seq(self) -> int | None: ...


class Present:
    """Written by the pipeline's thread, read by any."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[str, tuple[str, ...]]] = {}
        """Key of an open event → its label and the zones it is in."""
        self._last: Numbered | None = None
        self._what: dict[str, Any] = {}
        """Label and score of the last event that began."""
        self.shows = False
        """The last picture of an event is kept."""
        self.picture: bytes | None = None
        """JPEG, redacted."""
        self.standing: Callable[[], dict[str, Any]] = dict
        """What else is true now, of which there are no records."""

    def note(self, draft: Draft, receipt: Numbered) -> None:
        """Take a record that was just appended into account; tests and drills do not count."""
        if draft.kind != "event" or draft.test:
            return
        now = dict(self._open)
        if draft.data["phase"] == "end":
            now.pop(draft.event, None)
        else:
            now[draft.event] = (draft.data["label"], tuple(draft.data.get("zones", ())))
        if draft.data["phase"] == "new":
            self._last = receipt
            self._what = {
                name: draft.data[name] for name in ("label", "score") if name in draft.data
            }
        for its in draft.evidence if self.shows else ():
            if its.type == "image/jpeg":
                self.picture = its.data
        self._open = now

    def has(self, labels: Collection[str], zones: Collection[str]) -> bool:
        """Whether there is an open event with one of the labels in one of the zones; empty = any
        label, any place."""
        return any(
            (not labels or label in labels) and (not zones or not set(zones).isdisjoint(names))
            for label, names in self._open.values()
        )

    def document(self) -> dict[str, Any]:
        """``{"alarm", "counts": {label: n}, "zones": {zone: {label: n}}, "event"}``, and what
        is `standing` besides.

        ``event`` is the id of the last one that began, empty as long as it is not committed;
        ``label`` and ``score`` are its.
        """
        there = list(self._open.values())
        zones: dict[str, Counter[str]] = {}
        for label, names in there:
            for zone in names:
                zones.setdefault(zone, Counter())[label] += 1
        seq = self._last.seq if self._last is not None else None
        return {
            "alarm": bool(there),
            "counts": dict(sorted(Counter(label for label, _ in there).items())),
            "zones": {zone: dict(sorted(zones[zone].items())) for zone in sorted(zones)},
            "event": f"e-{seq}" if seq else "",
            **self._what,
            **self.standing(),
        }
