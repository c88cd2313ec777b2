"""The demo's configuration is one that the agent accepts, with and without its parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.agent.ports import config_ports
from edgeagent.config.load import load
from edgeagent.demo import recipe
from edgeagent.demo.needs import FACE_MANIFEST, Kit


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    package = tmp_path / "models" / "face" / "0.6.0"
    package.mkdir(parents=True)
    (package / "model.toml").write_text(FACE_MANIFEST)
    clip = tmp_path / 'a "funny" clip.mp4'
    clip.touch()
    return Kit(tmp_path / "site", tmp_path / "models", clip)


@pytest.mark.parametrize("camera", ["", "/dev/v4l/by-id/usb-cam"])
def test_three_pipelines(kit: Kit, tmp_path: Path, camera: str) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(recipe.configuration(kit, 1884, "auto", 30.0, camera))
    ports = config_ports(tmp_path)
    loaded = load(file, ports=ports, flags=recipe.world(30.0, 13.0).settings())
    assert set(loaded.config.pipelines) == {"face", "belt", "bearing"}
    redact = loaded.config.pipelines["face"].redact
    assert redact is not None and redact.labels == ["face"]


@pytest.mark.parametrize("camera", ["", "/dev/video0"])
def test_without_the_face_model_two_remain(kit: Kit, tmp_path: Path, camera: str) -> None:
    file = tmp_path / "agent.toml"
    without = Kit(kit.site, kit.models, None, missing="no network")
    file.write_text(recipe.configuration(without, 1884, "3.1.1", 30.0, camera))
    assert set(load(file).config.pipelines) == {"belt", "bearing"}


def test_a_second_agent_goes_on_where_the_first_one_was() -> None:
    assert recipe.world(30.0).healthy_s == 15.0
    assert recipe.world(30.0, 13.0).healthy_s == pytest.approx(2.0)
    assert recipe.world(30.0, 20.0).healthy_s == 0.0
