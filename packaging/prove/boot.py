"""The packages on a Debian that really boots: installed, broken in each way, upgraded, purged.

    sudo make boot        # or: python packaging/prove/boot.py --repository build/apt

Prints what it did and what came of it, a line each; ends with 1 at the first thing that is not as
it has to be. Needs root, mosquitto, and `apt install mmdebstrap systemd-container`.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deb"))

import machine
import repository
from build import Build
from edgeagent import __version__
from edgeagent.testing.broker import Mosquitto
from edgeagent.testing.device import Listener
from machine import Machine
from observer import DEVICE
from reporting import tell
from trial import Trial


def newer(told: argparse.Namespace) -> str:
    """Put a newer version of the agent into a copy of the repository; the older one's version."""
    older = sorted((told.repository / "pool" / told.release).glob("edgeagent_*_all.deb"))[-1]
    version = older.name.split("_")[1]
    out = told.work / "newer"
    build = Build(told.release, "amd64", out, "zstd", told.wheels)
    build.agent(f"{__version__}+99991231.2359", int(time.time()))
    return version


def run(told: argparse.Namespace) -> None:
    """Everything, in this order."""
    shutil.rmtree(told.work, ignore_errors=True)
    told.work.mkdir(parents=True)
    apt = told.work / "apt"
    shutil.copytree(told.repository, apt)
    for file in apt.glob("*.sources"):
        # Wherever it is meant to be given out from: here it is a folder.
        file.write_text(re.sub("(?m)^URIs:.*$", "URIs: file:///srv/apt", file.read_text()))
    older = "" if told.brief else newer(told)
    archive = machine.base(told.roots, told.release, told.mirror)
    with Mosquitto(told.work / "broker", persistent=True) as broker:
        heard = Listener(broker.port, f"edgeagent/{DEVICE}/records", f"edgeagent/{DEVICE}/status",
                         f"edgeagent/{DEVICE}/cmd/#")  # fmt: skip
        box = Machine(told.work / "root", archive, {"/srv/apt": apt})
        its = Trial(box, broker, heard, told.release)
        with box:
            tell("boot", lambda: f"Debian {told.release}, systemd up after {box.boot():.1f} s")
            tell("apt install from our repository", its.install)
            tell("configuration", its.configure)
            if not told.brief:
                tell("edgeagent-fleet", its.fleet)
                tell("every module", its.imports)
                tell("shipped models", its.models)
            tell("hardening", its.exposure)
            tell("kill -9", its.killed)
            if not told.brief:
                tell("footprint", its.footprint)
                tell("kill -STOP", its.stopped)
                tell("wrong configuration", its.wrong_configuration)
            tell("crash loop", its.crash_loop)
            if not told.brief:
                tell("memory", its.memory)
                tell("start limit", its.start_limit)
                key = repository.throwaway(told.work / "key")
                repository.publish(told.work / "newer", apt, key, int(time.time()),
                                   "file:///srv/apt")  # fmt: skip
                box.run("cp", "/srv/apt/edgeagent.gpg", "/usr/share/keyrings/edgeagent.gpg")
                tell("upgrade under load", its.upgrade)
                tell("interrupted downgrade", lambda: its.interrupted(older))
                tell("reboot", its.reboot)
            tell("purge", its.purge)
        heard.close()
    shutil.rmtree(told.work)


def run_tarball(told: argparse.Namespace) -> None:
    """The archive on a system that has neither apt nor pip."""
    shutil.rmtree(told.work, ignore_errors=True)
    told.work.mkdir(parents=True)
    archive = machine.base(told.roots, told.release, told.mirror, "no-apt")
    with Mosquitto(told.work / "broker", persistent=True) as broker:
        heard = Listener(broker.port, f"edgeagent/{DEVICE}/records")
        box = Machine(told.work / "root", archive, {"/srv/tarball": told.tarball.parent})
        its = Trial(box, broker, heard, told.release, prefix="/opt/edgeagent")
        with box:
            tell("boot", lambda: f"Debian {told.release}, systemd up after {box.boot():.1f} s")
            tell("install.sh", lambda: its.unpack(told.tarball.name))
            tell("configuration", its.configure)
            tell("shipped models", its.models)
            tell("kill -9", its.killed)
            tell("upgrade in place", lambda: its.unpack(told.tarball.name, again=True))
            tell("reboot", its.reboot)
            tell("uninstall", its.uninstall)
        heard.close()
    shutil.rmtree(told.work)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repository", type=Path, default=Path("build/apt"))
    parser.add_argument("--release", default="bookworm")
    parser.add_argument(
        "--roots", type=Path, default=Path("build/roots"), help="kept for next time"
    )
    parser.add_argument("--wheels", type=Path, default=Path("build/wheels"))
    parser.add_argument("--tarball", type=Path, help="prove this archive in place of packages")
    parser.add_argument("--brief", action="store_true", help="install, crash, safe mode, purge")
    parser.add_argument("--work", type=Path, default=Path("build/boot"))
    parser.add_argument("--mirror", default="http://deb.debian.org/debian")
    told = parser.parse_args()
    for name in ("repository", "roots", "wheels", "work"):
        setattr(told, name, getattr(told, name).absolute())
    absent = machine.missing()
    if absent:
        raise SystemExit(f"Needed to boot a Debian: sudo apt install {' '.join(absent)}")
    if os.geteuid() != 0:
        raise SystemExit("Booting a container needs root: sudo make boot")
    if told.tarball:
        told.tarball = told.tarball.absolute()
        run_tarball(told)
    else:
        run(told)


if __name__ == "__main__":
    main()
