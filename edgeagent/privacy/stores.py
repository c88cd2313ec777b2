"""Everything that an agent keeps, a row each: what it is, where, how long, and what makes it go.

A place in the data folder that no row names is still counted (`report`), as a file that nobody
has described.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from edgeagent.config.model import Config
from edgeagent.store import kept
from edgeagent.store.kept import Kept

Limit = Callable[[Config], str]


class Store(Struct, frozen=True):
    """One row."""

    name: str
    contents: str
    personal: str
    """What in it is about people; empty = nothing."""
    places: tuple[str, ...]
    """Below the data folder."""
    limit: Limit
    at_limit: str
    part: str = ""
    """Which part of `kept.outbox` it is; empty = the files at its places."""
    rule: str = ""
    """Its key in ``[retention]``, by which it can be purged as well; empty = it goes by itself."""
    leaves: str = ""
    """How it gets off the device."""

    def kept(self, folder: Path, outbox: Callable[[], dict[str, Kept]]) -> Kept:
        """``outbox``: `kept.outbox` of this folder, which is looked through once for all of its
        parts. Raises OSError, NotPermitted, StoreError."""
        if self.part:
            return outbox()[self.part]
        return kept.files(*(folder / place for place in self.places))


def _said(text: str) -> Limit:
    return lambda _config: text


_EVENTS = "what was seen, where and when; texts and numbers that a model read; no pictures"
_OF_MODELS = ("models", "proven.json", "trust", "samples", "tuned", "delegates.json")
_OF_CONFIG = (
    "config-last-good.json", "remote.json", "remote-state.json", "remote-candidate.json",
    "desired.json", "boots.json", "epoch.json", "intent.json",
)  # fmt: skip

STORES: tuple[Store, ...] = (
    Store(
        "outbox", "Records that wait to be delivered: events, results, health.", _EVENTS, ("db",),
        lambda config: f"outbox.max = {config.outbox.max}",
        "by outbox.when_full: results are thinned, then the oldest go; a gap tells of each",
        "waiting", "records", "records",
    ),
    Store(
        "sent log", "Records that were delivered, kept in case a collector asks again.", _EVENTS,
        (), lambda config: f"outbox.keep_sent = {config.outbox.keep_sent}", "they are deleted",
        "sent", "records", "records",
    ),
    Store(
        "evidence", "Pictures and clips of events, what a command answered at length, support "
        "bundles that were sent.", "pictures of people as far as nothing hides them",
        ("blobs",), lambda config: f"outbox.blobs = {config.outbox.blobs}",
        "sent ones go first, then the oldest; a record of kind blob tells what will not come",
        "evidence", "evidence", "blob",
    ),
    Store(
        "refused", "Records that the broker refused for good.", _EVENTS, (),
        _said("within outbox.max"), "edgeagent outbox purge forgets them", "refused",
        "records",
    ),
    Store(
        "commands", "Orders and their answers, with who gave them. An answer may hold a picture "
        "that somebody asked for.", "names of operators; pictures as redacted",
        (), _said("10,000 orders, 90 d"), "the oldest are forgotten", "commands",
        "records", "cmd",
    ),
    Store(
        "old databases", "A database that was damaged or of another device, until its records "
        "are carried over; the last damaged one for a look.", _EVENTS, ("aside", "quarantine"),
        lambda config: f"outbox.max = {config.outbox.max} again", "the oldest is deleted",
        rule="records",
    ),
    Store(
        "decisions", "What was seen in each sample and what became of it (why-ring).",
        "as records: what was seen, where and when; no pictures", ("decisions",),
        lambda config: f"storage.decisions = {config.storage.decisions}",
        "the oldest blocks are deleted", rule="decisions",
    ),
    Store(
        "pool", "Samples that are worth a label, with what was found in them.",
        "pictures and sounds of people as far as nothing hides them", ("pool",),
        lambda config: f"storage.pool = {config.storage.pool}", "the least useful go",
        rule="pool", leaves="blob",
    ),
    Store(
        "looks", "Who was shown pictures or what is kept, and when.",
        "names, addresses and times of those who looked", ("looks",), _said("1 MiB"),
        "the oldest quarter is deleted", rule="looks",
    ),
    Store(
        "crashes", "Reports of crashes: program stack, versions, last decisions. No pictures, no "
        "memory.", "last decisions: what was seen", ("crashes",), _said("16 reports, 1 MiB"),
        "the oldest is deleted", rule="crashes",
    ),
    Store(
        "views", "What each camera usually sees, as a median of brightness on a coarse grid: what "
        "moves is not in it.", "", ("views",), _said("one for each camera"), "it is replaced",
    ),
    Store(
        "drift", "How bright, sharp, loud what a pipeline sees usually is, and what its model "
        "usually says, as distributions.", "", ("drift",), _said("three for each pipeline"),
        "the oldest is deleted",
    ),
    Store(
        "models", "Models, their proofs and what makes them trusted. Golden and sample pictures "
        "that come with a model, if any, are its publisher's.", "", _OF_MODELS,
        lambda config: f"models.keep = {config.models.keep} versions", "the oldest is removed",
    ),
    Store(
        "configuration", "The last good configuration, what the fleet wishes, counters of starts.",
        "", _OF_CONFIG, _said("one of each"), "it is replaced",
    ),
    Store(
        "in use", "Locks, the control socket, space held for the database.", "",
        ("run", "lock", "reserve", "control", "db.new"), _said("one of each"), "it is replaced",
    ),
)  # fmt: skip

NAMES = tuple(dict.fromkeys(store.rule for store in STORES if store.rule))
"""What can be purged by itself."""


def undescribed(folder: Path) -> list[Path]:
    """What lies in the data folder that no row names. Raises OSError."""
    known = {place for store in STORES for place in store.places}
    if not folder.is_dir():
        return []
    return sorted(its for its in folder.iterdir() if its.name not in known)
