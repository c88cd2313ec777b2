"""The parent's side of `child`: starts it, serves it files, and asks it."""

from __future__ import annotations

import contextlib
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import edgeagent
from edgeagent.errors import EdgeAgentError, RuntimeMissing, StoreError, Unavailable, Untrusted
from edgeagent.update.trust.child import Channel

Serve = Callable[[str, int], "bytes | None"]
"""(path, most bytes) → a file; None where there is none. Raises EdgeAgentError."""

_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from edgeagent.update.trust.child import main; main()"
)
_THINKING_S = 60.0
"""The child computes for milliseconds; on a slow board for a second or two."""


class Guard:
    """A running child. Belongs to one thread."""

    def __init__(
        self, folder: Path, bootstrap: bytes, reference: str, serve: Serve, *,
        ed25519_only: bool = True,
    ) -> None:  # fmt: skip
        """
        Args:
            folder: where the client keeps its metadata.
            bootstrap: the first root.
            reference: time by which things expire, RFC 3339; empty = the system's clock.
            serve: gives files.
            ed25519_only: False = other keys count as well, where `cryptography` is installed.
        """
        self._serve = serve
        self._failure: EdgeAgentError | None = None
        root = str(Path(edgeagent.__file__).parent.parent)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _BOOT, root],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        self.pid = self._process.pid
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._channel = Channel(self._process.stdout, self._process.stdin)  # type: ignore[arg-type]
        with contextlib.suppress(OSError):  # That it died at once is told by `ask`.
            self._channel.send(
                {
                    "path": sys.path, "folder": str(folder), "reference": reference,
                    "ed25519_only": ed25519_only,
                }
            )  # fmt: skip
            self._channel.send(bootstrap)

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Its answer.

        Raises:
            Untrusted: what was served is not signed by who must, or too old.
            Unavailable: a file could not be had, or the child has failed.
            StoreError: the metadata can't be written.
        """
        self._failure = None
        try:
            self._channel.send(question)
            while True:
                message = self._message()
                if "fetch" not in message:
                    return self._judged(message)
                self._fetch(message["fetch"], message["most"])
        except (OSError, EOFError, ValueError) as error:
            raise self._died() from error

    def close(self) -> None:
        """End it. May be called twice."""
        process = self._process
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        process.kill()
        process.wait()

    def _message(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        # Messages are small and written at once: one that begins also ends.
        ready, _, _ = select.select([self._process.stdout], [], [], _THINKING_S)
        if not ready:
            raise EOFError
        found = self._channel.receive()
        if not isinstance(found, dict):
            raise ValueError("bytes where an object was expected")
        return found

    def _fetch(self, path: str, most: int) -> None:
        try:
            data = self._serve(path, most)
        except EdgeAgentError as error:
            self._failure = error
            self._channel.send({"text": str(error)})
            return
        self._channel.send({"missing": True} if data is None else data)

    def _judged(self, answer: dict[str, Any]) -> dict[str, Any]:
        kind, text = answer.get("failed"), answer.get("text", "")
        if kind is None:
            return answer
        if self._failure is not None and kind != "untrusted":
            raise self._failure
        if kind == "unreachable":
            raise Unavailable(f"signed metadata can't be had: {text}")
        if kind == "store":
            raise StoreError(f"signed metadata can't be kept: {text}")
        raise _untrusted(answer.get("error", ""), text)

    def _died(self) -> EdgeAgentError:
        said = ""
        if self._process.stderr is not None:
            self._process.kill()
            said = self._process.stderr.read().decode(errors="replace").strip()
        self.close()
        if "No module named 'tuf'" in said or "No module named 'securesystemslib'" in said:
            from edgeagent.plugins import to_install

            return RuntimeMissing(
                "models can't be verified: python-tuf is not installed",
                remedy=f"Install it: {to_install('update')}",
            )
        last = said.splitlines()[-1] if said else "it was killed"
        return Unavailable(f"the process that verifies signed metadata has failed: {last}")


def _untrusted(kind: str, text: str) -> Untrusted:
    before, remedy = _SENTENCES.get(kind, ("the signed metadata can't be trusted", ""))
    return Untrusted(f"{before}: {text}", remedy=remedy)


_SENTENCES = {
    "ExpiredMetadataError": (
        "the signed metadata is too old",
        "See that `edgeagent fleet serve` renews the timestamp, and that this device's clock is "
        "right; else somebody is holding back what is new.",
    ),
    "UnsignedMetadataError": (
        "the metadata is not signed by enough of those who must",
        "Somebody has changed it, or this device has another fleet's trust.root.",
    ),
    "BadVersionNumberError": (
        "older metadata is offered than this device has seen",
        "Restore the repository from its newest copy, or look for who replays an old one.",
    ),
    "LengthOrHashMismatchError": (
        "a file of the metadata is not the one that the others name",
        "Publish again; if it stays, somebody mixes files of different times.",
    ),
    "DownloadLengthMismatchError": ("more is sent than a file may have", ""),
}
"""Failures of python-tuf → what they mean, and what to do."""
