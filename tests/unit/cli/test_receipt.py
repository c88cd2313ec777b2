"""What a person is told of where a model's operators run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ai_edge_litert")


def told(invoke: Any, *words: str) -> tuple[int, dict[str, Any]]:
    ended = invoke("models", "receipt", *words, "--json")
    answer: dict[str, Any] = json.loads(ended.stdout)
    return ended.exit_code, answer


def test_where_it_runs_and_what_it_answers(invoke: Any) -> None:
    code, its = told(invoke, "digits")
    assert code == 0 and its["sound"] and its["fallback"] == ""
    assert its["model"] == "digits@1.0.0/int8" and its["asked"] == "xnnpack"
    assert its["golden"]["samples"] > 0 and "builtin" in its["answers"]
    assert sum(its["placement"].values()) >= 6 and set(its["left"]) <= {
        "AVERAGE_POOL_2D",
        "SOFTMAX",
    }


@pytest.mark.usefixtures("in_full")
def test_a_delegate_that_is_not_there(invoke: Any) -> None:
    ended = invoke("models", "receipt", "digits", "--delegate", "libedgetpu.so.1")
    assert ended.exit_code == 1
    said = " ".join(ended.stdout.split())
    assert "NOT USED delegate libedgetpu.so.1 can't be loaded" in said
    assert "asked for libedgetpu.so.1" in said


@pytest.mark.usefixtures("in_full")
def test_a_delegate_that_lies_or_crashes(invoke: Any, toy: Path) -> None:
    lies = ["--delegate", str(toy), "--option", "add=90", "--option", "most=1"]
    code, its = told(invoke, "parts", *lies)
    assert code == 1 and not its["sound"] and its["golden"]["faults"]
    assert its["placement"]["libtoy.so"] == 1
    crashes = ["--delegate", str(toy), "--option", "fail=crash-load"]
    ended = invoke("models", "receipt", "parts", *crashes)
    assert ended.exit_code == 1
    assert "it took its process down, with SIGABRT" in " ".join(ended.output.split())
