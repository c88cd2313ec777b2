"""What gives way when a board gets hot or short of memory."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class Governor(Struct, forbid_unknown_fields=True):
    """Live pipelines do less before the board slows itself down or runs out of memory: first
    fewer frames, then a lighter variant, a stricter gate, and pipelines of low `priority` rest."""

    enabled: bool = True
    limit_c: Annotated[float, Meta(ge=30, le=125)] | None = None
    """°C that must not be reached; absent = where the board's profile says that it slows down."""
    least_rate: Annotated[float, Meta(gt=0, le=1)] = 0.5
    """Share of the frames that are left before anything else gives way."""
    variants: bool = True
    """Another variant of a model may run, one that is measured to be a quarter faster at least."""
    pause: bool = True
    """Pipelines may rest; those of the highest `priority` never do because of heat."""
    memory_pressure: Annotated[float, Meta(gt=0, le=100)] = 20.0
    """% of ten seconds in which something waits for memory, from which on models are unloaded."""
    least_memory: Annotated[float, Meta(ge=0, lt=1)] = 0.05
    """Part of the memory (of the service's own limit, where it has one) that stays free."""
    cpu_pressure: Annotated[float, Meta(gt=0, le=100)] | None = None
    """% of ten seconds in which something waits for a processor, from which on there are fewer
    frames; absent = a busy processor is no reason."""
