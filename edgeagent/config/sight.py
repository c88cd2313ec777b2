"""Camera health in the configuration: which faults of the picture itself are looked for."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from edgeagent.config.units import Duration

SightFault = Literal["dark", "bright", "blurred", "frozen", "covered", "moved", "garbage"]


class Sight(Struct, forbid_unknown_fields=True):
    """Whether a camera still sees what it was put up to see. The first pictures are learned as its
    view; `edgeagent devices learn` has them learned anew."""

    enabled: bool | None = None
    """Absent = on for cameras, off for files and scenes."""
    faults: list[SightFault] = field(
        default_factory=lambda: [
            "dark", "bright", "blurred", "frozen", "covered", "moved", "garbage",
        ]
    )  # fmt: skip
    """What to look for. A camera that may see nothing at night has no ``dark``."""
    every: Duration = "1 s"
    """How often to look; a look costs some milliseconds."""
    after: Duration = "3 s"
    """How long a fault must last (garbage half as long, moved three times) before it is told."""
    frozen_after: Duration = "4 s"
    """How long the same picture may be repeated; longer where that was usual at set-up."""
    looks: Annotated[int, Meta(ge=4, le=600)] = 20
    """From how many looks the view is learned."""
