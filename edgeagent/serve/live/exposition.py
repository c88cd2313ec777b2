"""Figures as text for Prometheus.

Format: prometheus.io/docs/instrumenting/exposition_formats, "Text-based format", version 0.0.4.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal

from msgspec import Struct, field

from edgeagent.metrics import Histogram

TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_OCTAVES = range(-14, 5)
"""Bounds of buckets are powers of 2 from 61 µs to 16 s, which bound our own buckets as well."""


class Family(Struct):
    """All series of one name.

    ``seconds`` holds histograms, ``values`` the series of all other kinds.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    values: list[tuple[Mapping[str, str], float]] = field(default_factory=list)
    seconds: list[tuple[Mapping[str, str], Histogram]] = field(default_factory=list)

    def add(self, value: float | None, **labels: str) -> None:
        """One series; None = unknown, which is no series."""
        if value is not None:
            self.values.append((labels, value))


def expose(families: Iterable[Family]) -> bytes:
    """The text. A family without series is left out."""
    lines: list[str] = []
    for family in families:
        if not family.values and not family.seconds:
            continue
        lines.append(f"# HELP {family.name} {_escaped(family.help)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for labels, value in family.values:
            lines.append(f"{family.name}{_labels(labels)} {_number(value)}")
        for labels, histogram in family.seconds:
            lines += _buckets(family.name, labels, histogram)
    return "\n".join([*lines, ""]).encode()


def _buckets(name: str, labels: Mapping[str, str], histogram: Histogram) -> Iterable[str]:
    held, total_s = histogram.buckets(), histogram.total_s
    count = sum(its for _, its in held)
    for octave in _OCTAVES:
        bound = 2.0**octave
        below = sum(its for upper, its in held if upper <= bound)
        yield f"{name}_bucket{_labels({**labels, 'le': _number(bound)})} {below}"
    yield f"{name}_bucket{_labels({**labels, 'le': '+Inf'})} {count}"
    yield f"{name}_sum{_labels(labels)} {_number(total_s)}"
    yield f"{name}_count{_labels(labels)} {count}"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    inner = ",".join(
        '{}="{}"'.format(name, _escaped(value).replace('"', r"\""))
        for name, value in labels.items()
    )
    return f"{{{inner}}}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1 << 53 else repr(float(value))
