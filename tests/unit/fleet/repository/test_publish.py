"""Publishing, keys and what people see of it, through the command line."""

from __future__ import annotations

import itertools
import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edgeagent.cli.app import app
from edgeagent.errors import EdgeAgentError
from edgeagent.fleet.forecast import judge
from edgeagent.fleet.keys import PrivateKey
from edgeagent.fleet.repository import ceremony, publish, roles
from edgeagent.fleet.repository.home import Home
from edgeagent.fleet.repository.renewing import Renewal
from edgeagent.manifest import load_package

run = CliRunner()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return ceremony.begin(tmp_path / "fleet", models=["parts"]).home


@pytest.fixture
def package(tmp_path: Path, repository: Path) -> Path:
    folder = tmp_path / "parts"
    shutil.copytree(repository / "models" / "parts" / "1.0.0", folder)
    return folder


def fleet(*arguments: object) -> Any:
    return run.invoke(app, ["fleet", *map(str, arguments)])


def said(done: Any) -> str:
    return " ".join(done.stderr.split())


def test_a_package_is_published_once(home: Home, package: Path) -> None:
    first = fleet("publish", package, "-r", home.folder, "--no-golden", "--json")
    assert first.exit_code == 0, first.output
    told = json.loads(first.stdout)
    assert told["published"]
    assert "models/parts/1.0.0/model.toml" in told["files"]
    again = fleet("publish", package, "-r", home.folder, "--no-golden")
    assert again.exit_code == 2
    assert "just like this" in said(again)
    (package / "README.md").write_text("something else")
    changed = fleet("publish", package, "-r", home.folder, "--no-golden")
    assert changed.exit_code == 2
    assert "never changes" in said(changed)


def test_a_dry_run_writes_nothing(home: Home, package: Path) -> None:
    before = sorted(home.folder.rglob("*"))
    done = fleet("publish", package, "-r", home.folder, "--no-golden", "--dry-run")
    assert "would be published" in done.stdout
    assert sorted(home.folder.rglob("*")) == before


def test_a_package_with_faults_is_not_published(home: Home, package: Path) -> None:
    (package / "golden" / "expected.json").write_text("{}")
    done = fleet("publish", package, "-r", home.folder)
    assert done.exit_code == 1
    assert publish.published(home) == {"parts": []}


def test_a_version_is_withdrawn(home: Home, package: Path) -> None:
    publish.publish(home, publish.plan(home, load_package(package)))
    assert publish.published(home) == {"parts": ["1.0.0"]}
    assert publish.withdraw(home, "parts", "1.0.0") > 3
    assert publish.published(home) == {"parts": []}


def test_the_ceremony_says_where_everything_goes(tmp_path: Path) -> None:
    done = fleet("init", tmp_path / "f", "--models", "parts,digits")
    for word in ("safe-3.pem", "online.pem", "digits.pem", "root.json", "key rotate online",
                 "2 of 3"):  # fmt: skip
        assert word in done.stdout, word
    assert max(len(line) for line in done.stdout.splitlines() if str(tmp_path) not in line) <= 80
    assert str(tmp_path / "f") in done.stdout
    assert fleet("init", tmp_path / "f").exit_code
    assert fleet("init", tmp_path / "g", "--threshold", 4).exit_code
    assert (tmp_path / "f" / "keys" / "online.pem").stat().st_mode & 0o077 == 0


def test_safe_keys_in_the_safe_must_be_brought(home: Home, tmp_path: Path) -> None:
    sticks = [tmp_path / "a", tmp_path / "b"]
    for stick, name in zip(sticks, ("safe-1", "safe-3"), strict=True):
        stick.mkdir()
        shutil.move(home.keys / "safe" / f"{name}.pem", stick)
    shutil.rmtree(home.keys / "safe")
    missing = fleet("key", "new", "digits", "-r", home.folder, "--safe", sticks[0])
    assert missing.exit_code == 77
    assert "2 of the 3 safe keys" in said(missing)
    assert "safe-1" in said(missing)
    assert home.models() == ["parts"]
    both = ("--safe", sticks[0], "--safe", sticks[1])
    assert fleet("key", "new", "digits", "-r", home.folder, *both).exit_code == 0
    assert fleet("key", "rotate", "online", "-r", home.folder, *both).exit_code == 0
    assert fleet("key", "renew", "-r", home.folder, *both).exit_code == 0
    assert fleet("key", "revoke", "digits", "-r", home.folder, *both).exit_code == 0
    listed = json.loads(fleet("key", "list", "-r", home.folder, "--json").stdout)
    assert [its["name"] for its in listed["keys"]] == [
        "safe-1", "safe-2", "safe-3", "online", "parts"
    ]  # fmt: skip


def test_a_failed_rotation_leaves_the_old_key(home: Home) -> None:
    before = (home.keys / "online.pem").read_bytes()
    for name in ("safe-1", "safe-2"):
        (home.keys / "safe" / f"{name}.pem").unlink()
    with pytest.raises(EdgeAgentError):
        ceremony.rotate(home, "online")
    assert (home.keys / "online.pem").read_bytes() == before
    assert list(home.keys.glob("*new*")) == []
    assert not (home.metadata / "2.root.json").exists()


def test_operators_and_signing(home: Home, tmp_path: Path) -> None:
    done = fleet("key", "operator", "ann", "--make", tmp_path / "ann.pem", "-r", home.folder)
    assert done.exit_code == 0, done.exception
    assert list(ceremony.operators(home)) == ["ann"]
    order = {"device": "d1", "type": "restart", "id": "a", "at": "2026-11-24T00:00:00Z"}
    (tmp_path / "order.json").write_text(json.dumps(order))
    signed = fleet("sign", tmp_path / "order.json", "--key", tmp_path / "ann.pem")
    assert json.loads(signed.stdout)["signatures"]
    (tmp_path / "order.json").write_text('{"type": "restart"}')
    done = fleet("sign", tmp_path / "order.json", "--key", tmp_path / "ann.pem")
    assert "device or group" in said(done)
    assert fleet("key", "operator", "ann", "--remove", "-r", home.folder).exit_code == 0
    assert ceremony.operators(home) == {}


def test_the_timestamp_is_renewed_each_day_and_the_snapshot_in_time(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewal = Renewal(home)
    renewal.turn()
    assert renewal.renewed == 0
    now = roles.now()
    for day in range(1, 40):
        later = now + timedelta(days=day, minutes=1)
        monkeypatch.setattr(roles, "now", lambda later=later: later)
        renewal.turn()
        assert home.timestamp().signed.expires > later + timedelta(days=5)
        assert home.snapshot().signed.expires > later + timedelta(days=14)
    assert renewal.renewed == 39


def test_what_only_people_can_renew_is_told_once(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    late = roles.now() + timedelta(days=340)
    monkeypatch.setattr(roles, "now", lambda: late)
    renewal = Renewal(home)
    renewal.turn()
    renewal.turn()
    said = [record.message for record in caplog.records if "expires soon" in record.message]
    assert len(said) == 3
    assert fleet("key", "list", "-r", home.folder).exit_code == 1
    (home.keys / "online.pem").unlink()
    monkeypatch.setattr(roles, "now", lambda: late + timedelta(days=2))
    renewal.turn()
    assert "can't be renewed" in caplog.text


def test_a_stolen_key_of_another_fleet_signs_nothing(home: Home, package: Path) -> None:
    plan = publish.plan(home, load_package(package))
    (home.keys / "models" / "parts.pem").unlink()
    (home.keys / "models" / "parts.pub").unlink()
    PrivateKey.new().save(home.keys / "models" / "parts.pem")
    with pytest.raises(EdgeAgentError, match="may not sign"):
        publish.publish(home, plan)


CAPABILITIES = {
    "runtimes": ["litert"], "delegates": {"usable": ["xnnpack"]}, "arch": "aarch64",
    "profile": "pi4", "models": {"parts": [{"version": "0.9.0"}]},
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "accepts", "why"),
    [
        ({}, True, "litert"),
        ({"runtimes": ["onnx"]}, False, "needs litert"),
        ({"models": {"parts": [{"version": "1.0.0"}]}}, True, "has it already"),
        ({"models": {}}, True, "no version of this model"),
    ],
)
def test_the_forecast(repository: Path, change: Any, accepts: bool, why: str) -> None:
    manifest = load_package(repository / "models" / "parts" / "1.0.0").manifest
    litert = [variant for variant in manifest.variant if variant.runtime == "litert"]
    import msgspec

    manifest = msgspec.structs.replace(manifest, variant=litert)
    found = judge("d1", manifest, {"state": "online", "version": "0.1.0"}, CAPABILITIES | change)
    assert (found.accepts, found.profile) == (accepts, "pi4")
    assert why in found.why


def test_the_forecast_reads_min_agent(repository: Path) -> None:
    import msgspec

    manifest = load_package(repository / "models" / "parts" / "1.0.0").manifest
    manifest = msgspec.structs.replace(manifest, min_agent="99.0")
    found = judge("d1", manifest, {"version": "0.1.0"}, CAPABILITIES)
    assert not found.accepts
    assert "min_agent is 99.0" in found.why


def test_a_delta_is_small() -> None:
    """Of a model whose last layer was trained on, and of one that was fine-tuned."""
    import bsdiff4
    import numpy as np

    numbers = np.random.default_rng(1)
    whole, last, tuned = _trained(numbers)
    share = len(bsdiff4.diff(whole, last)) / len(last)
    assert share <= 0.02, share
    share = len(bsdiff4.diff(whole, tuned)) / len(tuned)
    assert share <= 0.35, share


def _trained(numbers: Any) -> tuple[bytes, bytes, bytes]:
    """int8 models (per channel): as trained, its last layer trained on, all of it trained on."""
    import numpy as np

    x = numbers.normal(size=(1280, 64)).astype(np.float32)
    secret = numbers.normal(size=(64, 10))
    y = (np.tanh(x @ secret) + 0.5 * numbers.normal(size=(1280, 10))).argmax(1)
    sizes = (64, 512, 384, 10)
    layers = [
        numbers.normal(size=(a, b)).astype(np.float32) * np.sqrt(2 / a)
        for a, b in itertools.pairwise(sizes)
    ]

    def epoch(layers: list[Any], rate: float, first: int = 0) -> list[Any]:
        layers = [layer.copy() for layer in layers]
        for start in range(0, len(x), 64):
            values = [x[start : start + 64]]
            for layer in layers[:-1]:
                values.append(np.maximum(values[-1] @ layer, 0))
            logits = values[-1] @ layers[-1]
            odds = np.exp(logits - logits.max(1, keepdims=True))
            slope = odds / odds.sum(1, keepdims=True)
            slope[np.arange(len(slope)), y[start : start + 64]] -= 1
            for number in reversed(range(first, len(layers))):
                change = values[number].T @ slope / len(slope)
                slope = (slope @ layers[number].T) * (values[number] > 0)
                layers[number] -= rate * change
        return layers

    def packed(layers: list[Any]) -> bytes:
        found = b""
        for layer in layers:
            scale = np.abs(layer).max(0) / 127
            found += scale.astype(np.float32).tobytes()
            found += np.round(layer / scale).astype(np.int8).tobytes()
        return found

    for _ in range(4):
        layers = epoch(layers, 0.05)
    return packed(layers), packed(epoch(layers, 0.02, first=2)), packed(epoch(layers, 0.02))
