"""The link over the MQTT library: the only place that imports it.

Callbacks of the library only put what happened in a list, which is handled after its call has
returned: nothing of ours runs under its locks, and nothing raises into its loop.
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from edgeagent.errors import ConfigError, LinkDown
from edgeagent.sync import reasons
from edgeagent.sync.endpoint import Endpoint, LinkSettings
from edgeagent.sync.port import Limits, Message, Will
from edgeagent.sync.reasons import Reason
from edgeagent.sync.uplink import Uplink, drain
from edgeagent.sync.wire import Closed, Connack, Delivery, Event, Puback, Suback


class Link(Uplink):
    """`Uplink` over paho."""

    def __init__(self, settings: LinkSettings, echo: Callable[[str], str]) -> None:
        """``echo`` gives the topic that proves the connection, for a nonce."""
        super().__init__(settings, echo, _PahoWire.open)


class _PahoWire:
    """One connection by the MQTT library; see `wire.Wire`."""

    def __init__(self, settings: LinkSettings, five: bool, wake_fd: int) -> None:
        self._five = five
        self._wake_fd = wake_fd
        self._events: list[Event] = []
        self._poller = select.poll()
        self._poller.register(wake_fd, select.POLLIN)
        client = self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=settings.client_id,
            clean_session=None if five else False,
            protocol=mqtt.MQTTv5 if five else mqtt.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        # Ours don't raise; if one ever did, the client must not die in silence.
        client.suppress_exceptions = True
        client.max_inflight_messages_set(0)  # No queue in there: `Outgoing` keeps the window.
        client.connect_timeout = settings.answer_s / 2
        client.on_socket_open = _no_delay
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = lambda _c, _u, mid, codes, _p: self._events.append(
            Suback(mid, tuple(code.value for code in codes))
        )
        client.on_publish = lambda _c, _u, mid, code, _p: self._events.append(
            Puback(mid, code.value)
        )
        client.on_message = self._on_message

    @classmethod
    def open(
        cls, settings: LinkSettings, endpoint: Endpoint, five: bool,
        will: Callable[[], Will] | None, wake_fd: int,
    ) -> _PahoWire | Reason:  # fmt: skip
        """Connect and send CONNECT: a wire, or why there is none."""
        wire = cls(settings, five, wake_fd)
        client = wire._client
        try:
            if endpoint.username:
                client.username_pw_set(endpoint.username, endpoint.password())
            context = endpoint.context()
            if context is not None:
                client.tls_set_context(context)
            if will is not None:
                testament = will()
                client.will_set(testament.topic, testament.payload, qos=1, retain=True)
            # The library notices a dead peer within two keepalives; a tenth less keeps that
            # promise in spite of the time between two looks at the clock.
            keepalive = max(1, int(settings.keepalive_s * 0.9))
            options = _connect_options(settings) if five else {}
            client.connect(endpoint.host, endpoint.port, keepalive, **options)
        except ConfigError as error:
            return Reason("denied", str(error), error.remedy)
        except (OSError, ValueError) as error:
            return reasons.of_exception(error, endpoint.name)
        except struct.error:
            return reasons.TOO_LONG
        return wire

    @property
    def blocked(self) -> bool:
        return self._client.want_write()

    def send(self, message: Message) -> int:
        properties = None
        if self._five and (message.content_type or message.encoding):
            properties = _publish_properties(message.content_type, message.encoding)
        info = self._client.publish(
            message.topic, message.payload, message.qos, message.retain, properties
        )
        if info.rc != mqtt.MQTT_ERR_SUCCESS:
            raise LinkDown(f"the message was not taken: {mqtt.error_string(info.rc)}")
        return info.mid if message.qos else 0

    def subscribe(self, filters: Sequence[tuple[str, int]]) -> int:
        wanted: Any = [(f, SubscribeOptions(qos=q) if self._five else q) for f, q in filters]
        rc, mid = self._client.subscribe(wanted)
        if rc != mqtt.MQTT_ERR_SUCCESS or mid is None:
            raise LinkDown(f"the subscription was not taken: {mqtt.error_string(rc)}")
        return mid

    def unsubscribe(self, filters: Sequence[str]) -> None:
        self._client.unsubscribe(list(filters))

    def ack(self, mid: int) -> None:
        self._client.ack(mid, 1)

    def turn(self, timeout: float) -> list[Event]:
        sock: Any = self._client.socket()
        if sock is not None:
            self._wait(sock, timeout)
        events, self._events = self._events, []
        return events or ([Closed(reasons.LOST)] if self._client.socket() is None else [])

    def close(self) -> None:
        self._client.disconnect()
        self._client.on_socket_close = None
        sock: Any = self._client.socket()
        if sock is not None:
            sock.close()

    def _wait(self, sock: Any, timeout: float) -> None:
        client = self._client
        held = bool(sock.pending()) if hasattr(sock, "pending") else False
        self._poller.register(sock, select.POLLIN | (select.POLLOUT * client.want_write()))
        # TLS may hold decrypted bytes that the kernel knows nothing of.
        ready = dict(self._poller.poll(0 if held else timeout * 1000))
        if ready.pop(self._wake_fd, 0):
            drain(self._wake_fd)
        if ready or held:
            good = client.loop_read() == mqtt.MQTT_ERR_SUCCESS
            if good and client.want_write():
                client.loop_write()
            if good and client.socket() is not None:
                _acknowledge(sock)
        client.loop_misc()

    def _on_connect(self, _client: Any, _data: Any, flags: Any, code: Any, properties: Any) -> None:
        refusal = reasons.of_code(code.value) if code.value >= 0x80 else None
        get = properties.__dict__.get
        limits = Limits(
            receive_maximum=get("ReceiveMaximum", 65535),
            maximum_packet=get("MaximumPacketSize", 268_435_455),
            qos_1=get("MaximumQoS", 1) >= 1,
            retain=bool(get("RetainAvailable", 1)),
            protocol="5" if self._five else "3.1.1",
            session_present=flags.session_present,
        )
        self._events.append(Connack(refusal, limits))

    def _on_disconnect(self, _client: Any, _data: Any, flags: Any, code: Any, _p: Any) -> None:
        if flags.is_disconnect_packet_from_server and code is not None and code.value >= 0x80:
            reason = reasons.of_code(code.value)
        else:
            reason = _OWN_VIEW.get(code.value if code is not None else 0, reasons.LOST)
        self._events.append(Closed(reason))

    def _on_message(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""  # Nobody subscribed that: acknowledged and forgotten.
        self._events.append(
            Delivery(
                topic, bytes(message.payload), message.qos, message.retain, message.dup, message.mid
            )
        )


_QUICK: int | None = getattr(socket, "TCP_QUICKACK", None)

_OWN_VIEW = {0x8D: reasons.KEEPALIVE, 0x82: reasons.UNREADABLE}
"""What the library found out itself: by the code that it makes up for it."""


def _no_delay(_client: Any, _data: Any, sock: Any) -> None:
    # Without it Nagle's algorithm and delayed acks cost 44 ms a message (over 16 KiB with TLS).
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _acknowledge(sock: Any) -> None:
    # A broker without TCP_NODELAY holds back the second of two messages until the first one is
    # acknowledged, and the kernel takes 40 ms for that unless told otherwise, each time anew.
    if _QUICK is not None:
        sock.setsockopt(socket.IPPROTO_TCP, _QUICK, 1)


def _connect_options(settings: LinkSettings) -> dict[str, Any]:
    properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = int(settings.session_expiry_s)
    properties.ReceiveMaximum = settings.receive_maximum
    properties.MaximumPacketSize = settings.maximum_packet
    return {"clean_start": False, "properties": properties}


@lru_cache(maxsize=16)
def _publish_properties(content_type: str, encoding: str) -> Any:
    properties: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if content_type:
        properties.ContentType = content_type
    if encoding:
        properties.UserProperty = ("encoding", encoding)
    return properties
