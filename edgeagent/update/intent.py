"""What others wish this device to be, kept on the medium (contract §4).

A retained topic is a cache and may be forgotten; a replayed one must not bring back the past.
So the last word of each topic is kept with its rev, and outlives broker and database.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct, field

from edgeagent.update import desired
from edgeagent.update.desired import Desired, Layer, Patch, Wanted
from edgeagent.update.disk import Disk

FILE = "desired.json"

Outcome = Literal["new", "same", "older", "cleared"]


class _Kept(Struct):
    layers: dict[str, Layer] = field(default_factory=dict)


class Intent:
    """The layers of a data folder. Any thread."""

    def __init__(self, folder: Path, groups: Sequence[str] = (), disk: Disk | None = None) -> None:
        self._file = folder / FILE
        self._groups = tuple(groups)
        self._disk = disk or Disk()
        self._lock = threading.Lock()
        try:
            self._layers = msgspec.json.decode(self._file.read_bytes(), type=_Kept).layers
        except (OSError, msgspec.MsgspecError):
            # The topics say it again at the next connect.
            self._layers = {}

    def take(self, source: str, document: Desired | None, *, signed: bool = False) -> Outcome:
        """The word of a topic (None = it was cleared); on the medium when it returns.

        Raises: StoreError.
        """
        with self._lock:
            known = self._layers.get(source)
            if document is None:
                if known is None or known.desired is None:
                    return "same"
                # The rev stays: an old document must not pass for news afterwards.
                self._keep(source, Layer(source, known.rev, signed_rev=known.signed_rev))
                return "cleared"
            judged = desired.judge(known, document)
            signed_rev = known.signed_rev if known is not None else 0
            if signed and document.rev > signed_rev:
                # Whoever may write there must not outbid an operator's signature.
                judged, signed_rev = "new", document.rev
            if judged == "new":
                self._keep(source, Layer(source, document.rev, document, signed, signed_rev))
            return judged

    def _keep(self, source: str, layer: Layer) -> None:
        layers = {**self._layers, source: layer}
        self._disk.write(self._file, msgspec.json.encode(_Kept(layers)))
        self._layers = layers

    def rev(self, source: str) -> int:
        """The highest that was taken there; 0 = none."""
        layer = self._layers.get(source)
        return layer.rev if layer is not None else 0

    @property
    def revs(self) -> dict[str, int]:
        """Layer → rev, of the layers that count here."""
        return {layer.source: layer.rev for layer in self._counting()}

    def wanted(self) -> dict[str, Wanted]:
        """Model → what is wished for it."""
        return desired.wishes(self._counting())

    def patch(self) -> Patch | None:
        """The configuration that is wished for; None = none is."""
        return desired.patch(self._counting())

    def _counting(self) -> list[Layer]:
        with self._lock:
            return desired.in_order(self._layers, self._groups)
