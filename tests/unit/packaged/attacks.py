"""A `handler.py` that means harm: each number is an attempt, the label says how it ended."""

import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from edgeagent.handler import About, Label, Outputs

kept: list[bytes] = []


def connect() -> None:
    socket.create_connection(("127.0.0.1", int(os.environ.get("PORT", "9"))), 1)


def raw_socket() -> None:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)


def unix_socket() -> None:
    socket.socketpair()


def write() -> None:
    Path("/tmp/edgeagent-handler-was-here").write_text("x")


def write_own() -> None:
    Path(ABOUT.folder, "handler.py").write_text("x")


def remove() -> None:
    Path(ABOUT.folder, "model.toml").unlink()


def read_secret() -> None:
    Path("/etc/shadow").read_bytes()


def read_home() -> None:
    os.listdir("/root")


def read_parent() -> None:
    Path(f"/proc/{os.getppid()}/environ").read_bytes()


def fork() -> None:
    os.fork()


def run() -> None:
    subprocess.run(["/bin/true"], check=True)


def become() -> None:
    os.execv("/bin/true", ["true"])


def thread() -> None:
    threading.Thread(target=time.sleep, args=(9,)).start()


def hit_parent() -> None:
    os.kill(os.getppid(), signal.SIGTERM)


def raise_limits() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (hard, hard))


def raise_priority() -> None:
    os.setpriority(os.PRIO_PROCESS, 0, -5)


def more_memory() -> None:
    os.memfd_create("more")


def by_hand() -> None:
    # socket(2) without Python: 41 on x86-64, 198 on 64-bit ARM.
    number = 41 if os.uname().machine == "x86_64" else 198
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, 2, 1, 0) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def eat() -> None:
    while True:
        kept.append(bytearray(8 << 20))


def spin() -> None:
    while True:
        pass


def crash() -> None:
    ctypes.string_at(0)


def leave() -> None:
    os._exit(3)


def chatter() -> None:
    for _ in range(20000):
        print("nothing to say " * 20)
        print("nothing to say " * 20, file=sys.stderr)


def secrets() -> None:
    raise ValueError(f"env {sorted(os.environ)} stdin {os.read(0, 10)!r}")


ATTEMPTS = [
    connect, raw_socket, unix_socket, write, write_own, remove, read_secret, read_home, read_parent,
    fork, run, become, thread, hit_parent, raise_limits, raise_priority, more_memory, by_hand,
]  # fmt: skip
DEADLY = {"eat": eat, "spin": spin, "crash": crash, "leave": leave, "chatter": chatter}


def decode(outputs: Outputs, about: About) -> list[Label]:
    global ABOUT
    ABOUT = about
    number = int(outputs["y"][0, 0])
    if number < 0:
        list(DEADLY.values())[-number - 1]()
        return [Label("done", 1.0)]
    if number >= len(ATTEMPTS):
        return [Label("fine", 0.5)]
    try:
        ATTEMPTS[number]()
    except (OSError, RuntimeError, ValueError) as error:
        return [Label(f"kept: {type(error).__name__}", 1.0)]
    return [Label("it went through", 1.0)]
