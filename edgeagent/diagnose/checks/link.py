"""Could the agent reach its broker? No MQTT session is opened: a second one with our client id
would throw the running agent out."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Iterator

from edgeagent import clock
from edgeagent.diagnose.checks.net import TIMEOUT_S, NotReached, connect
from edgeagent.diagnose.context import Context
from edgeagent.diagnose.finding import Finding, Severity
from edgeagent.errors import EdgeAgentError
from edgeagent.sync import certificates as expiry
from edgeagent.sync.endpoint import Endpoint, LinkSettings

_TLS_PORT = 8883


def broker(context: Context) -> Iterator[Finding]:
    """Name, TCP and TLS of every configured broker."""
    mqtt = context.config.mqtt
    if context.loaded is None and context.fault:
        yield Finding("broker", "note", "which broker is meant is not known: the configuration "
                      "could not be read", "", "See what config says above.")  # fmt: skip
        return
    if not mqtt.host:
        yield Finding("broker", "note", "no broker is configured: records stay on this device",
                      "mqtt.host", "Name one: [mqtt] host = \"…\"")  # fmt: skip
        return
    try:
        endpoints = LinkSettings.of(mqtt, "doctor").endpoints
    except EdgeAgentError as error:
        yield Finding("broker", "failed", str(error), "mqtt.host", error.remedy)
        return
    for endpoint in endpoints:
        yield from _exposure(endpoint)
        yield _reach(endpoint)


def _exposure(endpoint: Endpoint) -> Iterator[Finding]:
    if endpoint.tls and endpoint.insecure:
        yield Finding(
            "broker", "problem", f"{endpoint.name}: who answers is not checked",
            "mqtt.tls.insecure", "Name the authority (mqtt.tls.ca) and remove insecure",
        )  # fmt: skip
    if not endpoint.tls and endpoint.port == _TLS_PORT:
        yield Finding(
            "broker", "problem", f"{endpoint.name}: the port of MQTT over TLS, but TLS is off",
            "mqtt.tls", "Add tls = { ca = \"…\" } under [mqtt], or use port 1883",
        )  # fmt: skip
    if not endpoint.tls and endpoint.username and not _is_near(endpoint.host):
        yield Finding(
            "broker", "problem",
            f"{endpoint.name}: name and password cross the network in the clear",
            "mqtt.username without mqtt.tls", "Add tls = { ca = \"…\" } under [mqtt]",
        )  # fmt: skip


def _is_near(host: str) -> bool:
    """Whether packets to it stay on this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reach(endpoint: Endpoint) -> Finding:
    try:
        endpoint.password()
        context = endpoint.context()
    except EdgeAgentError as error:
        return Finding("broker", "failed", str(error), "read the files", error.remedy)
    try:
        how = connect(endpoint.host, endpoint.port)
    except NotReached as error:
        return Finding("broker", "failed", f"broker {error}", error.how, error.remedy)
    if context is None:
        return Finding("broker", "ok", f"{endpoint.name} accepts connections", how)
    return _handshake(endpoint, context)


def _handshake(endpoint: Endpoint, context: ssl.SSLContext) -> Finding:
    how = f"TLS handshake with {endpoint.name}"
    try:
        with (
            socket.create_connection((endpoint.host, endpoint.port), TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=endpoint.host) as secured,
        ):
            return Finding(
                "broker", "ok", f"{endpoint.name} proves who it is", secured.version() or how
            )
    except ssl.SSLCertVerificationError as error:
        remedy = "Name the authority that signed the broker's certificate: mqtt.tls.ca"
        if "not yet valid" in error.verify_message or not clock.synced():
            remedy = "Set this device's clock first: timedatectl set-ntp true"
        elif "match" in error.verify_message:
            remedy = "Use the host name that stands in the broker's certificate."
        said = f"{endpoint.name}: its certificate is not accepted: {error.verify_message}"
        return Finding("broker", "failed", said, how, remedy)
    except (ssl.SSLError, OSError) as error:
        said = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        return Finding(
            "broker", "failed", f"{endpoint.name}: no TLS there: {said}", how,
            "Is it the port of MQTT over TLS (mostly 8883)? Does the broker want a certificate?",
        )  # fmt: skip


def certificates(context: Context) -> Iterator[Finding]:
    """Our certificate and the authority's end some day; a device in the field must hear of it
    in time."""
    tls = context.config.mqtt.tls
    files = [file for file in (tls.ca, tls.cert) if file] if tls else []
    for file in files:
        try:
            said = expiry.warning(file)
            end = expiry.ends_at(file)
        except EdgeAgentError as error:
            yield Finding("certificates", "failed", str(error), file, error.remedy)
            continue
        if not said:
            yield Finding("certificates", "ok", f"{file} is good until {end:%Y-%m-%d}", file)
        elif not clock.synced():
            yield Finding("certificates", "note", f"{said}, if this device's clock is right", file)
        else:
            severity: Severity = "failed" if " ended on " in said else "problem"
            yield Finding("certificates", severity, said, file, "Renew it and replace the file.")


def proven(context: Context) -> Iterator[Finding]:
    """The running agent's own connection: are its topics let through, both ways? It is asked to
    hear its own echo once more; nobody else connects."""
    if not context.config.mqtt.host or context.test_link is None:
        yield Finding("topics", "ok", "no agent is linked to a broker")
        return
    try:
        told = context.test_link()
    except EdgeAgentError:
        yield Finding("topics", "ok", "no agent runs that could prove its topics")  # `agent` tells
        return
    how = "an echo by the running agent"
    complaints = told.get("complaints") or []
    for its in complaints:
        severity: Severity = "problem" if told.get("state") == "up" else "failed"
        yield Finding("topics", severity, str(its.get("sentence")), how,
                      str(its.get("advice") or "journalctl -u edgeagent -n 50"))  # fmt: skip
    if not complaints and told.get("proven"):
        yield Finding("topics", "ok", f"its echo came back in {told.get('took_ms')} ms", how)


def rivals(context: Context) -> Iterator[Finding]:
    """Another device with this one's id: each throws the other out."""
    if not context.config.mqtt.host or context.test_link is None or context.ask_agent is None:
        yield Finding("id clash", "ok", "no agent is linked to a broker")
        return
    try:
        reasons = [str(its) for its in context.ask_agent().get("reasons") or ()]
    except EdgeAgentError:
        yield Finding("id clash", "ok", "no agent runs that could be thrown out")
        return
    taken = next((its for its in reasons if "connected with this device's id" in its), "")
    if taken:
        yield Finding(
            "id clash", "failed", "another client connects with this device's id",
            "the broker's reason code 0x8E", "Give one of them another name: sudo hostnamectl "
            "set-hostname NAME (or device.id in agent.toml); sudo systemctl restart edgeagent",
        )  # fmt: skip
    else:
        yield Finding("id clash", "ok", "nobody else connects with this device's id")
