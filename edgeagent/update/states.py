"""A model change on one device, as a table. Read this first.

    requested → fetching → verifying → proving → shadowing → activating → probation → committed

One `Row` per state. The state is on the medium before its work begins (`truth`), so whatever
ends the process, the next one finds the row that it was in and does what that row says. Work is
in `work`, one function a row; `deploy` is the loop that goes down the table.

Nothing of the running version is touched before ``activating``: until then a failure, a cancel
or a newer wish only removes what was brought. From ``activating`` on it is rolled back first.
"""

from __future__ import annotations

from typing import Literal, Union

from msgspec import Struct

State = Literal[
    "requested", "fetching", "verifying", "proving", "shadowing", "activating", "probation"
]
End = Literal["committed", "rejected", "failed", "rolled-back", "cancelled", "superseded"]
Step = Union[State, End]

Stop = Literal["cancelled", "superseded"]
"""Ends that others ask for: nobody wants it any more; something else is wanted."""


class Row(Struct, frozen=True):
    """What becomes of a deployment that is in a state."""

    state: State
    then: Step
    """Where it goes when the work is done."""
    refused: End
    """Where it goes when the work says no."""
    code: str
    """Reason of an end here, unless the work names its own."""
    begins: int
    """How often the work may be begun: once, and again after each power cut or crash in it.
    One that takes the process down time after time must end as well."""
    patient: bool = False
    """What lacks only for now (the broker, room on the disk) is waited for until the wish
    expires, with growing pauses. A start while it waits is no further begin."""
    timed: bool = False
    """Begins only within the hours that the wish names, and before it expires."""


TABLE: tuple[Row, ...] = (
    #   state         then          refused        code               begins
    Row("requested",  "fetching",   "rejected",    "request",         10, patient=True, timed=True),
    Row("fetching",   "verifying",  "failed",      "fetch",           10, patient=True),
    Row("verifying",  "proving",    "failed",      "verify",          10),
    Row("proving",    "shadowing",  "failed",      "prove: crash",     3),
    Row("shadowing",  "activating", "failed",      "shadow",           4),
    Row("activating", "probation",  "rolled-back", "activate",         3, timed=True),
    Row("probation",  "committed",  "rolled-back", "probation",        3),
)  # fmt: skip

ROWS: dict[str, Row] = {row.state: row for row in TABLE}
ENDS: frozenset[str] = frozenset(
    {"committed", "rejected", "failed", "rolled-back", "cancelled", "superseded"}
)
NOT_AGAIN: frozenset[str] = frozenset({"failed", "rolled-back"})
"""Ends after which this device does not try the same version of its own accord."""
PASSING: frozenset[str] = frozenset({"request", "fetch", "expired", "untrusted"})
"""Reasons that say nothing about the version: it may be tried again when it is wished again."""
