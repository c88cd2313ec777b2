"""What the page for people who come from another shows as configuration holds as it stands."""

from __future__ import annotations

from pathlib import Path

import pytest
from guide import Block, blocks

from edgeagent.config.load import load
from edgeagent.errors import ConfigError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "migration.md"
PAIRS = [its for its in blocks(PAGE) if its.language == "toml"]


@pytest.mark.parametrize("block", PAIRS, ids=[its.heading for its in PAIRS])
def test_a_file_of_the_page_holds(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    for name in ("ca", "cert", "key"):
        (tmp_path / f"{name}.pem").touch()
    file.write_text("\n".join(block.lines).replace("/etc/edgeagent/tls", str(tmp_path)))
    loaded = load(file, data_dir=tmp_path / "data")
    assert loaded.config.sources or loaded.config.serve or loaded.config.mqtt.host


def test_there_is_one_for_each_of_the_four() -> None:
    assert [its.heading.split()[1].rstrip(",") for its in PAIRS] == [
        "Frigate", "Greengrass", "Edge", "Triton",
    ]  # fmt: skip


def test_a_wrong_one_is_found(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text("\n".join(PAIRS[0].lines).replace("polygon", "coordinates"))
    with pytest.raises(ConfigError, match="coordinates"):
        load(file, data_dir=tmp_path / "data")
