"""The archive for systems without apt: one tree with all runtimes, and install.sh.

    python packaging/tarball/build.py --release bookworm --arch amd64

For the Python of that release of Debian; any system with that Python and a glibc as new runs it.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import shutil
import sys
import tarfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deb"))

import stage
import vendor
from build import Build, last_change, stamp
from edgeagent import __version__

FLAVOURS = ("edgeagent-libs", "edgeagent-runtime-litert", "edgeagent-runtime-onnx",
            "edgeagent-runtime-opencv")  # fmt: skip
UNITS = ("edgeagent.service", "edgeagent-retry.service", "edgeagent-retry.timer")


def assemble(build: Build, folder: Path, version: str) -> None:
    """Everything that the archive holds, in a folder that is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    tree = folder / "tree"
    # The interpreter and the prefix are known only where it is installed.
    stage.environment(tree, build.python, f"/usr/bin/python{build.python}")
    stage.code(tree, build.python, version, by="tarball")
    stage.plugins(tree, build.python, stage.PLUGINS)
    stage.launchers(tree, "/opt/edgeagent/lib/edgeagent/bin/python3")
    site = stage.packages(tree, build.python)
    for flavour in FLAVOURS:
        shutil.copytree(build.trees / flavour, site, dirs_exist_ok=True)
    packaging = stage.ROOT / "packaging"
    for unit in UNITS:
        shutil.copy(packaging / "systemd" / unit, folder / unit)
    for file in ("60-edgeagent.rules", "edgeagent.sysusers", "deb/conf/agent.toml",
                 "tarball/install.sh"):  # fmt: skip
        shutil.copy(packaging / file, folder / Path(file).name)
    (folder / "target").write_text(
        f"PYTHON={build.python}\nMACHINE={vendor.MACHINE[build.arch]}\nVERSION={version}\n"
    )
    sums = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(folder)}\n"
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.is_symlink()
    ]
    (folder / "SHA256SUMS").write_text("".join(sums))


def pack(folder: Path, archive: Path, at: int) -> None:
    """The same bytes for the same content: in order, without owners, with one time."""

    def plain(its: tarfile.TarInfo) -> tarfile.TarInfo:
        its.uid = its.gid = 0
        its.uname = its.gname = "root"
        its.mtime = at
        return its

    with (
        archive.open("wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=at) as squeezed,
        tarfile.open(fileobj=squeezed, mode="w", format=tarfile.GNU_FORMAT) as out,
    ):
        for file in [folder, *sorted(folder.rglob("*"))]:
            name = str(Path(folder.name) / file.relative_to(folder))
            out.add(file, name, recursive=False, filter=plain)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--release", required=True, choices=sorted(vendor.plan()["release"]))
    parser.add_argument("--arch", required=True, choices=sorted(vendor.MACHINE))
    parser.add_argument("--out", type=Path, default=Path("build/tarball"))
    parser.add_argument("--debs", type=Path, default=Path("build/deb"), help="for its trees")
    parser.add_argument("--wheels", type=Path, default=Path("build/wheels"))
    told = parser.parse_args()
    build = Build(told.release, told.arch, told.debs.absolute(), "xz", told.wheels.absolute())
    if not build.trees.exists():
        build.fill_trees()
    at = last_change(".")
    version = f"{__version__}+{stamp(at)}"
    name = f"edgeagent-{version}-py{build.python}-linux-{vendor.MACHINE[told.arch]}"
    told.out.mkdir(parents=True, exist_ok=True)
    assemble(build, told.out / name, version)
    archive = told.out / f"{name}.tar.gz"
    pack(told.out / name, archive, at)
    shutil.rmtree(told.out / name)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    archive.with_name(f"{archive.name}.sha256").write_text(f"{digest}  {archive.name}\n")
    print(archive, f"{archive.stat().st_size:,} bytes", digest)


if __name__ == "__main__":
    main()
