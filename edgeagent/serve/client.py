"""Talking to a running agent over its control socket. Only the standard library is needed."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeagent.config.paths import SYSTEM_DATA
from edgeagent.errors import (
    EdgeAgentError,
    NotPermitted,
    StoreError,
    Unavailable,
    of_code,
)

FINAL = ("successful", "failed", "rejected", "expired", "cancelled")
"""States in which a command stays."""

ANNOUNCEMENT = "control"
"""File in the data folder that says where its agent listens."""

_SYSTEM_SOCKET = Path("/run/edgeagent/control.sock")
"""Where the service listens (``RuntimeDirectory=edgeagent``)."""
_HINT = (
    "Start one with: edgeagent run --config FILE (or systemctl start edgeagent). "
    "One that runs with its own --config or --data-dir is found by the same."
)


def socket_path(data_dir: Path) -> Path:
    """Where the agent of a data folder listens: for the agent, which knows its environment."""
    run_dir = os.environ.get("RUNTIME_DIRECTORY", "")
    # systemd may name several folders; the unit's first is the agent's.
    return (Path(run_dir.split(":")[0]) if run_dir else data_dir / "run") / "control.sock"


def find_socket(data_dir: Path) -> Path:
    """Where a client meets the agent of a data folder, whatever the client's environment.

    That is what the agent announced, else the folder's own socket, else the service's if the
    folder is the service's.
    """
    own = data_dir / "run" / "control.sock"
    announced = _announced(data_dir)
    if announced is not None:
        return announced
    if data_dir.absolute() == SYSTEM_DATA and not _there(own):
        return _SYSTEM_SOCKET
    return own


def announce(data_dir: Path, path: Path) -> None:
    """Say in the data folder where its agent listens; `withdraw` ends that.

    Raises:
        StoreError: the folder can't be written.
    """
    file = data_dir / ANNOUNCEMENT
    fresh = file.with_suffix(".new")
    try:
        content = f"{path.absolute()}\n{_identity(data_dir)}\n"
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            os.fchmod(handle, 0o640)  # those who may talk to the agent must read it: no umask
            out.write(content)
        fresh.replace(file)
    except OSError as error:
        raise StoreError(
            f"{file}: where the agent listens can't be written: {error.strerror}",
            remedy=f"Make {data_dir} writable for the agent's user.",
        ) from error


def withdraw(data_dir: Path) -> None:
    """Take back what `announce` said; nothing happens where nothing was said.

    Raises:
        StoreError: the folder can't be written.
    """
    file = data_dir / ANNOUNCEMENT
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{file}: can't be removed: {error.strerror}") from error


def _announced(data_dir: Path) -> Path | None:
    try:
        path, identity = (data_dir / ANNOUNCEMENT).read_text(encoding="utf-8").splitlines()
        # The folder of a dead device, copied beside a living agent, must not speak for that one.
        return Path(path) if identity == _identity(data_dir) else None
    except (OSError, ValueError):
        return None  # nothing was announced; who may not read it can't connect either


def _there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False  # its folder may not be entered


def _identity(folder: Path) -> str:
    its = folder.stat()
    return f"{its.st_dev}:{its.st_ino}"


class ControlClient:
    """Asks the agent of one data folder; a connection per request, so it may be restarted.

    Args:
        path: the control socket.
        timeout_s: longest silence that is waited for.
    """

    def __init__(self, path: Path, timeout_s: float = 10.0) -> None:
        self.path = path
        self.timeout_s = timeout_s

    def status(self) -> dict[str, Any]:
        """The agent's own report. Raises Unavailable where none runs."""
        return self.ask({"type": "status"})

    def test_link(self) -> dict[str, Any]:
        """Have the agent prove its topics at the broker. Raises Unavailable where none runs."""
        return self.ask({"type": "link-test"})

    def command(self, type_: str, **arguments: Any) -> dict[str, Any]:
        """Run a command to its end and return its final status.

        Raises:
            Unavailable: no agent runs, or it went away.
            EdgeAgentError: the agent refused the request itself.
        """
        return self.ask({"type": type_, "id": f"cli-{os.urandom(8).hex()}", "arguments": arguments})

    def result(self, type_: str, **arguments: Any) -> dict[str, Any]:
        """Run a command to its end and return what it gives.

        Raises:
            Unavailable: no agent runs, or it went away.
            EdgeAgentError: the command did not succeed; ``exit_code`` by the reason's code.
        """
        status = self.command(type_, **arguments)
        if status.get("status") != "successful":
            raise _unsuccessful(status)
        result: dict[str, Any] = status.get("result") or {}
        return result

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The last line of the answer to a request."""
        *_, last = self.lines(request)
        return last

    def lines(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Every line of the answer, the final one last.

        Raises:
            Unavailable: no agent listens there, it is silent, or it ends in the middle.
            NotPermitted: the socket belongs to somebody else.
            EdgeAgentError: the agent answered with an error; ``exit_code`` is the agent's.
        """
        with self._connect() as connection:
            try:
                connection.sendall(json.dumps(request).encode() + b"\n")
                with connection.makefile("rb") as stream:
                    for raw in stream:
                        line = json.loads(raw)
                        if "error" in line:
                            raise _refusal(line)
                        yield line
                        if line.get("final") or line.get("status") in FINAL:
                            return
            except TimeoutError as error:
                raise Unavailable(
                    f"the agent at {self.path} does not answer within {self.timeout_s:g} s",
                    remedy="Look at its log: journalctl -u edgeagent.",
                ) from error
            except (OSError, ValueError) as error:
                raise Unavailable(f"the agent at {self.path} broke off: {error}") from error
        raise Unavailable(f"the agent at {self.path} ended in the middle of an answer")

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        connection.settimeout(self.timeout_s)
        try:
            connection.connect(str(self.path))
        except PermissionError as error:
            connection.close()
            raise NotPermitted(
                f"{self.path}: you may not talk to this agent",
                remedy="Join its group: sudo usermod -aG edgeagent $USER, then log in anew.",
            ) from error
        except OSError as error:
            connection.close()
            raise Unavailable(f"no agent runs at {self.path.parent}", remedy=_HINT) from error
        return connection


def _unsuccessful(status: dict[str, Any]) -> EdgeAgentError:
    """How a command ended, as the error that its reason stands for."""
    reason = str(status.get("reason") or status.get("status"))
    error = of_code(reason)(str(status.get("detail") or reason))
    if type(error) is EdgeAgentError and status.get("status") != "failed":
        error.exit_code = 1  # type: ignore[misc]
    return error


def _refusal(line: dict[str, Any]) -> EdgeAgentError:
    """The agent's error as one of ours; its exit code stays the agent's."""
    refusal = EdgeAgentError(str(line["error"]), remedy=str(line.get("remedy") or ""))
    # The class is not known on this side of the socket, the code is all that counts here.
    refusal.code = str(line.get("code", "internal"))  # type: ignore[misc]
    refusal.exit_code = int(line.get("exit_code", 70))  # type: ignore[misc]
    return refusal
