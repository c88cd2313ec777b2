"""Home Assistant's device discovery: one retained document that describes this device.

Source of the format: https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery. Every entity
reads what is published for everybody: status, state, reported, image; its switches and buttons
press ``do/{type}``, at QoS 0, because a press that waits for a device to come back is worse than
one that is lost.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from msgspec import Struct, field

from edgeagent.errors import StoreError
from edgeagent.sync.port import Incoming
from edgeagent.sync.shelf import Memory
from edgeagent.sync.topics import Topics
from edgeagent.sync.uplink import Uplink

log = logging.getLogger(__name__)

BIRTH = "homeassistant/status"
_KEY = "sync.discovery"
_MOST_LABELS = 8
"""With more of them, each with an entity of its own, nobody finds anything any more."""
_MOST_GONE = 200
_URL = "https://pypi.org/project/edgeagent/"
_BUTTONS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "restart": ("Restart", "restart", {}),
    "identify": ("Identify", "identify", {}),
    "doctor": ("Check", "", {}),
    "outbox": ("Send all now", "", {"action": "drain"}),
}
"""Command type → name, device class and arguments of its button."""

Components = dict[str, dict[str, Any]]


class Shown(Struct, frozen=True):
    """One pipeline, as far as it is shown."""

    name: str
    labels: Sequence[str] = ()
    image: bool = False


class About(Struct, frozen=True):
    """What the document is made of."""

    version: str
    name: str = ""
    """Of the device; empty = its id."""
    site: str = ""
    profile: str = ""
    pipelines: Sequence[Shown] = ()
    models: Sequence[str] = ()
    commands: Sequence[str] = field(default_factory=list)
    """Types that others may send."""


class Shelved(Protocol):
    """What is needed of the shelf."""

    def put(self, topic: str, payload: bytes, *, remember: bool = True) -> None: ...
    def renew(self, topic: str) -> None: ...


class Discovery:
    """Puts the document on the shelf, and again when Home Assistant was restarted."""

    def __init__(self, link: Uplink, shelf: Shelved, memory: Memory, topics: Topics) -> None:
        self._shelf, self._memory, self._topics = shelf, memory, topics
        link.subscribe(BIRTH, self._born, fleeting=True)

    def tell(self, about: About) -> None:
        """Any thread."""
        there = components(about, self._topics)
        try:
            gone = self._gone({key: its["platform"] for key, its in there.items()})
        except StoreError as error:
            # A full disk must not keep it from being described.
            log.warning("former entities of Home Assistant can't be remembered: %s", error)
            gone = {}
        document = describe(about, self._topics, there, gone)
        self._shelf.put(self._topics.discovery, msgspec.json.encode(document))

    def _gone(self, kinds: dict[str, str]) -> dict[str, str]:
        """Entities that there were and are no more: key → platform. Raises StoreError."""
        before = msgspec.json.decode(self._memory.recall(_KEY) or b"{}", type=dict[str, str])
        gone = {key: kind for key, kind in before.items() if key not in kinds}
        gone = dict(list(gone.items())[-_MOST_GONE:])
        if {**gone, **kinds} != before:
            self._memory.remember(_KEY, msgspec.json.encode({**gone, **kinds}))
        return gone

    def _born(self, message: Incoming) -> bool:
        if message.payload == b"online":
            self._shelf.renew(self._topics.discovery)
        return True


def describe(
    about: About, topics: Topics, there: Components, gone: Mapping[str, str] = {}
) -> dict[str, Any]:
    """The whole document. What is ``gone`` is named by its platform alone: so it is removed."""
    device = {
        "identifiers": [f"edgeagent_{topics.device}"], "name": about.name or topics.device,
        "manufacturer": "edgeagent", "model": about.profile or "edgeagent",
        "sw_version": about.version,
    }  # fmt: skip
    return {
        "device": {**device, "suggested_area": about.site} if about.site else device,
        "origin": {"name": "edgeagent", "sw_version": about.version, "support_url": _URL},
        "availability": [
            {
                "topic": topics.status,
                "value_template": "{{ 'offline' if value_json.state == 'offline' else 'online' }}",
            }
        ],
        "qos": 1,
        "components": {**{key: {"platform": kind} for key, kind in gone.items()}, **there},
    }


def components(about: About, topics: Topics) -> Components:
    """Key → entity."""
    found = _health(topics)
    for pipeline in about.pipelines:
        found |= _pipeline(pipeline, topics, switch="pipeline" in about.commands)
    for model in about.models:
        found[f"model_{model}"] = _model(model, topics)
    for type, (name, kind, arguments) in _BUTTONS.items():
        if type in about.commands:
            found[f"do_{type}"] = {
                "platform": "button", "name": name, "command_topic": topics.button(type),
                "payload_press": _json(arguments), "qos": 0,
                "entity_category": "config" if type == "restart" else "diagnostic",
                **({"device_class": kind} if kind else {}),
            }  # fmt: skip
    for key, its in found.items():
        its["unique_id"] = f"edgeagent_{topics.device}_{key}"
    return found


def _health(topics: Topics) -> Components:
    return {
        "state": {
            "platform": "sensor", "name": "State", "state_topic": topics.status,
            "value_template": "{{ value_json.state }}", "device_class": "enum",
            "options": ["online", "degraded", "safe-mode", "offline"],
            "entity_category": "diagnostic", "json_attributes_topic": topics.status,
            "json_attributes_template": (
                "{{ {'reasons': value_json.reasons, 'since': value_json.since} | tojson }}"
            ),
        },
        "problem": {
            "platform": "binary_sensor", "name": "Problem", "device_class": "problem",
            "state_topic": topics.status, "entity_category": "diagnostic",
            "value_template": "{{ 'ON' if value_json.state != 'online' else 'OFF' }}",
        },
    }  # fmt: skip


def _pipeline(its: Shown, topics: Topics, *, switch: bool) -> Components:
    name, state = its.name, topics.state(its.name)
    found: Components = {
        f"{name}_alarm": {
            "platform": "binary_sensor", "name": f"{name} alarm", "state_topic": state,
            "value_template": "{{ 'ON' if value_json.alarm else 'OFF' }}",
            "json_attributes_topic": state,
        },
        f"{name}_score": {
            "platform": "sensor", "name": f"{name} score", "state_topic": state,
            "value_template": "{{ value_json.score | default(none) }}",
            "state_class": "measurement", "suggested_display_precision": 2,
        },
    }  # fmt: skip
    for label in its.labels[:_MOST_LABELS]:
        key, count = _slug(label), f"value_json.counts.get({_json(label)}, 0)"
        found[f"{name}_{key}"] = {
            "platform": "binary_sensor", "name": f"{name} {label}", "state_topic": state,
            "value_template": f"{{{{ 'ON' if {count} > 0 else 'OFF' }}}}",
            "device_class": "occupancy",
        }  # fmt: skip
        found[f"{name}_{key}_count"] = {
            "platform": "sensor", "name": f"{name} {label} count", "state_topic": state,
            "value_template": f"{{{{ {count} }}}}", "state_class": "measurement",
        }  # fmt: skip
    if its.image:
        found[f"{name}_image"] = {
            "platform": "image", "name": f"{name} image", "image_topic": topics.image(name),
            "content_type": "image/jpeg",
        }  # fmt: skip
    if switch:
        found[f"{name}_runs"] = {
            "platform": "switch", "name": f"{name} runs", "state_topic": state, "qos": 0,
            "value_template": "{{ 'ON' if value_json.runs else 'OFF' }}",
            "state_on": "ON", "state_off": "OFF", "command_topic": topics.button("pipeline"),
            "payload_on": _json({"name": name, "action": "start"}),
            "payload_off": _json({"name": name, "action": "stop"}),
            "entity_category": "config",
        }  # fmt: skip
    return found


def _model(name: str, topics: Topics) -> dict[str, Any]:
    """The version that runs, and the one that it is to become; a display, with no command."""
    its = f"value_json.models.get({_json(name)}, {{}})"
    return {
        "platform": "update", "name": f"{name} model", "state_topic": topics.reported,
        "entity_category": "diagnostic", "title": name,
        "value_template": (
            f"{{% set its = {its} %}}"
            "{% set ended = its.get('state') in ['failed', 'rejected', 'rolled-back', 'cancelled',"
            " 'superseded'] %}"
            "{{ {'installed_version': its.get('version', ''), 'latest_version': its.get('version',"
            " '') if ended else its.get('wanted') or its.get('version', ''), 'in_progress':"
            " its.get('state', 'committed') not in ['committed', 'down'] and not ended} | tojson }}"
        ),
    }  # fmt: skip


def labels_of(known: Iterable[str], rules: Iterable[str]) -> list[str]:
    """Labels worth an entity: all of a few; of many those that rules name."""
    every = list(dict.fromkeys(known))
    if len(every) <= _MOST_LABELS:
        return every
    texts = list(rules)
    return [its for its in every if any(f"'{its}'" in t or f'"{its}"' in t for t in texts)]


def _slug(text: str) -> str:
    """Of what has other letters too, with a sum: else two such labels would be one entity."""
    plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in text.lower())
    return plain if text.isascii() else f"{plain}_{zlib.crc32(text.encode()):08x}"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
