"""Who may do what: a token for all that changes something, and pages of others stay outside.

A browser can be led to send requests to a device by any page that its user looks at. Two things
keep such a page out: the ``Host`` of a request must be a name that this device goes by (a name
that an attacker has pointed at the device's address is not), and a request that a browser says
comes from elsewhere (``Origin``, ``Sec-Fetch-Site``) is refused. Nothing is ever sent that would
let another page read an answer.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterable

from edgeagent.serve.http.exchange import Refused, Request

_ALWAYS = ("localhost",)


class Door:
    """Judges requests before anything is done for them.

    Args:
        token: empty = nobody has one, so nothing can be changed by HTTP.
        hosts: names besides ``localhost`` and addresses that the device goes by.
        exposed: it listens beyond this machine: then everything but health and the page needs
            the token.
    """

    def __init__(self, token: str, hosts: Iterable[str], *, exposed: bool) -> None:
        self._token = token.encode()
        self._hosts = {host.lower() for host in (*_ALWAYS, *hosts)}
        self._exposed = exposed
        self._known: set[bytes] = set()
        """Values of ``Host`` that were found good."""

    def admit(self, request: Request, *, changes: bool, public: bool) -> None:
        """Let it pass, or raise Refused (401, 403, 421)."""
        host = request.headers.get(b"host", b"")
        if host not in self._known:
            self._judge_host(host)
        self._judge_origin(request, host)
        request.token = self._has_token(request)
        if request.token or (not changes and (public or not self._exposed)):
            return
        if not self._token:
            raise Refused(
                403,
                "nothing can be changed by HTTP here: write serve.token_file in the device's "
                "configuration",
            )
        raise Refused(
            401,
            "this needs the device's token: Authorization: Bearer TOKEN",
            headers=((b"www-authenticate", b'Bearer realm="edgeagent"'),),
            close=True,
        )

    def _judge_host(self, host: bytes) -> None:
        name = _name_of(host.decode("latin-1"))
        if name.lower() not in self._hosts and not _is_address(name):
            raise Refused(
                421,
                f"this device does not go by the name {name[:80]!r}: write it in serve.hosts",
                close=True,
            )
        if len(self._known) < 64:
            self._known.add(host)

    def _judge_origin(self, request: Request, host: bytes) -> None:
        headers = request.headers
        if headers.get(b"sec-fetch-site") in (b"cross-site", b"same-site"):
            # Following a link to the page is what people do.
            if request.method == "GET" and headers.get(b"sec-fetch-mode") == b"navigate":
                return
            raise Refused(403, "requests of other web pages are refused", close=True)
        origin = headers.get(b"origin")
        if origin is not None and origin.partition(b"://")[2] != host:
            raise Refused(403, "requests of other web pages are refused", close=True)

    def _has_token(self, request: Request) -> bool:
        given = request.headers.get(b"authorization")
        if given is None or not self._token:
            return False
        kind, _, value = given.partition(b" ")
        return kind.lower() == b"bearer" and hmac.compare_digest(value.strip(), self._token)


def _name_of(host: str) -> str:
    """``[::1]:8000`` → ``::1``, ``door-7:8000`` → ``door-7``."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_address(name: str) -> bool:
    """A page can't have been loaded from an attacker's server under the device's address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
