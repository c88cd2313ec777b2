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
    begins: int
    """How often the work may be begun: once, and again after each power cut or crash in it.
    One that takes the process down time after time must end as well."""
    on_trial: bool = False
    """The new version runs: a stop, a refusal and a third unhealthy start return to the old."""
    patient: bool = False
    """What lacks only for now (the broker, room on the disk, the hour) is waited for until the
    wish expires, with growing pauses; a start while it waits is no further begin."""


TABLE: tuple[Row, ...] = (
    #   state         then          refused        begins
    Row("requested",  "fetching",   "rejected",    10, patient=True),
    Row("fetching",   "verifying",  "failed",      10, patient=True),
    Row("verifying",  "proving",    "failed",      10),
    Row("proving",    "shadowing",  "failed",      3),
    Row("shadowing",  "activating", "failed",      4),
    Row("activating", "probation",  "rolled-back", 3, on_trial=True),
    Row("probation",  "committed",  "rolled-back", 3, on_trial=True),
)  # fmt: skip

ROWS: dict[str, Row] = {row.state: row for row in TABLE}
ENDS: frozenset[str] = frozenset(
    {"committed", "rejected", "failed", "rolled-back", "cancelled", "superseded"}
)
NOT_AGAIN: frozenset[str] = frozenset({"failed", "rolled-back"})
"""Ends after which this device does not try the same version of its own accord."""
