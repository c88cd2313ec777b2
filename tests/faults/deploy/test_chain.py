"""The chain table: state × what may happen in it → the chain of states, and the end.

As Mender tests its states. What must hold after every case stands in `sound`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from rig import MODEL, Process, World, lacking
from unsure import PowerCut, UnsureDisk

from edgeagent.manifest import load_package, sha256_of
from edgeagent.update.ports import Refused
from edgeagent.update.states import TABLE

STATES = [row.state for row in TABLE]
WHOLE = STATES
"""The chain of a change that nothing happens to."""


def sound(process: Process) -> None:
    """Old or new, whole, working, told once, and nothing left lying about."""
    world, truth = process.world, process.truth
    package = process.library().find(MODEL)
    assert process.stage.runs == package.version
    for file, entry in load_package(package.folder).manifest.files.items():
        if (package.folder / file).exists():
            assert sha256_of(package.folder / file) == entry.sha256, file
    assert (package.folder / "m.tflite").is_file()
    assert not truth.open
    assert not truth.untold
    ids = [record["id"] for record in world.records]
    told = {record["id"]: record for record in world.records}
    assert all(world.records[n] == told[id] for n, id in enumerate(ids)), "told in two ways"
    assert truth.deployment is None or truth.deployment.id in told
    models = world.folder / "data" / "models"
    assert not list(models.glob(".coming/*/*")), "left in .coming"
    files = [file for file in models.glob("m/*/*") if file.is_file()]
    kept = {file.stat().st_ino for file in (models / ".files").glob("*")}
    assert kept == {file.stat().st_ino for file in files}
    on_disk = {folder.name for folder in models.glob("m/*") if (folder / "model.toml").exists()}
    assert on_disk == set(truth.installed)


def ends(world: World) -> list[tuple[str, str]]:
    """(version, end) of what was told, each once."""
    return [
        (its["version"], its["state"])
        for its in {record["id"]: record for record in world.records}.values()
    ]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def started(world: World) -> Process:
    """The next life of the agent, once the power is back."""
    if world.disk.dead:
        world.disk = UnsureDisk(world.folder / "scratch")
    return Process(world)


def test_nothing_happens(world: World) -> None:
    world.wish("1.1.0")
    process = started(world)
    process.work()
    assert world.visited == WHOLE
    assert ends(world) == [("1.1.0", "committed")]
    assert world.run == ["1.0.0", "1.1.0"]
    assert process.truth.previous == "1.0.0"
    sound(process)
    again = started(world)
    again.work()
    assert world.visited == WHOLE, "nothing is run twice"
    sound(again)


# --- refused by the work itself

REFUSED = {
    "requested": "rejected", "fetching": "failed", "verifying": "failed", "proving": "failed",
    "shadowing": "failed", "activating": "failed", "probation": "rolled-back",
}  # fmt: skip


@pytest.mark.parametrize("state", STATES)
def test_refused(world: World, state: str) -> None:
    def refuse(_process: Process) -> None:
        raise Refused("no", "it is not for this device")

    world.wish("1.1.0")
    process = started(world)
    process.at[state] = refuse
    process.work()
    assert world.visited == WHOLE[: STATES.index(state) + 1]
    assert ends(world) == [("1.1.0", REFUSED[state])]
    assert process.stage.runs == "1.0.0"
    sound(process)
    process.at.clear()
    process.world.rev += 1
    process.world.document = process.world.document and type(process.world.document)(
        process.world.rev, models=process.world.document.models
    )
    process.work()
    expected = "committed" if state == "requested" else "rejected"
    assert ends(world)[1:] == [("1.1.0", expected)], "what failed here is not tried again"
    sound(process)


PORTS = {
    "refresh": ("fetching", "failed"), "bring": ("fetching", "failed"),
    "incompatible": ("verifying", "failed"), "prove": ("proving", "failed"),
    "shadow": ("shadowing", "failed"), "activate": ("activating", "rolled-back"),
    "judge": ("probation", "rolled-back"),
}  # fmt: skip


@pytest.mark.parametrize("error", [RuntimeError("a bug"), Refused("no", "no")], ids=repr)
@pytest.mark.parametrize("port", PORTS)
def test_a_port_fails(world: World, port: str, error: Exception) -> None:
    state, end = PORTS[port]

    def fail() -> None:
        world.faults.pop(port)
        raise error

    world.wish("1.1.0", shadow_s=0.01)
    process = started(world)
    world.faults[port] = fail
    process.work()
    assert world.visited == WHOLE[: STATES.index(state) + 1]
    assert ends(world) == [("1.1.0", end)]
    assert process.stage.runs == "1.0.0"
    sound(process)


# --- kill -9

KILLED = {
    "requested": (10, "rejected"), "fetching": (10, "failed"), "verifying": (10, "failed"),
    "proving": (3, "failed"), "shadowing": (4, "failed"), "activating": (3, "failed"),
    "probation": (3, "rolled-back"),
}  # fmt: skip


class Killed(BaseException):
    pass


@pytest.mark.parametrize("times", [1, 2, 99])
@pytest.mark.parametrize("state", STATES)
def test_killed(world: World, state: str, times: int) -> None:
    left = [times]

    def kill(_process: Process) -> None:
        if left[0]:
            left[0] -= 1
            raise Killed

    world.wish("1.1.0")
    for _ in range(20):
        process = started(world)
        process.at[state] = kill
        try:
            process.work()
        except Killed:
            continue
        break
    at, (most, end) = STATES.index(state), KILLED[state]
    if times < most:
        assert world.visited == [*WHOLE[:at], *[state] * times, *WHOLE[at:]]
        assert ends(world) == [("1.1.0", "committed")]
    else:
        assert world.visited == [*WHOLE[:at], *[state] * most]
        assert ends(world) == [("1.1.0", end)]
        assert process.stage.runs == "1.0.0"
    sound(process)


@pytest.mark.parametrize("times", [1, 99])
@pytest.mark.parametrize("port", [*PORTS, "tell", "activate 1.0.0"])
def test_killed_in_a_port(world: World, port: str, times: int) -> None:
    left = [times]

    def kill() -> None:
        if left[0]:
            left[0] -= 1
            raise Killed

    world.wish("1.1.0", shadow_s=0.01)
    if port == "activate 1.0.0":
        world.faults["judge"] = lambda: (_ for _ in ()).throw(Refused("no", "worse"))
    for _ in range(30):
        process = started(world)
        world.faults[port] = kill
        try:
            process.work()
        except Killed:
            if world.starts > 15:
                left[0] = 0
            continue
        break
    if port == "activate 1.0.0":
        expected = "rolled-back"
    elif times == 1 or port == "tell":
        expected = "committed"
    else:
        expected = PORTS[port][1]
    assert ends(world) == [("1.1.0", expected)]
    assert process.stage.runs == ("1.1.0" if expected == "committed" else "1.0.0")
    sound(process)


# --- the power is cut at each call that changes the medium


def calls(folder: Path, refused: str) -> list[str]:
    """All that one change does to the medium."""
    folder.mkdir()
    world = scene(folder, refused)
    started(world).work()
    return world.disk.calls


def scene(folder: Path, refused: str) -> World:
    world = World(folder)
    world.wish("1.1.0")
    if refused:
        world.faults[refused] = lambda: (_ for _ in ()).throw(Refused("no", "worse"))
    return world


SCENES = {"": "committed", "prove": "failed", "activate 1.1.0": "rolled-back",
          "judge": "rolled-back"}  # fmt: skip


@pytest.mark.parametrize("how", ["kept", "lost", "torn"])
@pytest.mark.parametrize("refused", SCENES)
def test_power_cut_at_each_call(tmp_path: Path, refused: str, how: str, full: bool) -> None:
    whole = calls(tmp_path / "dry", refused)
    assert len(whole) > 40
    step = 1 if full else 9
    for cut_at in range(len(whole))[::step]:
        folder = tmp_path / f"{cut_at}"
        folder.mkdir()
        world = scene(folder, refused)
        world.disk.cut_at = cut_at
        with pytest.raises(PowerCut):
            started(world).work()
        world.disk.lose(how)
        process = started(world)
        assert process.stage.runs in ("1.0.0", "1.1.0"), (cut_at, whole[cut_at])
        process.work()
        told = [(version, end) for version, end in ends(world)]
        assert told == [("1.1.0", SCENES[refused])], (cut_at, whole[cut_at])
        sound(process)


# --- what lacks for a while


@pytest.mark.parametrize("port", ["refresh", "bring", "claim", "tell"])
@pytest.mark.parametrize("times", [1, 5])
def test_out_of_reach_for_a_while(world: World, port: str, times: int) -> None:
    world.wish("1.1.0")
    process = started(world)
    world.faults[port] = lacking(times)
    process.work()
    assert ends(world) == [("1.1.0", "committed")]
    sound(process)


@pytest.mark.parametrize("state", STATES)
def test_disk_full_for_a_while(world: World, state: str) -> None:
    world.wish("1.1.0")
    process = started(world)

    def fill(its: Process) -> None:
        world.disk.full = True
        its.at.clear()

    process.at[state] = fill
    from edgeagent.errors import StoreError

    for _ in range(3):
        try:
            process.work(rounds=3)
        except StoreError:
            continue  # The engine's own loop waits; here we are the loop.
    world.disk.full = False
    process.work()
    assert ends(world) == [("1.1.0", "committed")]
    sound(process)


@pytest.mark.parametrize("state", STATES)
def test_hangs_until_the_agent_is_stopped(world: World, state: str) -> None:
    """A stop is no evidence against a version, however often."""
    world.wish("1.1.0")

    def hang(its: Process) -> None:
        its.engine.stop(0.0)
        assert its.engine.work.stopped.wait(1)

    for _ in range(12):
        process = started(world)
        process.at[state] = hang
        process.work(rounds=1)
        if not process.truth.open:
            break
    last = started(world)
    last.work()
    assert ends(world) == [("1.1.0", "committed")]
    sound(last)


# --- the clock


@pytest.mark.parametrize("clock", ["synced", "unsynced"])
@pytest.mark.parametrize("state", STATES)
def test_expired(world: World, state: str, clock: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing expires by a clock that is not trusted, and nothing that already runs."""
    world.wish("1.1.0", expires="2026-01-01T00:00:00Z")
    monkeypatch.setenv("EDGEAGENT_CLOCK", "unsynced")
    process = started(world)
    process.at[state] = lambda _its: monkeypatch.setenv("EDGEAGENT_CLOCK", clock)
    process.work()
    at = STATES.index(state)
    if clock == "unsynced" or at >= STATES.index("activating"):
        assert world.visited == WHOLE
        assert ends(world) == [("1.1.0", "committed")]
    else:
        assert world.visited == WHOLE[: at + 1]
        assert ends(world) == [("1.1.0", "failed")]
        assert world.records[0]["reason"] == "expired"
        assert not process.truth.failed, "it may be wished again"
    sound(process)


# --- others change their mind

Change = Callable[[Process], None]


def cancelled(process: Process) -> None:
    process.world.unwish()
    process.heard()


def superseded(process: Process) -> None:
    process.world.wish("1.2.0")
    process.heard()


def _once(change: Change) -> Change:
    def happens(process: Process) -> None:
        process.at.clear()
        change(process)
        process.engine.work.stopped.set()

    return happens


@pytest.mark.parametrize("change", [cancelled, superseded])
@pytest.mark.parametrize("state", STATES)
def test_cancel_and_supersede(world: World, state: str, change: Change) -> None:
    world.wish("1.1.0")
    process = started(world)
    process.at[state] = _once(change)
    process.work()
    at = STATES.index(state)
    if change is cancelled:
        assert world.visited == WHOLE[: at + 1]
        assert ends(world) == [("1.1.0", "cancelled")]
        assert process.stage.runs == "1.0.0"
    else:
        assert world.visited == [*WHOLE[: at + 1], *WHOLE]
        assert ends(world) == [("1.1.0", "superseded"), ("1.2.0", "committed")]
        assert process.stage.runs == "1.2.0"
        assert process.truth.previous == "1.0.0"
    assert not process.truth.failed
    sound(process)


@pytest.mark.parametrize("change", [cancelled, superseded])
@pytest.mark.parametrize("state", STATES)
def test_cancel_and_power_cut(tmp_path: Path, state: str, change: Change, full: bool) -> None:
    """The power goes while it is being taken back."""
    cut_at = 0
    while True:
        folder = tmp_path / str(cut_at)
        folder.mkdir()
        world = World(folder)
        world.wish("1.1.0")
        process = started(world)

        def happens(its: Process, ahead: int = cut_at) -> None:
            _once(change)(its)
            its.world.disk.cut_at = len(its.world.disk.calls) + ahead

        process.at[state] = happens
        try:
            process.work()
        except PowerCut:
            world.disk.lose("lost")
        else:
            break
        process = started(world)
        process.work()
        last = ends(world)[-1]
        # The word itself is kept by the broker: it comes again with the next connect.
        assert last == (("1.1.0", "cancelled") if change is cancelled else ("1.2.0", "committed"))
        assert process.stage.runs == ("1.0.0" if change is cancelled else "1.2.0")
        sound(process)
        cut_at += 1 if full else 13
    assert cut_at > 0
