"""Real servers for capture: RTSP by GStreamer or aio-rtsp-toolkit, Motion JPEG by http.server.

The RTSP server is not a Python dependency of this project. Either of these is found:
Debian packages ``python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-{base,good,ugly,bad}``
(used by ``/usr/bin/python3``), or the command ``rtsp-server`` of the PyPI package
``aio-rtsp-toolkit[server]``, on PATH or named by ``EDGEAGENT_RTSP_SERVER``.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SYSTEM_PYTHON = os.environ.get("EDGEAGENT_SYSTEM_PYTHON", "/usr/bin/python3")
_PROBE = (
    "import gi; gi.require_version('GstRtspServer', '1.0'); "
    "from gi.repository import Gst, GstRtspServer; Gst.init(None); "
    "assert Gst.ElementFactory.find('x264enc')"
)


class Server:
    """A server process that can be killed, stopped and started again on its port."""

    def __init__(self, command: Callable[[int], list[str]], path: str, *, tells: bool = True):
        self._command = command
        self._path = path
        self._tells = tells
        self._process: subprocess.Popen[str] | None = None
        self.port = 0 if tells else free_port()
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}{self._path}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command(self.port), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        if self._tells:
            line = self._process.stdout.readline()
            assert line.strip().isdigit(), self._process.communicate()[1]
            self.port = int(line)
        until(self._answers, 15.0)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1.0).close()
        except OSError:
            return False
        return True


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def until(condition: Callable[[], bool], timeout: float = 10.0) -> float:
    """Wait for a condition; how long it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout, "it did not happen in time"
        time.sleep(0.01)
    return time.monotonic() - began


@pytest.fixture(scope="session")
def gstreamer() -> bool:
    """Whether the system's Python has GStreamer's RTSP server and encoders."""
    if not Path(SYSTEM_PYTHON).exists():
        return False
    probe = subprocess.run([SYSTEM_PYTHON, "-c", _PROBE], capture_output=True, check=False)
    return probe.returncode == 0


@pytest.fixture(scope="module")
def servers() -> Iterator[list[Server]]:
    """Servers in this list are ended after the tests of a file."""
    made: list[Server] = []
    yield made
    for server in made:
        server.kill()


@pytest.fixture(scope="module")
def live_rtsp(gstreamer: bool, servers: list[Server]) -> Callable[..., Server]:
    """Starts a live source: ``live_rtsp(width, height, fps, *more)``. GStreamer only."""
    if not gstreamer:
        pytest.skip("needs GStreamer's RTSP server for the system Python (see conftest.py)")

    def start(width: int, height: int, fps: int, *more: str) -> Server:
        script = str(HERE / "rtsp_gst.py")
        size = [str(width), str(height), str(fps)]
        server = Server(lambda port: [SYSTEM_PYTHON, script, str(port), *size, *more], "/live")
        servers.append(server)
        return server

    return start


@pytest.fixture(scope="module")
def start(gstreamer: bool, servers: list[Server]) -> Callable[..., Server]:
    """Starts a script of this folder with the system's Python: ``start(script, *arguments)``."""
    if not gstreamer:
        pytest.skip("needs GStreamer's RTSP server for the system Python (see conftest.py)")

    def play(script: str, *arguments: str) -> Server:
        place = str(HERE / script)
        server = Server(lambda port: [SYSTEM_PYTHON, place, str(port), *arguments], "/live")
        servers.append(server)
        return server

    return play


@pytest.fixture(scope="module")
def rtsp(
    gstreamer: bool, servers: list[Server], tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Callable[[], Server]:  # fmt: skip
    """Starts a stream of 320x240 at 10 fps, by whichever server there is."""
    if gstreamer:
        start: Callable[..., Server] = request.getfixturevalue("live_rtsp")
        return lambda: start(320, 240, 10)
    program = os.environ.get("EDGEAGENT_RTSP_SERVER") or shutil.which("rtsp-server")
    if not program or not shutil.which("ffmpeg"):
        pytest.skip("no RTSP server is installed (see tests/e2e/capture/conftest.py)")
    media = tmp_path_factory.mktemp("media")
    subprocess.run(
        ["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=10",
         "-t", "30", "-c:v", "libx264", "-g", "10", "-bf", "0", "-preset", "ultrafast",
         "-pix_fmt", "yuv420p", str(media / "clip.mp4")],
        check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip

    def play() -> Server:
        def command(port: int) -> list[str]:
            return [program, "--dir", str(media), "--host", "127.0.0.1", "--port", str(port)]

        server = Server(command, "/clip.mp4", tells=False)
        servers.append(server)
        return server

    return play


@pytest.fixture(scope="module")
def mjpeg(servers: list[Server]) -> Callable[..., Server]:
    """Starts a Motion JPEG camera at a rate."""

    def start(fps: float = 20.0) -> Server:
        script = str(HERE / "mjpeg_server.py")
        command = [sys.executable, script]
        server = Server(lambda port: [*command, str(port), str(fps)], "/video")
        servers.append(server)
        return server

    return start
