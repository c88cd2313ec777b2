"""``privacy report``: what this device keeps of people, as it is now and not as it was planned.

Everything is looked at: files, their modes, rows of the database, the process's own limits. What
can't be looked at is said in its place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

from msgspec import Struct, to_builtins

from edgeagent import __version__, clock
from edgeagent.config import snapshot
from edgeagent.config.load import Loaded
from edgeagent.config.model import Config, Pipeline
from edgeagent.config.reach import beyond_this_machine
from edgeagent.errors import EdgeAgentError
from edgeagent.privacy.access import access
from edgeagent.privacy.process import process
from edgeagent.privacy.stores import STORES, Store, undescribed
from edgeagent.store import kept, looks
from edgeagent.store.kept import Kept

_FILES = 500
"""Files of a store whose modes are looked at."""
_LOOKS = 20
_UNDESCRIBED = Store(
    "other files", "Files in the data folder that this agent has not made, or not described.",
    "not known", (), lambda _config: "none", "they stay",
)  # fmt: skip


class Live(Struct, frozen=True):
    """What only the running agent knows."""

    status: dict[str, Any]
    log_lines: int
    retained: dict[str, Any]
    """What rules of ``[retention]`` have done since the start."""


def report(folder: Path, loaded: Loaded, device: str, live: Live | None = None) -> dict[str, Any]:
    """The whole of it, as plain values. ``live`` None = no agent was asked."""
    config = loaded.config
    return {
        "device": device,
        "name": config.device.name,
        "site": config.device.site,
        "at": clock.rfc3339(clock.wall_ns()),
        "clock": "synced" if clock.synced() else "unsynced",
        "boot": clock.boot_id(),
        "version": __version__,
        "config": loaded.hash,
        "config_since": _since(folder),
        "policy": config.privacy.policy,
        "running": live is not None,
        "data_dir": str(folder),
        "pictures": config.privacy.pictures,
        "stores": [
            *_stores(folder, config),
            *_galleries(config),
            _log(live),
            _other(folder, config),
        ],
        "pipelines": [_pipeline(config, name, live) for name in config.pipelines],
        "broker": _broker(config),
        "sent": list(_sent(config, device)),
        "served": _served(config),
        "process": process() if live is not None else None,
        "retention": live.retained if live is not None else {},
        "looks": list(deque(_looks(folder), _LOOKS)),
    }


def _since(folder: Path) -> str:
    """When the configuration in force was first used: its copy is written when it changes."""
    try:
        return clock.rfc3339((folder / snapshot.FILE).stat().st_mtime_ns)
    except OSError:
        return ""


def _looks(folder: Path) -> Iterator[dict[str, Any]]:
    try:
        yield from looks.read(folder)
    except EdgeAgentError as error:
        yield {"what": "unreadable", "detail": str(error)}


# --- stores ----------------------------------------------------------------------------------


def _stores(folder: Path, config: Config) -> Iterator[dict[str, Any]]:
    outbox = cache(partial(kept.outbox, folder))
    for store in STORES:
        # What has no place of its own is in the database.
        places = [folder / its for its in store.places or ("db",)]
        yield _row(store, config, places, partial(store.kept, folder, outbox))


def _row(
    store: Store, config: Config, places: list[Path], found: Callable[[], Kept]
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "store": store.name, "contents": store.contents,
        "personal": store.personal, "limit": store.limit(config), "at_limit": store.at_limit,
        "max_age": (getattr(config.retention, store.rule) or "") if store.rule else "",
        "purge": store.rule,
        "leaves": store.leaves,
    }  # fmt: skip
    try:
        row |= to_builtins(found())
    except (EdgeAgentError, OSError) as error:
        row["fault"] = str(error)
    return {**row, **_who(places)}


def _who(places: list[Path]) -> dict[str, Any]:
    """Who may read the files at these places."""
    readers: dict[str, None] = {}
    modes: dict[str, None] = {}
    owner = ""
    try:
        for place in places:
            for file in islice(_with_files(place), _FILES):
                its = access(file)
                owner = owner or f"{its.owner}:{its.group}"
                modes[its.mode] = None
                readers.update(dict.fromkeys(its.readers))
    except OSError as error:
        return {"owner": owner, "modes": list(modes), "readers": [], "hidden": str(error)}
    return {"owner": owner, "modes": list(modes), "readers": list(readers)}


def _with_files(place: Path) -> Iterator[Path]:
    if place.is_dir():
        yield place
    yield from kept.walk(place)  # none, where there is nothing


def _galleries(config: Config) -> Iterator[dict[str, Any]]:
    """Files of known vectors, which lie where the configuration says: of faces they are biometric
    data."""
    named = {refine.gallery for its in config.pipelines.values() for refine in its.refine.values()}
    for gallery in sorted(named - {""}):
        file = Path(gallery).expanduser()
        about = {
            "store": f"gallery {file.name}",
            "contents": f"Vectors of known things, to be known again ({file}).",
            "personal": "vectors of faces or people, if it was made of such pictures",
            "limit": "as it was made", "at_limit": "it stays until it is deleted",
            "max_age": "", "purge": "", "leaves": "",
        }  # fmt: skip
        try:
            yield {**about, **to_builtins(kept.files(file)), **_who([file])}
        except OSError as error:
            yield {**about, "fault": str(error)}


def _other(folder: Path, config: Config) -> dict[str, Any]:
    places: list[Path] = []

    def found() -> Kept:
        places.extend(undescribed(folder))
        return kept.files(*places)

    row = _row(_UNDESCRIBED, config, places, found)
    return {**row, "names": [its.name for its in places[:20]]}


def _log(live: Live | None) -> dict[str, Any]:
    """Lines in memory, and the journal of the system, which is not the agent's."""
    folders = [its for its in map(Path, ("/var/log/journal", "/run/log/journal")) if its.is_dir()]
    files = [its for folder in folders for its in folder.glob("*/system.journal")]
    return {
        "store": "log",
        "contents": "What the agent says of itself: states, losses, names of sources and models. "
        "Lines of this run in memory"
        + (f"; earlier ones in the system's journal ({folders[0]})." if folders else "."),
        "personal": "", "count": live.log_lines if live is not None else 0, "bytes": 0,
        "oldest": "", "newest": "", "limit": "1,000 lines in memory; of the journal: journald.conf",
        "at_limit": "the oldest goes", "max_age": "", "purge": "",
        "leaves": "by the commands logs and support-bundle",
        **_who(files),
    }  # fmt: skip


# --- pipelines -------------------------------------------------------------------------------


def _pipeline(config: Config, name: str, live: Live | None) -> dict[str, Any]:
    its = config.pipelines[name]
    sources = [its.source] if its.source else list(its.sources.values())
    hidden = its.redact
    state = live.status.get("pipelines", {}).get(name, {}) if live is not None else {}
    return {
        "pipeline": name,
        "sources": sources,
        "state": state.get("state", "not running") if its.enabled else "off",
        "pictures": _pictures(config, its),
        "redacts": list(hidden.labels) if hidden else [],
        "by": hidden.model or "its own model" if hidden else "",
        "method": hidden.method if hidden else "",
        "hold": hidden.hold if hidden else "",
        "masked": [
            source for source in sources if getattr(config.sources.get(source), "mask", None)
        ],
    }


def _pictures(config: Config, its: Pipeline) -> list[str]:
    """What pictures a pipeline makes."""
    if config.privacy.pictures == "never":
        return []
    actions = {action for rule in its.rules for action in rule.do}
    made = []
    if its.snapshot or "snapshot" in actions:
        made.append("a picture of each event")
    if "clip" in actions:
        made.append("a clip of each event")
    if its.image:
        made.append("the last picture, retained at the broker")
    made.append("when somebody asks (capture, live page)")
    return made


# --- ways out --------------------------------------------------------------------------------


def _sent(config: Config, device: str) -> Iterator[dict[str, Any]]:
    if not config.mqtt.host:
        return
    base = f"{config.mqtt.prefix}/{device}"
    rows = [
        (f"{base}/records", "events, results and health", "what was seen, where and when"),
        (f"{base}/blob/#", "evidence: pictures, clips, bundles", "pictures as redacted"),
        (f"{base}/state/#", "counts and alarms of each pipeline, retained", ""),
        (f"{base}/metrics", "health", ""),
        (f"{base}/status", "state, retained", ""),
        (f"{base}/cmd/#", "answers to commands, retained until they are cleared",
         "pictures as redacted, where somebody asked for one"),
    ]  # fmt: skip
    for name, its in config.pipelines.items():
        if its.live:
            rows.append((f"{base}/live/{name}", "every result", "what was seen and where"))
        if its.image and config.privacy.pictures != "never":
            rows.append((f"{base}/image/{name}", "the last picture of an event, retained",
                         "a picture as redacted"))  # fmt: skip
    for topic, what, personal in rows:
        yield {"topic": topic, "what": what, "personal": personal}


def _served(config: Config) -> dict[str, Any] | None:
    """What answers HTTP, and to whom."""
    its = config.serve
    if its is None:
        return None
    who = "every user of this machine"
    if its.listen.startswith("unix:"):
        who = "users who may open the socket"
    elif beyond_this_machine(its.listen):
        who = "whoever has the token"
    return {
        "listen": its.listen, "page": its.page, "pictures_for": who if its.page else "nobody",
        "encrypted": its.tls is not None,
    }  # fmt: skip


def _broker(config: Config) -> dict[str, Any]:
    """To which broker what is sent goes, and how."""
    its = config.mqtt
    return {
        "host": its.host, "port": its.port, "user": its.username,
        "encrypted": its.tls is not None, "checked": its.tls is not None and not its.tls.insecure,
    }  # fmt: skip
