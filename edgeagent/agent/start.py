"""From a command line to a running agent: arguments, configuration, the lock on the data."""

from __future__ import annotations

import argparse
import fcntl
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from edgeagent import __version__
from edgeagent.config.paths import SYSTEM_CONFIG
from edgeagent.config.paths import data_dir as find_data_dir
from edgeagent.errors import Busy, EdgeAgentError, NotPermitted

log = logging.getLogger("edgeagent")



def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent until it is told to stop; the exit code of contract §9."""
    arguments = _parse(argv)
    _set_up_logging(arguments.log_level)
    try:
        return run(
            arguments.config,
            arguments.data_dir,
            flags=arguments.set,
            until_done=arguments.until_done,
            strict=arguments.strict,
        )
    except EdgeAgentError as error:
        sys.stderr.write(f"edgeagentd: {error}\n")
        if error.remedy:
            sys.stderr.write(f"  {error.remedy}\n")
        return error.exit_code


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="edgeagentd", description="The edgeagent daemon: capture, infer, keep, sync."
    )
    parser.add_argument("--version", action="version", version=f"edgeagent {__version__}")
    parser.add_argument("--config", type=Path, default=SYSTEM_CONFIG, help="agent.toml")
    parser.add_argument("--data-dir", type=Path, help="folder for everything that is written")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a key"
    )
    parser.add_argument(
        "--until-done",
        action="store_true",
        help="end when all (finite) sources have ended and everything is delivered",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="refuse an invalid configuration (78) instead of using the last good one",
    )
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning"])
    return parser.parse_args(argv)


def _set_up_logging(level: str) -> None:
    # journald stamps lines itself; at a terminal the time is wanted.
    under_systemd = "JOURNAL_STREAM" in os.environ
    form = "%(name)s: %(message)s" if under_systemd else "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(level=level.upper(), format=form, datefmt="%H:%M:%S")
    logging.logThreads = False
    logging.logMultiprocessing = False


def run(
    config_file: Path,
    data_dir: Path | None,
    *,
    flags: Sequence[str] = (),
    until_done: bool = False,
    strict: bool = False,
) -> int:
    """Load, lock, build, run. Raises EdgeAgentError for what keeps it from starting."""
    from edgeagent.agent.ports import config_ports
    from edgeagent.agent.running import Agent
    from edgeagent.config.load import REMOTE_FILE, load, load_or_last_good
    from edgeagent.device.profile import profile_layer

    folder = data_folder(data_dir, config_file)
    lock = lock_data(folder)
    try:
        ports, profile = config_ports(folder), profile_layer()
        if strict:
            remote = folder / REMOTE_FILE
            loaded = load(
                [config_file], profile=profile, remote=remote, flags=flags, ports=ports
            )
        else:
            loaded = load_or_last_good(
                [config_file], data_dir=folder, profile=profile, flags=flags, ports=ports
            )
        return Agent(loaded, folder, until_done=until_done).run()
    finally:
        lock.close()


def data_folder(given: Path | None, config_file: Path | None = None) -> Path:
    """Where the agent writes: ``--data-dir``, else what systemd says, else the user's own."""
    return find_data_dir(given, config_file)


def lock_data(folder: Path) -> IO[str]:
    """Make the data folder ours for as long as the file stays open.

    Raises:
        NotPermitted: it can't be made or written to.
        Busy: another agent holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("a+")
    except OSError as error:
        raise NotPermitted(
            f"{folder}: the data folder can't be written to: {error.strerror}",
            remedy="Give another one with --data-dir, or mend its permissions.",
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise Busy(
            f"{folder}: an agent already works on this data folder (process {holder})",
            remedy="Ask it with: edgeagent status. Or give this one another --data-dir.",
        ) from error
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


