"""What is kept of people, how long, and who is told."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from edgeagent.config.units import Duration


class Privacy(Struct, forbid_unknown_fields=True):
    pictures: Literal["never", "events", "asked"] = "events"
    policy: str = ""
    """Where people find the rules for this camera (a link): it stands in `privacy report`."""
    tell_looks: bool = False
    """Send who looked (`edgeagent privacy log`) as records as well."""
    core_dumps: bool = False
    """Let the system write a core dump when a process of the agent crashes. It would hold pictures
    from before anything is hidden in them."""


class Retention(Struct, forbid_unknown_fields=True):
    """How old what is stored may become; what has no age here stays until its limit of bytes is
    met. It holds for what nobody has got yet as well: a gap (or a record of kind `blob`) tells."""

    records: Duration | None = None
    """Records in the outbox, waiting or sent, and those that the broker refused."""
    evidence: Duration | None = None
    """Pictures and clips."""
    decisions: Duration | None = None
    """What was seen and decided in each sample, for `edgeagent why`."""
    pool: Duration | None = None
    """Samples that are worth a label."""
    looks: Duration | None = None
    """Who looked."""
    crashes: Duration | None = None
    """Reports of crashes."""
