"""Man pages and completions from the command line itself, so they can't be out of date.

python packaging/deb/manual.py DIR
"""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeagent import __version__

SHELLS = {"bash": "edgeagent", "zsh": "_edgeagent", "fish": "edgeagent.fish"}
ENDS = """.SH EXIT STATUS
0 done; 1 found a problem; 2 usage; 3 not found; 69 unavailable; 70 internal; 75 try again;
77 not permitted; 78 bad configuration.
.SH FILES
.TP
.I /etc/edgeagent/agent.toml
.TQ
.I /etc/edgeagent/conf.d/*.toml
The configuration.
.TP
.I /etc/edgeagent/secrets/
Passwords and keys, for root and the group edgeagent.
.TP
.I /var/lib/edgeagent/
Records, pictures, models, what the fleet wishes.
.TP
.I /run/edgeagent/control.sock
Where the service is asked; for members of the group edgeagent.
"""
DAEMON = """.SH DESCRIPTION
Captures, infers, decides, keeps and sends what the configuration says, until it is told to stop.
It is started by
.BR systemctl (1)
as edgeagent.service: ready when its models are open, watched by the progress of its pipelines,
reloaded by SIGHUP.
.PP
A start that does not last a minute is counted. The third in a row undoes what was on trial, a
model or a configuration; the tenth ends in safe mode: the link, commands and doctor work, no
pipeline runs. `systemctl restart edgeagent` tries the pipelines again. After twenty failed starts
in five minutes the service rests for a quarter of an hour (edgeagent-retry.timer).
.PP
An invalid configuration leaves the last good one in force; without one the service ends with 78
and is not started again by itself.
"""


def main() -> None:
    """Write everything below the folder that is named."""
    out = Path(sys.argv[1])
    man = out / "man"
    man.mkdir(parents=True, exist_ok=True)
    (man / "edgeagent.1").write_text(page(), encoding="utf-8")
    (man / "edgeagentd.8").write_text(daemon(), encoding="utf-8")
    for shell, name in SHELLS.items():
        file = out / "completions" / shell / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(completion(shell), encoding="utf-8")


def page() -> str:
    """edgeagent(1): every command with its options."""
    import typer.main

    from edgeagent.cli.app import app

    text = _head("edgeagent", "1", "machine learning on devices: offline first, accounted for")
    text += ".SH SYNOPSIS\n.B edgeagent\n.I COMMAND\n[\\fIOPTION\\fR]...\n.SH COMMANDS\n"
    for path, command in _walk("edgeagent", typer.main.get_command(app)):
        told = inspect.cleandoc(command.help or "").split("\f")[0].strip()
        text += f".SS {_plain(path)}\n{_plain(told)}\n"
        for parameter in command.params:
            if parameter.name == "help":
                continue
            names = ", ".join(parameter.opts) or str(parameter.name)
            if parameter.param_type_name == "argument":
                names = str(parameter.name).upper()
            text += f".TP\n.B {_plain(names)}\n{_plain(getattr(parameter, 'help', '') or '')}\n"
    return text + ENDS + ".SH SEE ALSO\n.BR edgeagentd (8)\n"


def daemon() -> str:
    """edgeagentd(8)."""
    from edgeagent.agent.start import parser

    text = _head("edgeagentd", "8", "the edgeagent daemon") + DAEMON + ".SH OPTIONS\n"
    for action in parser()._actions:
        names = ", ".join(action.option_strings)
        text += f".TP\n.B {_plain(names)}\n{_plain(action.help or '')}\n"
    return text + ENDS + ".SH SEE ALSO\n.BR edgeagent (1)\n"


def completion(shell: str) -> str:
    """What a shell needs to complete the command."""
    asked = {**os.environ, "_EDGEAGENT_COMPLETE": f"source_{shell}"}
    command = [sys.executable, "-m", "edgeagent.cli"]
    return subprocess.run(command, env=asked, check=True, capture_output=True, text=True).stdout


def _head(name: str, section: str, what: str) -> str:
    # No date: the same commit has to make the same page.
    return (
        f'.TH {name.upper()} {section} "" "edgeagent {__version__}"\n.SH NAME\n{name} \\- {what}\n'
    )


def _walk(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        yield from _walk(f"{path} {name}", inner)


def _plain(text: str) -> str:
    """As roff wants it: hyphens that are minus signs, no line that is taken for a request."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{line}" if line[:1] in ".'" else line for line in escaped.splitlines())


if __name__ == "__main__":
    main()
