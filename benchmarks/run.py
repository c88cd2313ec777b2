"""`make bench`: every comparison in one run, as JSON, as a report with pictures, and held against
`limits.toml`: what is guarded and over its limit ends the command with 1.

    make bench                   the short form, about four minutes, into build/bench
    make results                 the whole form, below ten minutes, into docs
    make peers VENVS=FOLDER      other programs beside ours, merged into the same report

FOLDER holds the virtual environments ``mlserver`` and ``kserve`` (each with onnxruntime); the rows
of one that is not there say so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import footprint, idle, peers, process, report, step, track
from benchmarks.limits import Verdict, read
from benchmarks.models import ASSETS, ROOT
from benchmarks.serving import beside

_PACKAGES = ("ai-edge-litert", "onnxruntime", "numpy", "opencv-python-headless", "paho-mqtt")


class Run:
    """What was measured so far, and where it is written."""

    def __init__(self, folder: Path, form: str, command: str) -> None:
        self.folder = folder
        self._form, self._command = form, command
        self.parts: dict[str, dict[str, Any]] = {}
        self._whole: dict[str, Any] = {}

    def take_up(self) -> None:
        """Go on with the run that was written last, if there is one, to add to it."""
        file = self.folder / report.JSON
        if file.is_file():
            self._whole = json.loads(file.read_text())
            self.parts = self._whole["parts"]

    @contextmanager
    def part(self, name: str) -> Iterator[dict[str, dict[str, float]]]:
        """Rows of one part, told as soon as they are there."""
        rows: dict[str, dict[str, float]] = {}
        loads, began = [os.getloadavg()[0]], time.monotonic()
        yield rows
        loads.append(os.getloadavg()[0])
        self.parts[name] = {
            "command": self._command,
            "form": self._form,
            "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            "took_s": round(time.monotonic() - began),
            "load": [round(its, 1) for its in sorted(loads)],
            "rows": rows,
        }
        for row, figures in rows.items():
            told = "  ".join(f"{key} {value:g}" for key, value in figures.items())
            print(f"{name:10} {row:52} {told or 'not installed here'}", flush=True)
        self._render()  # what is measured is kept, whatever comes after it

    def _render(self) -> list[Verdict]:
        self._whole.setdefault("machine", machine())
        self._whole["parts"] = self.parts
        return report.write(self._whole, self.folder, read())

    def write(self) -> int:
        """Write the report; 1 = something guarded is over its limit."""
        over = [its for its in self._render() if not its.kept]
        print(f"\nreport: {self.folder / report.PAGE}, figures: {self.folder / report.JSON}")
        for its in over:
            print(f"{'OVER ITS LIMIT' if its.guarded else 'over the limit'}: {its}")
        return 1 if any(its.guarded for its in over) else 0


def machine() -> dict[str, str]:
    """Where and with what it was measured."""
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores, {platform.machine()}",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        **{name: its for name in _PACKAGES if (its := _version(name))},
        "commit": _commit(),
        "models": "published ones and ours" if (ASSETS / "models").is_dir() else "ours only",
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _commit() -> str:
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return told.stdout.strip() or "unknown"


def _command(told: argparse.Namespace) -> str:
    """What makes the same figures somewhere else: without this machine's folders."""
    words = ["python benchmarks/run.py", *(["--full"] if told.full else [])]
    words += ["--peers --venvs FOLDER"] if told.peers else []
    return " ".join(words + [f"--only {part}" for part in told.only or []])


def own(run: Run, made: Path, wanted: Callable[[str], bool], *, full: bool) -> None:
    """Beside the bare runtime and bare scripts."""
    process.compiled()
    with ExitStack() as stack:
        # What an agent writes at rest is counted while something else is measured, and not while
        # memory is: they would share their pages.
        rest = stack.enter_context(footprint.at_rest(made / "rest")) if wanted("rest") else None
        if wanted("step"):
            with run.part("step") as rows:
                rows |= step.measure(made, full=full)
        if wanted("track"):
            with run.part("track") as rows:
                rows |= track.measure()
        if wanted("first"):
            with run.part("first") as rows:
                rows["parts"] = process.start(made / "first", 11 if full else 5)
        if wanted("frame"):
            with run.part("frame") as rows:
                clip = process.belt_clip(made)
                rows["belt with rules and outbox"] = process.cpu_per_frame(made, clip)
        if rest is not None:
            with run.part("rest") as rows:
                rows |= rest.measure()
    if wanted("footprint"):
        with run.part("footprint") as rows:
            rows |= footprint.measure(made / "footprint")
    if wanted("idle"):
        with run.part("idle") as rows:
            rows |= idle.measure(made / "idle", seconds=40 if full else 15)


def others(run: Run, made: Path, wanted: Callable[[str], bool], venvs: Path) -> None:
    """Other programs beside ours."""
    if wanted("cameras"):
        with run.part("cameras") as rows:
            rows |= peers.measure(made / "cameras", rounds=2, frames=60)
    if wanted("servers"):
        with run.part("servers") as rows:
            rows |= beside.measure(venvs, rounds=3, span_s=1.5)
            for name in ("MLServer", "KServe"):
                rows.setdefault(f"{name}, 1 connections", {})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="the whole form")
    parser.add_argument("--peers", action="store_true", help="other programs; added to the report")
    parser.add_argument("--venvs", type=Path, default=Path(".venv-peers"))
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    parser.add_argument("--only", action="append", metavar="PART", help="added to the report")
    parser.add_argument("--render", action="store_true", help="the report again, from its JSON")
    told = parser.parse_args()
    # What was started is ended too, when somebody's patience is over.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run = Run(told.out, "whole form" if told.full else "short form", _command(told))
    if told.peers or told.only or told.render:
        run.take_up()
    with tempfile.TemporaryDirectory(prefix="edgeagent-bench-") as made:
        if told.peers:
            others(run, Path(made), lambda part: part in (told.only or [part]), told.venvs)
        elif not told.render:
            own(run, Path(made), lambda part: part in (told.only or [part]), full=told.full)
    sys.exit(run.write())


if __name__ == "__main__":
    main()
