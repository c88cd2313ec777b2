"""What has happened before a guide's commands are typed. The guides name each scene in full."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from collections.abc import Callable

from theatre import PATIENCE_S, ROOT, Stage, eventually

from edgeagent.fleet.enrolment import hashed
from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import free_port

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
    agent.until(lambda its: any(re.search(pattern, line) for line in its["reasons"]), PATIENCE_S)


@scene("a belt at work, its broker at hand")
def at_work(stage: Stage) -> None:
    stage.broker()
    agent = stage.agent(BELT)
    agent.until(
        lambda its: its["outbox"]["delivered"] > 5 and its["outbox"]["pending"] == 0, PATIENCE_S
    )


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
    agent.until(lambda its: its["pipelines"]["parts"]["steps"] > 5, PATIENCE_S)
    camera.kill()
    _reasons(agent, "nothing listens")  # At first it is a connection that was closed.


@scene("a belt at work whose rule asks for a zone beside the belt")
def beside(stage: Stage) -> None:
    stage.broker()
    config = BELT.replace("[[0, 0.1], [1, 0.1], [1, 0.9], [0, 0.9]]",
                          "[[0, 0], [1, 0], [1, 0.1], [0, 0.1]]")  # fmt: skip
    agent = stage.agent(config)
    agent.until(lambda its: its["pipelines"]["parts"]["steps"] > 250, PATIENCE_S)


@scene("a device without a network, and a small card that is full")
def full_card(stage: Stage) -> None:
    config = BELT.replace('max = "64 MiB"', 'max = "8 MiB"').replace(
        "fps = 10", 'fps = 10\npace = "max"'
    )
    agent = stage.agent(config.replace("every = 10", "every = 1"))
    agent.until(lambda its: any(its["outbox"]["dropped"].values()), PATIENCE_S)


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
    stage.set_up("edgeagent setup box.toml")


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
    stage.set_up(
        f"edgeagent fleet enroll --csv 40.csv --host localhost --port {broker.port} "
        "--template door.toml"
    )
    os.kill(broker.pid, signal.SIGHUP)
    stage.background("edgeagent fleet collect --username operator --password-file op")
    for name in ("door-7", "door-8"):
        box = stage.folder / name
        stage.set_up(
            f"edgeagent setup --keep devices/setup/{name}.toml --config {box}/agent.toml "
            f"--data-dir {box}/data"
        )
        agent = stage.ends.enter_context(AgentProcess(
            box / "agent.toml", box, environment={"EDGEAGENT_CLOCK": "synced"}
        ))  # fmt: skip
        agent.until(lambda its: its["outbox"]["delivered"] > 30, PATIENCE_S)


_TABLE = """
[profiles]
rpi4 = 0.4
rpi5 = 0.3
jetson-nano = 0.2
x86 = 0.1
[[outcome]]
version = "parts@1.1.0"
profile = "jetson-nano"
share = 1.0
at = "proving"
reason = "prove: golden"
says = "top-1 0.61 of 0.95 on the golden pictures"
"""


def _forty(stage: Stage) -> None:
    stage.broker()
    stage.environment["EDGEAGENT_FLEET_DB"] = str(stage.folder / "fleet.db")
    for version in ("1.1.0", "1.2.0"):
        package = stage.folder / "packages" / "parts" / version
        shutil.copytree(ROOT / "models" / "parts" / "1.0.0", package)
        manifest = package / "model.toml"
        text = re.sub(r"^version = .*", f'version = "{version}"', manifest.read_text(), flags=re.M)
        manifest.write_text(text)
    (stage.folder / "table.toml").write_text(_TABLE)
    stage.background("edgeagent fleet collect")
    eventually((stage.folder / "fleet.db").exists)
    stage.set_up("edgeagent fleet simulate 40 --packages packages --table table.toml "
                 "--speed 900 --metrics 1s &")  # fmt: skip


@scene("forty simulated devices, and a model that one kind of board could not take")
def some_behind(stage: Stage) -> None:
    _forty(stage)
    stage.set_up("edgeagent fleet desired publish group:simulated --model parts@1.1.0")
    eventually(lambda: stage.online('model.parts == "1.1.0"') == 32)


@scene("forty simulated devices, and a service that drives rollouts")
def driven(stage: Stage) -> None:
    _forty(stage)
    stage.background("edgeagent fleet rollout run")


@scene("belt-1 at work, with a light of its own, and a collector at the desk")
def seen(stage: Stage) -> None:
    _seen(stage)


@scene("belt-1 has stopped for the night, and a collector at the desk has listened")
def stopped(stage: Stage) -> None:
    agent = _seen(stage)
    agent.client.result("pipeline", name="parts", action="stop")
    agent.until(lambda its: its["outbox"]["pending"] == 0, PATIENCE_S)


def _seen(stage: Stage) -> AgentProcess:
    stage.broker()
    stage.environment["EDGEAGENT_FLEET_DB"] = str(stage.folder / "fleet.db")
    stage.background("edgeagent fleet collect")
    eventually((stage.folder / "fleet.db").exists)
    light = stage.folder / "board" / "sys" / "class" / "leds" / "ACT"
    light.mkdir(parents=True)
    for file, value in (("trigger", "[none] timer"), ("brightness", "0"), ("max_brightness", "1")):
        (light / file).write_text(value)
    # No machine of a test has a light: this board's are files, and all else is the agent.
    board = (
        "import pathlib; from edgeagent.device import lights; from edgeagent.agent import main; "
        f"lights.light.__defaults__ = (pathlib.Path({str(stage.folder / 'board')!r}),); main()"
    )
    agent = stage.agent(
        BELT
        + '[commands]\nallow = ["ping", "doctor", "identify"]\n'
        + '[sync]\nconfirm = "collector"\n',
        python=(sys.executable, "-c", board),
    )
    agent.until(lambda its: its["outbox"]["delivered"] > 30, PATIENCE_S)
    return agent


@scene("an empty folder, and no broker yet")
def empty(stage: Stage) -> None:
    stage.port = free_port()
    stage.environment["EDGEAGENT_FLEET_PORT"] = str(stage.port)
