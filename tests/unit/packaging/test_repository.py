"""The apt repository is signed, and what apt reads in it is true."""

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import repository

needs = [tool for tool in ("apt-ftparchive", "gpg", "gpgv", "dpkg-deb") if not shutil.which(tool)]
pytestmark = pytest.mark.skipif(bool(needs), reason=f"not installed: {', '.join(needs)}")
CONTROL = """Package: tiny
Version: {version}
Architecture: all
Maintainer: nobody <nobody@packages.invalid>
Description: tiny
"""


def _package(folder: Path, version: str) -> Path:
    root = folder / f"tiny-{version}"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(CONTROL.format(version=version))
    file = folder / "debs" / "bookworm" / f"tiny_{version}_all.deb"
    file.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", root, file], check=True,
                   capture_output=True)  # fmt: skip
    return file


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GNUPGHOME", "")  # is set by `throwaway`, and put back afterwards
    files = [_package(tmp_path, version) for version in ("1.0", "1.1")]
    key = repository.throwaway(tmp_path / "key")
    out = tmp_path / "apt"
    repository.publish(tmp_path / "debs", out, key, 1_700_000_000, "https://apt.example")
    subprocess.run(["gpgconf", "--kill", "all"], check=False)
    assert len(files) == 2
    return out


def _valid(out: Path) -> bool:
    command = ["gpgv", "--keyring", out / "edgeagent.gpg", out / "dists/bookworm/InRelease"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_the_signature_holds_and_breaks_with_one_byte(published: Path) -> None:
    assert _valid(published)
    signed = published / "dists/bookworm/InRelease"
    signed.write_text(signed.read_text().replace("Suite: bookworm", "Suite: bookwurm"))
    assert not _valid(published)


def test_hashes_lead_from_the_signature_to_each_package(published: Path) -> None:
    release = (published / "dists/bookworm/InRelease").read_text()
    for arch in ("amd64", "arm64"):
        listed = published / f"dists/bookworm/main/binary-{arch}/Packages"
        digest = hashlib.sha256(listed.read_bytes()).hexdigest()
        assert f"{digest} " in release
        found = dict(re.findall(r"Filename: (\S+)\n(?:.+\n)*?SHA256: (\w+)", listed.read_text()))
        # Both versions stay: who wants to go back can.
        assert sorted(found) == [f"pool/bookworm/tiny_{v}_all.deb" for v in ("1.0", "1.1")]
        for name, told in found.items():
            assert hashlib.sha256((published / name).read_bytes()).hexdigest() == told


def test_what_a_device_needs_names_the_key_and_nothing_else(published: Path) -> None:
    source = (published / "edgeagent-bookworm.sources").read_text()
    assert "URIs: https://apt.example\n" in source
    assert "Signed-By: /usr/share/keyrings/edgeagent.gpg\n" in source
    assert "trusted" not in source.lower()


def test_without_packages_it_says_how_they_are_made(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="make deb"):
        repository.publish(tmp_path, tmp_path / "apt", "key", 0, "")
