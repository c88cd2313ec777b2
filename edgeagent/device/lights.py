"""A light of the board, blinking so that a person finds the device among others.

The kernel's LED class: ``/sys/class/leds/NAME/{trigger,brightness,max_brightness}``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeagent.errors import NotPermitted, Unavailable

_SEEN = ("act", "led0", "user", "status", "usr0", "led1", "pwr", "power")
"""What lights that a person sees are called, the best first."""
_HALF_S = 0.25


def light(root: Path = Path("/")) -> Path:
    """The light to blink. Raises Unavailable where the board has none that can be set."""
    found = [its for its in sorted(root.glob("sys/class/leds/*")) if (its / "brightness").exists()]

    def rank(folder: Path) -> int:
        name = folder.name.lower()
        return next((place for place, word in enumerate(_SEEN) if word in name), len(_SEEN))

    # Those of keyboards and network plugs are not seen, or belong to others.
    seen = [its for its in found if rank(its) < len(_SEEN)] or [
        its for its in found if not re.search(r"lock|mmc|eth|phy|kbd", its.name.lower())
    ]
    if not seen:
        raise Unavailable(
            "this device shows no light that could blink",
            remedy="Look what it has: ls /sys/class/leds",
        )
    return min(seen, key=rank)


def blink(folder: Path, seconds: float, wait: Callable[[float], object]) -> int:
    """Blink twice a second for so long; how often it did. The light does afterwards what it did
    before.

    Args:
        wait: sleeps for so many seconds; may raise to end it.

    Raises:
        NotPermitted: this user may not set it.
    """
    brightest = (folder / "max_brightness").read_text().strip() or "1"
    count = 0
    with _lent(folder):
        while count * 2 * _HALF_S < seconds:
            for value in (brightest, "0"):
                _write(folder / "brightness", value)
                wait(_HALF_S)
            count += 1
    return count


@contextmanager
def _lent(folder: Path) -> Iterator[None]:
    """The light, without what else would set it."""
    trigger, brightness = folder / "trigger", folder / "brightness"
    before = brightness.read_text().strip()
    named = re.search(r"\[([^\]]+)\]", trigger.read_text()) if trigger.exists() else None
    if named and named[1] != "none":
        _write(trigger, "none")
    try:
        yield
    finally:
        _write(brightness, before)
        if named and named[1] != "none":
            _write(trigger, named[1])


def _write(file: Path, value: str) -> None:
    try:
        file.write_text(value)
    except OSError as error:
        raise NotPermitted(
            f"{file}: the light can't be set: {error.strerror}",
            remedy="Do it as root: sudo edgeagent identify",
        ) from error
