"""What the agent has written down in its data folder: starts, changes, wishes, records."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from edgeagent import clock
from edgeagent.device.identity import machine_hash
from edgeagent.diagnose.context import Context
from edgeagent.diagnose.finding import Finding
from edgeagent.errors import EdgeAgentError
from edgeagent.update.boots import FILE as BOOTS
from edgeagent.update.boots import SAFE_AT, UNDO_AT, Count

_LATE_S = 3600.0
_AHEAD_S = 3600.0
"""Files that are newer than now by more: somebody has set the clock back."""
_OLD_S = 7 * 86400.0
_MIB = 1 << 20


def starts(context: Context) -> Iterator[Finding]:
    """Starts in a row that did not last."""
    file = context.data_dir / BOOTS
    try:
        count = msgspec.json.decode(file.read_bytes(), type=Count).unhealthy
    except FileNotFoundError:
        count = 0
    except (OSError, msgspec.MsgspecError) as error:
        yield Finding("starts", "problem", f"the count of starts can't be read: {error}", str(file),
                      f"rm {file}")  # fmt: skip
        return
    if count >= SAFE_AT:
        yield Finding(
            "starts", "failed", f"{count} starts in a row did not last: safe mode", str(file),
            "journalctl -u edgeagent -n 100; then: sudo systemctl restart edgeagent",
        )  # fmt: skip
    elif count >= UNDO_AT:
        yield Finding("starts", "problem", f"{count} starts in a row did not last a minute",
                      str(file), "journalctl -u edgeagent -n 100")  # fmt: skip
    else:
        yield Finding("starts", "ok", "the last starts have lasted", str(file))


def changes(context: Context) -> Iterator[Finding]:
    """Changes of models that failed or were taken back, and those that a person has stopped."""
    told = False
    for file in sorted((context.data_dir / "models").glob("*.json")):
        model = file.stem
        try:
            truth: dict[str, Any] = msgspec.json.decode(file.read_bytes())
        except (OSError, msgspec.MsgspecError) as error:
            told = True
            yield Finding(
                "changes", "problem", f"what runs of {model} can't be read: {error}", str(file),
                f"sudo rm {file} && sudo systemctl restart edgeagent",
            )  # fmt: skip
            continue
        change = truth.get("deployment") or {}
        if truth.get("state") in ("failed", "rolled-back", "rejected"):
            told = True
            detail = change.get("detail") or change.get("reason") or "no reason is kept"
            yield Finding(
                "changes", "problem",
                f"{model} {change.get('version', '')} {_ended(truth['state'])}: {detail}",
                str(file), f"edgeagent models show {model}",
            )  # fmt: skip
        if hold := truth.get("hold"):
            yield Finding(
                "changes", "note", f"{model} is held by {hold.get('by') or 'somebody'}"
                f"{' until ' + hold['until'] if hold.get('until') else ''}: it is not updated",
                str(file), f"edgeagent models unhold {model}",
            )  # fmt: skip
    if not told:
        yield Finding("changes", "ok", "no change of a model has failed")


def wishes(context: Context) -> Iterator[Finding]:
    """What became of the configuration that the fleet wished for."""
    file = context.data_dir / "remote-state.json"
    try:
        state: dict[str, Any] = msgspec.json.decode(file.read_bytes())
    except FileNotFoundError:
        yield Finding("wishes", "ok", "the fleet has wished for no other configuration")
        return
    except (OSError, msgspec.MsgspecError) as error:
        yield Finding("wishes", "problem", f"{file} can't be read: {error}", str(file),
                      f"sudo rm {file}; the fleet says it again")  # fmt: skip
        return
    became = state.get("state", "applied")
    rev = state.get("rev", 0)
    if became in ("rolled-back", "rejected"):
        why = state.get("detail") or state.get("reason", "")
        yield Finding("wishes", "problem", f"revision {rev} of the fleet's configuration was "
                      f"{became.replace('-', ' ')}: {why}", str(file),
                      "Correct it: edgeagent fleet desired")  # fmt: skip
    else:
        yield Finding("wishes", "ok", f"revision {rev} of the fleet's configuration is {became}",
                      str(file))  # fmt: skip


def clone(context: Context) -> Iterator[Finding]:
    """A data folder that was made on another machine."""
    from edgeagent.store.export import born

    its = _asked(lambda: born(context.data_dir))
    here = machine_hash(context.root)
    if its and here and its.machine and its.machine != here:
        yield Finding(
            "clone", "problem", "these records were begun on another machine (a copied card?)",
            "outbox.db, /etc/machine-id",
            "Give each device its own: sudo rm /etc/machine-id && sudo systemd-machine-id-setup",
        )  # fmt: skip
    else:
        yield Finding("clone", "ok", "the records were begun on this machine")


def backlog(context: Context) -> Iterator[Finding]:
    """Records that have waited long, although there is a broker to send them to."""
    from edgeagent.store.export import Filter, born, records

    its = _asked(lambda: born(context.data_dir))
    if its is None or not its.pending or not context.config.mqtt.host:
        yield Finding("backlog", "ok", "nothing waits to be sent")
        return
    pending = records(context.data_dir, Filter(state="pending"))
    known = (record for record, _ in pending if record.get("clock") != "unsynced")
    oldest = _asked(lambda: next(known, {}))
    at = str((oldest or {}).get("at", ""))
    age_s = time.time() - clock.parse_rfc3339(at) / 1e9 if at else 0.0
    if age_s > _LATE_S and clock.synced():
        yield Finding(
            "backlog", "problem",
            f"{its.pending:,} records wait to be sent, the oldest for {age_s / 3600:.1f} h",
            "outbox.db", "edgeagent status tells why the link is down; edgeagent outbox stats",
        )  # fmt: skip
    else:
        yield Finding("backlog", "ok", f"{its.pending:,} records wait, none for long", "outbox.db")


def refused(context: Context) -> Iterator[Finding]:
    """Records that the broker has refused for good."""
    from edgeagent.store.export import dead_letters

    dead = _asked(lambda: dead_letters(context.data_dir)) or []
    if dead:
        yield Finding(
            "refused", "problem",
            f"the broker has refused {len(dead)} records for good, last: {dead[-1]['reason']}",
            "outbox.db", "Put right what the reason says, then forget them: edgeagent outbox stats",
        )  # fmt: skip
    else:
        yield Finding("refused", "ok", "the broker has refused nothing")


def order(context: Context) -> Iterator[Finding]:
    """Files from the future: the clock has been set back, or starts wrong at each boot."""
    newest = max((its.stat().st_mtime for its in _files(context.data_dir)), default=0.0)
    ahead_s = newest - time.time()
    if ahead_s > _AHEAD_S:
        yield Finding(
            "order of time", "problem", f"the newest file is from {ahead_s / 3600:.0f} h ahead: "
            "the clock was set back", str(context.data_dir),
            "timedatectl set-ntp true; a board without a battery clock needs one, or a network",
            (("timedatectl", "set-ntp", "true"),),
        )  # fmt: skip
    else:
        yield Finding("order of time", "ok", "no file is newer than now")


def leftovers(context: Context) -> Iterator[Finding]:
    """Transfers that were never finished."""
    limit = time.time() - _OLD_S
    old = [
        its for its in _files(context.data_dir)
        if its.suffix in (".part", ".new") and its.stat().st_mtime < limit
    ]  # fmt: skip
    if old:
        size = sum(its.stat().st_size for its in old)
        yield Finding(
            "leftovers", "problem", f"{len(old)} files of unfinished transfers take "
            f"{size / _MIB:.1f} MiB", str(old[0]), f"rm {' '.join(map(str, old[:3]))}",
            (("rm", "-f", *map(str, old)),),
        )  # fmt: skip
    else:
        yield Finding("leftovers", "ok", "nothing old is left over")


def _files(folder: Path) -> Iterator[Path]:
    try:
        yield from (its for its in folder.rglob("*") if its.is_file())
    except OSError:
        return  # `data folder` tells


def _asked(ask: Any) -> Any:
    """None where the outbox can't be asked, which `outbox` tells."""
    try:
        return ask()
    except EdgeAgentError:
        return None


def _ended(state: str) -> str:
    return {"failed": "was not taken", "rejected": "was rejected"}.get(state, "was rolled back")
