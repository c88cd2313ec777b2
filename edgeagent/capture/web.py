"""Asking a camera by HTTP, and its answers in plain words. Runs in a child (`capture.child`)."""

from __future__ import annotations

import http.client
import socket
import ssl
import urllib.error
import urllib.request
from typing import Any

from edgeagent.errors import SourceLost

_ANSWERS = {
    401: "the camera refuses the user name or password (401)",
    403: "the camera forbids it for this user (403)",
    404: "the camera has no such address (404)",
    503: "the camera has no free connection (503)",
}
FAILURES = (OSError, http.client.HTTPException, ValueError)
"""What asking and reading raise; `told` explains them."""


class Camera:
    """Args: ``url`` without credentials, ``username``, ``password``; ``ca``: a file with
    certificates to trust in place of the system's; ``timeout_s`` of every wait, None = none."""

    def __init__(
        self, url: str, username: str, password: str, ca: str = "", timeout_s: float | None = None
    ) -> None:
        self._url = url
        self._timeout_s = timeout_s
        passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        if username or password:
            passwords.add_password(None, url, username, password)
        handlers: list[urllib.request.BaseHandler] = [
            # Cameras are near; a proxy of the environment is for the world outside.
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPBasicAuthHandler(passwords),
            urllib.request.HTTPDigestAuthHandler(passwords),
        ]
        if url.startswith("https:"):
            handlers.append(urllib.request.HTTPSHandler(context=_context(ca)))
        self._opener = urllib.request.build_opener(*handlers)

    def ask(self) -> Any:
        """Its answer, open. Raises SourceLost with the cause."""
        try:
            if self._timeout_s is None:
                return self._opener.open(self._url)
            return self._opener.open(self._url, timeout=self._timeout_s)
        except FAILURES as error:
            raise SourceLost(told(error)) from error


def _context(ca: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca or None)
    except (OSError, ssl.SSLError) as error:
        raise SourceLost(
            f"{ca} can't be used as a certificate: {error}",
            remedy="Name a PEM file with the camera's certificate or its authority's.",
        ) from error


def told(error: Exception) -> str:
    """The cause in plain words."""
    if isinstance(error, urllib.error.HTTPError):
        return _ANSWERS.get(error.code, f"the camera answers {error.code} {error.reason}")
    cause: object = error
    if isinstance(error, urllib.error.URLError):
        cause = error.reason
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"the camera's certificate is not trusted: {cause.verify_message}"
    if isinstance(cause, socket.gaierror):
        return f"its name can't be resolved: {cause.strerror}"
    if isinstance(cause, TimeoutError):
        return "the camera does not answer"
    if isinstance(cause, ConnectionRefusedError):
        return "nothing listens there (connection refused)"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower()
    return str(cause)
