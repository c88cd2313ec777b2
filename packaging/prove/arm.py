"""The arm64 packages in an arm64 Debian under emulation; their results beside this machine's.

    sudo make arm64       # or: python packaging/prove/arm.py --models DIR

Installs the packages of build/apt with their own maintainer scripts, asks each shipped model's
golden samples by LiteRT and ONNX Runtime, runs loose model files on the same invented inputs here
and there (LiteRT's with its reference kernels as well, which must agree to the bit), and lets the
daemon send events to a broker. Emulation shows that it is right, not how fast it is, and no
accelerator. Needs root, and `apt install mmdebstrap qemu-user-static`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import machine
from edgeagent.testing.broker import Mosquitto
from edgeagent.testing.device import Listener
from machine import INSIDE, Failed, until

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_QEMU = "qemu-aarch64"
REFERENCE = "reference kernels"
"""In what `results` says a file ran on."""
_STEPS = 8
"""3 % of the range of a quantized value."""
TOOLS = {"mmdebstrap": "mmdebstrap", "qemu-aarch64-static": "qemu-user-static"}


def register() -> None:
    """Let the kernel run arm64 programs through qemu, once a boot of this machine.

    Raises:
        Failed: the kernel has no binfmt_misc.
    """
    if not (_BINFMT / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", _BINFMT], check=False)
    if not (_BINFMT / "register").exists():
        raise Failed("the kernel has no binfmt_misc, so arm64 programs can't be run here")
    if not (_BINFMT / _QEMU).exists():
        told = Path(f"/usr/lib/binfmt.d/{_QEMU}.conf").read_text()
        line = next(its for its in told.splitlines() if its and not its.startswith("#"))
        (_BINFMT / "register").write_text(line)


class Emulated:
    """A root for another architecture, entered by chroot.

    /sys of this machine must not be seen in there: the runtimes read the processor's layout from
    it and die of one that is not theirs.
    """

    def __init__(self, root: Path, archive: Path, apt: Path) -> None:
        self.root = root
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        subprocess.run(["tar", "-C", str(root), "-xf", str(archive)], check=True)
        shutil.copytree(apt, root / "srv" / "apt")
        # No service manager runs in there: maintainer scripts must not try to start anything.
        (root / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
        (root / "usr/sbin/policy-rc.d").chmod(0o755)
        shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")

    def command(self, *words: str) -> list[str]:
        """As it has to be called from here: in mounts of its own, which end with it."""
        script = (
            'mount -t proc proc "$0/proc"; mount --rbind /dev "$0/dev"; '
            'mount -t tmpfs tmpfs "$0/run"; exec chroot "$0" "$@"'
        )
        return ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script,
                str(self.root), *words]  # fmt: skip

    def run(self, *words: str, timeout_s: float = 600) -> str:
        """What it prints on standard output. Raises Failed when it does not end with 0."""
        done = subprocess.run(
            self.command(*words), env=INSIDE, stdin=subprocess.DEVNULL, capture_output=True,
            timeout=timeout_s, check=False,
        )  # fmt: skip
        if done.returncode:
            said = (done.stdout + done.stderr).decode(errors="replace")
            raise Failed(f"{' '.join(words)}: exit {done.returncode}\n{said[-3000:]}")
        return done.stdout.decode(errors="replace").strip()


def install(box: Emulated, release: str) -> str:
    """From the repository, with maintainer scripts under emulation."""
    began = time.monotonic()
    box.run("cp", "/srv/apt/edgeagent.gpg", "/usr/share/keyrings/edgeagent.gpg")
    box.run("cp", f"/srv/apt/edgeagent-{release}.sources", "/etc/apt/sources.list.d/")
    box.run("apt-get", "-qq", "update")
    box.run("apt-get", "-qq", "-o", "Dpkg::Use-Pty=0", "--yes", "install",
            "--no-install-recommends", "edgeagent-full")  # fmt: skip
    version = box.run("edgeagent", "--version")
    arch = box.run("dpkg", "--print-architecture")
    return f"{version} for {arch}, installed by apt in {time.monotonic() - began:.0f} s"


def compare(box: Emulated, files: list[Path]) -> tuple[list[str], int]:
    """Rows of what both give, and how many are not equal."""
    inside = box.root / "srv/models"
    inside.mkdir(parents=True, exist_ok=True)
    for file in [*files, HERE / "results.py"]:
        shutil.copy(file, inside / file.name)
    names = [f"/srv/models/{file.name}" for file in files]
    script = ["/srv/models/results.py", "/usr/share/edgeagent/models"]
    there = json.loads(box.run("/usr/lib/edgeagent/bin/python3", "-I", *script, *names))
    here: dict[str, Any] = json.loads(subprocess.run(
        [sys.executable, str(HERE / "results.py"), str(ROOT / "models"), *map(str, files)],
        check=True, capture_output=True, text=True).stdout)  # fmt: skip
    rows, bad = [], 0
    for its in there["packages"]:
        bad += bool(its["faults"])
        rows.append(f"| {its['file']} | {its['ran']} | {its['samples']} golden samples "
                    f"{'pass' if not its['faults'] else its['faults'][0]} |")  # fmt: skip
    for mine, its in zip(here["files"], there["files"], strict=True):
        said, close = difference(mine, its)
        bad += not close
        rows.append(f"| {its['file']} | {its['ran']} | {its['outputs'][:12]}… {said} |")
    return rows, bad


def difference(one: dict[str, Any], other: dict[str, Any]) -> tuple[str, bool]:
    """How two results of one model differ, and whether that is rounding.

    XNNPACK takes its kernels by the processor, and none under emulation: sums are made in another
    order and rounded elsewhere. On invented inputs that may move a quantized value by a step of
    256, and one behind a softmax by several; what is best in a tensor must stay the best. With
    reference kernels on both sides whole numbers have no such excuse.
    """
    if one["outputs"] == other["outputs"]:
        return "bit-equal", True
    plain = REFERENCE in one.get("ran", "")
    tensors = list(zip(one["values"], other["values"], strict=True))
    pairs = [pair for mine, its in tensors for pair in zip(mine, its, strict=True)]
    most = max(abs(a - b) for a, b in pairs)
    count = sum(a != b for a, b in pairs)
    same = all(mine.index(max(mine)) == its.index(max(its)) for mine, its in tensors)
    best = "the best stays" if same else "another is best"
    if all(float(a).is_integer() and float(b).is_integer() for a, b in pairs):
        said = f"{count} of {len(pairs)} values differ, by {most:g} of 256 steps at most; {best}"
        return said, most <= _STEPS and same and not plain
    limit = 1e-6 if plain else 1e-3
    return f"differs by {most:.2g} at most; {best}", most <= limit and same


def send(box: Emulated, folder: Path) -> str:
    """The daemon as the package's user, with the belt; until an event is on the broker."""
    with Mosquitto(folder / "broker") as broker:
        heard = Listener(broker.port, "edgeagent/arm-1/records", "edgeagent/arm-1/status")
        (box.root / "etc/edgeagent/conf.d/belt.toml").write_text(
            (ROOT / "examples/belt.toml").read_text()
            .replace('host = "localhost"', 'host = "127.0.0.1"')
            .replace("port = 1883", f"port = {broker.port}")
            .replace('name = "Belt 1"', 'id = "arm-1"\nname = "Belt 1"')
        )  # fmt: skip
        box.run("install", "-d", "-o", "edgeagent", "-g", "edgeagent", "/var/lib/edgeagent")
        began = time.monotonic()
        with (folder / "agent.log").open("wb") as log:
            going = subprocess.Popen(
                box.command("setpriv", "--reuid=edgeagent", "--regid=edgeagent", "--init-groups",
                            "edgeagentd", "--data-dir", "/var/lib/edgeagent"),
                env={**INSIDE, "EDGEAGENT_CLOCK": "synced"}, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log,
            )  # fmt: skip
        try:
            until("records on the broker", lambda: heard.on("edgeagent/arm-1/records"), 120)
        except Failed as error:
            said = (folder / "agent.log").read_text(errors="replace")
            raise Failed(f"{error}\n{said[-3000:]}") from error
        finally:
            going.terminate()
            going.wait(60)
            heard.close()
        return (
            f"the daemon's first records were on the broker after {time.monotonic() - began:.0f} s"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repository", type=Path, default=Path("build/apt"))
    parser.add_argument("--release", default="bookworm")
    parser.add_argument(
        "--roots", type=Path, default=Path("build/roots"), help="kept for next time"
    )
    parser.add_argument("--work", type=Path, default=Path("build/arm64"))
    parser.add_argument("--mirror", default="http://deb.debian.org/debian")
    parser.add_argument("--models", type=Path, nargs="*", default=[], help=".tflite, .onnx")
    told = parser.parse_args()
    absent = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if absent:
        raise SystemExit(f"Needed for an arm64 Debian: sudo apt install {' '.join(absent)}")
    if os.geteuid() != 0:
        raise SystemExit("Entering another root needs root: sudo make arm64")
    register()
    archive = machine.base(told.roots.absolute(), told.release, told.mirror, "arm64")
    work = told.work.absolute()
    shutil.rmtree(work, ignore_errors=True)
    box = Emulated(work / "root", archive, told.repository.absolute())
    print(f"{install(box, told.release)}; {box.run('uname', '-m')} by {_QEMU}\n", flush=True)
    shipped = sorted(
        its for kind in ("tflite", "onnx") for its in (ROOT / "models").glob(f"*/*/*.{kind}")
    )
    rows, bad = compare(box, [*shipped, *told.models])
    print("\n".join(["| model | ran on | result |", "|---|---|---|", *rows]), flush=True)
    print(f"\n{send(box, work)}")
    shutil.rmtree(work)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
