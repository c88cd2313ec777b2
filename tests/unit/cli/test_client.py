"""The control client against the real control socket."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.errors import Busy, EdgeAgentError, NotPermitted, StoreError, Unavailable
from edgeagent.serve.client import (
    ControlClient,
    announce,
    find_socket,
    socket_path,
    withdraw,
)
from edgeagent.serve.control import ControlSocket


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "run" / "control.sock"


@pytest.fixture
def server(place: Path) -> Iterator[ControlSocket]:
    def answer(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if request["type"] == "busy":
            raise Busy("somebody else works", remedy="Wait.")
        if request["type"] == "broken":
            raise ZeroDivisionError
        if request["type"] == "slow":
            time.sleep(1)
        if request["type"] == "status":
            yield {"final": True, "state": "online"}
            return
        yield {"status": "executing", "progress": 0.5}
        yield {"status": "successful", "result": request["arguments"], "id": request["id"]}

    its = ControlSocket(place, answer)
    yield its
    its.close()


@pytest.mark.usefixtures("server")
def test_status_is_one_line(place: Path) -> None:
    assert ControlClient(place).status() == {"final": True, "state": "online"}


@pytest.mark.usefixtures("server")
def test_a_command_ends_with_its_final_status_and_has_an_id(place: Path) -> None:
    client = ControlClient(place)
    first = client.command("pipeline", name="belt", action="pause")
    assert first["result"] == {"name": "belt", "action": "pause"}
    assert first["id"] != client.command("ping")["id"]


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("kind", "code", "name"), [("busy", 75, "busy"), ("broken", 70, "internal")]
)
def test_a_refusal_keeps_its_exit_code_and_remedy(
    place: Path, kind: str, code: int, name: str
) -> None:
    with pytest.raises(EdgeAgentError) as caught:
        ControlClient(place).ask({"type": kind})
    assert (caught.value.exit_code, caught.value.code) == (code, name)
    assert EdgeAgentError.exit_code == 70, "the class itself stays as it is"
    if kind == "busy":
        assert (str(caught.value), caught.value.remedy) == ("somebody else works", "Wait.")


@pytest.mark.usefixtures("server")
def test_silence_is_not_waited_for_without_end(place: Path) -> None:
    with pytest.raises(Unavailable, match=r"does not answer within 0\.2 s"):
        ControlClient(place, timeout_s=0.2).ask({"type": "slow", "id": "x", "arguments": {}})


def test_nobody_there(place: Path) -> None:
    with pytest.raises(Unavailable, match="no agent runs"):
        ControlClient(place).status()


def test_a_socket_left_over_by_a_crash(place: Path) -> None:
    place.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place))
    with pytest.raises(Unavailable, match="no agent runs"):
        ControlClient(place).status()


@pytest.mark.parametrize("sent", [b"", b'{"status":"executing"}\n', b"no json\n"])
def test_one_that_breaks_off_in_the_middle(place: Path, sent: bytes) -> None:
    place.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            connection.recv(1024)
            connection.sendall(sent)
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(Unavailable):
            ControlClient(place).status()
        thread.join()


def test_somebody_elses_agent(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(NotPermitted, match="may not talk"):
        ControlClient(place).status()


def test_where_the_socket_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    assert socket_path(tmp_path) == tmp_path / "run" / "control.sock"
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/edgeagent:/run/other")
    assert socket_path(tmp_path) == Path("/run/edgeagent/control.sock")


def test_a_client_finds_the_agent_of_a_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon has systemd's variable, the shell has not."""
    data, runtime = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    runtime.mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(runtime))
    where = socket_path(data)
    monkeypatch.delenv("RUNTIME_DIRECTORY")
    assert find_socket(data) == data / "run" / "control.sock"
    announce(data, where)
    assert (data / "control").stat().st_mode & 0o777 == 0o640
    assert find_socket(data) == where == runtime / "control.sock"
    server = ControlSocket(where, lambda _: iter([{"state": "online", "final": True}]))
    try:
        assert ControlClient(find_socket(data)).status()["state"] == "online"
    finally:
        server.close()
    withdraw(data)
    withdraw(data)
    assert find_socket(data) == data / "run" / "control.sock"
    assert list(data.iterdir()) == []


def test_a_copied_folder_does_not_speak_for_a_living_agent(tmp_path: Path) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    data.mkdir()
    announce(data, Path("/run/edgeagent/control.sock"))
    shutil.copytree(data, copy)
    assert find_socket(copy) == copy / "run" / "control.sock"
    (data / "control").write_bytes(b"\xff")
    assert find_socket(data) == data / "run" / "control.sock"


def test_the_service_is_found_without_an_announcement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeagent.serve.client.SYSTEM_DATA", tmp_path)
    assert find_socket(tmp_path) == Path("/run/edgeagent/control.sock")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "control.sock").touch()
    assert find_socket(tmp_path) == tmp_path / "run" / "control.sock"


def test_an_announcement_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="can't be written"):
        announce(tmp_path / "none", Path("/run/edgeagent/control.sock"))


def test_without_a_service_the_persons_own_agent_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeagent.cli import options

    system = tmp_path / "etc" / "agent.toml", tmp_path / "var"
    monkeypatch.setattr("edgeagent.config.paths.SYSTEM_CONFIG", system[0])
    monkeypatch.setattr("edgeagent.config.paths.SYSTEM_DATA", system[1])
    own = tmp_path / "xdg_data_home" / "edgeagent"
    assert options.data_folder(None, None) == own
    assert options.data_folder(None, tmp_path / "named") == tmp_path / "named"
    system[1].mkdir()
    assert options.data_folder(None, None) == system[1]
    assert options.data_folder(tmp_path / "mine.toml", None) == own
