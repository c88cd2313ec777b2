"""Figures as Prometheus reads them."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.metrics import Histogram
from edgeagent.serve.live.exposition import Family, expose


def test_the_form_of_each_kind() -> None:
    family = Family("a_total", "counter", "Two\nlines \\ here")
    family.add(3, name='with "quotes"', path="C:\\x\ny")
    family.add(None, name="unknown")
    empty = Family("b", "gauge", "nothing is known")
    gauge = Family("c", "gauge", "one")
    gauge.add(math.nan)
    gauge.add(0.25, of="d")
    gauge.add(True, of="e")
    assert expose([family, empty, gauge]).decode() == (
        "# HELP a_total Two\\nlines \\\\ here\n# TYPE a_total counter\n"
        'a_total{name="with \\"quotes\\"",path="C:\\\\x\\ny"} 3\n'
        '# HELP c one\n# TYPE c gauge\nc NaN\nc{of="d"} 0.25\nc{of="e"} 1\n'
    )


@settings(max_examples=30)
@given(st.lists(st.floats(1e-6, 100), max_size=50))
def test_buckets_count_what_lies_below_their_bounds(durations: list[float]) -> None:
    histogram = Histogram()
    for duration in durations:
        histogram.add(duration)
    lines = expose([Family("s", "histogram", "h", seconds=[({"p": "x"}, histogram)])]).decode()
    said = dict(line.rsplit(" ", 1) for line in lines.splitlines() if line[0] != "#")
    for name, count in said.items():
        if name.startswith("s_bucket"):
            bound = float(name.split('le="')[1].rstrip('"}'))
            assert int(count) == sum(its < bound for its in durations)
    assert int(said['s_count{p="x"}']) == len(durations)
    assert math.isclose(float(said['s_sum{p="x"}']), sum(durations), abs_tol=1e-9)
