"""What counts as the same result on another processor."""

from typing import Any

import pytest

import arm


def _told(outputs: str, *values: float) -> dict[str, Any]:
    return {"outputs": outputs, "values": [list(values)]}


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


def test_results_of_another_shape_are_never_equal() -> None:
    with pytest.raises(ValueError, match="shorter"):
        arm.difference(_told("a", 3.0, 5.0), _told("b", 3.0))
