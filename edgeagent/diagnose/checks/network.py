"""The way out of this device, as far as it can be seen without sending anything."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from edgeagent.config.model import MjpegConfig, RtspConfig
from edgeagent.diagnose.context import Context
from edgeagent.diagnose.finding import Finding

_UP = 0x1


def nameserver(context: Context) -> Iterator[Finding]:
    """Somebody who can be asked for the broker's address."""
    host = _broker(context)
    file = context.root / "etc/resolv.conf"
    if not host or _is_address(host) or host == "localhost":
        yield Finding("nameserver", "ok", "no name has to be looked up")
        return
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    servers = [its.split()[1] for its in lines if its.startswith("nameserver") and " " in its]
    if servers or _in_hosts(context, host):
        yield Finding("nameserver", "ok", f"names are asked of {', '.join(servers) or 'hosts'}",
                      "/etc/resolv.conf")  # fmt: skip
        return
    yield Finding(
        "nameserver", "failed", f"there is no name server to ask for {host}", "/etc/resolv.conf",
        "nmcli device show | grep DNS; or write the address into mqtt.host",
    )  # fmt: skip


def route(context: Context) -> Iterator[Finding]:
    """A way to other networks, where the broker or a camera is in one."""
    hosts = [its for its in (_broker(context), *_cameras(context)) if its]
    if not hosts or all(_is_near(its) for its in hosts):
        yield Finding("route", "ok", "nothing outside this device is needed")
        return
    four = _lines(context, "proc/net/route")[1:]
    six = _lines(context, "proc/net/ipv6_route")
    if not four and not six:
        yield Finding("route", "note", "this system does not tell its routes", "/proc/net/route")
        return
    default = any(its.split()[1] == "00000000" for its in four if len(its.split()) > 3)
    default |= any(its.split()[:2] == ["0" * 32, "00"] and its.split()[-1] != "lo" for its in six)
    inside = any(its.split()[0] != "lo" and int(its.split()[3], 16) & _UP for its in four
                 if len(its.split()) > 3)  # fmt: skip
    if default:
        yield Finding("route", "ok", "there is a default route", "/proc/net/route")
    elif inside and all(_is_private(its) for its in hosts):
        yield Finding("route", "ok", "there is a route within the site", "/proc/net/route")
    else:
        yield Finding(
            "route", "failed", "no network is connected: there is no route to other machines",
            "/proc/net/route", "Look at cable and address: ip address; nmcli device status",
        )  # fmt: skip


def _broker(context: Context) -> str:
    return context.config.mqtt.host.partition(",")[0].strip()


def _cameras(context: Context) -> Iterator[str]:
    from urllib.parse import urlsplit

    for source in context.config.sources.values():
        if isinstance(source, (RtspConfig, MjpegConfig)):
            yield urlsplit(source.url).hostname or ""


def _in_hosts(context: Context, host: str) -> bool:
    return any(host in line.split()[1:] for line in _lines(context, "etc/hosts"))


def _lines(context: Context, name: str) -> list[str]:
    try:
        return (context.root / name).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_near(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_private(host: str) -> bool:
    return (_is_address(host) and ipaddress.ip_address(host).is_private) or host.endswith(".local")
