"""``edgeagent tune`` at the shell: found, kept, shown, and found again when things change."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ai_edge_litert")


@pytest.mark.usefixtures("in_full")
def test_it_is_kept_and_tuned_again_on_one_core(invoke: Any, tmp_path: Path) -> None:
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("there is one core only")

    def tuned() -> dict[str, Any]:
        done = invoke("tune", "digits", "--seconds", "3", "-d", tmp_path, "--json")
        assert done.exit_code == 0, done.stderr
        (told,) = json.loads(done.stdout)
        return dict(told)

    first = tuned()
    assert first["fresh"] and first["rows"][0]["state"] == "chosen"
    assert {"2 threads", "none"} <= {
        part for row in first["rows"] for part in row["settings"].split(", ")
    }
    again = tuned()
    assert not again["fresh"] and again["at"] == first["at"]
    os.sched_setaffinity(0, {min(cores)})
    try:
        other = tuned()
    finally:
        os.sched_setaffinity(0, cores)
    assert other["fresh"] and other["was"].startswith("the cores that may be used were ")
    assert not any("2 threads" in row["settings"] for row in other["rows"])


@pytest.mark.usefixtures("in_full")
def test_people_see_why_the_others_lost(invoke: Any, toy: Path, tmp_path: Path) -> None:
    done = invoke(
        "tune", "digits", "--try", f"variant=litert,delegate={toy},slow=2000", "--seconds", "3",
        "-d", tmp_path,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "CHOSEN: " in done.stdout
    assert "× the time, out" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    shown = invoke("tune", "digits", "-d", tmp_path)
    assert shown.stdout.splitlines()[1:] == done.stdout.splitlines()[1:]
    assert invoke("tune", "digits", "--forget", "-d", tmp_path).exit_code == 0
    assert not list((tmp_path / "tuned").glob("*"))


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["digits", "--for", "speed"], 2, "latency or throughput"),
        (["digits", "--accuracy", "0.9"], 2, "--labelled DIR"),
        (["digits", "--labelled", "nowhere"], 3, "there is no such folder"),
        (["nosuch"], 3, "nosuch"),
    ],
)
def test_what_can_not_be_done_is_said(
    invoke: Any, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    done = invoke("tune", *arguments, "-d", tmp_path)
    assert done.exit_code == code, done.stderr
    assert said in done.stderr


@pytest.mark.usefixtures("in_full")
def test_the_models_of_the_pipelines_are_tuned(invoke: Any, tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(
        '[sources.belt]\nkind = "synthetic"\n[pipelines.p]\nsource = "belt"\nmodel = "parts"\n'
    )
    done = invoke("tune", "-c", config, "-d", tmp_path, "--seconds", "2", "--json")
    assert [its["model"] for its in json.loads(done.stdout)] == ["parts@1.0.0"]
