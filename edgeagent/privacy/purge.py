"""Making what is too old go, from every store, with an account of it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct, field, to_builtins

from edgeagent import clock, crashes
from edgeagent.config.units import seconds
from edgeagent.errors import UsageError, unwritable
from edgeagent.privacy.stores import NAMES
from edgeagent.store import looks
from edgeagent.store.age import Limit, Now, Stamp
from edgeagent.store.erase import ERASED, Erased, Old, Wish
from edgeagent.store.outbox import Outbox
from edgeagent.store.pool import Pool

_AGE = re.compile(r"\s*[0-9.]+\s*[A-Za-zµ]+\s*")


class Purged(Struct):
    """What is gone (or would go), by what can be purged."""

    dry: bool
    outbox: Erased = field(default_factory=Erased)
    answers: int = 0
    """Answers of commands; that they were done is remembered."""
    others: dict[str, int] = field(default_factory=dict)
    """Blocks of decisions, samples of the pool, looks, crash reports, old databases."""

    @property
    def any(self) -> bool:
        return self.outbox.any or bool(self.answers) or any(self.others.values())

    def to_dict(self) -> dict[str, Any]:
        told: dict[str, Any] = to_builtins(self)
        return told


class Decisions(Protocol):
    """Where blocks of decisions are."""

    def purge(self, old: Callable[[Stamp], bool], *, dry: bool) -> int: ...


class Hands(Struct, frozen=True):
    """Through what is written: who has the outbox open has to do it."""

    folder: Path
    outbox: Outbox
    decisions: Decisions


def limit_of(text: str, now: Now) -> Limit:
    """What ``--before`` means: an age (``30 d``) or a time (RFC 3339). Raises UsageError."""
    if _AGE.fullmatch(text):
        try:
            return Limit.of_age(now, seconds(text), careful=False)
        except ValueError as error:
            raise UsageError(f"--before {text!r}: {error}") from error
    try:
        return Limit(now, clock.parse_rfc3339(text))
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"--before {text!r}: neither an age such as 30 d nor a time with zone such as "
            "2026-01-31T06:00:00Z"
        ) from error


def known(stores: Sequence[str]) -> frozenset[str]:
    """What is to be purged; nothing named = everything but who looked, which nobody takes along by
    the way. Raises UsageError."""
    for name in stores:
        if name not in NAMES:
            raise UsageError(f"--store {name!r}: expected one of {', '.join(NAMES)}")
    return frozenset(stores or (name for name in NAMES if name != "looks"))


def purge(
    hands: Hands, stores: frozenset[str], limit: Limit, *,
    undelivered: bool = False, dry: bool = False, reason: str = ERASED, old: Old | None = None,
    upto: int | None = None,
) -> Purged:  # fmt: skip
    """Take out what is older than the limit says.

    Args:
        stores: names of `stores.NAMES`.
        undelivered: also what nobody has got yet; a gap tells of it.
        dry: only count.
        reason: as gaps tell it.
        old, upto: of numbers in the outbox; None = by their own times and the limit, and then
            free pages of the database are overwritten too.

    Raises: StoreError, NotPermitted; what went until then is gone.
    """
    done = Purged(dry)
    if "records" in stores:
        done.answers = hands.outbox.journal.forget_answers(limit, dry=dry)
    if stores & {"records", "evidence"}:
        wish = Wish(
            old or (lambda _, its: limit.reached(its)), "records" in stores, "evidence" in stores,
            undelivered, reason, dry,
            **({"scrub": True} if upto is None else {"upto": upto}),
        )  # fmt: skip
        done.outbox = hands.outbox.erase(wish)
    if "records" in stores:
        done.others["old databases"] = _quarantine(hands.folder, limit, dry=dry)
    if "decisions" in stores:
        done.others["decisions"] = hands.decisions.purge(limit.reached, dry=dry)
    if "pool" in stores:
        done.others["pool"] = Pool(hands.folder, 0).purge(
            lambda meta: limit.reached(stamp_of(meta)), dry=dry
        )
    if "looks" in stores:
        # Who empties the list by hand stays in it; that goes by its rule, or by its bytes.
        done.others["looks"] = looks.purge(
            hands.folder,
            lambda line: (
                limit.reached(stamp_of(line)) and (limit.careful or line["what"] != "purge")
            ),
            dry=dry,
        )
    if "crashes" in stores:
        done.others["crashes"] = crashes.purge(
            hands.folder, lambda line: limit.reached(stamp_of(line)), dry=dry
        )
    return done


def stamp_of(line: dict[str, Any]) -> Stamp:
    """When a line of the looks, a crash report or a sample of the pool was written."""
    try:
        at_ns = clock.parse_rfc3339(str(line.get("at")))
        mono_ms = float(line.get("mono_ms", 0))
    except (ValueError, TypeError):
        return Stamp(0, synced=True)
    return Stamp(at_ns, mono_ms, str(line.get("boot", "")), line.get("clock") == "synced")


def _quarantine(folder: Path, limit: Limit, *, dry: bool) -> int:
    """A damaged database, all carried, that is only kept for a look."""
    place = folder / "quarantine"
    try:
        written = [its.stat().st_mtime_ns for its in place.iterdir()] if place.is_dir() else []
        # When it was written is known by the wall clock only; a rule waits for a good one.
        if not written or not limit.reached(Stamp(max(written), synced=True)):
            return 0
        if not dry:
            shutil.rmtree(place)
    except OSError as error:
        raise unwritable(place, error) from error
    return 1
