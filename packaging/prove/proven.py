"""One command that proves the packages and writes docs/proven.md.

    make proven                                     # sizes, two builds, lintian, SBOM, exposure
    sudo make proven PROOFS="packages boot-12 boot-13 tarball container arm64"

Each proof is a script of its own whose output becomes its section; the others stay as they were.
``--take NAME=FILE`` takes the output of a run before. Ends with 1 where a proof did.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "proven.md"
PROOFS: dict[str, list[list[str]]] = {
    "packages": [["footprint.py", "--release", "bookworm"], ["footprint.py", "--release", "trixie"],
                 ["exposure.py"]],
    "boot-12": [["boot.py", "--release", "bookworm"]],
    "boot-13": [["boot.py", "--release", "trixie"]],
    "tarball": [["boot.py", "--tarball"]],
    "container": [["container.py"]],
    "arm64": [["arm.py"]],
}  # fmt: skip
"""Section → scripts of this folder with their arguments."""
_OURS = re.compile(r"^(ok|FAILED) ")


def run(name: str) -> tuple[str, bool]:
    """What its scripts print, and whether all went well."""
    said, good = [], True
    for script, *arguments in PROOFS[name]:
        if arguments[-1:] == ["--tarball"]:
            arguments.append(str(newest_archive()))
        command = [sys.executable, str(HERE / script), *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as going:
            assert going.stdout is not None
            for line in going.stdout:
                sys.stdout.write(line)
                sys.stdout.flush()
                said.append(line)
        good = good and going.returncode == 0
    return "".join(said), good


def newest_archive() -> Path:
    """For this machine. Raises SystemExit where there is none."""
    found = sorted(ROOT.glob("build/tarball/*-py3.11-linux-x86_64.tar.gz"))
    if not found:
        raise SystemExit("There is no archive in build/tarball: make tarball")
    return found[-1]


def section(said: str, at: str) -> str:
    """The output as a section's body: transcripts stay as they are, Markdown is Markdown."""
    lines = said.strip().splitlines()
    steps = [line for line in lines if _OURS.match(line)]
    body = "```\n" + "\n".join(steps) + "\n```" if steps else "\n".join(lines)
    return f"{at}\n\n{body}"


def placed(page: str, name: str, body: str) -> str:
    """The page with the section's body in place of the one before. Raises SystemExit."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if begin not in page or end not in page:
        raise SystemExit(f"{PAGE} has no place for {name}: {begin} … {end}")
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n{body}\n{end}{rest.partition(end)[2]}"


def commit() -> str:
    """When and of what, for who reads the page."""
    told = subprocess.run(["git", "-C", str(ROOT), "log", "-1", "--format=%h of %cs"],
                          capture_output=True, text=True, check=False)  # fmt: skip
    return told.stdout.strip() or "no commit"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("proofs", nargs="*", help=f"{', '.join(PROOFS)} [packages]")
    parser.add_argument("--take", action="append", default=[], metavar="NAME=FILE")
    told = parser.parse_args()
    taken = dict(its.split("=", 1) for its in told.take)
    unknown = sorted(({*told.proofs} | set(taken)) - set(PROOFS))
    if unknown:
        raise SystemExit(f"{unknown[0]} is no proof; known are {', '.join(PROOFS)}")
    page, bad = PAGE.read_text(), []
    for name in told.proofs or ([] if taken else ["packages"]):
        said, good = run(name)
        taken_at = f"Run on {time.strftime('%Y-%m-%d')}, commit {commit()}."
        page = placed(page, name, section(said, taken_at))
        PAGE.write_text(page)
        bad += [] if good else [name]
    for name, file in taken.items():
        at = time.strftime("%Y-%m-%d", time.localtime(Path(file).stat().st_mtime))
        page = placed(page, name, section(Path(file).read_text(), f"Run on {at}."))
    PAGE.write_text(page)
    if bad:
        raise SystemExit(f"not as it has to be: {', '.join(bad)}")


if __name__ == "__main__":
    main()
