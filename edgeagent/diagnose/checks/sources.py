"""Is there anything behind the configured sources? Nothing is opened: a camera that is in use
can't be opened twice, and one that is off must not be woken."""

from __future__ import annotations

import glob
import grp
import os
import pwd
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edgeagent import plugins
from edgeagent.config.model import (
    AudioConfig,
    CameraConfig,
    ImagesConfig,
    MjpegConfig,
    PluginConfig,
    RtspConfig,
    SyntheticConfig,
)
from edgeagent.config.secret import hide
from edgeagent.diagnose.checks import sensing
from edgeagent.diagnose.checks.net import NotReached, connect
from edgeagent.diagnose.context import Context
from edgeagent.diagnose.finding import Finding

_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}


def configured(context: Context) -> Iterator[Finding]:
    """Each source, as far as the system tells."""
    for name, source in context.config.sources.items():
        if isinstance(source, CameraConfig):
            yield from _camera(context, name, source)
        elif isinstance(source, (RtspConfig, MjpegConfig)):
            yield _remote(name, source.url)
        elif isinstance(source, SyntheticConfig):
            yield Finding("sources", "ok", f"{name}: a synthetic scene needs nothing")
        elif isinstance(source, PluginConfig):
            yield _plugin(name, source.plugin)
        elif isinstance(source, sensing.KINDS):
            yield from sensing.sensor(context, name, source)
        elif isinstance(source, AudioConfig) and source.device:
            yield from sensing.microphone(context, name, source)
        else:
            yield _path(name, source)


def _camera(context: Context, name: str, source: CameraConfig) -> Iterator[Finding]:
    nodes = sorted(context.root.glob("dev/video*"))
    stable = sorted(context.root.glob("dev/v4l/by-id/*"))
    if not source.device and not nodes:
        yield Finding(
            "sources", "failed", f"{name}: this machine shows no camera", "/dev/video*",
            "Plug one in and look: dmesg | tail. In a container: --device /dev/video0",
        )  # fmt: skip
        return
    device = source.device or str(nodes[0])
    path = Path(f"/dev/video{device}" if device.isdigit() else device)
    here = path if path.is_relative_to(context.root) else context.root / str(path).lstrip("/")
    if not path.is_relative_to("/dev/v4l") and len(nodes) > 1:
        names = ", ".join(f"/dev/v4l/by-id/{its.name}" for its in stable) or "ls -l /dev/v4l/by-*"
        yield Finding(
            "sources", "problem", f"{name}: {path} may be another camera after the next start",
            f"{len(nodes)} video devices", f"Name it by a path that stays: {names}",
        )  # fmt: skip
    yield _node(name, here, path)


def _node(name: str, here: Path, shown: Path) -> Finding:
    try:
        state = here.stat()
    except OSError as error:
        return Finding(
            "sources", "failed", f"{name}: {shown}: {error.strerror}", "stat(2)",
            "See what is there: edgeagent devices list (or ls -l /dev/v4l/by-id)",
        )  # fmt: skip
    if not stat.S_ISCHR(state.st_mode):
        return Finding("sources", "failed", f"{name}: {shown} is no device", "stat(2)",
                       "For a file use kind = \"video\" or \"images\"")  # fmt: skip
    if not os.access(here, os.R_OK | os.W_OK, effective_ids=True):
        return Finding(
            "sources", "failed", f"{name}: {shown} may not be opened by this user",
            f"owned by group {_group(state.st_gid)}",
            f"sudo usermod -aG {_group(state.st_gid)} {_user()}, then log in anew",
        )  # fmt: skip
    return Finding("sources", "ok", f"{name}: {shown} is there and may be opened", "access(2)")


def _remote(name: str, url: str) -> Finding:
    parts = urlsplit(url)
    try:
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 554)
    except ValueError:
        return Finding("sources", "failed", f"{name}: {hide(url)} has no port that can be",
                       "url", "Correct the number behind the colon.")  # fmt: skip
    try:
        said = connect(host, port)
    except NotReached as error:
        return Finding("sources", "failed", f"{name}: {error}", error.how, error.remedy)
    return Finding("sources", "ok", f"{name}: {host}:{port} answers", said)


def _plugin(name: str, plugin: str) -> Finding:
    if plugin in plugins.known("source"):
        return Finding("sources", "ok", f"{name}: the plugin {plugin} is installed")
    return Finding(
        "sources", "failed", f"{name}: no installed package offers the source {plugin!r}",
        "entry points edgeagent.sources", plugins.to_install_package(f"the package of {plugin!r}"),
    )  # fmt: skip


def _path(name: str, source: Any) -> Finding:
    """Files: something is there, may be read and is not empty."""
    path = str(source.path)
    if path == "-":
        return Finding("sources", "ok", f"{name}: reads what is piped in")
    many = isinstance(source, ImagesConfig)
    pattern = many and glob.has_magic(path) and not Path(path).exists()
    files = [Path(its) for its in sorted(glob.glob(path))] if pattern else [Path(path)]  # noqa: PTH207
    if many and len(files) == 1 and files[0].is_dir():
        try:
            files = [its for its in sorted(files[0].iterdir()) if its.is_file()]
        except OSError as error:
            return _bad_file(name, path, error)
    if not files:
        return Finding("sources", "failed", f"{name}: there is no file in {path}", "",
                       "Put some there, or correct the path.")  # fmt: skip
    for file in files[:1000]:
        try:
            if not _readable(file):
                return Finding("sources", "failed", f"{name}: {file} is empty", "stat(2)",
                               "Copy it again.")  # fmt: skip
        except OSError as error:
            return _bad_file(name, str(file), error)
    what = f"{len(files)} files" if len(files) > 1 else str(files[0])
    return Finding("sources", "ok", f"{name}: {what} can be read", path)


def _readable(file: Path) -> bool:
    """Whether it holds something. Raises OSError if it may not be read."""
    state = file.stat()
    if not os.access(file, os.R_OK, effective_ids=True):
        raise PermissionError(13, "permission denied", str(file))
    return state.st_size > 0 or not stat.S_ISREG(state.st_mode)


def _bad_file(name: str, path: str, error: OSError) -> Finding:
    remedy = "Correct the path."
    if isinstance(error, PermissionError):
        remedy = f"Let the agent's user read it: sudo setfacl -m u:{_user()}:rX {path}"
    return Finding("sources", "failed", f"{name}: {path}: {error.strerror}", "stat(2)", remedy)


def _group(number: int) -> str:
    return _named(lambda: grp.getgrgid(number).gr_name, str(number))


def _user() -> str:
    return _named(lambda: pwd.getpwuid(os.geteuid()).pw_name, str(os.geteuid()))


def _named(ask: Callable[[], str], otherwise: str) -> str:
    try:
        return ask()
    except KeyError:
        return otherwise
