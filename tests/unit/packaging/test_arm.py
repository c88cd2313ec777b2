"""What counts as the same result on another processor."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import arm
import results


def _told(outputs: str, *values: float, ran: str = "") -> dict[str, Any]:
    return {"outputs": outputs, "values": [list(values)], "ran": ran}


@pytest.mark.parametrize(
    ("other", "said", "close"),
    [
        (_told("a", 3.0, 5.0), "bit-equal", True),
        (_told("b", 3.0, 6.0), "1 of 2 values differ, by 1 of 256 steps at most; the best stays",
         True),
        (_told("b", 3.0, 20.0), "1 of 2 values differ, by 15 of 256 steps at most; the best stays",
         False),
        (_told("b", 6.0, 5.0), "1 of 2 values differ, by 3 of 256 steps at most; another is best",
         False),
        (_told("b", 3.0001, 5.0), "differs by 0.0001 at most; the best stays", True),
        (_told("b", 3.5, 5.0), "differs by 0.5 at most; the best stays", False),
    ],
)  # fmt: skip
def test_rounding_is_allowed_and_no_more(other: dict[str, Any], said: str, close: bool) -> None:
    assert arm.difference(_told("a", 3.0, 5.0), other) == (said, close)


@pytest.mark.parametrize(("value", "close"), [(5.0, True), (6.0, False)])
def test_reference_kernels_may_not_round_otherwise(value: float, close: bool) -> None:
    one = _told("a", 3.0, 5.0, ran="litert 2.3.0, reference kernels")
    other = _told("a" if value == 5.0 else "b", 3.0, value, ran=one["ran"])
    assert arm.difference(one, other)[1] is close


def test_this_machine_gives_both_kinds_of_results(repository: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    file = next((repository / "models" / "bearing").glob("*/*.tflite"))
    agent, plain = results.of_file(file)
    assert agent["ran"].startswith("litert ") and plain["ran"].endswith(arm.REFERENCE)
    assert agent["file"] == plain["file"] == file.name
    assert len(agent["values"]) == len(plain["values"]) == 4
    assert np.abs(np.subtract(agent["values"], plain["values"])).max() <= 2, "steps of 256"


def test_results_of_another_shape_are_never_equal() -> None:
    with pytest.raises(ValueError, match="shorter"):
        arm.difference(_told("a", 3.0, 5.0), _told("b", 3.0))
