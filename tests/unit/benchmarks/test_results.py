"""The report of `make bench`: made from its JSON alone, and what is guarded ends with 1."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report
from benchmarks.limits import judge, read
from benchmarks.run import Run

STEP = {"ours_us": 17_500.0, "bare_us": 17_200.0, "overhead_us": 300.0, "ratio": 1.0174,
        "low": 1.015, "high": 1.02, "clock_ratio": 1.018, "things": 4}  # fmt: skip
WEIGHT = {"pss_mb": 19.4, "bare_mb": 19.3, "more_mb": 0.1, "own_mb": 19.3, "bare_own_mb": 19.0}


def part(rows: dict[str, Any]) -> dict[str, Any]:
    return {"command": "python benchmarks/run.py", "form": "short form", "took_s": 12,
            "when": "2026-01-02 03:04 UTC", "load": [0.5, 1.25], "rows": rows}  # fmt: skip


@pytest.fixture
def recorded() -> dict[str, Any]:
    """A run as its JSON holds it."""
    camera = {"latency_p50_ms": 19.0, "latency_p95_ms": 23.9, "cpu_per_frame_ms": 24.5,
              "pss_mb": 99.7}  # fmt: skip
    return {
        "machine": {"processor": "a processor", "Python": "3.11"},
        "parts": {
            "step": part({"SSD MobileNet v1 300 × 300, litert": dict(STEP)}),
            "footprint": part({"+ MQTT": dict(WEIGHT)}),
            "cameras": part({"1 camera, edgeagent": camera, "1 camera, pair": camera}),
            "servers": part({
                "edgeagent, 1 connections": {"p50_us": 225.0, "p99_us": 421.0, "per_s": 4000.0,
                                             "cpu_us": 180.0},
                "KServe, 1 connections": {},
            }),
        },
    }  # fmt: skip


def test_every_figure_of_the_page_comes_from_the_run(
    recorded: dict[str, Any], tmp_path: Path
) -> None:
    verdicts = report.write(recorded, tmp_path, read())
    page = (tmp_path / report.PAGE).read_text()
    row = "| 17,200 | 17,500 | 300 | 1.0174 | 1.015 | 1.02 | 1.018 | 4 | + µs ≤ 60 or × ≤ 1.025 ✓ |"
    assert f"| SSD MobileNet v1 300 × 300, litert {row}" in page
    assert "| + MQTT | 19.4 | 19.3 | 0.1 | 19.3 | 19 |" in page
    assert "`python benchmarks/run.py`, short form, 2026-01-02 03:04 UTC, 12 s" in page
    assert "| KServe, 1 connections | not installed here |" in page
    assert all(its.kept for its in verdicts) and "2 of 2 limits" in page
    assert json.loads((tmp_path / report.JSON).read_text()) == recorded
    recorded["parts"]["step"]["rows"]["SSD MobileNet v1 300 × 300, litert"]["ours_us"] = 19_999.0
    report.write(recorded, tmp_path, read())
    assert "| 19,999 |" in (tmp_path / report.PAGE).read_text()


def test_pictures_are_files_that_can_be_read_and_that_the_page_names(
    recorded: dict[str, Any], tmp_path: Path
) -> None:
    report.write(recorded, tmp_path, read())
    page = (tmp_path / report.PAGE).read_text()
    pictures = sorted((tmp_path / "images").iterdir())
    assert [its.name for its in pictures] == [
        f"results-{name}.svg" for name in ("cameras", "footprint", "servers", "step")
    ]
    for picture in pictures:
        assert f"(images/{picture.name})" in page
        texts = [its.text or "" for its in ElementTree.parse(picture).iter()]
        assert any("edgeagent" in text or "+300 µs" in text for text in texts)


def test_what_was_not_measured_is_said(recorded: dict[str, Any], tmp_path: Path) -> None:
    del recorded["parts"]["servers"]
    report.write(recorded, tmp_path, read())
    assert "Not measured in this run: `make peers" in (tmp_path / report.PAGE).read_text()


@pytest.mark.parametrize(
    ("row", "figures", "kept"),
    [
        ("keyword", {"overhead_us": 59.0, "ratio": 1.9}, True),  # one of two is enough
        ("keyword", {"overhead_us": 61.0, "ratio": 1.9}, False),
        ("a large model", {"overhead_us": 400.0, "ratio": 1.02}, True),
        ("SSD MobileNet v1 300 × 300, litert, 1080p prepared",
         {"overhead_us": 59.0, "ratio": 1.08}, False),
    ],
)  # fmt: skip
def test_a_row_is_held_against_its_own_line_or_the_line_of_all(
    row: str, figures: dict[str, float], kept: bool
) -> None:
    (verdict,) = judge({"step": {row: figures}}, read())
    assert verdict.kept is kept and not verdict.guarded
    assert judge({"nothing": {row: figures}}, read()) == []


@pytest.mark.parametrize(
    ("name", "row", "figure", "value", "code"),
    [
        ("footprint", "+ MQTT", "own_mb", 24.6, 1),
        ("footprint", "+ MQTT", "more_mb", 20.5, 1),
        ("step", "SSD MobileNet v1 300 × 300, litert", "ratio", 1.5, 0),  # told, not guarded
    ],
)
def test_over_a_guarded_limit_the_command_ends_with_1_and_names_the_row(
    recorded: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    name: str, row: str, figure: str, value: float, code: int,
) -> None:  # fmt: skip
    (tmp_path / report.JSON).write_text(json.dumps(recorded))
    run = Run(tmp_path, "short form", "a command")
    run.take_up()
    assert run.write() == 0
    capsys.readouterr()
    run.parts[name]["rows"][row][figure] = value
    assert run.write() == code
    told = capsys.readouterr().out
    assert f"{name}, {row}: " in told and f"{value:g}" in told
    assert f"- {name}, {row}: " in (tmp_path / report.PAGE).read_text()


def test_parts_are_added_to_the_report_that_is_there(
    recorded: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / report.JSON).write_text(json.dumps(recorded))
    run = Run(tmp_path, "whole form", "a command")
    run.take_up()
    with run.part("track") as rows:
        rows["10 tracks"] = {"median_ms": 0.145, "p95_ms": 0.2}
    run.write()
    page = (tmp_path / report.PAGE).read_text()
    assert "| 10 tracks | 0.145 | 0.2 |" in page and ", whole form, " in page
    assert "a processor" in page and "| + MQTT | 19.4 |" in page
