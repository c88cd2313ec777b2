"""What ``edgeagent fleet init|key|publish|serve`` show."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from edgeagent.cli import render

if TYPE_CHECKING:
    from edgeagent.fleet.forecast import Outlook
    from edgeagent.fleet.repository.ceremony import Ceremony
    from edgeagent.fleet.repository.publish import Plan
    from edgeagent.fleet.serve import Figures


def begun(made: Ceremony) -> None:
    """What goes into the safe, what onto the server, what onto devices, and what if lost."""
    home, k, n = made.home, made.threshold, len(made.safe)
    render.plain("A repository for signed models was made. Its files, all within")
    render.text(f"{home.folder}:")
    render.blank()
    render.plain(f"INTO THE SAFE, each key at another place ({k} of {n} are needed together):")
    for name in made.safe:
        render.plain(f"  keys/safe/{name}.pem")
    render.plain("  Move them: nothing here needs them until a key is added or replaced.")
    render.plain("  At least two copies of each, on media that last; none on a computer.")
    render.blank()
    _places(made)
    _if_lost(made)


def _places(made: Ceremony) -> None:
    render.plain("ON THE SERVER, where `edgeagent fleet serve` runs:")
    render.plain("  public/          (all that devices get; back it up)")
    render.plain("  keys/online.pem  (renews the timestamp each day)")
    render.blank()
    render.plain("WITH THOSE WHO PUBLISH (one key for each model):")
    for model in made.models:
        render.plain(f"  keys/models/{model}.pem")
    if not made.models:
        render.plain("  none yet: edgeagent fleet key new MODEL, while the safe keys are here")
    render.blank()
    render.plain("ONTO EVERY DEVICE, as trust.root:")
    render.plain("  root.json  -> /etc/edgeagent/root.json")
    render.blank()


def _if_lost(made: Ceremony) -> None:
    k, n = made.threshold, len(made.safe)
    render.plain("IF A KEY IS LOST OR STOLEN, with the safe keys at hand:")
    render.plain("  the server's     edgeagent fleet key rotate online")
    render.plain("  a model's        edgeagent fleet key rotate MODEL")
    render.plain("  a safe key       edgeagent fleet key rotate safe-1")
    if k < n:
        render.plain(f"  more than {n - k} safe keys lost at once: every device needs a new")
        render.plain("  root.json by hand. That is what the copies are for.")
    else:
        render.plain("  any safe key lost: every device needs a new root.json by hand.")
    render.plain("  Once a year: edgeagent fleet key renew. More: docs/trust.md")


def plan_data(plan: Plan, listing: int, outlook: list[Outlook] | None) -> dict[str, Any]:
    its = plan.package
    data: dict[str, Any] = {
        "model": its.name, "version": its.version, "published": bool(listing), "listing": listing,
        "files": {path: target.length for path, target in plan.targets.items()},
        "patches": [
            {"file": patch.file, "from": patch.base, "bytes": len(patch.data), "of": patch.of}
            for patch in plan.patches
        ],
    }  # fmt: skip
    if outlook is not None:
        data["fleet"] = [
            {"device": one.device, "profile": one.profile, "state": one.state,
             "accepts": one.accepts, "why": one.why}
            for one in outlook
        ]  # fmt: skip
    return data


def plan(made: Plan, listing: int, outlook: list[Outlook] | None) -> None:
    its = made.package
    done = "is published" if listing else "would be published"
    render.plain(
        f"{its.name} {its.version} {done}: {len(made.files)} files, {render.size(made.bytes)}"
    )
    for patch in made.patches:
        share = 100 * len(patch.data) / patch.of
        render.plain(
            f"  {patch.file} from {patch.base}: a patch of {render.size(len(patch.data))} "
            f"({share:.1f} % of {render.size(patch.of)})"
        )
    if outlook is not None:
        _outlook(outlook)


def _outlook(outlook: list[Outlook]) -> None:
    rows = [
        (one.device, one.profile, one.state, "takes it" if one.accepts else "refuses", one.why)
        for one in outlook
    ]
    render.table(("device", "profile", "state", "version", "why"), rows)
    takes = sum(one.accepts for one in outlook)
    render.note(f"{takes} of {len(outlook)} devices would take it; each proves it for itself")


def keys_data(found: Any, ages: dict[str, str], operators: dict[str, str]) -> dict[str, Any]:
    return {
        "keys": [
            {"name": name, "key": key.keyval["public"], "here": here} for name, key, here in found
        ],
        "expires": ages,
        "operators": operators,
    }


def keys(data: dict[str, Any]) -> None:
    rows = [
        (its["name"], its["key"][:16] + "…", "here" if its["here"] else "elsewhere")
        for its in data["keys"]
    ]
    rows += [(name, key[:16] + "…", "operator") for name, key in data["operators"].items()]
    render.table(("key", "public", "private part"), rows)
    render.table(("signed", "expires"), sorted(data["expires"].items()))


def served(figures: Figures) -> dict[str, Any]:
    return {
        "devices": len(figures.devices), "requests": figures.requests, "chunks": figures.chunks,
        "bytes": figures.bytes, "not there": figures.missing, "told to wait": figures.busy,
        "unreadable": figures.refused,
    }  # fmt: skip


def checked_document(raw: bytes, kind: str) -> None:
    """That who it is for stands in it: what is signed can't be added to. Raises UsageError."""
    from edgeagent.errors import UsageError

    try:
        document = json.loads(raw)
    except ValueError as error:
        raise UsageError(f"that is no JSON: {error}") from error
    wanted = {"command": ("type", "id", "at"), "desired": ("rev",)}[kind]
    lacks = [key for key in wanted if key not in document]
    if ("device" in document) == ("group" in document):
        lacks.insert(0, "device or group (one of them)")
    if lacks:
        raise UsageError(
            f"what is signed must say: {', '.join(lacks)}",
            remedy="A signed order counts for that device and id only.",
        )
