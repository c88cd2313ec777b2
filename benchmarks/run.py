"""`make bench`: every comparison in one run, as a table and as JSON (build/bench.json)."""

from __future__ import annotations

import json
import platform
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import process, step, track


def main() -> None:
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="edgeagent-bench-") as made:
        for part in (step, track, process):
            found = part.measure(Path(made))
            rows.update(found)
            for name, figures in found.items():
                told = "  ".join(f"{key} {value:g}" for key, value in figures.items())
                print(f"{name:45} {told}", flush=True)
    out = Path("build")
    out.mkdir(exist_ok=True)
    machine = f"{platform.machine()}, Python {platform.python_version()}"
    (out / "bench.json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")
    print(f"\nwritten to {out / 'bench.json'} ({machine})")


if __name__ == "__main__":
    main()
