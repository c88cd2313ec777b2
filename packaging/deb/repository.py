"""A signed apt repository of the packages that were built: one folder that any web server gives.

    python packaging/deb/repository.py --key KEYID --out build/apt

Each release of Debian is a suite of its own. Devices need the folder's address and its key.
"""

from __future__ import annotations

import argparse
import gzip
import os
import shutil
import subprocess
import time
from pathlib import Path

import vendor

TOOLS = {"apt-ftparchive": "apt-utils", "gpg": "gnupg"}
_SOURCES = """Types: deb
URIs: {address}
Suites: {release}
Components: main
Signed-By: /usr/share/keyrings/edgeagent.gpg
"""


def publish(debs: Path, out: Path, key: str, at: int, address: str) -> None:
    """Write the repository anew.

    Args:
        debs: packages, a folder for each release.
        out: the repository; files that are there already and the same are kept.
        key: of GnuPG, to sign with.
        at: the time that the repository tells, seconds.
        address: where devices will find it.

    Raises:
        SystemExit: there are no packages.
        CalledProcessError: apt-ftparchive or gpg has failed, and said why.
    """
    releases = sorted(name for name in vendor.plan()["release"] if (debs / name).is_dir())
    if not releases:
        raise SystemExit(f"{debs} has no packages; make them with: make deb")
    for release in releases:
        pool = out / "pool" / release
        pool.mkdir(parents=True, exist_ok=True)
        for package in sorted((debs / release).glob("*.deb")):
            shutil.copy2(package, pool / package.name)
        _suite(out, release, at)
        _sign(out / "dists" / release, key)
        (out / f"edgeagent-{release}.sources").write_text(
            _SOURCES.format(address=address, release=release)
        )
    exported = subprocess.run(["gpg", "--batch", "--export", key], check=True, capture_output=True)
    (out / "edgeagent.gpg").write_bytes(exported.stdout)


def _suite(out: Path, release: str, at: int) -> None:
    suite = out / "dists" / release
    shutil.rmtree(suite, ignore_errors=True)
    for arch in sorted(vendor.MACHINE):
        folder = suite / "main" / f"binary-{arch}"
        folder.mkdir(parents=True)
        listed = _ftparchive(out, "--arch", arch, "packages", f"pool/{release}")
        (folder / "Packages").write_text(listed)
        (folder / "Packages.gz").write_bytes(gzip.compress(listed.encode(), mtime=0))
    described = {
        "Origin": "edgeagent", "Label": "edgeagent", "Suite": release, "Codename": release,
        "Architectures": " ".join(sorted(vendor.MACHINE)), "Components": "main",
        "Date": time.strftime("%a, %d %b %Y %H:%M:%S UTC", time.gmtime(at)),
    }  # fmt: skip
    options = [f"-oAPT::FTPArchive::Release::{key}={value}" for key, value in described.items()]
    (suite / "Release").write_text(_ftparchive(out, *options, "release", f"dists/{release}"))


def _ftparchive(where: Path, *arguments: str) -> str:
    return subprocess.run(
        ["apt-ftparchive", *arguments], cwd=where, check=True, capture_output=True, text=True,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    ).stdout  # fmt: skip


def _sign(suite: Path, key: str) -> None:
    gpg = ["gpg", "--batch", "--yes", "--local-user", key]
    release = str(suite / "Release")
    subprocess.run([*gpg, "--clearsign", "-o", str(suite / "InRelease"), release], check=True)
    subprocess.run(
        [*gpg, "--armor", "--detach-sign", "-o", str(suite / "Release.gpg"), release], check=True
    )


def throwaway(home: Path) -> str:
    """A key for trying things out, made in a folder of GnuPG's; its fingerprint."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.environ["GNUPGHOME"] = str(home)
    name = "edgeagent: for trying out only <try@edgeagent.invalid>"
    if not _fingerprint(name):
        subprocess.run(
            ["gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", name,
             "ed25519", "sign", "never"],
            check=True,
        )  # fmt: skip
    return _fingerprint(name)


def _fingerprint(name: str) -> str:
    told = subprocess.run(
        ["gpg", "--batch", "--with-colons", "--list-secret-keys", f"={name}"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    lines = [line.split(":") for line in told.stdout.splitlines()]
    return next((line[9] for line in lines if line[0] == "fpr"), "")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--debs", type=Path, default=Path("build/deb"))
    parser.add_argument("--out", type=Path, default=Path("build/apt"))
    parser.add_argument("--key", default="", help="of GnuPG; without it one for trying out")
    parser.add_argument("--address", default="", help="where devices will find the folder")
    told = parser.parse_args()
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if missing:
        raise SystemExit(f"Needed for a repository: sudo apt install {' '.join(missing)}")
    key = told.key
    if not key:
        key = throwaway(told.out.absolute().parent / "trial-key")
        print("No --key: signed with a key for trying out, which proves nothing to anybody.")
    at = int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    address = told.address or told.out.absolute().as_uri()
    publish(told.debs, told.out, key, at, address)
    print(f"{told.out}: signed by {key}. On a device:\n")
    for release in sorted(path.stem.split("-")[1] for path in told.out.glob("*.sources")):
        print(
            f"  # {release}\n"
            f"  sudo curl -o /usr/share/keyrings/edgeagent.gpg {address}/edgeagent.gpg\n"
            f"  sudo curl -o /etc/apt/sources.list.d/edgeagent.sources "
            f"{address}/edgeagent-{release}.sources\n"
            "  sudo apt update && sudo apt install edgeagent-full\n"
        )


if __name__ == "__main__":
    main()
