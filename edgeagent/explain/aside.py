"""A question to a model beside the pipelines: asked in a child process, at low priority."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import Struct

from edgeagent.errors import Busy, InputError, ProofFailed, UsageError, of_code
from edgeagent.prove.live import Handles
from edgeagent.prove.process import Child, memory_limit

if TYPE_CHECKING:
    from edgeagent.config.model import Runtime
    from edgeagent.manifest import Package
    from edgeagent.types import Sample

TIMEOUT_S = 300.0
_MODULE = "edgeagent.explain.child"
_LONGEST_NAME = 255
"""Bytes: NAME_MAX of Linux."""


class Given(Struct, frozen=True):
    """Bytes of a picture or a recording; the ending of the name tells which."""

    name: str
    data: bytes


class Question(Struct, frozen=True):
    """What a model is asked about a sample."""

    do: Literal["infer", "explain"]
    threshold: float | None = None
    """In place of the package's own."""
    label: str = ""
    method: str = "auto"
    runs: int = 600


def ask(
    package: Package,
    runtime: Runtime,
    sample: Sample | Given,
    question: Question,
    tell: Callable[[str], None] = lambda _doing: None,
    timeout_s: float = TIMEOUT_S,
) -> dict[str, Any]:
    """What the model says: ``model, predictions, ms``, or what `Explained.told` and
    `Attributed.told` give.

    Args:
        package: the model.
        runtime: how it is run.
        sample: of a source, or bytes as they came.
        question: what is asked.
        tell: told about ten times a second what is being done; may raise to end it.
        timeout_s: so long it may take.

    Raises:
        EdgeAgentError: as the same would in this process; its class is kept.
        ProofFailed: the child ended without an answer.
        Busy: no process can be started.
    """
    asked = msgspec.to_builtins(question) | {
        "folder": str(package.folder), "runtime": msgspec.to_builtins(runtime),
        "memory_bytes": memory_limit(), "cpu_s": round(2 * timeout_s),
    }  # fmt: skip
    with (
        _in_memory(sample) as (described, handles),
        Child(asked | described, handles, _MODULE) as child,
    ):
        try:
            return child.outcome(timeout_s, Event(), tell)
        except ProofFailed as error:
            if error.died:
                raise
            raise of_code(error.reason)(str(error), remedy=error.remedy) from error


@contextmanager
def _in_memory(sample: Sample | Given) -> Iterator[tuple[dict[str, Any], list[int]]]:
    """What the child is told of the sample, and the open files that it reads."""
    with ExitStack() as held:
        try:
            found = _held(sample, held)
        except OSError as error:
            raise Busy(f"a question can't be put: {error.strerror}") from error
        yield found


def _held(sample: Sample | Given, held: ExitStack) -> tuple[dict[str, Any], list[int]]:
    """See `_in_memory`; until the stack is closed. Raises OSError, InputError, UsageError."""
    if not isinstance(sample, Given):
        handles = held.enter_context(Handles([sample]))
        return {"live": handles.described}, handles.fds
    name = sample.name
    if not sample.data:
        raise InputError(f"{name}: is empty")
    if "/" in name or name in ("", ".", "..") or len(os.fsencode(name)) > _LONGEST_NAME:
        raise UsageError(f"{name!r} is no file name")
    fd = os.memfd_create("given", os.MFD_CLOEXEC)
    held.callback(os.close, fd)
    data = memoryview(sample.data)
    while data:
        data = data[os.write(fd, data) :]
    # A reader goes by the ending of a name, which memory does not have.
    named = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="edgeagent-"))) / name
    named.symlink_to(f"/proc/self/fd/{fd}")
    return {"live": [], "file": str(named)}, [fd]
