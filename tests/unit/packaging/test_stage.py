"""The installed tree runs, finds what it ships and tells how it came there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import stage

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
ASK = """
import sys
from edgeagent import plugins
from edgeagent.config.paths import shipped
print(sys.prefix)
print(sys.executable)
print(plugins.installed_by(), plugins.to_install("onnx"), sep="|")
print(*shipped("models"), sep="|")
print(*sys.path, sep="|")
"""


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A staged tree over the Python that runs the tests."""
    prefix = tmp_path_factory.mktemp("stage") / "usr"
    interpreter = Path(os.path.realpath(sys.executable))
    stage.environment(prefix, PYTHON, str(interpreter))
    stage.code(prefix, PYTHON, "0.1.0+20260101.0000", by="deb")
    stage.plugins(prefix, PYTHON, str(prefix / "plugins"))
    stage.launchers(prefix, str(prefix / "lib" / "edgeagent" / "bin" / "python3"))
    return prefix


def _run(*command: str | Path) -> list[str]:
    clean = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    done = subprocess.run(command, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_its_commands_run_without_anything_of_the_surroundings(prefix: Path) -> None:
    assert _run(prefix / "bin" / "edgeagent", "--version") == ["edgeagent 0.1.0"]


def test_children_by_the_executable_find_what_it_finds(prefix: Path) -> None:
    (prefix / "plugins").mkdir(exist_ok=True)
    home = prefix / "lib" / "edgeagent"
    where, executable, advice, models, path = _run(home / "bin" / "python3", "-I", "-c", ASK)
    assert Path(where) == home
    assert Path(executable) == home / "bin" / "python3"
    assert advice == "deb|sudo apt install edgeagent-runtime-onnx"
    assert models.split("|") == [str(prefix / "share" / "edgeagent" / "models")]
    assert str(prefix / "plugins") in path.split("|")
    # Nothing of the environment that runs the tests.
    packages = [each for each in path.split("|") if "site-packages" in each]
    assert [each for each in packages if str(home) not in each] == []


def test_only_what_is_under_version_control_is_laid_out(prefix: Path) -> None:
    site = stage.packages(prefix, PYTHON)
    laid = {str(file.relative_to(site)) for file in (site / "edgeagent").rglob("*")
            if file.is_file() and file.suffix != ".pyc"}  # fmt: skip
    assert laid == {str(name) for name in stage.tracked("edgeagent")}
    assert not (prefix / "share" / "edgeagent" / "models" / "train").exists()
    assert (prefix / "share" / "edgeagent" / "models" / "parts" / "1.0.0" / "model.toml").exists()
