"""Debian packages of one release and architecture.

    python packaging/deb/build.py --release bookworm --arch amd64

Libraries and agent are two sources: a library's package keeps its version and its bytes until the
lock changes, so a new agent is a download of half a megabyte. Nothing of the target is run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import materials
import stage
import vendor
from edgeagent import __version__

TOOLS = {"dh": "debhelper", "dpkg-buildpackage": "dpkg-dev", "fakeroot": "fakeroot"}
PACKS = {"xz": "-Zxz --threads-max=1", "zstd": "-Zzstd -z10"}
LIBRARY_INPUTS = (
    "packaging/locks/dev.txt", "packaging/deb/flavours.toml", "packaging/deb/vendor.py",
    "packaging/deb/materials.py", "packaging/deb/libraries",
)  # fmt: skip


class Build:
    """One release and architecture.

    Args:
        release: bookworm, trixie.
        arch: amd64, arm64.
        out: the folder of everything that is made; packages lie in ``out/{release}``.
        pack: how packages are compressed, a key of ``PACKS``.
        wheels: where downloaded wheels are kept.
    """

    def __init__(self, release: str, arch: str, out: Path, pack: str, wheels: Path) -> None:
        self.release, self.arch, self.out = release, arch, out
        self.pack, self.wheels = pack, wheels
        self.target = vendor.plan()["release"][release]
        self.work = out / "work" / f"{release}-{arch}"
        self.python = self.target["python"]
        major, minor = self.python.split(".")
        self.next = f"{major}.{int(minor) + 1}"
        self.suffix = f"~deb{self.target['number']}"
        self.libraries_at = last_change(*LIBRARY_INPUTS)
        self.libraries_version = stamp(self.libraries_at) + self.suffix

    @property
    def trees(self) -> Path:
        """Where the libraries lie unpacked, a folder for each package; others for another lock."""
        return self.work / f"trees-{stamp(self.libraries_at)}"

    def fill_trees(self) -> None:
        """Bring the wheels of all packages."""
        for old in self.work.glob("trees-*"):
            shutil.rmtree(old)
        # Whole or not there: a build that was broken off must not leave half of them.
        fresh = self.work / "trees.new"
        for flavour in vendor.flavours():
            vendor.fill(flavour, self.release, self.arch, fresh / flavour, self.wheels)
        fresh.replace(self.trees)

    def library_version(self, package: str) -> str:
        """The library's own version, then when the recipe or the lock was last changed."""
        distribution = vendor.plan()["version_of"].get(package)
        if distribution is None:
            return self.libraries_version
        own = vendor.version(distribution, self.python, self.arch)
        return f"{own}+{self.libraries_version}"

    def libraries(self) -> None:
        """The packages of libraries, unless they have been made from the same inputs."""
        wanted = [
            self.out / self.release / f"{name}_{self.library_version(name)}_{self.arch}.deb"
            for name in vendor.flavours()
        ]
        if all(file.exists() for file in wanted):
            return
        if not self.trees.exists():
            self.fill_trees()
        source = self._source("libraries", "edgeagent-libraries", self.libraries_version,
                              self.libraries_at)  # fmt: skip
        for name in vendor.flavours():
            tree = self.trees / name
            site = stage.packages(source / "stage" / name / "usr", self.python)
            shutil.copytree(tree, site, symlinks=True)
            doc = source / "stage" / name / "usr" / "share" / "doc" / name
            materials.write(name, tree, doc, self.libraries_at, self.wheels)
            self._library_scripts(source / "debian", name)
        lines = ["set -e\n"] + [
            f"dh_gencontrol -p {name} -- -v{self.library_version(name)}\n"
            for name in vendor.flavours()
        ]
        (source / "debian" / "versions.sh").write_text("".join(lines))
        self._package(source, self.libraries_at, "-B")

    def agent(self, version: str, at: int) -> None:
        """The packages of the agent, for every architecture."""
        source = self._source("agent", "edgeagent", version + self.suffix, at)
        prefix = source / "stage" / "edgeagent" / "usr"
        stage.environment(prefix, self.python, f"/usr/bin/python{self.python}")
        stage.code(prefix, self.python, version, by="deb")
        stage.plugins(prefix, self.python, stage.PLUGINS)
        stage.launchers(prefix, "/usr/lib/edgeagent/bin/python3")
        _documents(source, prefix)
        _configuration(source)
        debian, units = source / "debian", stage.ROOT / "packaging" / "systemd"
        for unit in sorted(units.glob("edgeagent*.*")):
            fleet = unit.stem in ("edgeagent-collect", "edgeagent-serve")
            owner = "edgeagent-fleet" if fleet else "edgeagent"
            shutil.copy(unit, debian / f"{owner}.{unit.stem}{unit.suffix}")
        shutil.copy(stage.ROOT / "packaging" / "60-edgeagent.rules", debian / "edgeagent.udev")
        for name in ("edgeagent", "edgeagent-fleet"):
            shutil.copy(stage.ROOT / "packaging" / f"{name}.sysusers", debian / f"{name}.sysusers")
            (debian / f"{name}.install").write_text(f"stage/{name}/* /\n")
        self._package(source, at, "-A")

    def _source(self, recipe: str, name: str, version: str, at: int) -> Path:
        source = self.work / name
        shutil.rmtree(source, ignore_errors=True)
        shutil.copytree(stage.ROOT / "packaging" / "deb" / recipe, source / "debian")
        control = source / "debian" / "control"
        text = control.read_text()
        for key, value in {
            "@PYTHON@": self.python, "@NEXT@": self.next, "@LIBS@": self.libraries_version,
            "@LIBC@": f"2.{self.target['glibc']}",
        }.items():  # fmt: skip
            text = text.replace(key, value)
        control.write_text(text)
        (source / "debian" / "changelog").write_text(
            f"{name} ({version}) {self.release}; urgency=medium\n\n"
            "  * What has changed is told in CHANGELOG.md of the project.\n\n"
            f" -- The edgeagent authors <edgeagent@packages.invalid>  "
            f"{time.strftime('%a, %d %b %Y %H:%M:%S +0000', time.gmtime(at))}\n"
        )
        return source

    def _library_scripts(self, debian: Path, package: str) -> None:
        for kind in ("postinst", "prerm", "triggers"):
            text = (debian / f"library.{kind}").read_text()
            (debian / f"{package}.{kind}").write_text(text.replace("@PACKAGE@", package))
        overrides = (debian / "library.lintian-overrides").read_text()
        (debian / f"{package}.lintian-overrides").write_text(
            overrides.replace("@PACKAGE@", package)
        )
        (debian / f"{package}.install").write_text(f"stage/{package}/* /\n")

    def _package(self, source: Path, at: int, which: str) -> None:
        for leftover in (*source.glob("debian/library.*"), *source.parent.glob("*.deb")):
            leftover.unlink()  # a build that was broken off leaves half a package
        for file in source.rglob("*"):
            # Not when this checkout was made: two builds of one commit are the same.
            os.utime(file, (at, at), follow_symlinks=False)
        where = {
            **os.environ, "SOURCE_DATE_EPOCH": str(at), "PACK": PACKS[self.pack],
            "DEB_BUILD_OPTIONS": "nocheck nostrip noautodbgsym", "LC_ALL": "C.UTF-8", "TZ": "UTC",
        }  # fmt: skip
        log = source.parent / f"{source.name}.log"
        # Dependencies for building (-d) are told by `main`, in words.
        command = ["dpkg-buildpackage", which, "-us", "-uc", "-d", "-nc", "-a", self.arch]
        with log.open("w") as out:
            done = subprocess.run(
                command, cwd=source, env=where, stdout=out, stderr=out, umask=0o022, check=False
            )
        if done.returncode:
            sys.stderr.write("".join(log.read_text().splitlines(True)[-25:]))
            raise SystemExit(f"dpkg-buildpackage has failed; all of it is in {log}")
        finished = self.out / self.release
        finished.mkdir(parents=True, exist_ok=True)
        for package in sorted(source.parent.glob("*.deb")):
            shutil.move(package, finished / package.name)
            print(finished / package.name, f"{(finished / package.name).stat().st_size:,} bytes")


def _documents(source: Path, prefix: Path) -> None:
    made = source / "made"
    subprocess.run(
        [sys.executable, str(Path(__file__).parent / "manual.py"), str(made)], check=True
    )
    for page in sorted((made / "man").iterdir()):
        folder = prefix / "share" / "man" / f"man{page.suffix[1:]}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(page, folder / page.name)
    places = {"bash": "bash-completion/completions", "zsh": "zsh/vendor-completions",
              "fish": "fish/vendor_completions.d"}  # fmt: skip
    for shell, place in places.items():
        shutil.copytree(made / "completions" / shell, prefix / "share" / place)
    doc = prefix / "share" / "doc" / "edgeagent"
    doc.mkdir(parents=True, exist_ok=True)
    for page in stage.tracked("docs/*.md", "docs/reference", "SECURITY.md"):
        shutil.copy(stage.ROOT / page, doc / page.name)


def _configuration(source: Path) -> None:
    conf = stage.ROOT / "packaging" / "deb" / "conf"
    own = source / "stage" / "edgeagent" / "etc" / "edgeagent"
    for name in ("conf.d", "secrets", "operators"):
        (own / name).mkdir(parents=True)
        (own / name).chmod(0o750)
    own.chmod(0o750)
    shutil.copy(conf / "agent.toml", own / "agent.toml")
    (own / "agent.toml").chmod(0o640)
    fleet = source / "stage" / "edgeagent-fleet" / "etc" / "edgeagent-fleet"
    fleet.mkdir(parents=True)
    for name in ("collect.env", "serve.env"):
        shutil.copy(conf / name, fleet / name)
    # What a broker for a fleet needs, to be copied from.
    examples = source / "stage/edgeagent-fleet/usr/share/doc/edgeagent-fleet/examples"
    shutil.copytree(stage.ROOT / "packaging" / "mosquitto", examples)


def last_change(*paths: str) -> int:
    """When a path of the repository was last changed, by its commits."""
    command = ["git", "-C", str(stage.ROOT), "log", "-1", "--format=%ct", "--", *paths]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    if not told:
        raise SystemExit(f"no commit has any of {', '.join(paths)}")
    return int(told)


def stamp(at: int) -> str:
    """A time as part of a version: sorts as time does."""
    return time.strftime("%Y%m%d.%H%M", time.gmtime(at))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--release", required=True, choices=sorted(vendor.plan()["release"]))
    parser.add_argument("--arch", required=True, choices=sorted(vendor.MACHINE))
    parser.add_argument("--out", type=Path, default=Path("build/deb"))
    parser.add_argument("--wheels", type=Path, default=Path("build/wheels"))
    parser.add_argument("--pack", default="xz", choices=sorted(PACKS), help="xz for releases")
    parser.add_argument("--version", default="", help="without it: the commit's")
    parser.add_argument(
        "--step", default="all", choices=["trees", "libraries", "agent", "all"],
        help="trees: only bring the wheels",
    )  # fmt: skip
    told = parser.parse_args()
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if missing and told.step != "trees":
        raise SystemExit(f"Needed to build packages: sudo apt install {' '.join(missing)}")
    build = Build(told.release, told.arch, told.out.absolute(), told.pack, told.wheels.absolute())
    at = last_change(".")
    if told.step in ("trees",):
        build.fill_trees()
    if told.step in ("libraries", "all"):
        build.libraries()
    if told.step in ("agent", "all"):
        build.agent(told.version or f"{__version__}+{stamp(at)}", at)


if __name__ == "__main__":
    main()
