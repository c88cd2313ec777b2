"""``edgeagent pool`` on files, ``models reference``, and what status says of drift."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeagent.cli import drift as drift_commands
from edgeagent.cli import views
from edgeagent.store.pool import Pool

META = {
    "type": "image/jpeg", "device": "door-7", "site": "hall 2", "reason": "uncertain",
    "why": "doubt 0.96", "model": "parts@1.0.0/int8", "pipeline": "door", "frame": 7,
    "at": "2026-11-25T10:00:00Z", "size": [200, 100], "labels": ["whole", "crack"],
    "predictions": [{"label": "crack", "score": 0.52, "box": [0.1, 0.2, 0.5, 0.6]}],
}  # fmt: skip


@pytest.fixture
def pooled(tmp_path: Path) -> tuple[Path, list[str]]:
    """A data folder with three samples."""
    pool = Pool(tmp_path, 1 << 20)
    ids = [
        pool.keep("door", reason, useful, META, f"jpeg {reason} {useful}".encode(), 10)
        for reason, useful in (("uncertain", 85), ("random", 0), ("uncertain", 97))
    ]
    pool.sent(pool.find(ids[2:])[0])
    return tmp_path, ids


def test_the_most_useful_stands_first_and_what_was_sent_last(
    invoke: Any, pooled: tuple[Path, list[str]]
) -> None:
    folder, ids = pooled
    told = json.loads(invoke("pool", "ls", "--data-dir", folder, "--json").stdout)
    assert [its["id"] for its in told["samples"]] == [ids[0], ids[1], ids[2]]
    assert told["bytes"] == 3 * 4096
    some = json.loads(invoke("pool", "ls", "--reason", "random", "-d", folder, "--json").stdout)
    assert [its["id"] for its in some["samples"]] == [ids[1]]
    people = invoke("pool", "ls", "--data-dir", folder).stdout
    assert ids[0] in people and "sent" in people
    nothing = invoke("pool", "ls", "--data-dir", folder / "none").stdout
    assert "[pipelines.X.pool]" in nothing


def test_one_sample_with_all_that_is_known(
    invoke: Any, pooled: tuple[Path, list[str]], tmp_path: Path
) -> None:
    folder, ids = pooled
    out = tmp_path / "one.jpg"
    done = invoke("pool", "show", ids[0], "--out", out, "--data-dir", folder)
    assert "doubt 0.96" in done.stdout and "crack" in done.stdout
    assert out.read_bytes() == b"jpeg uncertain 85"
    unknown = invoke("pool", "show", "p000099ffff", "--data-dir", folder)
    assert unknown.exit_code == 3
    assert "edgeagent pool ls" in unknown.stderr


def test_samples_are_forgotten_by_id_or_all(invoke: Any, pooled: tuple[Path, list[str]]) -> None:
    folder, ids = pooled
    assert invoke("pool", "rm", "--data-dir", folder).exit_code == 2
    assert invoke("pool", "rm", ids[0], "--all", "--data-dir", folder).exit_code == 2
    invoke("pool", "rm", ids[0], "--data-dir", folder)
    left = json.loads(invoke("pool", "ls", "-d", folder, "--json").stdout)["samples"]
    assert [its["id"] for its in left] == ids[1:]
    done = invoke("pool", "rm", "--all", "--reason", "random", "-d", folder, "--json")
    assert json.loads(done.stdout) == {"removed": 1}


def test_export_is_one_that_can_be_run_again_and_names_what_is_damaged(
    invoke: Any, pooled: tuple[Path, list[str]], tmp_path: Path
) -> None:
    folder, ids = pooled
    out = tmp_path / "set"
    done = invoke("pool", "export", "--coco", out, "-d", folder, "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["samples"] == 3
    (damaged,) = Pool(folder, 0).find(ids[:1])
    damaged.file.write_bytes(b"EAP1 and then nothing")
    done = invoke("pool", "export", "--coco", out, "-d", folder)
    assert done.exit_code == 1
    assert f"edgeagent pool rm {ids[0]}" in done.stderr or ids[0] in done.stderr
    assert len(json.loads((out / "instances.json").read_text())["images"]) == 2


def test_sending_needs_the_agent(invoke: Any, pooled: tuple[Path, list[str]]) -> None:
    done = invoke("pool", "send", "--data-dir", pooled[0])
    assert done.exit_code == 69


def test_a_reference_is_made_of_a_folder_and_passes_lint(
    invoke: Any, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cv2

    (source,) = (repository / "models" / "parts").iterdir()
    package = tmp_path / "models" / "parts" / source.name
    shutil.copytree(source, package)
    monkeypatch.chdir(tmp_path)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(1)
    for number in range(120):
        pixels = rng.integers(0, 200, (60, 80, 3), np.uint8)
        cv2.imwrite(str(pictures / f"{number:03d}.jpg"), pixels)
    done = invoke("models", "reference", package, "--samples", pictures, "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["samples"] == 120
    assert 95 < told["figures"]["brightness"][1] < 105
    assert told["bytes"] < 60_000
    assert 'reference = "reference.sketches"' in (package / "model.toml").read_text()
    assert invoke("models", "lint", package).exit_code == 0
    (package / "reference.sketches").write_bytes(b"broken")
    invoke("models", "lint", package, "--fix")
    lint = invoke("models", "lint", package, "--json")
    assert any("reference" in its["place"] for its in json.loads(lint.stdout)["findings"])
    few = invoke("models", "reference", package, "--samples", pictures / "001.jpg")
    assert few.exit_code == 1
    assert "100 at least" in few.stderr


def test_a_sentence_for_each_state() -> None:
    learning = {"state": "learning", "learned": 0.43, "looks": 1200}
    assert drift_commands.sentence(learning) == "learns what is usual: 43%, 1,200 looks"
    watching = {"state": "watching", "looks": 40_000, "reference": "device"}
    assert "as usual" in drift_commands.sentence(watching)
    drifted = {"state": "drift", "reason": "what it sees has drifted: x", "since": "2026"}
    assert drift_commands.sentence(drifted).endswith("x (since 2026)")
    label = {"feature": "labels", "label": "nut", "was": [0.04], "now": [0.31]}
    assert drift_commands._changed(label) == '"nut": was 4% of the answers, is 31%'
    value = {"feature": "brightness", "label": "", "was": [90.0, 121.5, 140.0], "now": [30, 48, 60]}
    assert drift_commands._changed(value) == (
        "brightness: 5, 50, 95 % were below 90, 121.5, 140, are below 30, 48, 60"
    )
    pool = {"samples": {"door": {"random": 2, "uncertain": 1}}, "sent": 1, "bytes": 12288,
            "max_bytes": 64 << 20, "withheld": 4, "faults": {"door": "disk full"}}  # fmt: skip
    assert views._pool(pool) == (
        "3 samples to be labelled, 1 sent, 4 withheld, 12.0 KiB of 64.0 MiB; door: disk full"
    )
