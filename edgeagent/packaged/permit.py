"""Whose code may run: asked before every start of a `handler.py`.

One permit holds in a process. None of ours lets anything run until the composition root (the agent,
the command line) has read ``plugins.packaged`` and put up its own; a child process is told what its
parent found (`told`), about the one package that it opens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from edgeagent.errors import EdgeAgentError, NotFound, NotPermitted, PackageError, Untrusted
from edgeagent.manifest import HANDLER, load_package

if TYPE_CHECKING:
    from edgeagent.manifest import Package

MOST_BYTES = 256 * 1024
TIMEOUT_S, MEMORY_BYTES = 1.0, 128 << 20


class Terms(Struct, frozen=True):
    """How packaged code runs."""

    timeout_s: float = TIMEOUT_S
    """For one call, up to five times as long where the device has no time for it."""
    memory_bytes: int = MEMORY_BYTES
    """Beside Python and numpy."""


class Vouched(Struct, frozen=True):
    """Code that may run."""

    code: bytes
    """Exactly what was checked: nothing is read a second time."""
    by: str
    """Who vouches for it, for people."""
    terms: Terms = Terms()


Permit = Callable[["Package"], Vouched]
"""Raises NotPermitted (this device runs no packaged code) or Untrusted (nobody who may has signed
it, or it is not what was signed)."""


def read(package: Package) -> bytes:
    """The bytes of its `handler.py`. Raises PackageError."""
    file = package.folder / HANDLER
    try:
        with file.open("rb") as stream:
            code = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise PackageError(
            f"{file} can't be read: {error.strerror}",
            remedy='A package with decoder = "handler" brings a handler.py: docs/handlers.md.',
        ) from error
    if len(code) > MOST_BYTES:
        raise PackageError(f"{file} has more than {MOST_BYTES >> 10} KiB")
    return code


def nobody(package: Package) -> Vouched:
    """The permit of a device that runs no packaged code. Raises NotPermitted."""
    raise NotPermitted(
        f"{package.name} {package.version} brings code of its own ({HANDLER}), and this device "
        "runs none",
        remedy="Set packaged = true in [plugins] of agent.toml, if you trust who signs your "
        "models; see docs/handlers.md.",
    )


def anybody(package: Package) -> Vouched:
    """Who makes or publishes a package tries it before it is signed, on the own machine."""
    return Vouched(read(package), "not signed: tried by whoever makes it")


_present: Permit = nobody


def use(permit: Permit) -> None:
    """Let this permit hold in this process from now on."""
    global _present  # one process has one word about whose code runs in it
    _present = permit


def vouched(package: Package) -> Vouched:
    """Its code, if it may run here. Raises NotPermitted, Untrusted, PackageError."""
    return _present(package)


def told(folder: Path) -> dict[str, Any]:
    """What a child process needs to know that opens the package in a folder; empty = it brings no
    code."""
    if not (folder / HANDLER).is_file():
        return {}
    try:
        found = vouched(load_package(folder))
    except (NotFound, NotPermitted, Untrusted, PackageError) as error:
        return {"refused": [type(error).__name__, str(error), error.remedy]}
    return {"code": found.code.hex(), "by": found.by, "timeout_s": found.terms.timeout_s,
            "memory_bytes": found.terms.memory_bytes}  # fmt: skip


def use_told(message: Mapping[str, Any]) -> None:
    """In a child: what the parent has found holds here."""

    def permit(package: Package) -> Vouched:
        if "refused" in message:
            raise _error(*message["refused"])
        if "code" not in message:
            return nobody(package)
        terms = Terms(message["timeout_s"], message["memory_bytes"])
        return Vouched(bytes.fromhex(message["code"]), message["by"], terms)

    use(permit)


def _error(kind: str, text: str, remedy: str) -> EdgeAgentError:
    kinds = {its.__name__: its for its in (NotFound, NotPermitted, Untrusted, PackageError)}
    return kinds[kind](text, remedy=remedy)
