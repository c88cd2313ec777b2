"""A Debian that really boots, with systemd as its first process, in a container of nspawn.

Its network is the host's, so a broker on 127.0.0.1 is met from both sides. Where the host's
control groups are of version 1, limits on memory and tasks are not enforced in it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

TOOLS = {"mmdebstrap": "mmdebstrap", "systemd-nspawn": "systemd-container"}
INSIDE = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", "HOME": "/root",
}  # fmt: skip
_LEGACY = "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"
"""Said to the first process: systemd from 256 boots on a host with control groups of version 1
only if it is asked to; others do not know the word."""
_SYSTEMD = "systemd,systemd-sysv,dbus,udev,procps,ca-certificates"
KINDS = {
    "": ["--variant=minbase", f"--include={_SYSTEMD}"],
    # No package manager but dpkg; Python in place of it.
    "no-apt": ["--variant=essential", f"--include={_SYSTEMD},python3,tzdata,libstdc++6"],
    "lintian": ["--variant=minbase", "--include=lintian"],
    # What public images of Debian are: nothing that boots.
    "slim": ["--variant=minbase", "--dpkgopt=path-exclude=/usr/share/man/*",
             "--dpkgopt=path-exclude=/usr/share/locale/*",
             "--dpkgopt=path-exclude=/usr/share/doc/*",
             "--dpkgopt=path-include=/usr/share/doc/*/copyright"],
    # Nothing boots under emulation.
    "arm64": ["--variant=minbase", "--architectures=arm64",
              "--include=systemd-standalone-sysusers,python3,tzdata"],
}  # fmt: skip
"""Kind of root → options of mmdebstrap."""


class Failed(Exception):
    """A command in the machine did not end with 0, or a condition did not come true."""


def missing(more: Mapping[str, str] | None = None) -> list[str]:
    """Packages of Debian that have to be installed before a machine can be made.

    Args:
        more: command → package, of what else is needed.
    """
    return [name for tool, name in {**TOOLS, **(more or {})}.items() if shutil.which(tool) is None]


def base(cache: Path, release: str, mirror: str, kind: str = "") -> Path:
    """An archive of a small root of the release, made where it is missing (a minute or two).

    Args:
        cache: folder of archives.
        release: bookworm, trixie.
        mirror: of Debian.
        kind: a key of ``KINDS``.

    Raises:
        CalledProcessError: mmdebstrap has failed, and said why.
    """
    archive = cache / f"{release}{'-' if kind else ''}{kind}.tar"
    if not archive.exists():
        cache.mkdir(parents=True, exist_ok=True)
        fresh = archive.with_suffix(".new.tar")
        command = ["mmdebstrap", "--quiet", *KINDS[kind], release, str(fresh)]
        subprocess.run([*command, f"deb {mirror} {release} main"], check=True)
        fresh.replace(archive)
    return archive


def until(what: str, condition: Callable[[], Any], timeout_s: float = 30) -> Any:
    """Wait for a condition; its value.

    Raises:
        Failed: it did not come true in time.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise Failed(f"waited {timeout_s:g} s for {what}")


class Machine:
    """One root folder and, while it is booted, its processes.

    Args:
        root: made from the archive.
        archive: as `base` makes it.
        binds: folder inside → folder of the host, read-only.
    """

    def __init__(self, root: Path, archive: Path, binds: dict[str, Path]) -> None:
        self.root = root
        self._binds = binds
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        subprocess.run(["tar", "-C", str(root), "-xf", str(archive)], check=True)

    def boot(self) -> float:
        """Boot, and wait until systemd says that it has come up; the seconds it took."""
        began = time.monotonic()
        command = [
            "systemd-nspawn", "-q", "-D", str(self.root), "--boot", "--keep-unit",
            "--register=no", f"--machine=edgeagent-{os.getpid()}", "--console=pipe",
            *(f"--bind-ro={host}:{inside}" for inside, host in self._binds.items()),
            _LEGACY,
        ]  # fmt: skip
        with (self.root.parent / "boot.log").open("ab") as log:
            self._nspawn = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._leader = until("its first process", self._child, 20)
        until("the end of the boot", self._is_up, 60)
        return time.monotonic() - began

    def shut_down(self) -> float:
        """Power off in good order; the seconds it took."""
        began = time.monotonic()
        if self._nspawn is not None:
            self.run("systemctl", "poweroff", check=False)
            try:
                self._nspawn.wait(40)
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
                self._nspawn.wait()
            self._nspawn = None
        return time.monotonic() - began

    def run(self, *command: str, check: bool = True, timeout_s: float = 200) -> str:
        """What a command in the booted machine prints, both streams.

        Raises:
            Failed: it did not end with 0 and ``check`` is set.
        """
        enter = ["nsenter", "-t", str(self._leader), "-m", "-u", "-i", "-n", "-p"]
        done = subprocess.run(
            [*enter, *command], env=INSIDE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=timeout_s, check=False,
        )  # fmt: skip
        said = done.stdout.decode(errors="replace").strip()
        if check and done.returncode:
            raise Failed(f"{' '.join(command)}: exit {done.returncode}\n{said[-3000:]}")
        return said

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """A command that goes on in the booted machine."""
        enter = ["nsenter", "-t", str(self._leader), "-m", "-u", "-i", "-n", "-p"]
        return subprocess.Popen(
            [*enter, *command], env=INSIDE, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def chroot(self, *command: str, check: bool = True, timeout_s: float = 230) -> str:
        """The same without a boot: the root alone, no first process, no units.

        Raises:
            Failed: it did not end with 0 and ``check`` is set.
        """
        nspawn = ["systemd-nspawn", "-q", "-D", str(self.root), "--register=no", "--keep-unit",
                  "--pipe", *(f"--bind-ro={host}:{inside}" for inside, host in self._binds.items()),
                  *(f"--setenv={key}={value}" for key, value in INSIDE.items())]  # fmt: skip
        done = subprocess.run(
            [*nspawn, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=timeout_s, check=False,
        )  # fmt: skip
        said = done.stdout.decode(errors="replace").strip()
        if check and done.returncode:
            raise Failed(f"{' '.join(command)}: exit {done.returncode}\n{said[-3000:]}")
        return said

    def unit(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "-p", name, "--value", unit)

    def write(self, inside: str, content: str) -> None:
        """Write a file; readable for all, folders made."""
        file = self.root / inside.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)

    def _is_up(self) -> bool:
        told = self.run("systemctl", "is-system-running", check=False)
        return told in ("running", "degraded")

    def _child(self) -> int:
        assert self._nspawn is not None
        if self._nspawn.poll() is not None:
            log = (self.root.parent / "boot.log").read_text(errors="replace")
            raise Failed(f"systemd-nspawn has ended: {log[-2000:]}")
        pid = self._nspawn.pid
        told = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return next((int(child) for child in told if _is_init(int(child))), 0)

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self.shut_down()


def _is_init(pid: int) -> bool:
    """Whether it is the first process of a namespace of its own, past its beginning."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return False
    inner = re.search(r"^NSpid:\s+\d+\s+1$", status, re.MULTILINE)
    return inner is not None and name == "systemd"
