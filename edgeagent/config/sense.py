"""Whether a configuration makes sense as a whole: what one key says about another.

Works on tables rather than Structs, so that a file with a typing error is judged in the same
run: values of the wrong sort are passed over here, `check` has named them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgeagent.config import model, units
from edgeagent.config.check import Fault
from edgeagent.config.look import Look, Ports
from edgeagent.config.secret import hide, holds_secret
from edgeagent.config.toml import KeyPath, Places
from edgeagent.config.wiring import pipelines, polygon

LOCAL_ONLY: tuple[KeyPath, ...] = (("device", "id"), ("mqtt", "prefix"))
"""Who a device is, is said at the device: the fleet could lose it otherwise."""


_CODED = ("mjpeg", "h264", "h265")

_DURATIONS: tuple[tuple[KeyPath, str, str], ...] = (
    (("metrics", "every"), "1 s", "7 d"),
    (("mqtt", "keepalive"), "1 s", "65535 s"),
    (("mqtt", "session_expiry"), "0 s", "49710 d"),
    (("outbox", "durability", "events"), "0 s", "1 min"),
    (("outbox", "durability", "results"), "0 s", "10 min"),
    (("sync", "resend_after"), "1 s", "1 d"),
    (("sync", "linger"), "0 s", "1 min"),
)
_SIZES: tuple[tuple[KeyPath, str, str], ...] = (
    (("outbox", "max"), "1 MiB", "64 GiB"),
    (("outbox", "blobs"), "0 B", "1024 GiB"),
    (("storage", "max"), "4 MiB", "1024 GiB"),
    (("storage", "max_written_per_day"), "1 MiB", "1024 GiB"),
    (("sync", "max_message"), "1 KiB", "256 MiB"),
    *(
        (("sync", "budget", name, span), "4 KiB", "1024 GiB")
        for name in model.Budget.__struct_fields__[:7]
        for span in model.Allowance.__struct_fields__
    ),
)


def sense(
    table: dict[str, Any], places: Places, *, file: str, remote: Path | None, ports: Ports
) -> list[Fault]:
    """Everything in ``table`` that contradicts itself or the machine; empty = sound."""
    look = Look(table, places, file, str(remote) if remote else "", ports)
    return [fault for check in _CHECKS for fault in check(look)]


def _device(look: Look) -> Iterator[Fault]:
    for path in LOCAL_ONLY:
        if look.remote and look.places.nearest(path).file == look.remote:
            said = "may only be set at the device itself"
            yield look.fault(path, "", "", "set it in agent.toml", said)
    if look.text("device", "id") == "group":
        yield look.fault(("device", "id"), "an id", '"group"', problem='"group" is reserved')
    zone = look.text("device", "timezone")
    if zone not in ("", "UTC"):
        yield from _timezone(look, zone)


def _timezone(look: Look, zone: str) -> Iterator[Fault]:
    import zoneinfo

    from edgeagent.config.words import close_to

    try:
        zoneinfo.ZoneInfo(zone)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        known = zoneinfo.available_timezones()
        ends = [name for name in sorted(known) if name.rpartition("/")[2] == zone.title()]
        close = ends[0] if ends else close_to(zone, sorted(known))
        remedy = f'did you mean "{close}"?' if close else "e.g. Europe/Berlin; or UTC"
        if not known:
            remedy = "this system has no time zones: install tzdata, or use UTC"
        expected = "a time zone such as Europe/Berlin"
        yield look.fault(("device", "timezone"), expected, f'"{zone}"', remedy)


def _broker(look: Look) -> Iterator[Fault]:
    host = look.text("mqtt", "host")
    if ":" in host or "/" in host:
        from edgeagent.config.mistakes import plain_host

        remedy = plain_host(host)
        if remedy:
            yield look.fault(("mqtt", "host"), "a host name or address", f'"{hide(host)}"', remedy)


def _limits(look: Look) -> Iterator[Fault]:
    for table, measure in ((_DURATIONS, units.seconds), (_SIZES, units.size_bytes)):
        for path, least, most in table:
            value = _measured(look.text(*path), measure)
            if value is not None and not measure(least) <= value <= measure(most):
                yield look.fault(path, f"{least} to {most}", f'"{look.text(*path)}"')
    whole = _measured(look.text("storage", "max") or "512 MiB", units.size_bytes)
    outbox = _measured(look.text("outbox", "max") or "64 MiB", units.size_bytes)
    if whole is not None and outbox is not None and outbox > whole:
        path = ("outbox", "max") if look.text("outbox", "max") else ("storage", "max")
        said = "the outbox may not be larger than storage.max, which holds everything"
        yield look.fault(path, "", "", "raise storage.max or lower outbox.max", said)


def _measured(text: str, measure: Callable[[str], float]) -> float | None:
    try:
        return measure(text)
    except ValueError:
        return None  # `check` has named it


def _files(look: Look) -> Iterator[Fault]:
    paths: list[KeyPath] = [("mqtt", "password_file")]
    paths += [("mqtt", "tls", key) for key in ("ca", "cert", "key")]
    for name, _ in look.named("sources"):
        paths += [("sources", name, "password_file"), ("sources", name, "ca")]
    for path in paths:
        named = look.text(*path)
        if named:
            reason, remedy = _unreadable(Path(named))
            if reason:
                yield look.fault(path, "a file that can be read", "", remedy, f"{named} {reason}")
    if look.get("mqtt", "tls", "key") and not look.get("mqtt", "tls", "cert"):
        yield look.fault(("mqtt", "tls"), "cert beside key", "only key", "name the certificate")


def _unreadable(file: Path) -> tuple[str, str]:
    """What keeps us from reading a file, and what to do; empty texts = nothing."""
    try:
        mode = file.stat().st_mode
    except PermissionError:
        return "can't be reached: permission denied", f"sudo chmod g+rx {file.parent}"
    except OSError:
        return "does not exist", "create it, or correct the name"
    if stat.S_ISDIR(mode):
        return "is a folder", "name a file"
    if not os.access(file, os.R_OK, effective_ids=True):
        return "can't be read: permission denied", f"sudo chgrp edgeagent {file}; chmod g+r {file}"
    return "", ""


def _secrets(look: Look) -> Iterator[Fault]:
    for name, _ in look.named("sources"):
        url = look.text("sources", name, "url")
        if holds_secret(url):
            said = f"a password stands in the URL ({hide(url)})"
            remedy = "write username = … and password_file = … instead"
            yield look.fault(("sources", name, "url"), "", "", remedy, said)


def _sources(look: Look) -> Iterator[Fault]:
    for name, _ in look.named("sources"):
        yield from _command(look, name)
        masks = look.get("sources", name, "mask")
        for position in range(len(masks) if isinstance(masks, list) else 0):
            yield from polygon(look, ("sources", name, "mask", position))
    kinds = {look.text("sources", name, "kind") for name, _ in look.named("sources")}
    if kinds & {"iio", "hwmon", "thermal", "power_supply", "w1", "serial", "modbus", "mqtt",
                "jsonl", "csv", "audio"}:  # fmt: skip
        from edgeagent.config.sensing import sensors

        yield from sensors(look)


def _command(look: Look, name: str) -> Iterator[Fault]:
    """What is run, is said at the device itself; what a raw picture is, has to be said."""
    path: KeyPath = ("sources", name, "command")
    if look.get(*path) is None:
        return
    if look.remote and look.places.nearest(path).file == look.remote:
        said = "a command may only be set at the device itself"
        yield look.fault(path, "", "", "set it in agent.toml", said)
    kind = look.text("sources", name, "format") or "mjpeg"
    if kind not in _CODED and look.get("sources", name, "size") is None:
        remedy = "write size = [width, height], as the command gives them"
        said = f"{kind} pictures have no size of their own"
        yield look.fault(path[:2], "size", "none", remedy, said)


def _names(look: Look) -> Iterator[Fault]:
    for table in ("sources", "pipelines"):
        if any(name == "group" for name, _ in look.named(table)):
            remedy = "give it another name"
            yield look.fault((table, "group"), "", "", remedy, '"group" is reserved')


def _serve(look: Look) -> Iterator[Fault]:
    if look.get("serve") is not None:
        from edgeagent.config.reach import serving

        yield from serving(look)


_CHECKS: tuple[Callable[[Look], Iterator[Fault]], ...] = (
    _device, _broker, _limits, _files, _secrets, _sources, _names, pipelines, _serve,
)  # fmt: skip
