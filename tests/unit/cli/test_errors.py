"""One message, the contract's exit code, never a traceback."""

from __future__ import annotations

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


def test_no_arguments_show_the_help(shell: Any) -> None:
    done = shell()
    assert "Usage:" in done.stdout + done.stderr
    assert done.returncode in (0, 2)
