"""A picture in a terminal, for who stands on a ladder with a shell over ssh.

Two pixels a character: the upper half block ``▀`` in the colour of one on the colour of the other.
Where there are no colours (``NO_COLOR``, ``TERM=dumb``, a pipe) one character a pixel pair, darker
or lighter by how much ink it has.
"""

from __future__ import annotations

from typing import Any

from rich.color import Color
from rich.style import Style
from rich.text import Text

from edgeagent.cli import render

_COLUMNS, _ROWS = 76, 22
INK = " .:-=+*#%@"
"""From black to white, on a dark terminal."""


def show(jpeg: bytes) -> None:
    """Draw a JPEG on standard error. Raises InputError for one that is broken."""
    console = render.stderr()
    coloured = console.color_system is not None and not console.no_color
    blocks = coloured and (console.encoding or "").lower().startswith("utf")
    for line in lines(jpeg, min(_COLUMNS, console.width), blocks=blocks):
        console.print(line, no_wrap=True, overflow="crop")


def lines(jpeg: bytes, columns: int, *, blocks: bool) -> list[Text]:
    """The picture as at most 22 lines of at most so many characters.

    Args:
        jpeg: the file's bytes.
        columns: of the terminal.
        blocks: half blocks in colours; else ink.

    Raises:
        InputError: it is no whole JPEG.
    """
    pixels = _small(jpeg, columns)
    if blocks:
        return [_coloured(upper, lower) for upper, lower in zip(pixels[::2], pixels[1::2])]  # noqa: B905
    grey = (pixels[::2].astype(int) + pixels[1::2]).mean(axis=2) / 2
    # What is dim is stretched: so few steps would show nothing of it.
    low, span = float(grey.min()), max(float(grey.max() - grey.min()), 1.0)
    shades = ((grey - low) / span * (len(INK) - 1)).round().astype(int)
    return [Text("".join(INK[shade] for shade in row)) for row in shades.tolist()]


def _small(jpeg: bytes, columns: int) -> Any:
    """uint8 (rows, columns, 3) BGR with an even number of rows."""
    from edgeagent.capture.jpeg import decode
    from edgeagent.decide.picture import scaled

    pixels = decode(jpeg)
    height, width = pixels.shape[:2]
    return scaled(pixels, max(2, min(columns, round(2 * _ROWS * width / height))))


def _coloured(upper: Any, lower: Any) -> Text:
    line = Text()
    for (b, g, r), (blue, green, red) in zip(upper.tolist(), lower.tolist(), strict=True):
        style = Style(color=Color.from_rgb(r, g, b), bgcolor=Color.from_rgb(red, green, blue))
        line.append("▀", style)
    return line
