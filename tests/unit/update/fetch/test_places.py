"""Files from a web server (a real one, that misbehaves on request) and from a folder."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edgeagent.errors import Busy, NotFound, Unavailable, Untrusted
from edgeagent.update.fetch import https
from edgeagent.update.fetch.folder import FolderCarrier
from edgeagent.update.fetch.https import HttpCarrier
from edgeagent.update.fetch.part import Part

GO = threading.Event()
DATA = os.urandom(300_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


class Web:
    """Serves DATA under any path but ``missing``."""

    def __init__(self) -> None:
        self.ranges = True
        self.cut_after = 0
        self.status = 200
        self.endless = False
        self.sent = 0
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.answer(self)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        if handler.path.endswith("missing") or self.status != 200:
            handler.send_error(self.status if self.status != 200 else 404)
            return
        asked, data, first = handler.headers.get("Range"), DATA, 0
        if asked and self.ranges:
            first, last = (int(part) for part in asked.removeprefix("bytes=").split("-"))
            data = DATA[first : last + 1]
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {first}-{last}/{len(DATA)}")
        else:
            handler.send_response(200)
        if self.endless:
            handler.end_headers()
            try:
                for _ in range(1000):
                    handler.wfile.write(DATA)
                    self.sent += len(DATA)
            except OSError:
                return
            return
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        if self.cut_after:
            data, self.cut_after = data[: self.cut_after], 0
        self.sent += len(data)
        handler.wfile.write(data)


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setattr(https, "_PAUSE_S", 0.01)
    it = Web()
    yield it
    it.server.shutdown()
    it.server.server_close()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_file_goes_on_after_a_cut(web: Web, tmp_path: Path, ranges: bool) -> None:
    web.cut_after, web.ranges = 100_500, ranges
    part = Part(tmp_path / "m", len(DATA), SHA256)
    HttpCarrier(web.url).bring("targets/m", part, GO)
    part.finish()
    assert (tmp_path / "m").read_bytes() == DATA
    assert (web.sent < len(DATA) + 1100) is ranges


def test_small_files(web: Web) -> None:
    carrier = HttpCarrier(web.url + "/")
    assert carrier.read("metadata/a.json", len(DATA), GO) == DATA
    assert carrier.read("metadata/missing", 100, GO) is None
    with pytest.raises(Untrusted, match="more than 1000 bytes"):
        carrier.read("metadata/a.json", 1000, GO)
    web.endless = True
    with pytest.raises(Untrusted):
        carrier.read("metadata/a.json", 10_000, GO)
    assert web.sent < 20 * len(DATA)


def test_what_fails_is_told(web: Web, tmp_path: Path) -> None:
    part = Part(tmp_path / "m", len(DATA), SHA256)
    with pytest.raises(NotFound):
        HttpCarrier(web.url).bring("targets/missing", part, GO)
    web.status = 503
    with pytest.raises(Unavailable, match="answers 503"):
        HttpCarrier(web.url).bring("targets/m", part, GO)
    with pytest.raises(Unavailable, match="can't be reached"):
        HttpCarrier("http://127.0.0.1:1").read("metadata/a", 10, GO)
    web.status = 200
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(Busy):
        HttpCarrier(web.url).bring("targets/m", part, stopped)


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "r" / "targets").mkdir(parents=True)
    (tmp_path / "r" / "targets" / "m").write_bytes(DATA)
    (tmp_path / "r" / "targets" / "link").symlink_to("/etc/passwd")
    carrier = FolderCarrier(tmp_path / "r")
    part = Part(tmp_path / "m", len(DATA), SHA256)
    part.put(4096, DATA[4096:8192])
    carrier.bring("targets/m", part, GO)
    part.finish()
    assert (tmp_path / "m").read_bytes() == DATA
    assert carrier.read("targets/none", 10, GO) is None
    with pytest.raises(Untrusted, match="leads out"):
        carrier.read("targets/link", 10_000, GO)
    with pytest.raises(Untrusted, match="signed are 5"):
        carrier.bring("targets/m", Part(tmp_path / "n", 5, SHA256), GO)
    with pytest.raises(Unavailable, match="there is no folder"):
        FolderCarrier(tmp_path / "gone").read("metadata/a", 10, GO)
