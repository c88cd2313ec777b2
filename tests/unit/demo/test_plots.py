"""Axes, ticks, and drawings that never leave their sheet."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from edgeagent.demo import plots
from edgeagent.demo.svg import Axis, Sheet, ticks

times = st.floats(0, 60, allow_nan=False)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e4), st.integers(2, 12))
def test_ticks_are_round_few_and_inside(low: float, span: float, at_most: int) -> None:
    marks = list(ticks(low, low + span, at_most))
    assert len(marks) <= at_most + 1
    slack = span * 1e-6
    assert all(low - slack <= mark <= low + span + slack for mark in marks)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_an_axis_never_leaves_its_pixels(low: float, high: float, value: float) -> None:
    place = Axis(low, high, 40.0, 990.0)(value)
    assert 40.0 <= place <= 990.0


def _inside(svg: str) -> None:
    tree = ElementTree.fromstring(svg)
    width, height = float(tree.attrib["width"]), float(tree.attrib["height"])
    for element in tree.iter():
        at = element.attrib
        if element.tag == "rect":
            assert float(at["width"]) >= 0 and float(at["height"]) >= 0
            assert float(at["x"]) >= -0.1 and float(at["x"]) + float(at["width"]) <= width + 3.1
            assert float(at["y"]) >= -0.1 and float(at["y"]) + float(at["height"]) <= height + 0.1
        if element.tag == "path":
            values = [float(its) for its in NUMBER.findall(at["d"])]
            assert all(-0.1 <= x <= width + 0.1 for x in values[::2])
            assert all(-0.1 <= y <= height + 0.1 for y in values[1::2])


def _each(pair: str) -> list[str]:
    found = re.findall(r"<svg.*?</svg>", pair, re.S)
    assert len(found) == 2
    return found


@given(
    st.lists(st.tuples(times, times), max_size=6),
    st.lists(st.tuples(times, st.floats(0, 1e6)), max_size=20),
    st.floats(1, 60),
)
def test_timelines_stay_inside(
    spans: list[tuple[float, float]], backlog: list[tuple[float, float]], span_s: float
) -> None:
    bars = [plots.Bar((min(its), max(its)), "s1", "a & b") for its in spans]
    marks = [plots.Mark(start, "kill -9", "kill") for start, _ in spans[:3]]
    lanes = [plots.Lane("belt", bars), plots.Lane("face")]
    for svg in _each(plots.timeline(lanes, [(2.0, 5.0)], marks, sorted(backlog), span_s)):
        _inside(svg)


@given(st.lists(st.tuples(times, st.text("aw ", min_size=1, max_size=16)), max_size=12))
def test_no_text_of_a_mark_runs_into_another(marks: list[tuple[float, str]]) -> None:
    texts = plots.texts_of(
        [plots.Mark(*its) for its in marks], plots.Axis(0.0, 60.0, 4.0, 332.0), plots.NARROW_PX
    )
    assert len(texts) == len(marks)
    spans = [
        (line, middle - 3.7 * len(mark.text), middle + 3.7 * len(mark.text))
        for mark, line, middle in texts
    ]
    assert all(start >= 0 and end <= plots.NARROW_PX for _, start, end in spans)
    for place, (line, start, end) in enumerate(spans):
        for other, begins, ends in spans[place + 1 :]:
            assert line != other or begins >= end or ends <= start


@given(st.lists(st.tuples(times, st.floats(0, 100)), max_size=30), st.booleans())
def test_score_plots_stay_inside(points: list[tuple[float, float]], dots: bool) -> None:
    series = [plots.Series("x", sorted(points), "s1")]
    for svg in _each(plots.scores("scores", series, 0.5, [], 60.0, dots=dots)):
        _inside(svg)


@given(st.lists(st.floats(0, 1e5), max_size=50), st.lists(st.floats(0, 1e5), max_size=50))
def test_the_histogram_counts_everything_once(live: list[float], kept: list[float]) -> None:
    for svg in _each(plots.delays(live, kept)):
        _inside(svg)
        tips = [its.text or "" for its in ElementTree.fromstring(svg).iter("title")]
        counts = [int(tip.split(": ")[1].split()[0].replace(",", "")) for tip in tips]
        assert sum(counts) == len(live) + len(kept)


def test_a_line_is_broken_where_nothing_was_measured() -> None:
    series = [plots.Series("x", [(0, 1), (1, 1), (9, 1), (10, 1)], "s1")]
    wide, _ = _each(plots.scores("scores", series, 0.5, [], 10.0, dots=False))
    assert wide.count('class="stroke s1"') == 2


def test_texts_at_the_edge_are_moved_in_and_escaped() -> None:
    sheet = Sheet(100, 20, 'a "title" & more', "wide")
    sheet.text(0, 10, "a < b and so on", anchor="middle")
    tree = ElementTree.fromstring(sheet.render())
    text = next(tree.iter("text"))
    assert float(text.attrib["x"]) > 40 and text.text == "a < b and so on"
