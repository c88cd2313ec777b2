"""Values that carry their unit in TOML: ``"60 s"``, ``"64 MiB"``.

On the wire a unit is part of the name instead (`_s`, `_bytes`), so these types are for
configuration files only. A bare number is refused, because its unit would be a guess.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

_VALUE = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-zµ]+)\s*$")
_SECONDS = {
    "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0,
}  # fmt: skip
_BYTES = {
    "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30,
}  # fmt: skip

DURATION = 'a duration such as "60 s" (us, ms, s, min, h, d)'
SIZE = 'a size such as "64 MiB" (B, kB, MB, GB, KiB, MiB, GiB)'
DURATION_PATTERN = r"^\s*[0-9]+(\.[0-9]+)?\s*(us|µs|ms|s|min|h|d)\s*$"
SIZE_PATTERN = r"^\s*[0-9]+(\.[0-9]+)?\s*(B|kB|MB|GB|KiB|MiB|GiB)\s*$"

Duration = Annotated[
    str,
    msgspec.Meta(
        pattern=DURATION_PATTERN,
        description=DURATION,
        examples=["60 s"],
        extra_json_schema={"unit": "time"},
    ),
]
Size = Annotated[
    str,
    msgspec.Meta(
        pattern=SIZE_PATTERN,
        description=SIZE,
        examples=["64 MiB"],
        extra_json_schema={"unit": "size"},
    ),
]


def seconds(text: str) -> float:
    """Seconds of ``"1.5 min"``. Raises ValueError."""
    return _parse(text, _SECONDS, DURATION)


def size_bytes(text: str) -> int:
    """Bytes of ``"64 MiB"``. Raises ValueError."""
    return int(_parse(text, _BYTES, SIZE))


def _parse(text: str, units: dict[str, float] | dict[str, int], expected: str) -> float:
    match = _VALUE.match(text)
    if match is None or match[2] not in units:
        raise ValueError(f"{text!r} is not {expected}")
    return float(match[1]) * units[match[2]]
