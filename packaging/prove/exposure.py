"""How exposed systemd finds our services, and why what is left is left; as Markdown.

    python packaging/prove/exposure.py

Reads the units as they are shipped; nothing has to be installed. Each exposure that remains must
have its reason in docs/threats.md. Ends with 1 where one has none, or a service is above 2.0.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UNITS = ("edgeagent", "edgeagent-collect", "edgeagent-serve")
"""What goes on running; the others are over in a moment."""
MOST = 2.0


def reasons(page: str) -> dict[str, str]:
    """Setting → why it is so, of the table of docs/threats.md."""
    found: dict[str, str] = {}
    for line in page.splitlines():
        cells = [its.strip() for its in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 2:
            named = re.findall(r"`([^`]+)`", cells[0].replace("\\|", "|"))
            found |= dict.fromkeys(named, cells[1])
    return found


def reason(setting: str, known: dict[str, str]) -> str:
    """Of a setting as systemd names it, such as ``RootDirectory=/RootImage=``; "" = there is
    none."""
    return next((why for name, why in known.items() if setting.startswith(name)), "")


def assess(unit: Path) -> tuple[float, list[tuple[str, float]]]:
    """Its level, and what is left: (setting, exposure). Raises CalledProcessError."""
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager"]

    def said(*more: str) -> str:
        return subprocess.run([*command, *more, str(unit)], check=True, capture_output=True,
                              text=True).stdout  # fmt: skip

    level = re.search(r"exposure level for \S+: ([\d.]+)", said())
    if level is None:
        raise SystemExit(f"systemd-analyze says nothing of {unit}")
    left = [(str(its["name"]), float(its["exposure"])) for its in json.loads(said("--json=short"))
            if its["exposure"] not in (None, "", "0")]  # fmt: skip
    return float(level.group(1)), sorted(left, key=lambda its: -its[1])


def main() -> None:
    known = reasons((ROOT / "docs" / "threats.md").read_text())
    levels, left = {}, {}
    for unit in UNITS:
        levels[unit], exposures = assess(ROOT / "packaging" / "systemd" / f"{unit}.service")
        left.update(exposures)
    print("| service | `systemd-analyze security` |\n|---|---|")
    for unit, level in levels.items():
        print(f"| {unit} | {level} |")
    print("\n| what is left | counts | why |\n|---|---|---|")
    for setting, counts in sorted(left.items(), key=lambda its: -its[1]):
        shown = setting.replace("|", "\\|")
        print(f"| `{shown}` | {counts} | {reason(setting, known) or '**NOT EXPLAINED**'} |")
    silent = [setting for setting in left if not reason(setting, known)]
    sys.exit(1 if silent or max(levels.values()) > MOST else 0)


if __name__ == "__main__":
    main()
