"""From a command line to a running agent: arguments, logging, configuration."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeagent import __version__
from edgeagent.agent.crashed import watched
from edgeagent.config.paths import SYSTEM_CONFIG, within_reach
from edgeagent.errors import EdgeAgentError
from edgeagent.sealed import seal

if TYPE_CHECKING:
    from edgeagent.agent.running import Agent
    from edgeagent.update.boots import Boots

log = logging.getLogger("edgeagent")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent until it is told to stop; the exit code of contract §9."""
    arguments = parser().parse_args(argv)
    # What is written may show people: nobody else on this machine has to read it.
    os.umask(0o027)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop_before_it_runs)
    # Nothing is in force yet that could be read anew.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
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
    except (MemoryError, RuntimeError) as error:
        # Python has no class of its own for a thread that can't be had.
        if isinstance(error, RuntimeError) and "start new thread" not in str(error):
            raise
        sys.stderr.write(
            f"edgeagentd: there is not enough memory to run: {str(error) or 'none was given'}\n"
            "  Give its service more (MemoryMax=, TasksMax=, LimitAS=), or it fewer pipelines.\n"
        )
        return 75


def parser() -> argparse.ArgumentParser:
    """The daemon's options."""
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
    return parser


def _set_up_logging(level: str) -> None:
    if "JOURNAL_STREAM" in os.environ:
        from edgeagent.device import journal

        if journal.wanted() and journal.SOCKET.exists():
            logging.basicConfig(level=level.upper(), format="%(message)s",
                                handlers=[journal.Journal()])  # fmt: skip
        else:  # journald stamps lines itself
            logging.basicConfig(level=level.upper(), format="%(name)s: %(message)s")
    else:
        form = "%(asctime)s %(levelname)s %(message)s"
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
    """Load, build, run. Raises EdgeAgentError for what keeps it from starting."""
    agent = make(config_file, data_dir, flags=flags, until_done=until_done, strict=strict)
    keeper = None
    if not agent.loaded.config.privacy.core_dumps:
        seal()
    try:
        keeper = watched(agent)
        code = agent.run()
    finally:
        if keeper is not None:
            keeper.disarm()
    if agent.renewed:
        # A fresh process, with nothing left of the old configuration; its id stays.
        logging.shutdown()
        # What is ignored stays so in the new process: a second reload must not end it.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    return code


def make(
    config_file: Path,
    data_dir: Path | None,
    *,
    flags: Sequence[str] = (),
    until_done: bool = False,
    strict: bool = False,
) -> Agent:
    """Load and build. Raises EdgeAgentError for what keeps it from starting."""
    from edgeagent.agent.ports import config_ports
    from edgeagent.agent.running import Agent
    from edgeagent.agent.updates import permit_code
    from edgeagent.config.load import data_dir_of, load, load_or_last_good
    from edgeagent.device.profile import profile_layer

    folder = data_dir or data_dir_of(config_file, flags)
    boots = _counted(folder)
    how = load if strict else load_or_last_good
    around: dict[str, Any] = {
        "profile": profile_layer(), "flags": flags, "ports": config_ports(folder),
    }  # fmt: skip
    loaded = how(config_file, data_dir=folder, **around)
    permit_code(loaded.config, folder)
    return Agent(
        loaded, folder, until_done=until_done, boots=boots,
        reload=lambda remote: load(config_file, remote=remote, **around),
    )  # fmt: skip


def _counted(folder: Path) -> Boots:
    """Count this start, and take back what is on trial where too many did not last."""
    from edgeagent.update import boots as starts

    boots = starts.Boots(folder)
    if boots.undo and within_reach(folder / "models"):
        from edgeagent.update.truth import undo_trials

        said = f"the agent did not stay up in {boots.unhealthy} starts with {{version}}"
        for undone in undo_trials(folder / "models", said):
            log.error("%s is taken back: %s starts did not last", undone, boots.unhealthy)
    if within_reach(folder / "remote-state.json"):
        from edgeagent.update.remote import prepare

        prepare(folder, undo=boots.undo)
    boots.begin()
    return boots


def _stop_before_it_runs(_number: int, _frame: object) -> None:
    """A signal that comes while everything is still being loaded: there is nothing to save."""
    raise SystemExit(0)
