"""One message, the contract's exit code, never a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeagent import errors

CODES = [
    (errors.ConfigError, 78), (errors.UsageError, 2), (errors.NotFound, 3),
    (errors.NotPermitted, 77), (errors.Unavailable, 69), (errors.Busy, 75),
    (errors.InputError, 1), (errors.ModelError, 1), (errors.RuntimeMissing, 69),
    (errors.StoreError, 70), (errors.StoreTooNew, 78),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "code"), CODES)
def test_every_error_has_its_exit_code_and_shows_its_remedy(
    invoke: Any, monkeypatch: pytest.MonkeyPatch, kind: type[errors.EdgeAgentError], code: int
) -> None:
    def fail(*_: object) -> None:
        raise kind("the thing is broken", remedy="Mend the thing.")

    monkeypatch.setattr("edgeagent.cli.options.control", fail)
    done = invoke("status")
    assert done.exit_code == code
    assert done.stdout == ""
    assert done.stderr == "error: the thing is broken\nMend the thing.\n"


def test_what_nobody_expected_is_one_line_and_70(
    invoke: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a secret of the code")

    monkeypatch.setattr("edgeagent.cli.options.control", fail)
    done = invoke("status")
    assert done.exit_code == 70
    assert "ZeroDivisionError: a secret of the code" in done.stderr
    assert "Traceback" not in done.output


def test_debugging_shows_where_it_happened(shell: Any, home: Path) -> None:
    done = shell("config", "check", home / "none.toml", EDGEAGENT_DEBUG="1")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["status"], 69, "no agent runs"),
        (["run", "--config", "none.toml"], 78, "none.toml"),
        (["config", "check", "none.toml"], 78, "none.toml"),
        (["infer", "parts", "none.png"], 3, "none.png: there is no such file"),
        (["infer", "parst", "none.png"], 3, "did you mean 'parts'?"),
        (["models", "show", "nobody"], 3, "there is no model 'nobody'"),
        (["models", "init", "picture.png"], 2, "picture.png"),
        (["models", "golden", "parts", "--samples", "none"], 3, "none: there is no such file"),
        (["outbox", "verify"], 3, "there is no outbox at"),
        (["outbox", "peek"], 3, "there is no outbox at"),
        (["outbox", "stats"], 3, "there is no outbox at"),
        (["outbox", "peek", "--state", "foo"], 2, "expected one of pending, kept"),
        (["outbox", "peek", "--kind", "foo"], 2, "expected one of result, window"),
        (["outbox", "peek", "--since", "yesterday"], 2, "expected a time with zone"),
        (["infer", "bearing", "none.csv", "--threshold", "1.8"], 3, "none.csv"),
        (["infer", "bearing", "none.csv", "--threshold", "-1"], 2, "--threshold"),
        (["nonsense"], 2, "No such command"),
        (["infer"], 2, "Missing argument"),
        (["demo", "--seconds", "3"], 2, "greater than or equal to 10"),
        (["demo", "--camera", "/dev/none"], 3, "/dev/none"),
    ],
)
def test_exit_codes_of_real_commands(
    invoke: Any, arguments: list[str], code: int, said: str
) -> None:
    done = invoke(*arguments)
    assert done.exit_code == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_process_ends_with_the_same_code_and_streams(shell: Any) -> None:
    done = shell("status")
    assert (done.returncode, done.stdout) == (69, "")
    assert "no agent runs" in done.stderr and "Traceback" not in done.stderr


def test_a_dead_agent_is_an_answer_in_json(invoke: Any) -> None:
    for flags in ([], ["--watch"]):
        done = invoke("status", "--json", *flags)
        assert done.exit_code == 69
        assert json.loads(done.stdout)["state"] == "not running"
        assert done.stderr == ""


def test_the_package_can_be_run(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgeagent", "--version"],
        cwd=repository, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.startswith("edgeagent "), done.stderr


def test_a_gap_without_an_end() -> None:
    from edgeagent.cli.words import record_text

    assert record_text({"kind": "gap", "reason": "lost"}) == "an unknown number lost: lost"
    assert record_text({"kind": "gap", "reason": "full", "count": 1200}) == "1,200 lost: full"


def test_no_arguments_show_the_help(shell: Any) -> None:
    done = shell()
    assert "Usage:" in done.stdout + done.stderr
    assert done.returncode in (0, 2)
