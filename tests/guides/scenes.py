"""What has happened before a guide's commands are typed. The guides name each scene in full."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable

from guide import Typed

from edgeagent.fleet.enrolment import hashed
from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import free_port
from stage import ROOT, Stage

SCENES: dict[str, Callable[[Stage], None]] = {}
QUICK = {"an office with a list of boxes", "a belt at work, its broker at hand"}
"""Scenes that are played in every run; the others in whole runs."""

BELT = (ROOT / "examples" / "belt.toml").read_text().replace(
    'name = "Belt 1"', 'id = "belt-1"\nname = "Belt 1"'
)  # fmt: skip


def scene(name: str) -> Callable[[Callable[[Stage], None]], Callable[[Stage], None]]:
    def kept(setting: Callable[[Stage], None]) -> Callable[[Stage], None]:
        SCENES[name] = setting
        return setting

    return kept


def _reasons(agent: AgentProcess, pattern: str) -> None:
    agent.until(lambda its: any(re.search(pattern, line) for line in its["reasons"]), 60)


@scene("a belt at work, its broker at hand")
def at_work(stage: Stage) -> None:
    stage.broker()
    agent = stage.agent(BELT)
    agent.until(lambda its: its["outbox"]["delivered"] > 5 and its["outbox"]["pending"] == 0)


_COAT = """
[sources.belt.sight]       # quicker than usual, as the scene is short
enabled = true
every = "0.5 s"
after = "1.5 s"
[[sources.belt.mishaps]]
kind = "covered"
at_s = 14
for_s = 3600
"""


@scene("a belt at work, and somebody has hung a coat over its camera")
def covered(stage: Stage) -> None:
    stage.broker()
    agent = stage.agent(BELT + _COAT)
    _reasons(agent, "covered")


@scene("a camera in the network, and its plug has been pulled")
def unplugged(stage: Stage) -> None:
    stage.broker()
    port = free_port()
    camera = stage.background(
        f"{sys.executable} {ROOT}/tests/e2e/capture/mjpeg_server.py {port} 10"
    )
    source = f'[sources.gate]\nkind = "mjpeg"\nurl = "http://127.0.0.1:{port}/"\n'
    agent = stage.agent(
        '[device]\nid = "gate-1"\n[mqtt]\nhost = "localhost"\nport = 1883\n'
        f'{source}[pipelines.parts]\nsource = "gate"\nmodel = "parts"\n'
    )
    agent.until(lambda its: its["pipelines"]["parts"]["steps"] > 5)
    camera.kill()
    _reasons(agent, "gate")


@scene("a belt at work whose rule asks for a zone beside the belt")
def beside(stage: Stage) -> None:
    stage.broker()
    config = BELT.replace("[[0, 0.1], [1, 0.1], [1, 0.9], [0, 0.9]]",
                          "[[0, 0], [1, 0], [1, 0.1], [0, 0.1]]")  # fmt: skip
    agent = stage.agent(config)
    agent.until(lambda its: its["pipelines"]["parts"]["steps"] > 250)


@scene("a device without a network, and a small card that is full")
def full_card(stage: Stage) -> None:
    config = BELT.replace('max = "64 MiB"', 'max = "8 MiB"').replace(
        "fps = 10", 'fps = 10\npace = "max"'
    )
    agent = stage.agent(config.replace("every = 10", "every = 1"))
    agent.until(lambda its: any(its["outbox"]["dropped"].values()), 120)


@scene("a machine with a broker")
def broker_only(stage: Stage) -> None:
    stage.broker()


@scene("an office with a list of boxes")
def office(stage: Stage) -> None:
    lines = [f"Door {n},hall {1 + n // 20},{'canary ' if n % 10 == 0 else ''}doors,/dev/video0"
             for n in range(1, 41)]  # fmt: skip
    (stage.folder / "40.csv").write_text(
        "\n".join(["name,site,groups,sources.cam0.device", *lines]) + "\n"
    )
    (stage.folder / "door.toml").write_text(
        '[sources.cam0]\nkind = "camera"\n[pipelines.door]\nsource = "cam0"\nmodel = "parts"\n'
    )


_DOOR = """
[sources.cam0]
kind = "synthetic"         # in place of a camera
fps = 5
[pipelines.parts]
source = "cam0"
model = "parts"
snapshot = true
record = { events = true, every = 2 }
"""


@scene("a new box on the table, a made-up camera plugged in")
def on_the_table(stage: Stage) -> None:
    broker = stage.broker()
    (stage.folder / "box.toml").write_text(
        f'[setup]\nversion = 1\n[device]\nid = "door-7"\nsite = "hall 2"\n[mqtt]\n'
        f'host = "localhost"\nport = {broker.port}\n{_DOOR}'
    )


@scene("a new box that was set up and does not run yet")
def set_up(stage: Stage) -> None:
    on_the_table(stage)
    assert stage.type(Typed(0, "edgeagent setup box.toml"))[0] == 0


@scene("two boxes hang, and their office runs a broker and a collector")
def hung(stage: Stage) -> None:
    files = stage.folder / "devices" / "mosquitto"
    files.mkdir(parents=True)
    (stage.folder / "op").write_text("0perator")
    (files / "passwd").write_text(f"operator:{hashed('0perator')}\n")
    (files / "acl").touch()
    (stage.folder / "door.toml").write_text(_DOOR)
    (stage.folder / "40.csv").write_text("name,site\nDoor 7,hall 2\nDoor 8,hall 2\n")
    stage.environment["EDGEAGENT_FLEET_DB"] = str(stage.folder / "fleet.db")
    broker = stage.broker(options=(
        "allow_anonymous false", f"password_file {files / 'passwd'}", f"acl_file {files / 'acl'}",
    ))  # fmt: skip
    enrolled, said = stage.type(Typed(
        0, f"edgeagent fleet enroll --csv 40.csv --host localhost --port {broker.port} "
        "--template door.toml"
    ))  # fmt: skip
    assert enrolled == 0, said
    os.kill(broker.pid, signal.SIGHUP)
    stage.background("edgeagent fleet collect --username operator --password-file op")
    for name in ("door-7", "door-8"):
        box = stage.folder / name
        done, said = stage.type(Typed(
            0, f"edgeagent setup --keep devices/setup/{name}.toml --config {box}/agent.toml "
            f"--data-dir {box}/data"
        ))  # fmt: skip
        assert done == 0, said
        agent = stage.ends.enter_context(AgentProcess(
            box / "agent.toml", box, environment={"EDGEAGENT_CLOCK": "synced"}
        ))  # fmt: skip
        agent.until(lambda its: its["outbox"]["delivered"] > 30)
