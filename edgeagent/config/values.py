"""Kinds of values that a configuration is made of, with what is told about a wrong one."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

NAME = "a name of letters, digits, _ and - (at most 64)"
END = r"$(?!\n)"
"""``$`` alone would let a line end pass behind the last character."""
Id = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_-]{1,64}" + END,
        description=NAME,
    ),
]
Unit = Annotated[float, Meta(ge=0.0, le=1.0)]
Share = Annotated[
    float, Meta(ge=0.0, le=1.0, description="a share of the picture's width or height from 0 to 1")
]
Point = Annotated[tuple[Share, Share], Meta(description="a point [x, y]")]
Polygon = Annotated[
    list[Point], Meta(min_length=3, description="a polygon of at least 3 points [x, y] in 0..1")
]
Prefix = Annotated[
    str,
    Meta(
        pattern=r"^[^#+$\s/]([^#+\s]*[^#+\s/])?" + END,
        description="the beginning of topics, without #, +, blanks, a / at either end or a $ first",
    ),
]
Pixels = Annotated[int, Meta(ge=1, le=16384)]
Positive = Annotated[float, Meta(gt=0)]
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]"
_DAY = "(mon|tue|wed|thu|fri|sat|sun)"
QuietWindow = Annotated[
    str,
    Meta(
        pattern=rf"^({_DAY}(-{_DAY})? )?{_TIME}-{_TIME}" + END,
        description='a time of the day such as "22:00-06:00" or "mon-fri 08:00-18:00"',
    ),
]
