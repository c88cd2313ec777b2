"""Where the broker is, how we prove who we are, and what of it is on files.

Passwords, certificates and keys are read again at every connection, so a rotated secret needs
no restart; `Endpoint.stamp` tells whether a file has changed since.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, field
from msgspec.structs import replace

from edgeagent import clock
from edgeagent.config.secret import read_secret
from edgeagent.config.units import seconds
from edgeagent.errors import ConfigError, InputError
from edgeagent.sync import backoff, certificates

if TYPE_CHECKING:
    from edgeagent.config.model import Mqtt, Tls

Version = Literal["auto", "5", "3.1.1"]


class Endpoint(Struct, frozen=True):
    """One broker."""

    host: str
    port: int = 1883
    username: str = ""
    password_file: str = ""
    ca: str = ""
    cert: str = ""
    key: str = ""
    tls: bool = False
    insecure: bool = False
    """Encrypt, but do not check who answers."""

    @property
    def name(self) -> str:
        return f"{self.host}:{self.port}"

    def password(self) -> str | None:
        """The password, or None. Raises ConfigError if its file can't be read.

        Without a file that of the user is looked for in the environment
        (``EDGEAGENT_MQTT_PASSWORD``) and among systemd's credentials (``mqtt``).
        """
        if not self.password_file:
            return read_secret("mqtt") if self.username else None
        try:
            return Path(self.password_file).read_text().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"mqtt.password_file {self.password_file} can't be read: {_why(error)}",
                remedy="Create the file and make it readable for the agent's user.",
            ) from error

    def context(self) -> ssl.SSLContext | None:
        """The TLS settings, or None for plain TCP. Raises ConfigError for unusable files."""
        if not self.tls:
            return None
        named = self.ca or "the system's authorities"
        try:
            context = ssl.create_default_context(cafile=self.ca or None)
            if self.cert:
                named = f"{self.cert} with {self.key or 'no key'}"
                context.load_cert_chain(self.cert, self.key or None, password=_no_passphrase)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"mqtt.tls: {named} can't be used: {_why(error)}",
                remedy="Name PEM files that the agent's user can read, the key without passphrase.",
            ) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # Python 3.13 refuses authorities without keyUsage, which people make for their broker
        # all the time and which every earlier version accepts.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def ending(self) -> str:
        """A sentence if our certificate ends within 30 days, by a clock that is trusted."""
        if not self.cert or not clock.synced():
            return ""
        try:
            return certificates.warning(self.cert)
        except InputError as error:
            return str(error)

    def stamp(self) -> tuple[tuple[str, int, int], ...]:
        """Changes when one of the files does."""
        found = []
        for name in (self.password_file, self.ca, self.cert, self.key):
            try:
                state = Path(name).stat() if name else None
            except OSError:
                state = None
            found.append((name, state.st_mtime_ns if state else 0, state.st_size if state else 0))
        return tuple(found)


class LinkSettings(Struct, frozen=True):
    """All that a link must know. Durations in seconds."""

    client_id: str
    endpoints: tuple[Endpoint, ...]
    """Brokers in the order of preference."""
    version: Version = "auto"
    keepalive_s: float = 20.0
    session_expiry_s: float = 7 * 86400.0
    answer_s: float = 10.0
    """How long the broker may take for CONNACK, SUBACK and the echo, each."""
    files_every_s: float = 30.0
    """How often certificate files are looked at."""
    receive_maximum: int = 64
    """Messages that the broker may have under way to us."""
    maximum_packet: int = 1 << 20
    """Largest packet that we take (bytes; MQTT 5 only)."""
    ranges: Mapping[str, backoff.Range] = field(default_factory=lambda: backoff.RANGES)
    stable_s: float = 10.0

    @classmethod
    def of(cls, mqtt: Mqtt, client_id: str) -> LinkSettings:
        """From the configuration. ``mqtt.host`` may name several brokers, separated by commas,
        each with its own ``:port``."""
        return cls(
            client_id=client_id,
            endpoints=tuple(_endpoints(mqtt)),
            version=mqtt.version,
            keepalive_s=seconds(mqtt.keepalive),
            session_expiry_s=seconds(mqtt.session_expiry),
        )


def _endpoints(mqtt: Mqtt) -> list[Endpoint]:
    plain = Endpoint("", mqtt.port, mqtt.username, mqtt.password_file)
    if mqtt.tls is not None:
        plain = _with_tls(plain, mqtt.tls)
    found = []
    for part in mqtt.host.split(","):
        host, port = _split(part.strip(), mqtt.port)
        if host:
            found.append(replace(plain, host=host, port=port))
    return found


def _with_tls(plain: Endpoint, tls: Tls) -> Endpoint:
    return replace(plain, tls=True, ca=tls.ca, cert=tls.cert, key=tls.key, insecure=tls.insecure)


def _split(text: str, port: int) -> tuple[str, int]:
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        text_port = rest.lstrip(":")
    elif text.count(":") == 1:
        host, _, text_port = text.partition(":")
    else:
        host, text_port = text, ""
    if not text_port:
        return host, port
    if not text_port.isdigit() or not 0 < int(text_port) < 65536:
        raise ConfigError(
            f"mqtt.host {text!r}: {text_port!r} is not a port", remedy='Write "host:1883".'
        )
    return host, int(text_port)


def _why(error: Exception) -> str:
    # The text of an OSError names its file, and so does ours.
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _no_passphrase() -> bytes:
    # OpenSSL would ask on the terminal otherwise, which a service does not have.
    raise ValueError("the key needs a passphrase")
