"""Why a broker or a network said no, in plain words, and what is to be done about it.

Codes are those of MQTT 5 (section 2.4); the library translates the five of MQTT 3.1.1's CONNACK
to them. `Reason.kind` is what the rest of the agent acts on:

=========== ==============================================================================
network     gone or not reachable: try again soon
busy        it says "later": try again with patience
denied      it does not let us: only a person can help; nothing is thrown away meanwhile
taken       another client with our id took the session: stop fighting
version     it does not speak this version of MQTT
retain      it keeps no retained messages
size        the packet is larger than it accepts
payload     it refuses this very message
protocol    one of both broke the protocol; what was just sent is suspect
=========== ==============================================================================
"""

from __future__ import annotations

import errno
import socket
import ssl
from typing import Literal

from msgspec import Struct

Kind = Literal[
    "network", "busy", "denied", "taken", "version", "retain", "size", "payload", "protocol"
]


class Reason(Struct, frozen=True):
    """One refusal or loss."""

    kind: Kind
    sentence: str
    advice: str = ""
    code: int = -1
    """MQTT 5 reason code; −1 where there was none."""

    def __str__(self) -> str:
        return self.sentence


_ACL = "Check the broker's access rules for this user (packaging/mosquitto/acl is an example)."
_LOGIN = "Check mqtt.username and the file of mqtt.password_file."

_CODES: dict[int, tuple[Kind, str, str]] = {
    0x80: ("payload", "the broker refused without saying why", "See the broker's log."),
    0x81: ("protocol", "the broker could not read a packet of ours", ""),
    0x82: ("protocol", "the broker reports a protocol error", ""),
    0x83: ("payload", "the broker refused for a reason of its own", "See the broker's log."),
    0x84: ("version", "the broker does not speak this version of MQTT", ""),
    0x85: ("denied", "the broker does not accept this client id", "Change device.id."),
    0x86: ("denied", "the broker does not accept this user name or password", _LOGIN),
    0x87: ("denied", "the broker does not authorise this device", f"{_LOGIN} {_ACL}"),
    0x88: ("busy", "the broker is unavailable", ""),
    0x89: ("busy", "the broker is busy", ""),
    0x8A: ("denied", "the broker has banned this device", "Ask who runs the broker."),
    0x8B: ("network", "the broker is shutting down", ""),
    0x8C: ("denied", "the broker wants another way to authenticate", _LOGIN),
    0x8D: ("network", "the broker heard nothing from us within the keepalive", ""),
    0x8E: (
        "taken",
        "another client connected with this device's id",
        "Two devices have the same device.id (a copied card?): give one of them another.",
    ),
    0x90: ("denied", "the broker does not accept this topic", "Check mqtt.prefix."),
    0x93: ("protocol", "the broker says that too many messages were under way", ""),
    0x94: ("protocol", "the broker does not accept a topic alias", ""),
    0x95: ("size", "the packet is larger than the broker accepts", "Lower sync.max_message."),
    0x96: ("busy", "the broker says that messages come too fast", ""),
    0x97: ("busy", "a quota of the broker is used up", "Ask who runs the broker."),
    0x98: ("busy", "the broker's administrator ended the connection", ""),
    0x99: ("payload", "the broker does not accept this payload", ""),
    0x9A: ("retain", "the broker keeps no retained messages", "Use a broker that does."),
    0x9B: ("denied", "the broker offers no QoS 1", "Use a broker that does."),
    0x9C: ("busy", "the broker wants us to use another server", "Change mqtt.host."),
    0x9D: ("busy", "the broker has moved", "Change mqtt.host."),
    0x9F: ("busy", "the broker says that we connect too often", ""),
}

LOST = Reason("network", "the connection was lost")
DOWN = Reason("network", "there is no connection")
STOPPED = Reason("network", "the agent is stopping")
SILENT = Reason("network", "the broker's host accepts connections but nobody answers there")
KEEPALIVE = Reason("network", "nothing came from the broker for twice the keepalive")
UNREADABLE = Reason("protocol", "a packet of the broker could not be read")
CROWDED = Reason("busy", "too many messages wait to be sent")
RENEWED = Reason("network", "certificate files have changed")
TOO_LONG = Reason(
    "denied", "something that opens a connection is longer than MQTT allows (65,535 bytes)",
    "Shorten device.name, device.site, mqtt.username or the password.",
)  # fmt: skip
TAKEN = Reason("taken", _CODES[0x8E][1], _CODES[0x8E][2], 0x8E)


def known_codes() -> tuple[int, ...]:
    """The reason codes of MQTT 5 by which a broker says no."""
    return tuple(_CODES)


def of_code(code: int) -> Reason:
    """The reason behind an MQTT 5 reason code of 0x80 and more."""
    kind, sentence, advice = _CODES.get(code, ("network", f"reason code 0x{code:02x}", ""))
    return Reason(kind, sentence, advice, code)


def of_certificate(warning: str) -> Reason | None:
    """That our certificate ends soon; None for an empty warning."""
    return (
        Reason("denied", warning, "Renew it; the file is read again by itself.")
        if warning
        else None
    )


def of_exception(error: Exception, where: str) -> Reason:
    """Why a connection to ``where`` (host:port) could not be made."""
    if isinstance(error, ssl.SSLCertVerificationError):
        advice = "Check mqtt.tls.ca, the broker's name and this device's clock."
        return Reason("denied", f"{where}: certificate refused: {error.verify_message}", advice)
    if isinstance(error, ssl.SSLError):
        what = (error.reason or str(error)).replace("_", " ").lower()
        return Reason("denied", f"{where}: TLS failed: {what}", "Check mqtt.port and mqtt.tls.")
    if isinstance(error, socket.gaierror):
        return Reason("network", f"{where}: the name is not known", "Check mqtt.host and DNS.")
    if isinstance(error, TimeoutError):
        return Reason("network", f"{where}: no answer in time")
    if isinstance(error, ConnectionRefusedError):
        return Reason("network", f"{where}: connection refused", "Does the broker run there?")
    if isinstance(error, OSError) and error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        return Reason("network", f"{where}: not reachable: there is no route")
    return Reason("network", f"{where}: {error}")
