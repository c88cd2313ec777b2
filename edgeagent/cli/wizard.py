"""The questions of ``edgeagent setup``: name, board, broker, a camera that is seen, a model; and
what becomes of the answers: from the first picture to the first record that was delivered."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from edgeagent.cli import render
from edgeagent.errors import EdgeAgentError, in_words

if TYPE_CHECKING:
    from edgeagent.cli.attached import Attached
    from edgeagent.serve.client import ControlClient

_LOOK_S = 2.0
_EACH_S = 10.0
_FIRST_S = 60.0
"""How long a first record may take."""
_AGAIN_S = 0.3


def asked(config: Path | None, data: Path | None) -> dict[str, Any]:
    """All questions; the content of an unattended file. Raises NotFound."""
    from edgeagent.cli import setting_up
    from edgeagent.cli.attached import attached

    device = {"name": _ask("What is this device called (Door 7)"), "site": _ask("Where is it")}
    device["profile"] = _board()
    mqtt, password, ca = _broker()
    # On a fresh system there is none yet.
    config = config if config is not None and config.is_file() else None
    keys = _camera([its for its in attached() if its.kind in ("camera", "audio")], config, data)
    return setting_up.tables(device, mqtt, password=password, ca=ca, keys=keys)


def _board() -> str:
    """The profile that is meant; empty = whichever fits, also after the card was moved."""
    from edgeagent.device.profile import detect, load_profiles

    match = detect()
    known = sorted(profile.name for profile, _ in load_profiles())
    render.note(f"This board: {match.profile.title} (profile {match.profile.name}).")
    while (said := _ask("Enter if that is so, else its profile (? lists them)")) not in (
        "",
        *known,
    ):
        render.note("Known are " + ", ".join(known))
    return said


def _broker() -> tuple[dict[str, Any], str, str]:
    """Table ``mqtt``, password, authority. Raises NotFound."""
    mqtt: dict[str, Any] = {"host": _ask("The broker's name or address (empty: none)")}
    password = ca = ""
    if mqtt["host"]:
        secured = typer.confirm("Does it speak TLS", default=True, err=True)
        mqtt["port"] = typer.prompt("Its port", 8883 if secured else 1883, type=int, err=True)
        if secured:
            ca = pem(_ask("File with its authority (empty: the system's)"))
            # The table alone switches TLS on, with the system's authorities.
            mqtt |= {} if ca else {"tls": {"insecure": False}}
        mqtt["username"] = _ask("Our name there")
        if mqtt["username"]:
            password = typer.prompt("The password", hide_input=True, default="", err=True,
                                    show_default=False)  # fmt: skip
    return mqtt, password, ca


def _camera(found: list[Attached], config: Path | None, data: Path | None) -> dict[str, Any]:
    """Keys of the source that is picked and of its pipeline: asked until one is right."""
    for number, its in enumerate(found, 1):
        render.note(f"  {number}  {its.kind}: {its.name} ({its.path})")
    if not found:
        render.note("No camera or microphone is attached.")
    while True:
        said = _ask("Which one (its number, an address as rtsp://…, empty: none)")
        if not said or said == "0":
            render.note("What comes later is added by: edgeagent devices add")
            return {}
        place = found[int(said) - 1].path if said.isdigit() and int(said) <= len(found) else said
        table = _seen(place, config, data)
        if table is None:
            continue
        source, rate = table
        keys = {f"sources.cam0.{key}": value for key, value in source.items()}
        model = _model()
        if model:
            # Without rules there are no events: a result each ten seconds shows that it lives.
            keys |= {"pipelines.cam0.source": "cam0", "pipelines.cam0.model": model,
                     "pipelines.cam0.record.every": max(1, round(_EACH_S * rate))}  # fmt: skip
        return keys


def _seen(
    place: str, config: Path | None, data: Path | None
) -> tuple[dict[str, Any], float] | None:
    """Keys of the source and samples a second, once somebody has looked at it and wants it; None =
    another one."""
    from edgeagent.cli import meant, trying
    from edgeagent.cli.attached import attached

    while True:
        rate, unseen = 1.0, ""
        try:
            table = meant.table_of(place, attached())
        except EdgeAgentError as problem:
            render.note(in_words(problem))
            return None
        try:
            rate = _shown(trying.looked(place, config, data, _LOOK_S))
        except EdgeAgentError as problem:
            unseen = in_words(problem)
            render.note(f"{place}: {unseen}")
        question = (
            "Take it all the same (y: yes, a: look again, Enter: another one)" if unseen
            else "Is this what it has to see (Enter: yes, a: look again, n: another one)"
        )  # fmt: skip
        answer = _ask(question).lower()
        if answer in ("y", "yes") or (not answer and not unseen):
            return table, rate
        if answer != "a":
            return None


def _shown(report: dict[str, Any]) -> float:
    """Say and draw what came; samples a second."""
    size, rate = report.get("size"), report.get("rate_hz")
    said = [f"{size[0]} × {size[1]}"] if size else [f"{report['samples']} samples"]
    render.note(", ".join([*said, *([f"{rate:.3g} a second"] if rate else [])]))
    draw(report)
    return float(rate or 1.0)


def draw(report: dict[str, Any]) -> None:
    """The picture of a report, or why there is none."""
    from edgeagent.cli import sketch

    picture = report.get("picture")
    if picture is None:
        return
    if "withheld" in picture:
        render.note(f"No picture: {picture['withheld']}")
        return
    sketch.show(base64.b64decode(picture["data"]))


def _model() -> str:
    """A model of those that are here; empty = none."""
    from edgeagent.update.library import Library, default_folders

    here = Library(default_folders()).names()
    for number, name in enumerate(here, 1):
        render.note(f"  {number}  {name}")
    said = _ask("The model that looks at it (number or name, empty: none)")
    return here[int(said) - 1] if said.isdigit() and 0 < int(said) <= len(here) else said


# --- what becomes of it --------------------------------------------------------------------


def followed(client: ControlClient, timeout_s: float = _FIRST_S) -> Iterator[str]:
    """Sentences as they come true on a running agent: it runs, it is connected, the pipelines give
    results, records are delivered. The last one says what did not."""
    told: list[int] = []
    reasons: list[str] = []
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        try:
            status = client.status()
        except EdgeAgentError as problem:
            reasons = [in_words(problem)]
            time.sleep(_AGAIN_S)
            continue
        reasons = status["reasons"]
        steps = _steps(status)
        for place, (done, sentence) in enumerate(steps):
            if done and place not in told:
                told.append(place)
                yield sentence
        if all(done for done, _ in steps):
            return
        time.sleep(_AGAIN_S)
    yield f"Not all of it within {timeout_s:.0f} s: {'; '.join(reasons) or 'nothing is wrong yet'}"


def _steps(status: dict[str, Any]) -> list[tuple[bool, str]]:
    """What has to come true, in this order, and whether it has."""
    link, outbox = status["link"], status["outbox"]
    working = status["pipelines"].values()
    steps = [(True, "The agent runs.")]
    if working:
        steps.append((all(its.get("steps", 0) > 0 for its in working), "Pictures are looked at."))
    if link["state"] == "off":
        return steps
    steps.append((link["state"] == "up", f"Connected to {link.get('broker', 'the broker')}."))
    if working:
        delivered = outbox["delivered"]
        steps.append((delivered > 0, f"The first of its records are delivered: {delivered}."))
    return steps


def _ask(text: str) -> str:
    return str(typer.prompt(text, default="", show_default=False, err=True)).strip()


def pem(name: str) -> str:
    """The content of a certificate's file; nothing = none. Raises NotFound."""
    from edgeagent.errors import NotFound

    if not name:
        return ""
    try:
        return Path(name).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotFound(f"{name}: can't be read: {error}") from error
