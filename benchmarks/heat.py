"""The governor against a thermal model of a board, beside the best rate that the board could keep
up, and what it would do without one.

``python -m benchmarks.heat [--plot docs/images/governor.svg]`` prints one JSON document. The board
is two RC stages (die and heat sink) with power that grows with the frame rate; above 80 °C it
halves its speed, as a Raspberry Pi does. It is read through a made-up tree of the kernel's files,
with the coarse steps and the noise of a real sensor. Time is virtual: two hours take a second.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct

from edgeagent.device.governor import Governor, Limits, Step
from edgeagent.testing.thermal import LIMIT_C, Board, World

TICK_S = 2.0

BOARDS = (
    Board("bare Pi 4 in a warm case", 38.0, 14.0, 32.0, 10.0, 180.0),
    Board("small board, no heat sink", 30.0, 18.0, 40.0, 14.0, 60.0),
    Board("heavy heat sink in the sun", 52.0, 6.0, 32.0, 6.0, 420.0),
    Board("cool enough", 25.0, 12.0, 30.0, 8.0, 150.0),
)


class Course(Struct):
    """What happened: one entry a tick."""

    times: list[float] = []
    degrees: list[float] = []
    shares: list[float] = []
    """Of full work that was done."""
    best: list[float] = []
    steps: list[tuple[float, Step]] = []
    throttled_s: float = 0.0


def run(
    board: Board,
    root: Path | None,
    seconds: float,
    *,
    governed: bool = True,
    seed: int = 1,
    noise_k: float = 0.3,
    ambient: Callable[[float], float] | None = None,
) -> Course:
    """A board at full work for so long, with or without the governor."""
    world, course = World(board, root, seed, noise_k), Course()
    wanted, now = [1.0], 0.0
    governor = Governor(
        Limits(degrees=LIMIT_C), lambda share: wanted.__setitem__(0, share), (), (),
        lambda step: course.steps.append((now, step)),
    )  # fmt: skip
    while now < seconds:
        if ambient is not None:
            world.ambient_c = ambient(now)
        done = world.step(wanted[0], TICK_S)
        now += TICK_S
        if governed:
            governor.tick(now, world.look())
        course.times.append(now)
        course.degrees.append(world.degrees)
        course.shares.append(done)
        course.best.append(board.best(world.ambient_c))
        course.throttled_s += TICK_S * world.throttled
    return course


def figures(course: Course, after_s: float) -> dict[str, float]:
    """Of the time after the beginning, in which the heat sink has warmed up."""
    late = [n for n, time in enumerate(course.times) if time > after_s]
    shares = [course.shares[n] for n in late]
    return {
        "hottest_c": round(max(course.degrees), 2),
        "throttled_s": course.throttled_s,
        "to_best": round(sum(shares) / sum(course.best[n] for n in late), 3),
        "least_to_most": round(min(shares) / max(shares), 3),
        "steps": len(course.steps),
        "late_steps": sum(time > after_s for time, _ in course.steps),
    }


def measure(folder: Path, seconds: float = 7200.0) -> dict[str, Any]:
    """Every board, governed and not."""
    found: dict[str, Any] = {}
    for board in BOARDS:
        for governed in (True, False):
            course = run(board, folder, seconds, governed=governed)
            how = "governed" if governed else "left alone"
            found[f"{board.name}, {how}"] = figures(course, seconds / 2)
    return found


_WIDTH, _HEIGHT, _LEFT, _TOP = 720.0, 150.0, 44.0, 26.0
_INKS = {"governed": "#0b6e4f", "left alone": "#b3442e"}


def plot(folder: Path, board: Board, seconds: float = 5400.0) -> str:
    """An SVG: the temperature and what is done of the full work, with and without the governor; in
    the middle third of the time the sun shines on it."""

    def ambient(now: float) -> float:
        into = min(now - seconds / 3, 2 * seconds / 3 - now)
        return board.ambient_c + 8.0 * max(0.0, min(1.0, into / 300))

    courses = {
        how: run(board, folder, seconds, governed=how == "governed", ambient=ambient)
        for how in _INKS
    }
    low, high = board.ambient_c, LIMIT_C + 6
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH + 60:g} '
        f'{2 * _HEIGHT + 90:g}" font-family="sans-serif" font-size="12" role="img">',
        f"<title>{board.name}: heat and frame rate with and without the governor</title>",
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    parts += _panel(
        _TOP, "°C", (low, high), seconds, [LIMIT_C], {k: c.degrees for k, c in courses.items()}
    )
    shares = {how: [100 * share for share in course.shares] for how, course in courses.items()}
    best = [100 * share for share in courses["governed"].best]
    below = _TOP + _HEIGHT + 40
    parts += _panel(below, "% of the full frame rate", (0.0, 105.0), seconds, [], shares)
    parts.append(_line(below, (0.0, 105.0), best, "#777", ' stroke-dasharray="4 3"'))
    x = _LEFT
    for how, ink in (*_INKS.items(), ("best that could last", "#777")):
        parts.append(f'<text x="{x:g}" y="{2 * _HEIGHT + 84:g}" fill="{ink}">— {how}</text>')
        x += 150
    return "".join([*parts, "</svg>"]) + "\n"


def _panel(
    top: float, title: str, span: tuple[float, float], seconds: float, marks: list[float],
    lines: dict[str, list[float]],
) -> list[str]:  # fmt: skip
    low, high = span
    parts = [f'<text x="{_LEFT:g}" y="{top - 6:g}" fill="#333">{title}</text>']
    for value in (*marks, *(low + n * (high - low) / 4 for n in range(5))):
        y = top + _HEIGHT * (high - value) / (high - low)
        ink, width = ("#b3442e", 1.2) if value in marks else ("#ddd", 1.0)
        parts.append(
            f'<line x1="{_LEFT:g}" x2="{_LEFT + _WIDTH:g}" y1="{y:.1f}" y2="{y:.1f}" '
            f'stroke="{ink}" stroke-width="{width:g}"/>'
            f'<text x="{_LEFT - 6:g}" y="{y + 4:.1f}" text-anchor="end" fill="#333">{value:.0f}'
            "</text>"
        )
    for minutes in range(0, int(seconds / 60) + 1, 15):
        x = _LEFT + _WIDTH * minutes * 60 / seconds
        parts.append(
            f'<text x="{x:.1f}" y="{top + _HEIGHT + 14:g}" text-anchor="middle" fill="#333">'
            f"{minutes} min</text>"
        )
    return [
        *parts,
        *(_line(top, span, lines[how], _INKS[how]) for how in ("left alone", "governed")),
    ]


def _line(
    top: float, span: tuple[float, float], values: list[float], ink: str, more: str = ""
) -> str:
    low, high = span
    # The mean of a few ticks: a line as wide as the plot's pixels.
    step = max(1, len(values) // int(_WIDTH / 2))
    means = [
        sum(values[n : n + step]) / len(values[n : n + step]) for n in range(0, len(values), step)
    ]
    across, up = _WIDTH / (len(means) - 1), _HEIGHT / (high - low)
    points = " ".join(
        f"{_LEFT + across * n:.1f},{top + up * (high - mean):.1f}" for n, mean in enumerate(means)
    )
    return f'<polyline points="{points}" fill="none" stroke="{ink}" stroke-width="1.4"{more}/>'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plot", type=Path, help="write an SVG of the first board")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        if arguments.plot is not None:
            arguments.plot.write_text(plot(Path(place), BOARDS[0]), encoding="utf-8")
        print(json.dumps(measure(Path(place)), indent=2))


if __name__ == "__main__":
    main()
