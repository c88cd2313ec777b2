"""What a question needs before its child is started."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest

from edgeagent.config.model import Runtime
from edgeagent.errors import Busy, EdgeAgentError, InputError, UsageError
from edgeagent.explain.aside import Given, Question, ask
from edgeagent.manifest import load_package


def refused(repository: Path, given: Given) -> EdgeAgentError:
    package = load_package(repository / "models" / "parts" / "1.0.0")
    with pytest.raises(EdgeAgentError) as raised:
        ask(package, Runtime(), given, Question("infer"))
    return raised.value


@pytest.mark.parametrize("name", ["", "..", "a/b.png", "a" * 300 + ".png", "é" * 128 + ".png"])
def test_a_name_that_no_file_can_have(repository: Path, name: str) -> None:
    assert type(refused(repository, Given(name, b"x"))) is UsageError


def test_nothing_was_sent(repository: Path) -> None:
    assert type(refused(repository, Given("a.png", b""))) is InputError


def test_a_system_that_has_no_handles_left_is_busy(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: object) -> NoReturn:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", none_left)
    problem = refused(repository, Given("a.png", b"x"))
    assert type(problem) is Busy and "Too many open files" in str(problem)
