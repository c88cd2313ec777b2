"""What one transaction of the writing thread takes in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct, field

from edgeagent.store.ledger import Ledger
from edgeagent.types import Draft

Op = Callable[[Ledger], None]
"""A change inside the transaction of a group; done again if that fails."""
STALLED = "writer stalled"


class Group(Struct):
    """What is committed together."""

    drafts: Sequence[Draft] = ()
    ops: Sequence[Op] = ()
    stalled: int = 0
    """Drafts that were lost before they came here."""
    applied: bool = False
    """Its ``ops`` are on the medium already."""
    results: list[tuple[int, str]] = field(default_factory=list)
    """(seq, why lost or "") of the drafts that went in; the rest is for the next group."""
