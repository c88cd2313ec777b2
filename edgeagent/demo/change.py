"""The model of the belt is changed: first to a bad version, which the agent takes back, then to a
good one, which it keeps."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from edgeagent.demo.folders import Folders
from edgeagent.demo.scene import Scene
from edgeagent.errors import EdgeAgentError
from edgeagent.update.library import Library, default_folders
from edgeagent.update.states import ENDS

MODEL = "parts"
_RIGHT_FOR = 60
"""Samples for which the bad version is right: longer than any golden sample could show."""
_SOAK_S = {"1.1.0": 20.0, "1.2.0": 3.0}
_TIMEOUT_S = 40.0


def bad_then_good(scene: Scene, folders: Folders) -> None:
    """Push both and tell what becomes of them."""
    if importlib.util.find_spec("onnxruntime") is None:
        scene.act("left out: a bad model that is taken back (onnxruntime is not installed)")
        return
    scene.show.say("making two further versions of a model")
    try:
        bad, good = _made(folders.versions)
    except (EdgeAgentError, ImportError) as error:
        scene.act(f"left out: a bad model that is taken back ({error})")
        return
    report = _push(
        scene, bad, "a bad version of parts is pushed; its golden samples pass", "bad model"
    )
    _tell(scene, report, "taken back")
    report = _push(scene, good, "a good version is pushed", "good model")
    _tell(scene, report, "kept")


def _made(folder: Path) -> tuple[Path, Path]:
    """The folders of both. Raises EdgeAgentError, ImportError."""
    from edgeagent.testing import spoil

    shipped = Library(default_folders()).find(MODEL)
    bad, good = folder / MODEL / "1.1.0", folder / MODEL / "1.2.0"
    spoil.labels_permuted(shipped, bad, after=_RIGHT_FOR)
    spoil.version(shipped, good)
    for package in (bad, good):
        with (package / "model.toml").open("a", encoding="utf-8") as file:
            # A visitor's machine has more to do than this: speed is not what is shown.
            file.write("\n[budget.default]\np95_ms = 200\npss_mb = 1000\n")
    return bad, good


def _push(scene: Scene, package: Path, text: str, mark: str) -> dict[str, Any]:
    """Through all states to its end; the agent's report of it."""
    version = package.name
    begun = scene.client.result(
        "model-install", model=MODEL, version=version, origin=str(package), activate=True,
        soak_s=_SOAK_S[version],
    )  # fmt: skip
    scene.act(text, mark)
    said: set[str] = set()

    def ended(report: dict[str, Any]) -> bool:
        its = report.get("desired", {}).get("models", {}).get(MODEL, {})
        if its.get("id") != begun["id"]:
            return False
        if its["state"] not in said and its["state"] in ("proving", "probation"):
            said.add(its["state"])
            scene.act(f"parts {version}: {its['state']}")
        if its["state"] in ENDS:
            scene.story.changes.append(dict(its))
        return its["state"] in ENDS

    if not scene.watch_for(ended, _TIMEOUT_S):
        scene.act(f"parts {version} came to no end in {_TIMEOUT_S:.0f} s")
        return {"state": "unknown", "detail": "", "wanted": version, "times_s": {}}
    return scene.story.changes[-1]


def _tell(scene: Scene, report: dict[str, Any], mark: str) -> None:
    took = sum(report.get("times_s", {}).values())
    states = {"rolled-back": "taken back by itself", "committed": "kept"}
    how = states.get(report["state"], report["state"])
    detail = report.get("detail", "")
    said = f"parts {report['wanted']} is {how} after {took:.0f} s" + (
        f": {detail}" if detail else ""
    )
    scene.act(said, mark)
