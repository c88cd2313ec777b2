"""Versions: semver 2.0.0 (https://semver.org/#spec-item-11), the order of model releases."""

from __future__ import annotations

import re

_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)

Order = tuple[object, ...]


def is_version(text: str) -> bool:
    """Whether it is a semver version, such as ``1.2.0`` or ``2.0.0-rc.1``."""
    return _SEMVER.fullmatch(text) is not None


def version_order(text: str) -> Order:
    """Sort key by precedence; what is no version comes before all that are, by its letters."""
    match = _SEMVER.fullmatch(text)
    if match is None:
        return (0, text)
    numbers = tuple(int(part) for part in match.group(1, 2, 3))
    if match[4] is None:
        return (1, numbers, 1)
    # Numbers come before words; a shorter list that is the start of a longer one before it.
    parts = tuple(
        (0, int(part), "") if part.isdecimal() else (1, 0, part) for part in match[4].split(".")
    )
    return (1, numbers, 0, parts)
