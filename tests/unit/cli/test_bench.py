"""``edgeagent bench`` at the shell."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from edgeagent.cli.bench_plot import _marks

pytest.importorskip("ai_edge_litert")
FAST = ("--seconds", "0.2")


@pytest.mark.usefixtures("in_full")
def test_a_comparison_in_json_with_a_plot(invoke: Any, tmp_path: Path) -> None:
    plot = tmp_path / "latency.svg"
    done = invoke(
        "bench", "digits", "--variant", "litert", "--vs", "delegate=none", *FAST, "--json",
        "--plot", plot,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert [its["title"] for its in told["candidates"]] == ["litert", "litert, none"]
    assert all(its["golden"]["faults"] == [] for its in told["candidates"])
    assert told["candidates"][1]["placement"] == {"builtin": 6}
    ratio = told["versus"]["single"]
    assert 0 < ratio["low"] <= ratio["ratio"] <= ratio["high"]
    picture = ET.parse(plot).getroot()
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(picture.findall("{*}path")) == 2


def test_people_are_told_in_eighty_columns(invoke: Any, toy: Path) -> None:
    done = invoke(
        "bench", "digits", "--variant", "litert", "--vs", f"delegate={toy},add=90", *FAST
    )  # fmt: skip
    assert done.exit_code == 1
    assert "p90 promised" in done.stdout and "no meter that can be read" in done.stdout
    assert "golden samples WRONG" in done.stdout
    assert "single stream: " in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nosuch"], 3, "nosuch"),
        (["digits", "--scenario", "sigle"], 2, 'did you mean "single"?'),
        (["digits", "--vs", "threads=many"], 2, "a whole number"),
        (["digits", "--option", "speed"], 2, "expected KEY=VALUE"),
        (["digits", "--plot", "latency.png"], 2, "ends in .svg"),
    ],
)
def test_what_makes_no_sense_is_refused(
    invoke: Any, arguments: list[str], code: int, said: str
) -> None:
    done = invoke("bench", *arguments)
    assert done.exit_code == code
    assert said in done.stderr


@pytest.mark.usefixtures("in_full")
def test_a_variant_that_is_not_there_is_a_failure(invoke: Any) -> None:
    done = invoke("bench", "digits", "--variant", "edgetpu", *FAST)
    assert done.exit_code == 1
    assert "has no variant 'edgetpu'" in " ".join(done.stdout.split())


@pytest.mark.parametrize(("low", "high"), [(0.19, 0.31), (0.2, 0.2001), (0.05, 40.0), (3.0, 900.0)])
def test_an_axis_has_marks_enough_to_be_read(low: float, high: float) -> None:
    marks = _marks(low, high)
    assert 3 <= len(marks) <= 16
    assert all(low <= its <= high * 1.0001 for its in marks)
