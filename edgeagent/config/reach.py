"""What is wrong with ``[serve]``: above all, a device that others could reach without a token."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from edgeagent.config.check import Fault
from edgeagent.config.look import Look
from edgeagent.config.units import size_bytes

_UNIX = "unix:"
_PATH_BYTES = 107


def serving(look: Look) -> Iterator[Fault]:
    """All faults of the table."""
    for key in ("listen", "token_file", "tls", "hosts"):
        place = look.places.get(("serve", key))
        if look.remote and place is not None and place.file == look.remote:
            # Whoever can send a configuration can't open a door with it.
            said = "may only be set at the device itself"
            yield look.fault(("serve", key), "", "", "set it in agent.toml", said)
    listen = look.text("serve", "listen") or "127.0.0.1:8000"
    if listen.startswith(_UNIX):
        path = listen.removeprefix(_UNIX)
        if not path.startswith("/") or len(path.encode()) > _PATH_BYTES:
            expected = f"unix: and an absolute path of at most {_PATH_BYTES} bytes"
            yield look.fault(("serve", "listen"), expected, f'"{listen}"')
    else:
        yield from _address(look, listen)
    body = look.text("serve", "max_body")
    try:
        if body and not 1024 <= size_bytes(body) <= 1 << 30:
            yield look.fault(("serve", "max_body"), 'from "1 KiB" to "1 GiB"', f'"{body}"')
    except ValueError:
        pass  # what is no size is told where sizes are read
    yield from _models(look)


def _address(look: Look, listen: str) -> Iterator[Fault]:
    host, colon, port = listen.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 <= int(port) < 65536:
        expected = "an address and a port such as 127.0.0.1:8000"
        yield look.fault(("serve", "listen"), expected, f'"{listen}"')
        return
    if beyond_this_machine(listen):
        wanting = [key for key in ("token_file", "tls") if not look.get("serve", key)]
        if wanting:
            said = f"{listen} can be reached from other machines"
            remedy = (
                f"write {' and '.join(f'serve.{key}' for key in wanting)}, or listen at 127.0.0.1"
            )
            yield look.fault(("serve", "listen"), "", "", remedy, said)


def beyond_this_machine(listen: str) -> bool:
    """Whether others can connect to an address; a name that is no address may mean anything."""
    if listen.startswith(_UNIX):
        return False
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


def _models(look: Look) -> Iterator[Fault]:
    for name, its in look.named("serve", "models"):
        only = its.get("only")
        if not isinstance(only, list) or not only:
            continue
        for key in ("canary", "shadow"):
            version = look.text("serve", "models", name, key, "version")
            if version and version not in only:
                said = f"{version} is not among the versions of `only`"
                path = ("serve", "models", name, key, "version")
                yield look.fault(path, "", "", "add it there", said)
