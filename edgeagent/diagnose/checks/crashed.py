"""Crashes that were kept."""

from __future__ import annotations

import time
from collections.abc import Iterator

from edgeagent import clock, crashes
from edgeagent.diagnose.context import Context
from edgeagent.diagnose.finding import Finding

_LATELY_S = 7 * 86400.0
_WHAT_NOW = {
    "signal": "edgeagent support-bundle, and send it: it holds the report",
    "exception": "edgeagent support-bundle, and send it: it holds the report",
    "child": "It is opened again by itself; if it goes on: another camera mode, an update of the "
    "driver, or edgeagent support-bundle",
    "killed": "edgeagent doctor --all: memory, unit, last exit; journalctl -k | grep -i kill",
}


def crashed(context: Context) -> Iterator[Finding]:
    """Crashes of the agent and of what it runs."""
    folder = context.data_dir / crashes.FOLDER
    try:
        kept = crashes.read(context.data_dir)
    except OSError as error:
        yield Finding("crashes", "note", f"reports can't be read: {error}", str(folder),
                      "sudo -u edgeagent edgeagent doctor")  # fmt: skip
        return
    if not kept:
        yield Finding("crashes", "ok", "no crash is kept", str(folder))
        return
    last = kept[-1]
    more = f"; {len(kept)} reports are kept" if len(kept) > 1 else ""
    recent = _age_s(last) < _LATELY_S
    yield Finding(
        "crashes", "problem" if recent else "note", f"{crashes.sentence(last)}{more}",
        str(folder / f"{last['id']}.json"),
        f"{_WHAT_NOW.get(last.get('what', ''), _WHAT_NOW['signal'])}. "
        "Then forget them: edgeagent crashes --forget",
    )  # fmt: skip


def _age_s(its: crashes.Report) -> float:
    """By a clock that may be wrong: a crash of unknown age is a recent one."""
    try:
        age_s = time.time() - clock.parse_rfc3339(str(its.get("at"))) / 1e9
    except ValueError:
        return 0.0
    return age_s if clock.synced() else 0.0
