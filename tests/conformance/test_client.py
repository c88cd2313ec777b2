"""The conformance executable, by cases of our own in the manner of the public suite."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

CLIENT = Path(__file__).with_name("client")
YEAR = timedelta(days=365)


class Repository:
    """Signed anew with every request, from what a test has set."""

    def __init__(self) -> None:
        self.signers: dict[str, list[Signer]] = {
            role: [CryptoSigner.generate_ed25519()]
            for role in ("root", "timestamp", "snapshot", "targets", "role1")
        }
        end = datetime.now(timezone.utc).replace(microsecond=0) + YEAR
        self.root = Root(version=1, expires=end, consistent_snapshot=True)
        self.timestamp = Timestamp(version=1, expires=end, snapshot_meta=MetaFile(1))
        meta = {"targets.json": MetaFile(1)}
        self.snapshot = Snapshot(version=1, expires=end, meta=meta)
        self.targets = Targets(version=1, expires=end)
        self.role1 = Targets(version=1, expires=end)
        self.files: dict[str, bytes] = {}
        self.roots: list[bytes] = []
        self.asked: list[str] = []
        for role in ("root", "timestamp", "snapshot", "targets"):
            self.root.add_key(self.signers[role][0].public_key, role)
        self.publish_root()

    def publish_root(self, *more: Signer) -> None:
        document = Metadata(self.root)
        for signer in (*self.signers["root"], *more):
            document.sign(signer, append=True)
        self.roots.append(document.to_bytes())

    def bump(self) -> None:
        """A new state of everything."""
        self.snapshot.version += 1
        self.timestamp.version += 1
        self.timestamp.snapshot_meta.version = self.snapshot.version

    def add(self, role: Targets, path: str, data: bytes) -> None:
        role.targets[path] = TargetFile.from_data(path, data, ["sha256"])
        self.files[path] = data

    def delegate(self) -> None:
        key = self.signers["role1"][0].public_key
        role = DelegatedRole("role1", [key.keyid], 1, terminating=False, paths=["d/*"])
        self.targets.delegations = Delegations({key.keyid: key}, {"role1": role})
        self.targets.version += 1
        self.snapshot.meta |= {"role1.json": MetaFile(1), "targets.json": MetaFile(2)}
        self.bump()

    def fetch(self, path: str) -> bytes | None:
        self.asked.append(path)
        kind, _, name = path.partition("/")
        if kind == "targets":
            folder, _, last = name.rpartition("/")
            last = last.split(".", 1)[1] if self.root.consistent_snapshot else last
            return self.files.get(f"{folder}/{last}" if folder else last)
        version, _, role = name.removesuffix(".json").rpartition(".")
        if role == "root":
            number = int(version)
            return self.roots[number - 1] if number <= len(self.roots) else None
        if role not in ("timestamp", "snapshot", "targets", "role1"):
            return None
        document = Metadata(getattr(self, role))
        for signer in self.signers[role]:
            document.sign(signer, append=True)
        return document.to_bytes()


class Bench:
    """A repository served over HTTP, and the executable."""

    def __init__(self, folder: Path, way: str) -> None:
        self.repo = repo = Repository()
        self.metadata, self.targets = folder / "metadata", folder / "targets"
        self.metadata.mkdir()
        self.targets.mkdir()
        (folder / "root").write_bytes(repo.roots[0])
        self._root = folder / "root"
        self._environment = {**os.environ, "EDGEAGENT_CONFORMANCE": way}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                data = repo.fetch(self.path.lstrip("/"))
                self.send_response(404 if data is None else 200)
                self.send_header("Content-Length", str(len(data or b"")))
                self.end_headers()
                self.wfile.write(data or b"")

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        assert self.run("init", str(self._root)) == 0

    def run(self, *arguments: str) -> int:
        base = f"http://127.0.0.1:{self.server.server_address[1]}"
        command = [str(CLIENT), "--metadata-dir", str(self.metadata), "--metadata-url",
                   f"{base}/metadata/", *arguments]  # fmt: skip
        import sys

        done = subprocess.run(
            [sys.executable, *command], env=self._environment, capture_output=True, text=True
        )
        assert done.returncode in (0, 1), done.stderr
        return done.returncode

    def refresh(self) -> int:
        return self.run("refresh")

    def download(self, *paths: str) -> int:
        base = f"http://127.0.0.1:{self.server.server_address[1]}/targets/"
        names = [part for path in paths for part in ("--target-name", path)]
        return self.run(
            *names, "--target-base-url", base, "--target-dir", str(self.targets), "download"
        )

    def versions(self) -> dict[str, int]:
        """What the client believes."""
        return {
            file.name: Metadata.from_file(str(file)).signed.version
            for file in self.metadata.glob("*.json")
        }

    @property
    def downloaded(self) -> list[bytes]:
        return sorted(file.read_bytes() for file in self.targets.iterdir())


@pytest.fixture(params=["http", "mqtt"])
def bench(request: pytest.FixtureRequest, tmp_path: Path, full: bool) -> Iterator[Bench]:
    once = ("test_refresh_and_download[http]", "test_root_rotation_with_keys_of_every_kind[http]")
    if request.param == "http" and not full and request.node.name not in once:
        pytest.skip("both ways with EDGEAGENT_TESTS=full")
    it = Bench(tmp_path, request.param)
    yield it
    it.server.shutdown()
    it.server.server_close()


def test_refresh_and_download(bench: Bench) -> None:
    bench.repo.add(bench.repo.targets, "path/to/a.txt", b"content")
    assert bench.refresh() == 0
    assert bench.repo.asked == [
        "metadata/2.root.json", "metadata/timestamp.json", "metadata/1.snapshot.json",
        "metadata/1.targets.json",
    ]  # fmt: skip
    assert bench.versions() == {
        "root.json": 1, "timestamp.json": 1, "snapshot.json": 1, "targets.json": 1,
    }  # fmt: skip
    assert bench.download("path/to/a.txt") == 0
    assert bench.downloaded == [b"content"]
    bench.repo.asked.clear()
    assert bench.download("path/to/a.txt") == 0
    assert not [path for path in bench.repo.asked if path.startswith("targets/")]
    bench.repo.files["path/to/a.txt"] = b"CONTENT"
    bench.targets.joinpath(next(bench.targets.iterdir())).unlink()
    assert bench.download("path/to/a.txt") == 1
    assert bench.download("nothing") == 1
    assert bench.downloaded == []


def test_delegated_and_not_consistent(bench: Bench) -> None:
    repo = bench.repo
    repo.delegate()
    repo.add(repo.role1, "d/b.txt", b"delegated")
    assert bench.download("d/b.txt") == 0
    assert bench.versions()["role1.json"] == 1
    repo.root.consistent_snapshot = False
    repo.root.version = 2
    repo.publish_root()
    repo.add(repo.role1, "d/c.txt", b"other")
    repo.role1.version += 1
    repo.snapshot.meta["role1.json"] = MetaFile(2)
    repo.bump()
    assert bench.download("d/c.txt") == 0
    assert bench.downloaded == [b"delegated", b"other"]


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_expired_or_unsigned(bench: Bench, role: str, full: bool) -> None:
    if role != "snapshot" and not full:
        pytest.skip("each role with EDGEAGENT_TESTS=full")
    document = getattr(bench.repo, role)
    end, document.expires = document.expires, document.expires - 2 * YEAR
    assert bench.refresh() == 1
    assert f"{role}.json" not in bench.versions() or role == "timestamp"
    document.expires = end
    own, bench.repo.signers[role] = bench.repo.signers[role], [CryptoSigner.generate_ed25519()]
    assert bench.refresh() == 1
    bench.repo.signers[role] = own
    assert bench.refresh() == 0


def test_rollback(bench: Bench) -> None:
    for _ in range(3):
        bench.repo.bump()
    assert bench.refresh() == 0
    before = bench.versions()
    bench.repo.timestamp.version -= 1
    assert bench.refresh() == 1
    bench.repo.timestamp.version += 2
    bench.repo.timestamp.snapshot_meta.version -= 1
    assert bench.refresh() == 1
    assert bench.versions()["snapshot.json"] == before["snapshot.json"]


def rotate(repo: Repository, *, old: bool, new: bool, scheme: Callable[[], Signer]) -> None:
    former, signer = repo.signers["root"][0], scheme()
    repo.root.version += 1
    repo.root.revoke_key(former.public_key.keyid, "root")
    repo.root.add_key(signer.public_key, "root")
    repo.signers["root"] = [signer] if new else []
    repo.publish_root(*([former] if old else []))
    repo.signers["root"] = [signer]


def test_root_rotation_with_keys_of_every_kind(bench: Bench) -> None:
    for scheme in (CryptoSigner.generate_ecdsa, CryptoSigner.generate_rsa):
        rotate(bench.repo, old=True, new=True, scheme=scheme)
    assert bench.refresh() == 0
    assert bench.versions()["root.json"] == 3


@pytest.mark.parametrize(("old", "new"), [(True, False), (False, True), (False, False)])
def test_root_rotation_that_does_not_count(bench: Bench, old: bool, new: bool, full: bool) -> None:
    if not new and not full:
        pytest.skip("in each way with EDGEAGENT_TESTS=full")
    rotate(bench.repo, old=old, new=new, scheme=CryptoSigner.generate_ed25519)
    assert bench.refresh() == 1
    assert bench.versions()["root.json"] == 1
