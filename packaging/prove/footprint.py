"""What lies in build/deb: sizes, what it is made of, the hashes of a second build, lintian's
findings; as Markdown.

python packaging/prove/footprint.py --release bookworm
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deb"))

import machine
import vendor


def newest(folder: Path, arch: str) -> list[Path]:
    """The newest version of each package that an architecture may install."""
    found: dict[str, Path] = {}
    for file in sorted(folder.glob("*.deb"), key=lambda its: its.stat().st_mtime):
        name, _, its = file.stem.split("_")
        if its in (arch, "all"):
            found[name] = file
    return [found[name] for name in sorted(found)]


def field(package: Path, name: str) -> str:
    """A field of a package's control file."""
    return subprocess.run(
        ["dpkg-deb", "-f", str(package), name], check=True, capture_output=True, text=True
    ).stdout.strip()


def packed(package: Path) -> str:
    """How its content is compressed: xz, zstd."""
    return "zstd" if b"data.tar.zst" in package.read_bytes()[:2_000_000] else "xz"


def sizes(packages: list[Path]) -> None:
    """Download and installed size of each."""
    print("| package | download, MB | installed, MB |\n|---|---|---|")
    for file in packages:
        installed = int(field(file, "Installed-Size")) / 1024
        print(f"| {file.name} | {file.stat().st_size / 1e6:.1f} | {installed:.1f} |")


def materials(packages: list[Path]) -> None:
    """What the SBOM in each package of libraries names."""
    print("\n| SBOM (CycloneDX) | components | licences |\n|---|---|---|")
    for file in packages:
        place = f"./usr/share/doc/{file.name.partition('_')[0]}/sbom.cdx.json"
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(file)],
                              stdout=subprocess.PIPE) as files:  # fmt: skip
            found = subprocess.run(["tar", "-xO", place], stdin=files.stdout,
                                   capture_output=True, check=False)  # fmt: skip
        if found.returncode:
            continue  # Our own code has none: what it needs are packages of their own.
        parts = json.loads(found.stdout)["components"]
        terms = Counter(
            its.get("expression") or its["license"].get("id") or its["license"]["name"]
            for part in parts for its in part.get("licenses", [])
        )  # fmt: skip
        told = ", ".join(f"{term} × {count}" for term, count in terms.most_common())
        print(f"| {file.name.partition('_')[0]} | {len(parts)} | {told} |")


def again(release: str, arch: str, packages: list[Path], told: argparse.Namespace) -> int:
    """Build everything a second time elsewhere and compare; how many differ."""
    pack = packed(packages[0])
    with tempfile.TemporaryDirectory(prefix="edgeagent-again-") as folder:
        subprocess.run(
            [sys.executable, str(Path(vendor.__file__).with_name("build.py")), "--release", release,
             "--arch", arch, "--out", folder, "--wheels", str(told.wheels), "--pack", pack],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        second = {its.name: its for its in (Path(folder) / release).glob("*.deb")}
        print("\n| package | first build | second build |\n|---|---|---|")
        different = 0
        for file in packages:
            one = hashlib.sha256(file.read_bytes()).hexdigest()
            twin = second.get(file.name)
            two = hashlib.sha256(twin.read_bytes()).hexdigest() if twin else "not built"
            different += one != two
            print(f"| {file.name} | {one[:16]}… | {'the same' if one == two else two} |")
    return different


def lintian(packages: list[Path], release: str, told: argparse.Namespace) -> int:
    """What lintian says beyond what is overridden with a reason; how many errors.

    That of the release where it can be had: in a root of its own, as root of this machine.
    """
    command = ["lintian", "--allow-root", "--no-tag-display-limit"]
    here = platform.freedesktop_os_release().get("VERSION_CODENAME")
    with contextlib.ExitStack() as made:
        names, whose = [str(its) for its in packages], here
        if here != release and os.geteuid() == 0 and not machine.missing():
            root = Path(
                made.enter_context(tempfile.TemporaryDirectory(prefix="edgeagent-lintian-"))
            )
            archive = machine.base(told.roots.absolute(), release, told.mirror, "lintian")
            subprocess.run(["tar", "-C", str(root), "-xf", str(archive)], check=True)
            for file in packages:
                shutil.copy(file, root / "srv" / file.name)
            command = ["chroot", str(root), *command]
            names, whose = [f"/srv/{file.name}" for file in packages], release
        elif shutil.which("lintian") is None:
            print("\nlintian is not installed: sudo apt install lintian")
            return 0
        done = subprocess.run([*command, *names], capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line[:2] in ("E:", "W:")]
    if packed(packages[0]) == "zstd":
        # Debian's archive takes xz, and releases are made so; dpkg of 12 and 13 reads both.
        lines = [line for line in lines if "malformed-deb-archive" not in line]
    kinds = Counter((line[0], line.split(": ")[2].split(" ")[0]) for line in lines)
    print(f"\nlintian of {whose}: {sum(1 for line in lines if line[0] == 'E')} errors, "
          f"{sum(1 for line in lines if line[0] == 'W')} warnings")  # fmt: skip
    for (grade, tag), count in sorted(kinds.items()):
        example = next(line for line in lines if f": {tag}" in line)
        print(f"  {grade}: {tag} × {count}, e.g. {example[3:]}")
    return sum(1 for line in lines if line[0] == "E")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--debs", type=Path, default=Path("build/deb"))
    parser.add_argument("--wheels", type=Path, default=Path("build/wheels"))
    parser.add_argument("--release", default="bookworm", choices=sorted(vendor.plan()["release"]))
    parser.add_argument("--arch", default="amd64", choices=sorted(vendor.MACHINE))
    parser.add_argument("--roots", type=Path, default=Path("build/roots"))
    parser.add_argument("--mirror", default="http://deb.debian.org/debian")
    parser.add_argument("--no-again", action="store_true", help="no second build")
    told = parser.parse_args()
    packages = newest(told.debs / told.release, told.arch)
    if not packages:
        raise SystemExit(f"{told.debs / told.release} has no packages; make them with: make deb")
    print(f"\n### {told.release}, {told.arch}\n")
    sizes(packages)
    materials(packages)
    different = 0 if told.no_again else again(told.release, told.arch, packages, told)
    faults = lintian(packages, told.release, told)
    sys.exit(1 if different or faults else 0)


if __name__ == "__main__":
    main()
