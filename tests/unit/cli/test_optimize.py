"""``models optimize`` at the shell, and its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeagent.cli.optimize_report import page, write_report
from edgeagent.errors import NotFound
from edgeagent.prove.optimize.kinds import Kept
from edgeagent.prove.optimize.variants import Judged, Optimized, Worst


@pytest.fixture
def made(repository: Path) -> Optimized:
    picture = next((repository / "models/digits/1.0.0/golden").glob("*.png"))
    worst = [Worst(str(picture), "7 0.93", "1 <0.5>", "7"), Worst("/gone.wav", "a", "b")]
    return Optimized("digits@1.0.0", "digits@1.0.1", "/models/digits/1.0.1", 11, "accuracy", [
        Judged("fp32.tflite", "litert", "fp32", 400_000, 2.0, 2.0, 30.0, 10, 10, front=True,
               written=True),
        Judged("int8.tflite", "litert", "int8", 100_000, 1.0, 1.0, 30.0, 9, 10, kept=Kept(3, 0, 6),
               front=True, written=True, worst=worst),
        Judged("int16x8.tflite", "litert", "int16x8", failed="no kernel", why="no kernel"),
    ], ["Calibrated on 11 samples only."])  # fmt: skip


def test_the_report_holds_all_that_was_found(made: Optimized) -> None:
    text = page(made)
    assert "<svg" in text and text.count("<circle") == 2
    assert "3 of 9 int8" in text and "no kernel" in text and "Calibrated on 11" in text
    # A picture of what is wrong; what is no picture is named; nothing is markup that was no markup.
    assert text.count("data:image/png;base64,") == 1
    assert "gone.wav" in text and "1 &lt;0.5&gt;" in text
    assert "http" not in text.replace("http-equiv", "")


def test_a_report_goes_where_it_can(made: Optimized, tmp_path: Path) -> None:
    write_report(made, tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    with pytest.raises(NotFound):
        write_report(made, tmp_path / "no" / "r.html")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["digits"], 1, "no float variant to start from"),
        (["digits", "--kind", "int4"], 2, "--kind int4: unknown"),
        (["nosuch"], 3, "nosuch"),
    ],
)
def test_what_can_not_be_done_is_said(
    invoke: Any, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    done = invoke("models", "optimize", *arguments, "--into", tmp_path)
    assert done.exit_code == code, done.stderr
    assert said in done.stderr
