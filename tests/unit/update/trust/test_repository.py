"""What a device trusts: signed files, by patch where it can be, with a floor under its clock."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from edgeagent.clock import BUILD_TIME_S
from edgeagent.errors import Busy, NotFound, Unavailable, Untrusted
from edgeagent.fleet.keys import PrivateKey
from edgeagent.fleet.repository import ceremony, roles
from edgeagent.fleet.repository.home import Home
from edgeagent.update.fetch.folder import FolderCarrier
from edgeagent.update.trust.moment import Moment

GO = threading.Event()
MODEL = "models/parts/1.0.0/m.tflite"


class Board:
    """A clock that a test sets."""

    def __init__(self, seconds: float, synced: bool) -> None:
        self.seconds, self.trusted = seconds, synced

    def wall_ns(self) -> int:
        return int(self.seconds * 1e9)

    def synced(self) -> bool:
        return self.trusted


def test_a_version_is_found_and_brought(device: Any, release: Any, tmp_path: Path) -> None:
    content = os.urandom(50_000)
    release("1.0.0", content)
    it = device()
    it.refresh(GO)
    target = it.target(MODEL)
    assert target.length == 50_000
    told: list[tuple[int, int]] = []
    it.bring(target, tmp_path / "out", progress=lambda *n: told.append(n), stopped=GO)
    assert (tmp_path / "out").read_bytes() == content
    assert told[-1] == (50_000, 50_000)
    assert it.target("models/parts/9.9.9/m.tflite") is None
    assert it.target("models/nobody/1.0.0/m.tflite") is None
    assert it.target("models/parts/1.0.0/golden/expected.json").length == 7
    assert it.signed() == {MODEL: target}
    pid = it.pid
    assert Path(f"/proc/{pid}").exists()
    it.close()
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(Unavailable):
        it.target(MODEL)


def test_a_small_change_comes_as_a_patch(device: Any, release: Any, tmp_path: Path) -> None:
    old = bytearray(os.urandom(200_000))
    release("1.0.0", bytes(old))
    (tmp_path / "old").write_bytes(old)
    old[1000:1040] = os.urandom(40)
    plan = release("1.1.0", bytes(old))
    assert [patch.file for patch in plan.patches] == ["m.tflite"]
    assert len(plan.patches[0].data) < 2000
    seen = Counting(device)
    seen.it.refresh(GO)
    target = seen.it.target("models/parts/1.1.0/m.tflite")
    before = seen.bytes
    seen.it.bring(target, tmp_path / "new", bases=[tmp_path / "old"], stopped=GO)
    assert (tmp_path / "new").read_bytes() == old
    assert seen.bytes - before < 2000
    assert sorted(path.name for path in tmp_path.glob("new*")) == ["new"]


@pytest.mark.parametrize("spoil", ["base", "patch", "nobsdiff"])
def test_where_no_patch_helps_the_whole_comes(
    device: Any, release: Any, home: Home, tmp_path: Path, spoil: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    old = bytearray(os.urandom(100_000))
    release("1.0.0", bytes(old))
    (tmp_path / "old").write_bytes(old)
    old[1000:1040] = os.urandom(40)
    release("1.1.0", bytes(old))
    if spoil == "base":
        (tmp_path / "old").write_bytes(b"other")
    if spoil == "patch":
        for file in (home.targets / "patches" / "parts").iterdir():
            file.write_bytes(b"BSDIFF40" + bytes(file.stat().st_size - 8))
    if spoil == "nobsdiff":
        monkeypatch.setattr("edgeagent.update.delta._BOOT", "raise ImportError('bsdiff4')")
    it = device()
    it.refresh(GO)
    target = it.target("models/parts/1.1.0/m.tflite")
    it.bring(target, tmp_path / "new", bases=[tmp_path / "old"], stopped=GO)
    assert (tmp_path / "new").read_bytes() == old


def test_what_was_changed_is_refused_and_nothing_is_left(
    device: Any, release: Any, home: Home, tmp_path: Path
) -> None:
    release("1.0.0", os.urandom(5000))
    for file in home.targets.rglob("*.m.tflite"):
        file.write_bytes(b"\x00" + file.read_bytes()[1:])
    it = device()
    it.refresh(GO)
    with pytest.raises(Untrusted, match="not what was signed"):
        it.bring(it.target(MODEL), tmp_path / "o" / "out", stopped=GO)
    assert list((tmp_path / "o").iterdir()) == []


def test_another_mirror_helps(device: Any, release: Any, home: Home, tmp_path: Path) -> None:
    release("1.0.0", b"x" * 5000)
    (tmp_path / "empty").mkdir()
    bad = tmp_path / "bad"
    (bad / "metadata").mkdir(parents=True)
    (bad / "metadata" / "timestamp.json").write_text("{}")
    carriers = [FolderCarrier(tmp_path / path) for path in ("gone", "empty", "bad")]
    it = device(carriers=[*carriers, FolderCarrier(home.folder / "public")])
    it.refresh(GO)
    it.bring(it.target(MODEL), tmp_path / "out", stopped=GO)
    with pytest.raises(Unavailable, match="there is no folder"):
        device(carriers=carriers[:1]).refresh(GO)
    with pytest.raises(Untrusted):
        device(carriers=carriers).refresh(GO)


def test_without_a_root_there_is_no_trust(device: Any, home: Home) -> None:
    home.first_root.unlink()
    with pytest.raises(NotFound, match=r"trust\.root"):
        device().refresh(GO)


def test_it_is_stopped(device: Any) -> None:
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(Busy):
        device().refresh(stopped)


def test_keys_are_rotated_and_devices_follow(
    device: Any, release: Any, home: Home, make_version: Any
) -> None:
    release("1.0.0", b"a" * 5000)
    it = device()
    it.refresh(GO)
    for name in ("online", "safe-2", "parts", "safe-1"):
        ceremony.rotate(home, name)
        it.refresh(GO)
        assert it.target(MODEL) is not None, name
    assert it.versions["root"] == 4
    late = device()
    late.refresh(GO)
    assert late.versions == it.versions
    ceremony.revoke(home, "parts")
    it.refresh(GO)
    assert it.target(MODEL) is None
    ceremony.add_model(home, "parts2")
    it.refresh(GO)


def test_operators_of_the_fleet_are_known_after_a_refresh(device: Any, home: Home) -> None:
    key = PrivateKey.new()
    ceremony.set_operator(home, "ann", key.public_pem)
    it = device("one")
    it.refresh(GO)
    file = it._folder / "operators.json"
    assert json.loads(file.read_text()) == {"operators": {"ann": {"key": key.public.hex()}}}
    ceremony.set_operator(home, "ann", None)
    it.refresh(GO)
    assert json.loads(file.read_text()) == {"operators": {}}


# --- time


def test_an_expired_timestamp_is_refused_and_the_text_helps(
    device: Any, home: Home, tmp_path: Path
) -> None:
    end = home.timestamp().signed.expires.timestamp()
    board = Board(end - 10, True)
    it = device("one", moment=Moment(tmp_path / "time.json", board))
    it.refresh(GO)
    board.seconds = end + 10
    with pytest.raises(Untrusted, match="too old") as told:
        it.refresh(GO)
    assert "fleet serve" in told.value.remedy


def test_a_board_that_wakes_in_1970_remembers_better(
    device: Any, home: Home, tmp_path: Path
) -> None:
    end = home.timestamp().signed.expires.timestamp()
    board = Board(end - 10, True)
    moment = Moment(tmp_path / "time.json", board)
    device("one", moment=moment).refresh(GO)
    board.seconds, board.trusted = 0, False
    assert moment.floor_ns() == pytest.approx((end - 10) * 1e9, abs=1e7)
    (tmp_path / "time.json").write_bytes(bytes(20))
    assert moment.floor_ns() == BUILD_TIME_S * 10**9


def test_a_clock_in_2040_refuses_all_until_it_is_right_again(
    device: Any, home: Home, tmp_path: Path
) -> None:
    board = Board(2_208_988_800, True)
    it = device("one", moment=Moment(tmp_path / "time.json", board))
    with pytest.raises(Untrusted):
        it.refresh(GO)
    board.seconds = home.timestamp().signed.expires.timestamp() - 100
    it.refresh(GO)


def test_an_untrusted_clock_does_not_count(device: Any, tmp_path: Path) -> None:
    board = Board(2_208_988_800, False)
    device("one", moment=Moment(tmp_path / "time.json", board)).refresh(GO)


# --- power cuts, and what a child costs


@pytest.mark.parametrize("name", ["timestamp.json", "snapshot.json", "targets.json", "root.json"])
@pytest.mark.parametrize("content", [b"", bytes(300)])
def test_metadata_that_a_power_cut_spoilt_is_had_again(
    device: Any, release: Any, name: str, content: bytes
) -> None:
    release("1.0.0", b"a" * 5000)
    it = device()
    it.refresh(GO)
    file = it._folder / "metadata" / name
    file.resolve().write_bytes(content)
    it.refresh(GO)
    assert it.target(MODEL) is not None


def test_the_metadata_is_on_the_medium(device: Any, tmp_path: Path) -> None:
    """python-tuf never syncs; by strace of the child each file it wrote is."""
    import shutil
    import sys

    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    it = device("one")
    real, log = sys.executable, tmp_path / "calls"
    tracer = tmp_path / "python"
    tracer.write_text(
        f'#!/bin/sh\nexec strace -f -y -o {log} -e trace=fsync,rename,renameat {real} "$@"\n'
    )
    tracer.chmod(0o755)
    sys.executable = str(tracer)
    try:
        it.refresh(GO)
    finally:
        sys.executable = real
    calls = log.read_text()
    for name in ("timestamp.json", "snapshot.json", "targets.json", "1.root.json"):
        renamed = calls.index(f'{name}"')
        assert calls.index(f"{name}>", renamed) > renamed


def test_the_child_is_small_and_goes_away(device: Any, release: Any) -> None:
    release("1.0.0", b"a" * 5000)
    it = device()
    it.refresh(GO)
    it.target(MODEL)
    for line in Path(f"/proc/{it.pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            assert int(line.split()[1]) <= 30 * 1024


def test_a_child_that_dies_is_told(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeagent.update.trust.guard._BOOT", "raise SystemExit('out of luck')")
    with pytest.raises(Unavailable, match="out of luck"):
        device().refresh(GO)
    absent = "raise ModuleNotFoundError(\"No module named 'tuf'\")"
    monkeypatch.setattr("edgeagent.update.trust.guard._BOOT", absent)
    with pytest.raises(Exception, match=r"python-tuf is not installed"):
        device().refresh(GO)


class Counting:
    """A device that counts what its carrier brings."""

    def __init__(self, device: Any) -> None:
        self.bytes = 0
        self.it = device()
        carrier = self.it._carriers[0]
        bring = carrier.bring

        def counted(path: str, sink: Any, stopped: Any) -> None:
            bring(path, sink, stopped)
            self.bytes += sink.pieces.size

        carrier.bring = counted


def test_roles_are_for_one_model_only() -> None:
    assert roles.role_of("parts") == "model-parts"
    for bad in ("", "A", "a/b", "..", "a" * 65, "a_b"):
        with pytest.raises(Exception, match="no name of a model"):
            roles.role_of(bad)
