"""install.sh, without a service: it installs, upgrades, refuses in words and takes all away."""

import hashlib
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

import stage

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def unpacked(tmp_path: Path, repository: Path) -> Path:
    """The archive's folder, with our code and no libraries."""
    folder = tmp_path / "edgeagent-0.1.0"
    stage.environment(folder / "tree", PYTHON, f"/usr/bin/python{PYTHON}")
    stage.code(folder / "tree", PYTHON, "0.1.0", by="tarball")
    # What --version needs is enough; compiling the rest would be most of the time.
    for file in (stage.packages(folder / "tree", PYTHON) / "edgeagent").rglob("*.py"):
        if file.name != "__init__.py":
            file.unlink()
    stage.launchers(folder / "tree", "/opt/edgeagent/lib/edgeagent/bin/python3")
    script = (repository / "packaging/tarball/install.sh").read_bytes()
    (folder / "install.sh").write_bytes(script)
    (folder / "install.sh").chmod(0o755)
    (folder / "target").write_text(
        f"PYTHON={PYTHON}\nMACHINE={platform.machine()}\nVERSION=0.1.0\n"
    )
    _sum(folder)
    return folder


def _sum(folder: Path) -> None:
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and not file.is_symlink()]
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(folder)}\n"
        for file in files
        if file.name != "SHA256SUMS"
    ]
    (folder / "SHA256SUMS").write_text("".join(lines))


def _install(folder: Path, prefix: Path, *more: str) -> subprocess.CompletedProcess[str]:
    # The interpreter that runs the tests must be the one that is found.
    real = Path(os.path.realpath(sys.executable))
    path = f"{real.parent}:{os.environ['PATH']}"
    return subprocess.run(
        [folder / "install.sh", "--no-service", "--prefix", prefix, *more],
        env={"PATH": path, "HOME": "/nonexistent"}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_it_installs_upgrades_and_leaves_nothing(unpacked: Path, tmp_path: Path) -> None:
    prefix = tmp_path / "opt" / "edgeagent"
    for _ in ("first", "again"):
        done = _install(unpacked, prefix)
        assert done.returncode == 0, done.stderr
        assert f"edgeagent 0.1.0 is in {prefix}" in done.stdout
        said = subprocess.run(
            [prefix / "bin/edgeagent", "--version"], capture_output=True, text=True
        )
        assert said.stdout == "edgeagent 0.1.0\n"
        (prefix / "left-by-the-old-version").touch()
    _install(unpacked, prefix)
    assert sorted(its.name for its in prefix.parent.iterdir()) == ["edgeagent"]
    assert not (prefix / "left-by-the-old-version").exists()
    assert _install(unpacked, prefix, "--uninstall").returncode == 0
    assert list(prefix.parent.iterdir()) == []


def test_a_library_that_the_system_lacks_is_told_and_what_runs_stays(
    unpacked: Path, tmp_path: Path
) -> None:
    prefix = tmp_path / "opt" / "edgeagent"
    assert _install(unpacked, prefix).returncode == 0
    numpy = stage.packages(unpacked / "tree", PYTHON) / "numpy"
    numpy.mkdir()
    missing = "libstdc++.so.6: cannot open shared object file: No such file or directory"
    (numpy / "__init__.py").write_text(f"raise ImportError({missing!r})\n")
    _sum(unpacked)
    done = _install(unpacked, prefix)
    assert done.returncode == 1
    assert f"numpy can't be loaded: {missing}" in done.stderr
    assert "libstdc++6" in done.stderr
    assert sorted(its.name for its in prefix.parent.iterdir()) == ["edgeagent"]
    assert (prefix / "bin" / "edgeagent").exists()


def test_a_damaged_archive_another_machine_and_another_python_are_refused(
    unpacked: Path, tmp_path: Path
) -> None:
    target = unpacked / "target"
    good = target.read_text()
    target.write_text(good.replace(platform.machine(), "riscv64"))
    assert "this archive is for riscv64" in _install(unpacked, tmp_path / "opt").stderr
    target.write_text(good.replace(f"PYTHON={PYTHON}", "PYTHON=3.99"))
    assert "python3.99 is not on this system" in _install(unpacked, tmp_path / "opt").stderr
    target.write_text(good)
    (unpacked / "tree/share/edgeagent/models/parts/1.0.0/model.toml").write_text("")
    assert "damaged" in _install(unpacked, tmp_path / "opt").stderr
    assert not (tmp_path / "opt").exists()


@pytest.mark.parametrize("prefix", ["/", "/usr", "/opt", "/etc"])
def test_a_folder_of_the_system_is_not_replaced(unpacked: Path, prefix: str) -> None:
    done = _install(unpacked, Path(prefix))
    assert done.returncode == 1
    assert "would be replaced as a whole" in done.stderr


def test_only_what_it_has_installed_is_removed(unpacked: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    done = _install(unpacked, other, "--uninstall")
    assert done.returncode == 1 and "there is no edgeagent under" in done.stderr
    assert other.exists()
