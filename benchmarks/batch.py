"""`edgeagent batch` beside a bare loop over processes, whole commands, taking turns in one run.

``python benchmarks/batch.py [--pictures N] [--rounds N]``; 10,000 pictures with
EDGEAGENT_TESTS=full. Both decode, resize, infer, read the answer and write a line of JSON for
each picture, on as many processes as there are cores. With ``--kill`` our command is killed with
-9 in the middle and started again, and its result compared with an undisturbed one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

_SIZE = (640, 480)


def make_pictures(folder: Path, count: int, different: int = 200) -> None:
    """JPEGs of a belt, each under a name of its own; some are links to others."""
    import cv2

    from edgeagent.capture.synthetic import BeltScene

    scene = BeltScene(5, _SIZE, fault_rate=0.3)
    folder.mkdir(parents=True)
    for number in range(count):
        file = folder / f"{number:05d}.jpg"
        if number < different:
            cv2.imwrite(str(file), scene.render(number * 7)[0])
        else:
            os.link(folder / f"{number % different:05d}.jpg", file)


def ours(model: Path, pictures: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "edgeagent.cli", "batch", str(model), str(pictures),
            "--out", str(out), "--replace", "--json"]  # fmt: skip


def bare(model: Path, pictures: Path, out: Path) -> list[str]:
    return [sys.executable, str(ROOT / "benchmarks" / "bare.py"), "pool", "--model",
            str(next(model.glob("*.tflite"))), "--picture", str(pictures), "--out",
            str(out)]  # fmt: skip


def timed(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def compare(folder: Path, count: int, rounds: int) -> dict[str, Any]:
    """Medians of whole commands and the throughput of ours as a share of the bare loop's."""
    pictures, model = folder / "pictures", sorted((ROOT / "models" / "parts").iterdir())[-1]
    make_pictures(pictures, count)
    took: dict[str, list[float]] = {"ours": [], "bare": []}
    for _ in range(rounds):
        took["ours"].append(timed(ours(model, pictures, folder / "ours.jsonl")))
        took["bare"].append(timed(bare(model, pictures, folder / "bare.jsonl")))
    a, b = (statistics.median(took[name]) for name in ("ours", "bare"))
    return {
        "pictures": count, "rounds": rounds, "ours_s": round(a, 2), "bare_s": round(b, 2),
        "ours_per_s": round(count / a), "bare_per_s": round(count / b),
        "throughput_share": round(b / a, 3),
        "shares": [round(y / x, 3) for x, y in zip(took["ours"], took["bare"], strict=True)],
    }  # fmt: skip


def killed(folder: Path) -> dict[str, Any]:
    """Killed with -9 at a third and two thirds; then whole."""
    pictures, model = folder / "pictures", sorted((ROOT / "models" / "parts").iterdir())[-1]
    total = len(list(pictures.iterdir()))
    out = folder / "killed.jsonl"
    kept = out.with_name(f"{out.name}.part")
    kills = []
    for share in (1 / 3, 2 / 3):
        with subprocess.Popen(ours(model, pictures, out), stdout=subprocess.PIPE, cwd=ROOT) as run:
            while not kept.exists() or _count(kept, b'"crc"') < share * total:
                if run.poll() is not None:
                    raise RuntimeError("the batch ended before it could be killed")
                time.sleep(0.02)
            run.kill()
        kills.append(_count(kept, b'"crc"'))
    last = subprocess.run(
        ours(model, pictures, out), check=True, cwd=ROOT, capture_output=True, text=True
    )
    told = json.loads(last.stdout)
    names = [json.loads(line)["input"] for line in out.read_text().splitlines()]
    return {
        "killed_at": kills, "resumed": told["resumed"], "rows": len(names),
        "duplicates": len(names) - len(set(names)), "holes": total - len(set(names)),
        "identical": out.read_bytes() == (folder / "ours.jsonl").read_bytes(),
    }  # fmt: skip


def _count(file: Path, what: bytes) -> int:
    return file.read_bytes().count(what)


def main() -> None:
    whole = os.environ.get("EDGEAGENT_TESTS") == "full"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=10_000 if whole else 400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kill", action="store_true", default=whole)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="edgeagent-batch-"))
    try:
        print(json.dumps(compare(folder, arguments.pictures, arguments.rounds)), flush=True)
        if arguments.kill:
            print(json.dumps(killed(folder)), flush=True)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
