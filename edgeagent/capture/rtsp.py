"""Cameras in the network: RTSP, Motion JPEG and snapshots over HTTP; decoded in a child."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from edgeagent.capture.decoder import DecoderSource, without_secrets
from edgeagent.capture.source import PICTURES, Wanted
from edgeagent.config.secret import read_secret
from edgeagent.config.units import seconds

if TYPE_CHECKING:
    from edgeagent.config.model import MjpegConfig, RtspConfig, SnapshotConfig

_PROBE = {"analyzeduration": "500000", "probesize": "500000"}
"""Half a second and half a megabyte to find the format; FFmpeg's own five seconds make
opening take six times as long."""

_CAUSES = (
    (r"failed: 401", "the camera refuses the user name or password (401)"),
    (r"failed: 403", "the camera forbids it for this user (403)"),
    (r"failed: 404", "the camera has no such stream (404)"),
    (r"failed: 453", "the camera has no bandwidth left for another stream (453)"),
    (r"failed: 461", "the camera does not offer this transport (461); try the other one"),
    (r"failed: ([45]\d\d) (\w[\w ]*)", r"the camera answers \1 \2"),
    (r"Connection refused", "nothing listens there (connection refused)"),
    (r"resolve hostname ([^\s:]+)", r"the name \1 can't be resolved"),
    (r"No route to host|Network is unreachable", "there is no way to it in the network"),
    (r"Connection reset|Broken pipe", "the camera has broken the connection off"),
    (r"timed out", "the camera does not answer"),
    (r"certificate", "the camera's certificate is not trusted"),
    (r"Invalid data found|Could not find codec|unspecified size", "what it sends is no video"),
)
_DAMAGE = re.compile(
    r"error while decoding|concealing|corrupt|Invalid NAL|missing picture|Error splitting|"
    r"non-existing PPS|co located POC|RTP: (missed|dropping)|Could not find ref"
)


def explain(lines: list[str]) -> str:
    """The cause of a failure, from what FFmpeg wrote last; empty = unknown."""
    for line in reversed(lines):
        for pattern, cause in _CAUSES:
            match = re.search(pattern, line)
            if match:
                return match.expand(cause)
    return ""


class RtspSource(DecoderSource):
    """An RTSP camera. Old pictures are never given: the child reads on, the newest counts."""

    def __init__(self, name: str, config: RtspConfig, wanted: Wanted = PICTURES) -> None:
        del wanted
        self._config = config
        self._timeout_s = seconds(config.timeout)
        super().__init__(
            name,
            "edgeagent.capture.ffmpeg:FfmpegDecoder",
            origin=_bare(config.url),
            fps=config.fps,
            queue=config.queue,
            open_s=self._timeout_s,
            network=True,
            explain=explain,
            complaint=_DAMAGE,
        )

    def params(self) -> dict[str, Any]:
        """Address with credentials. Raises ConfigError where the password can't be read."""
        username, password = _credentials(self.name, self._config)
        self.hide(password, quote(password, safe=""))
        options = {"rtsp_transport": self._config.transport, **_PROBE}
        url = _with_credentials(self._config.url, username, password)
        return {"url": url, "options": options, "timeout_s": self._timeout_s}


class MjpegSource(DecoderSource):
    """A camera that sends one JPEG after the other over HTTP or HTTPS."""

    def __init__(self, name: str, config: MjpegConfig, wanted: Wanted = PICTURES) -> None:
        del wanted
        self._config = config
        super().__init__(
            name,
            "edgeagent.capture.multipart:MultipartDecoder",
            origin=_bare(config.url),
            fps=config.fps,
            queue=config.queue,
            open_s=seconds(config.timeout),
            network=True,
        )

    def params(self) -> dict[str, Any]:
        """Address and credentials. Raises ConfigError where the password can't be read."""
        username, password = _credentials(self.name, self._config)
        self.hide(password)
        return {
            "url": _without_user(self._config.url),
            "username": username,
            "password": password,
            "ca": self._config.ca,
        }


class SnapshotSource(DecoderSource):
    """A camera that is asked for single pictures over HTTP or HTTPS."""

    def __init__(self, name: str, config: SnapshotConfig, wanted: Wanted = PICTURES) -> None:
        del wanted
        self._config = config
        super().__init__(
            name,
            "edgeagent.capture.snapshot:SnapshotDecoder",
            origin=_bare(config.url),
            queue=config.queue,
            open_s=seconds(config.timeout),
            network=True,
        )

    def params(self) -> dict[str, Any]:
        """Address, credentials and pace. Raises ConfigError where the password can't be read."""
        config = self._config
        username, password = _credentials(self.name, config)
        self.hide(password)
        return {
            "url": _without_user(config.url),
            "username": username,
            "password": password,
            "ca": config.ca,
            "timeout_s": seconds(config.timeout),
            "every_s": 1.0 / config.fps if config.fps else seconds(config.every),
        }


def _credentials(name: str, config: RtspConfig | MjpegConfig | SnapshotConfig) -> tuple[str, str]:
    """User and password: those of the configuration, else those in the address."""
    parts = urlsplit(config.url)
    username = config.username or unquote(parts.username or "")
    password = read_secret(name, config.password_file)
    return username, unquote(parts.password or "") if password is None else password


def _with_credentials(url: str, username: str, password: str) -> str:
    parts = urlsplit(url)
    if not username and not password:
        return url
    user = f"{quote(username, safe='')}:{quote(password, safe='')}@"
    return urlunsplit(parts._replace(netloc=user + _host(parts)))


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=_host(parts)))


def _bare(url: str) -> str:
    """Scheme, host and path: the query of some cameras holds user and password."""
    parts = urlsplit(url)
    return without_secrets(urlunsplit((parts.scheme, _host(parts), parts.path, "", "")))


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]
