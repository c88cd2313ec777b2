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
