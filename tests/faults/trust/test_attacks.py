"""Attacks on the repository, over MQTT through a real broker (TUF §1.5 and what it names there).

After each of them a device has what it had, and goes on once the attack is over.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import MetaFile, TargetFile

from edgeagent.errors import EdgeAgentError, Untrusted
from edgeagent.fleet.keys import PrivateKey
from edgeagent.fleet.repository import ceremony, roles
from edgeagent.fleet.repository.home import Home, key_of
from edgeagent.fleet.serve import Server
from edgeagent.update.trust.moment import Moment
from edgeagent.update.trust.repository import TrustedRepository

pytestmark = pytest.mark.broker

GO = threading.Event()
MODEL = "models/parts/1.0.0/m.tflite"
CONTENT = bytes(range(256)) * 400
Device = Callable[..., TrustedRepository]


def bring(it: TrustedRepository, into: Path, path: str = MODEL) -> bytes:
    target = it.target(path)
    assert target is not None
    it.bring(target, into, stopped=GO)
    return into.read_bytes()


def refused(it: TrustedRepository, match: str | None = None) -> Untrusted:
    with pytest.raises(Untrusted, match=match) as told:
        it.refresh(GO)
    return told.value


@pytest.fixture
def attacked(device: Device, home: Home, tmp_path: Path) -> Any:
    """A device that was fine; a copy of the repository is put back at the end, and it is fine."""
    it = device()
    it.refresh(GO)
    shutil.copytree(home.folder / "public", tmp_path / "copy")
    yield it
    shutil.rmtree(home.folder / "public")
    shutil.copytree(tmp_path / "copy", home.folder / "public")
    it.refresh(GO)
    assert bring(it, tmp_path / "after") == CONTENT


def keep(home: Home, folder: Path) -> None:
    """This is the state that is put back."""
    shutil.rmtree(folder / "copy")
    shutil.copytree(home.folder / "public", folder / "copy")


def edit(file: Path, change: Callable[[Any], None]) -> None:
    document = json.loads(file.read_text())
    change(document["signed"])
    file.write_text(json.dumps(document))


# --- tampering


@pytest.mark.parametrize("name", ["timestamp.json", "2.snapshot.json", "2.model-parts.json"])
def test_metadata_is_edited(attacked: Any, device: Device, home: Home, name: str) -> None:
    edit(home.metadata / name, lambda signed: signed.update(spec_version="1.0.99"))
    fresh = device("fresh")
    with pytest.raises(Untrusted, match="not signed by enough"):
        fresh.refresh(GO)
        fresh.target(MODEL)


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 5000, b"\xff" * 100, b"null"])
def test_metadata_is_nonsense(attacked: Any, home: Home, content: bytes) -> None:
    (home.metadata / "timestamp.json").write_bytes(content)
    refused(attacked)


def test_a_model_is_changed(attacked: Any, home: Home, tmp_path: Path) -> None:
    for file in home.targets.rglob("*.m.tflite"):
        file.write_bytes(b"\x01" + CONTENT[1:])
    (home.metadata / "timestamp.json").touch()
    with pytest.raises(Untrusted):
        bring(attacked, tmp_path / "out" / "m")
    assert not list((tmp_path / "out").glob("m"))


# --- mix and match


def test_files_of_different_times_are_mixed(
    attacked: Any, home: Home, release: Any, device: Device, tmp_path: Path
) -> None:
    """An old listing under the name of the new one."""
    release("1.1.0", b"new" * 3000)
    keep(home, tmp_path)
    shutil.copy(home.metadata / "2.model-parts.json", home.metadata / "3.model-parts.json")
    for it in (attacked, device("fresh")):
        with pytest.raises(Untrusted):
            it.refresh(GO)
            it.target("models/parts/1.1.0/m.tflite")


def test_one_signed_file_in_place_of_another(attacked: Any, home: Home, tmp_path: Path) -> None:
    (model,) = home.targets.rglob("*.m.tflite")
    (manifest,) = home.targets.rglob("*.model.toml")
    shutil.copy(manifest, model)
    (home.metadata / "timestamp.json").touch()
    with pytest.raises(Untrusted, match="another file than the signed one"):
        bring(attacked, tmp_path / "out")


# --- freeze, rollback


def test_the_news_are_held_back(device: Device, home: Home, tmp_path: Path) -> None:
    end = home.timestamp().signed.expires

    class Later:
        now = end - timedelta(hours=1)

        def wall_ns(self) -> int:
            return int(self.now.timestamp() * 1e9)

        def synced(self) -> bool:
            return True

    clock = Later()
    it = device(moment=Moment(tmp_path / "time.json", clock))
    it.refresh(GO)
    clock.now = end + timedelta(seconds=1)
    assert "holding back" in refused(it, "too old").remedy


@pytest.mark.parametrize("what", ["timestamp", "all"])
def test_an_old_state_is_replayed(
    device: Device, home: Home, release: Any, tmp_path: Path, what: str
) -> None:
    shutil.copytree(home.folder / "public", tmp_path / "old")
    release("1.1.0", b"new" * 3000)
    it = device()
    it.refresh(GO)
    if what == "timestamp":
        shutil.copy(tmp_path / "old/metadata/timestamp.json", home.metadata / "timestamp.json")
    else:
        shutil.rmtree(home.folder / "public")
        shutil.copytree(tmp_path / "old", home.folder / "public")
    refused(it, "older metadata")
    it.close()
    refused(device(), "older metadata")  # Also after a restart.


def test_an_older_listing_is_signed_anew_by_a_stolen_online_key(
    device: Device, home: Home, release: Any
) -> None:
    """Its thief can say which snapshot is the newest, and still not go back."""
    release("1.1.0", b"new" * 3000)
    it = device()
    it.refresh(GO)
    snapshot = home.snapshot()
    snapshot.signed.meta["model-parts.json"] = MetaFile(2)
    home.renew_snapshot(snapshot)
    refused(it, "older metadata")


# --- without end


@pytest.mark.parametrize("name", ["timestamp.json", "2.root.json"])
def test_metadata_without_end(attacked: Any, home: Home, server: Server, name: str) -> None:
    before = server.figures.bytes
    with (home.metadata / name).open("wb") as stream:
        stream.truncate(50_000_000)
    (home.metadata / "timestamp.json").touch()
    refused(attacked, "at most")
    assert server.figures.bytes - before < 300_000


def test_a_model_without_end(attacked: Any, home: Home, server: Server, tmp_path: Path) -> None:
    before = server.figures.bytes
    for file in home.targets.rglob("*.m.tflite"):
        with file.open("ab") as stream:
            stream.truncate(50_000_000)
    (home.metadata / "timestamp.json").touch()
    with pytest.raises(Untrusted):
        bring(attacked, tmp_path / "out" / "m")
    assert server.figures.bytes - before < 500_000


def test_roots_without_end(attacked: Any, home: Home) -> None:
    """Each next root is offered; none is signed by who must."""
    for number in range(2, 20):
        shutil.copy(home.metadata / "1.root.json", home.metadata / f"{number}.root.json")
    refused(attacked)


# --- stolen keys


def test_fewer_safe_keys_than_the_threshold(attacked: Any, home: Home) -> None:
    thief, root = PrivateKey.new(), home.root()
    one = home.safe_keys()["safe-1"]
    root.signed.version += 1
    for role in ("root", "targets", "timestamp", "snapshot"):
        root.signed.add_key(key_of(thief), role)
        root.signed.roles[role].threshold = 1
    home.sign(root, [one, thief])
    home.write("2.root.json", root)
    refused(attacked, "not signed by enough")


def test_the_online_key_signs_no_model(attacked: Any, home: Home, tmp_path: Path) -> None:
    listing = home.begin("model-parts")
    evil = b"evil" * 2000
    listing.signed.targets[MODEL] = TargetFile.from_data(MODEL, evil, ["sha256"])
    home.sign(listing, [home.online_key()])
    home.commit({"model-parts": listing})
    with pytest.raises(Untrusted, match="not signed by enough"):
        attacked.refresh(GO)
        attacked.target(MODEL)
    shutil.rmtree(home.folder / "public")
    shutil.copytree(tmp_path / "copy", home.folder / "public")
    # The device has seen newer numbers by that key: a rotation makes it forget them.
    ceremony.rotate(home, "online")
    attacked.refresh(GO)
    assert bring(attacked, tmp_path / "m") == CONTENT
    keep(home, tmp_path)


def test_the_key_of_one_model_signs_no_other(attacked: Any, home: Home, tmp_path: Path) -> None:
    path = "models/parts/6.6.6/m.tflite"
    listing = home.begin("model-other")
    listing.signed.targets[path] = TargetFile.from_data(path, b"evil", ["sha256"])
    home.sign(listing, [home.model_key("other")])
    home.commit({"model-other": listing})
    attacked.refresh(GO)
    assert attacked.target(path) is None
    keep(home, tmp_path)


def test_a_revoked_key_signs_nothing_more(device: Device, home: Home) -> None:
    it = device()
    it.refresh(GO)
    stolen = home.model_key("parts")
    ceremony.rotate(home, "parts")
    listing = home.begin("model-parts")
    listing.signed.targets[MODEL] = TargetFile.from_data(MODEL, b"evil", ["sha256"])
    home.sign(listing, [stolen])
    home.commit({"model-parts": listing})
    with pytest.raises(Untrusted, match="not signed by enough"):
        it.refresh(GO)
        it.target(MODEL)


def test_fast_forward_and_the_way_out(device: Device, home: Home, tmp_path: Path) -> None:
    """A thief of the online key takes the highest number, so that nothing newer can follow."""
    it = device()
    it.refresh(GO)
    good = (home.metadata / "timestamp.json").read_bytes()
    timestamp = home.timestamp()
    timestamp.signed.version = 2**31 - 1
    home.sign(timestamp, [home.online_key()])
    home.write("timestamp.json", timestamp)
    it.refresh(GO)
    (home.metadata / "timestamp.json").write_bytes(good)
    refused(it, "older metadata")
    ceremony.rotate(home, "online")
    it.refresh(GO)
    assert bring(it, tmp_path / "m") == CONTENT
    assert it.versions["timestamp"] < 100


# --- paths


@pytest.mark.parametrize(
    "path",
    ["models/parts/../x", "models/parts/1.0.0/../../../../etc/passwd", "models/parts//x",
     "models/parts/1.0.0/a b", "models/parts/1.0.0/" + "x" * 600, "models/parts/1.0.0/x\n"],
)  # fmt: skip
def test_a_signed_path_leads_nowhere(attacked: Any, home: Home, tmp_path: Path, path: str) -> None:
    """Even a thief of a model's key can't make a device ask for, or write, anything elsewhere."""
    listing = home.begin("model-parts")
    listing.signed.targets[path] = TargetFile.from_data(path, b"evil", ["sha256"])
    home.sign(listing, [home.model_key("parts")])
    home.commit({"model-parts": listing})
    attacked.refresh(GO)
    target = attacked.target(path)
    if target is not None:
        with pytest.raises(EdgeAgentError):
            attacked.bring(target, tmp_path / "out" / "m", stopped=GO)
        assert not (tmp_path / "out" / "m").exists()
    keep(home, tmp_path)


def test_the_delegation_names_what_a_model_may_sign() -> None:
    assert roles.paths_of("parts") == [
        "models/parts/*/*", "models/parts/*/*/*", "patches/parts/*"
    ]  # fmt: skip
