"""Reaching a host: its name, then a TCP connection that is closed at once."""

from __future__ import annotations

import socket

TIMEOUT_S = 3.0


class NotReached(Exception):
    """Why not, how that was found, and what to do."""

    def __init__(self, said: str, how: str, remedy: str) -> None:
        super().__init__(said)
        self.how = how
        self.remedy = remedy


def resolve(host: str, port: int) -> list[str]:
    """Addresses of a host. Raises NotReached."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NotReached(
            f'the name "{host}" has no address here: {error}', "getaddrinfo(3)",
            f"Correct the name, or the DNS of this device: resolvectl query {host}",
        ) from error  # fmt: skip
    return list(dict.fromkeys(str(its[4][0]) for its in found))


def connect(host: str, port: int, timeout_s: float = TIMEOUT_S) -> str:
    """Where it was reached. Raises NotReached."""
    addresses = resolve(host, port)
    try:
        with socket.create_connection((host, port), timeout_s) as connection:
            peer = connection.getpeername()
    except ConnectionRefusedError as error:
        raise NotReached(
            f"{host}:{port} refuses connections: nobody listens there", f"TCP to {addresses[0]}",
            f"Is it running, and is the port right? On that machine: ss -ltn | grep {port}",
        ) from error  # fmt: skip
    except OSError as error:
        said = (
            "does not answer" if isinstance(error, TimeoutError) else str(error.strerror or error)
        )
        raise NotReached(
            f"{host}:{port} can't be reached: {said}", f"TCP to {addresses[0]}, {timeout_s:g} s",
            f"Is the network up, and does a firewall let port {port} through? ping {host}",
        ) from error  # fmt: skip
    return f"TCP to {peer[0]}"
