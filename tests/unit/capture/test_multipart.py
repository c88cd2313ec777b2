"""Motion JPEG over HTTP from a real server in this process."""

from __future__ import annotations

import base64
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeagent.capture import decoder as decoder_module
from edgeagent.capture.multipart import MultipartDecoder
from edgeagent.capture.rtsp import MjpegSource, SnapshotSource
from edgeagent.config.model import MjpegConfig, SnapshotConfig
from edgeagent.errors import InputError, SourceLost

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


def jpeg(value: int) -> bytes:
    done, data = cv2.imencode(".jpg", np.full((24, 32, 3), value, np.uint8))
    assert done
    return data.tobytes()


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], str]]:
    """Start a server that answers every request by a function; gives its address."""
    servers = []

    def start(answer: Answer) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"

            def do_GET(self) -> None:
                try:
                    answer(self)
                except (BrokenPipeError, ConnectionResetError):
                    return

            def log_message(self, format: str, *args: object) -> None:
                return

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_address[1]}/video"

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join(5)


def stream(
    parts: list[bytes], *, boundary: str = "frame", told: str = "frame", length: bool = True
) -> Answer:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={told}")
        handler.end_headers()
        for part in parts:
            head = f"--{boundary}\r\nContent-Type: image/jpeg\r\n"
            if length:
                head += f"Content-Length: {len(part)}\r\n"
            handler.wfile.write(head.encode() + b"\r\n" + part + b"\r\n")

    return answer


def decoder(url: str, username: str = "", password: str = "") -> MultipartDecoder:
    return MultipartDecoder(url, username, password)


def shades(camera: MultipartDecoder, count: int) -> list[int]:
    got = []
    for _ in range(count):
        camera.grab()
        pixels = camera.picture(None)
        assert pixels.shape == (24, 32, 3)
        got.append(round(float(pixels.mean()) / 10) * 10)
    return got


@pytest.mark.parametrize(
    ("boundary", "told"),
    [("frame", "frame"), ("a b", '"a b"'), ("--frame", "--frame"), ("frame", "--frame")],
)
@pytest.mark.parametrize("length", [True, False])
def test_pictures_come_in_order_whatever_the_boundary(
    serve: Callable[[Answer], str], boundary: str, told: str, length: bool
) -> None:
    parts = [jpeg(value) for value in (10, 100, 200)]
    camera = decoder(serve(stream(parts, boundary=boundary, told=told, length=length)))
    camera.open()
    assert shades(camera, 3) == [10, 100, 200]
    with pytest.raises(SourceLost, match="closed the connection"):
        camera.grab()
    camera.close()


def test_a_broken_picture_does_not_end_the_stream(serve: Callable[[Answer], str]) -> None:
    parts = [jpeg(10), jpeg(50)[:-200], b"\xff\xd8 no picture \xff\xd9", jpeg(100)]
    camera = decoder(serve(stream(parts)))
    camera.open()
    assert shades(camera, 1) == [10]
    for words in ("cut off", "can't be decoded"):
        camera.grab()
        with pytest.raises(InputError, match=words):
            camera.picture(None)
    assert shades(camera, 1) == [100]
    camera.close()


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "user name or password"), (403, "forbids"), (404, "no such address"), (503, "free"),
     (500, "answers 500")],
)  # fmt: skip
def test_answers_are_explained(serve: Callable[[Answer], str], status: int, words: str) -> None:
    url = serve(lambda handler: handler.send_error(status))
    with pytest.raises(SourceLost, match=words):
        decoder(url, "me", "wrong").open()


def test_basic_authentication(serve: Callable[[Answer], str]) -> None:
    expected = "Basic " + base64.b64encode(b"me:s3cret").decode()

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        if handler.headers["Authorization"] == expected:
            stream([jpeg(100)])(handler)
            return
        handler.send_response(401)
        handler.send_header("WWW-Authenticate", 'Basic realm="cam"')
        handler.end_headers()

    url = serve(answer)
    camera = decoder(url, "me", "s3cret")
    camera.open()
    assert shades(camera, 1) == [100]
    camera.close()
    with pytest.raises(SourceLost, match="user name or password"):
        decoder(url, "me", "wrong").open()


def test_digest_authentication(serve: Callable[[Answer], str]) -> None:
    seen = []

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        given = handler.headers["Authorization"] or ""
        seen.append(given)
        if given.startswith("Digest ") and 'username="me"' in given and "response=" in given:
            stream([jpeg(100)])(handler)
            return
        handler.send_response(401)
        handler.send_header("WWW-Authenticate", 'Digest realm="cam", nonce="abc", qop="auth"')
        handler.end_headers()

    camera = decoder(serve(answer), "me", "s3cret")
    camera.open()
    assert shades(camera, 1) == [100]
    camera.close()
    assert not any("s3cret" in given for given in seen)


@pytest.mark.parametrize(
    ("kind", "body"), [("text/html", b"<html>login</html>"), ("image/jpeg", jpeg(10))]
)
def test_what_is_no_stream(serve: Callable[[Answer], str], kind: str, body: bytes) -> None:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", kind)
        handler.end_headers()
        handler.wfile.write(body)

    with pytest.raises(SourceLost, match=f"gives {kind}, not a Motion JPEG stream"):
        decoder(serve(answer)).open()


def test_a_server_that_never_answers(
    serve: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent ends the child that waits."""
    monkeypatch.setattr(decoder_module, "_OPEN_SPARE_S", 0.1)
    over = threading.Event()
    url = serve(lambda _: over.wait(10))  # type: ignore[arg-type, return-value]
    source = MjpegSource("cam", MjpegConfig(url=url, timeout="300 ms"))
    with pytest.raises(SourceLost, match="without an answer"):
        source.open()
    pid = source.pid
    source.close()
    assert not Path(f"/proc/{pid}").exists()
    over.set()


MULTIPART = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=f\r\n\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"garbage\r\n\r\n",
        MULTIPART,
        MULTIPART + b"--f\r\n",
        MULTIPART + b"--f\r\nContent-Length: 9999999999\r\n\r\n",
        MULTIPART + b"--f\r\nContent-Length: x\r\n\r\n",
        MULTIPART + b"--f\r\nContent-Length: 100\r\n\r\nshort",
        MULTIPART + b"\xff" * 5000,
    ],
)
def test_nonsense_is_a_loss(serve: Callable[[Answer], str], raw: bytes) -> None:
    url = serve(lambda handler: handler.wfile.write(raw))
    camera = decoder(url)
    with pytest.raises(SourceLost):
        camera.open()
        camera.grab()
        camera.grab()
    camera.close()


def test_nobody_listens_and_no_such_name() -> None:
    with pytest.raises(SourceLost, match="nothing listens"):
        decoder("http://127.0.0.1:1/x").open()
    with pytest.raises(SourceLost, match="can't be resolved"):
        decoder("http://nosuch.invalid/x").open()


def test_snapshots_are_asked_for_at_their_pace(serve: Callable[[Answer], str]) -> None:
    asked: list[float] = []

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        asked.append(time.monotonic())
        data = jpeg(10 * len(asked))
        handler.send_response(200)
        handler.send_header("Content-Type", "image/jpeg")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    config = SnapshotConfig(url=serve(answer), every="100 ms")
    source = SnapshotSource("cam", config)
    source.open()
    try:
        shades = [round(float(source.read().pixels.mean()) / 10) for _ in range(5)]
    finally:
        source.close()
    assert shades == sorted(set(shades)), "each is a new one"
    # One that was late is followed by the next when that is due.
    assert np.diff(asked).mean() > 0.08
    assert source.tally.note == "a snapshot every 0.1 s"


def test_a_snapshot_address_that_gives_a_page_is_explained(serve: Callable[[Answer], str]) -> None:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html")
        handler.end_headers()

    source = SnapshotSource("cam", SnapshotConfig(url=serve(answer)))
    with pytest.raises(SourceLost, match="gives text/html, not a picture") as caught:
        source.open()
    source.close()
    assert "manual" in caught.value.remedy


def test_a_certificate_file_that_is_none_is_named(tmp_path: Path) -> None:
    file = tmp_path / "camera.pem"
    file.write_text("no certificate")
    source = SnapshotSource("cam", SnapshotConfig(url="https://127.0.0.1:1/x", ca=str(file)))
    with pytest.raises(SourceLost, match=r"camera\.pem can't be used as a certificate"):
        source.open()
    source.close()
