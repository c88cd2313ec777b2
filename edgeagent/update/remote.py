"""The configuration that came from desired state: one layer, tried before it is kept (contract §4).

Two files of the data folder: ``remote.json`` is the layer that the next start reads, and
``remote-state.json`` says what it should be. The second is written first and is the truth: a
start puts the first in order before it reads it, whatever the power cut left.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any, Union

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from edgeagent import clock
from edgeagent.config.load import REMOTE_FILE
from edgeagent.config.paths import within_reach
from edgeagent.errors import StoreError
from edgeagent.update.desired import Patch
from edgeagent.update.disk import Disk
from edgeagent.update.reported import ConfigReport, ConfigState

log = logging.getLogger(__name__)

STATE_FILE = "remote-state.json"
CANDIDATE_FILE = "remote-candidate.json"
"""The layer while it is only judged."""


class Remote(Struct, frozen=True, omit_defaults=True):
    """What became of the last configuration that was wished for."""

    key: str = ""
    """Of the patch: each is acted upon once."""
    rev: int = 0
    state: ConfigState = "applied"
    reason: str = ""
    detail: str = ""
    since: str = ""
    trial: Union[dict[str, Any], None] = None
    """The patch that is tried now."""
    good: Union[dict[str, Any], None] = None
    """The last one that was kept; None = there is none."""
    good_rev: int = 0
    healthy: tuple[str, ...] = ()
    """Pipelines and sources that did well before the change: ``pipeline belt``, ``source cam0``."""
    units: tuple[str, ...] = ()
    """All that there were."""
    linked: bool = False
    """The link was up before it."""
    confirm_s: float = 120.0
    """How long the trial may take."""

    @property
    def report(self) -> ConfigReport:
        return ConfigReport(self.rev, self.state, self.reason, self.detail, self.since)


def key_of(patch: Patch) -> str:
    """The same for the same wish."""
    said = msgspec.json.encode([patch.revs, patch.patch], order="sorted")
    return hashlib.sha256(said).hexdigest()[:16]


class RemoteLayer:
    """The two files. One thread. Raises of all that write: StoreError."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        self._folder = folder
        self._disk = disk or Disk()
        try:
            self.state = msgspec.json.decode((folder / STATE_FILE).read_bytes(), type=Remote)
        except FileNotFoundError:
            self.state = Remote()
        except (OSError, msgspec.MsgspecError) as error:
            log.error("%s can't be read: %s", folder / STATE_FILE, error)
            self.state = Remote()

    def settle(self) -> None:
        """Have ``remote.json`` say what it should: at a start, before it is read."""
        state = self.state
        patch = state.trial if state.trial is not None else state.good
        rev = state.rev if state.trial is not None else state.good_rev
        file = self._folder / REMOTE_FILE
        if patch is None:
            self._disk.remove(file)
            return
        content = msgspec.json.format(msgspec.json.encode({"rev": rev, "config": patch}), indent=1)
        if not file.is_file() or file.read_bytes() != content:
            self._disk.write(file, content)

    def candidate(self, patch: Patch) -> Path:
        """A file to judge a patch by, as if it were in force."""
        file = self._folder / CANDIDATE_FILE
        rev = max(patch.revs.values(), default=0)
        self._disk.write(file, msgspec.json.encode({"rev": rev, "config": patch.patch}))
        return file

    def drop_candidate(self) -> None:
        self._disk.remove(self._folder / CANDIDATE_FILE)

    def reject(self, patch: Patch, reason: str, detail: str) -> None:
        """It is not even tried."""
        self._say(patch, "rejected", reason, detail)

    def keep(self, patch: Patch) -> None:
        """It changes nothing: it is so already."""
        rev = max(patch.revs.values(), default=0)
        self._say(patch, "applied", "", "", good=patch.patch or None, good_rev=rev)
        self.settle()

    def try_(
        self, patch: Patch, healthy: tuple[str, ...], units: tuple[str, ...], *, linked: bool
    ) -> None:
        """From the next start on, until it is confirmed or undone."""
        self._say(
            patch, "trial", "", "", trial=patch.patch, healthy=healthy, units=units,
            linked=linked, confirm_s=patch.confirm_s,
        )  # fmt: skip
        self.settle()

    def confirm(self) -> None:
        """The device can be reached, and its pipelines run."""
        state = self.state
        self._save(
            replace(
                state, state="applied", trial=None, good=state.trial or None,
                good_rev=state.rev, since=_now(), healthy=(),
            )
        )  # fmt: skip

    def undo(self, reason: str, detail: str) -> None:
        """Back to the last good one, from the next start on."""
        self._save(
            replace(
                self.state, state="rolled-back", reason=reason, detail=detail, trial=None,
                since=_now(), healthy=(),
            )
        )  # fmt: skip
        self.settle()

    def _say(self, patch: Patch, state: ConfigState, reason: str, detail: str, **more: Any) -> None:
        self._save(
            replace(
                self.state, key=key_of(patch), rev=max(patch.revs.values(), default=0),
                state=state, reason=reason, detail=detail, since=_now(), **more,
            )
        )  # fmt: skip

    def _save(self, state: Remote) -> None:
        self._disk.write(self._folder / STATE_FILE, msgspec.json.encode(state))
        self.state = state


def prepare(folder: Path, *, undo: bool) -> None:
    """Before a start reads its configuration: put the layer in order, or take back what is on
    trial after too many starts that did not last. What can't be written is only logged."""
    if not within_reach(folder / STATE_FILE):
        return
    layer = RemoteLayer(folder)
    try:
        if undo and layer.state.trial is not None:
            layer.undo("boots", "the agent did not stay up with it")
        layer.settle()
    except StoreError as error:
        log.error("the fleet's settings can't be put in order: %s", error)


def _now() -> str:
    return clock.rfc3339(clock.wall_ns())
