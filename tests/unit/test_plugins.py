"""What a person is told to install fits how the agent came to the machine."""

import sys
from pathlib import Path

import pytest

from edgeagent import plugins


@pytest.mark.parametrize(
    ("by", "extra", "command"),
    [
        ("", "onnx", "pip install 'edgeagent[onnx]'"),
        ("deb", "onnx", "sudo apt install edgeagent-runtime-onnx"),
        ("deb", "cv", "sudo apt install edgeagent-runtime-opencv"),
        ("deb", "fleet", "sudo apt install edgeagent-fleet"),
        # What every installation has can only be broken.
        ("deb", "update", "sudo apt install --reinstall edgeagent-libs"),
        ("deb", "serve", "sudo apt install --reinstall edgeagent-libs"),
        ("deb", "parquet", "pip install --target /usr/local/lib/edgeagent/plugins pyarrow"),
        ("tarball", "litert", "sudo ./install.sh of the tarball, which holds it"),
    ],
)
def test_advice_is_for_this_kind_of_installation(
    by: str, extra: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by:
        (tmp_path / "installed-by").write_text(f"{by}\n")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert plugins.to_install(extra) == command


def test_what_is_broken_is_installed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert "--force-reinstall" in plugins.to_install("litert", again=True)
    (tmp_path / "installed-by").write_text("deb\n")
    assert plugins.to_install("litert", again=True) == (
        "sudo apt install --reinstall edgeagent-runtime-litert"
    )


def test_plugins_of_others_go_where_no_package_owns_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert plugins.to_install_package("tank-sensor") == "pip install tank-sensor"
    (tmp_path / "installed-by").write_text("deb\n")
    assert plugins.to_install_package("tank-sensor") == (
        "pip install --target /usr/local/lib/edgeagent/plugins tank-sensor"
    )
