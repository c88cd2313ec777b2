"""The whole of ``edgeagent demo``: set-up, acts, page, what to paste next."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text

from edgeagent.demo import needs, page, pictures, scenario
from edgeagent.demo.folders import Folders
from edgeagent.demo.page import Command
from edgeagent.demo.scene import Wishes
from edgeagent.demo.show import open_show
from edgeagent.demo.story import Arrivals, Story
from edgeagent.errors import NotFound

__all__ = ["Wishes", "demo"]

_LIST = "See what is attached with: edgeagent devices"


def demo(
    root: Path, out: Path | None, wishes: Wishes, console: Console, picture: Path | None = None
) -> bool:
    """Run it all; whether everything that was promised held.

    Args:
        root: folder of the demo, emptied first.
        out: the page; None = ``index.html`` in the folder.
        picture: where to put one annotated picture of the belt, for a README.

    Raises EdgeAgentError; nothing is left running in any case.
    """
    if wishes.camera and not Path(wishes.camera).exists():
        raise NotFound(f"{wishes.camera}: there is no such camera", remedy=_LIST)
    folders = Folders(root, (out or root / "index.html").absolute())
    folders.renew()
    with _orderly_end(), open_show(console) as show:
        kit = needs.provide(show.say, camera=bool(wishes.camera))
        sys.path.append(str(kit.site))
        story = scenario.play(folders, kit, wishes, show)
        arrivals = Arrivals(folders.received)
        shots = pictures.collect(folders, arrivals.events())
        commands = what_next(folders, kit.site)
        folders.page.write_text(page.render(story, arrivals, shots, commands), encoding="utf-8")
        if picture is not None:
            pictures.save_best(arrivals, shots, picture)
    _tell(console, story, folders, commands)
    return story.sound


def what_next(folders: Folders, site: Path) -> list[Command]:
    """Three commands that work on the data just made, also where the runtime was fetched."""
    program, data = program_name(), shlex.quote(str(folders.data))
    fetched = f"PYTHONPATH={shlex.quote(str(site))} " if site.is_dir() else ""
    shots = shlex.quote(str(folders.pictures))
    target = shlex.quote(str(folders.root / "annotated"))
    return [
        Command("Prove the account again, from the agent's files",
                f"{program} outbox verify --data-dir {data}"),
        Command("Look at the events themselves",
                f"{program} outbox peek --kind event --last 5 --data-dir {data}"),
        Command("Run the model yourself on the pictures of the belt",
                f"{fetched}{program} infer parts {shots}/belt-*.jpg --save {target}"),
    ]  # fmt: skip


def program_name() -> str:
    """How this very program is called again."""
    called = Path(sys.argv[0])
    if called.name != "edgeagent":
        return f"{shlex.quote(sys.executable)} -m edgeagent.cli"
    on_path = shutil.which("edgeagent")
    if on_path and Path(on_path).resolve() == called.resolve():
        return "edgeagent"
    if "pipx" in called.parts and ".cache" in called.parts:
        return "pipx run edgeagent"
    return shlex.quote(os.path.relpath(called))


@contextmanager
def _orderly_end() -> Iterator[None]:
    """SIGTERM and a closed terminal end the demo as Ctrl-C does: with everything stopped."""

    def stop(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, stop) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _tell(console: Console, story: Story, folders: Folders, commands: Sequence[Command]) -> None:
    """The end on the terminal. Lines to copy are never folded."""
    own = story.account
    dropped = sum(own["dropped"].values())
    verdict = Text(page.verdict(story), style="bold green" if story.sound else "bold red")
    arrived = sum(epoch["arrived"] for epoch in story.reader["epochs"])
    lines = [
        Text(), verdict,
        Text(f"{own['produced']:,} produced = {own['delivered']:,} delivered + "
             f"{own['pending']:,} pending + {dropped:,} dropped; "
             f"the independent reader has {arrived:,}, {story.holes:,} missing"),
        Text(), Text(f"The page: {folders.page.as_uri()}"), Text(), Text("Try next:"),
    ]  # fmt: skip
    lines += [Text(f"  {command.line}") for command in commands]
    for line in lines:
        console.print(line, soft_wrap=True)
