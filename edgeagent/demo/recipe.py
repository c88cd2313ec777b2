"""The configuration of the demo's agent."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from edgeagent.demo.needs import Kit

HEALTHY_SHARE = 0.5
"""The bearing is sound for this share of the demo."""
FAILING_SHARE = 0.3
"""Then it gets worse for this share."""
COVERED, FROZEN = (0.09, 0.08), (0.22, 0.18)
"""When the belt's camera is covered and when it freezes, and for how long, as shares of the whole;
all of it before the agent is killed."""
LINE = 0.6
"""Where the parts are counted, as a share of the belt's length."""

_COMMON = """\
# Written by `edgeagent demo`.
[device]
id = "demo"
name = "The demo"

[mqtt]
host = "127.0.0.1"
port = {port}
version = "{protocol}"

[sync]
linger = "200 ms"
resend_after = "1 s"

[models]
path = [{models}]

[sources.belt]
kind = "synthetic"
scene = "belt"
seed = 5
size = [640, 480]
fps = 15
fault_rate = 0.5
mishaps = {mishaps}
[sources.belt.sight]            # quick, as the demo is short
enabled = true
every = "500 ms"
after = "500 ms"
frozen_after = "1500 ms"
looks = 4

[pipelines.belt]
source = "belt"
model = "parts"
record = {{ events = true, every = 3 }}
[pipelines.belt.zones.gate]     # a part counts once it is well in the picture
polygon = [[0.3, 0], [0.8, 0], [0.8, 1], [0.3, 1]]
[pipelines.belt.lines.exit]
points = [[{line}, 0], [{line}, 1]]
[[pipelines.belt.rules]]
when = "zone == 'gate'"
do = ["event", "snapshot"]

[sources.bearing]
kind = "synthetic"
scene = "vibration"
seed = 3
healthy_s = {healthy_s}
failing_s = {failing_s}

[pipelines.bearing]
source = "bearing"
model = "bearing"
record = {{ events = true, every = 1 }}
"""

_FACE = """
[pipelines.face]
source = "face"
model = "face"
record = { events = true, every = 3 }
off = 30                        # the glare does not end an event
[pipelines.face.redact]
labels = ["face"]
[pipelines.face.clip]
before = "1 s"
after = "4 s"
fps = 15
[[pipelines.face.rules]]
when = "label == 'face'"
do = ["event", "snapshot", "clip"]
"""


@dataclass(frozen=True, slots=True)
class World:
    """How the scenes stand when an agent begins: they start anew with every process, so a
    second agent is told how far the first one got."""

    healthy_s: float
    failing_s: float
    belt_seed: int = 5
    mishaps: str = "[]"
    """Of the belt's camera, as TOML writes them."""

    def settings(self) -> tuple[str, ...]:
        """As ``--set`` of the agent."""
        return (
            f"sources.bearing.healthy_s={self.healthy_s:.1f}",
            f"sources.bearing.failing_s={self.failing_s:.1f}",
            f"sources.belt.seed={self.belt_seed}",
            f"sources.belt.mishaps={self.mishaps}",
        )


def world(span_s: float, elapsed_s: float = 0.0) -> World:
    """The world after ``elapsed_s`` of a demo of ``span_s``."""
    healthy_s = max(0.0, span_s * HEALTHY_SHARE - elapsed_s)
    if elapsed_s > 0:
        return World(healthy_s, span_s * FAILING_SHARE, 8)
    mishaps = ", ".join(
        f'{{ kind = "{kind}", at_s = {at * span_s:.1f}, for_s = {lasts * span_s:.1f} }}'
        for kind, (at, lasts) in (("covered", COVERED), ("frozen", FROZEN))
    )
    return World(healthy_s, span_s * FAILING_SHARE, 5, f"[{mishaps}]")


def configuration(kit: Kit, port: int, protocol: str, span_s: float, camera: str) -> str:
    """agent.toml; without the face pipeline where its parts are missing.

    Args:
        port: of the uplink on this machine.
        protocol: ``mqtt.version``.
        span_s: length of the demo.
        camera: device in place of the clip; empty = the clip.
    """
    begin = world(span_s)
    text = _COMMON.format(
        port=port, protocol=protocol, models=quoted(str(kit.models)),
        healthy_s=begin.healthy_s, failing_s=begin.failing_s, line=LINE, mishaps=begin.mishaps,
    )  # fmt: skip
    if kit.missing:
        return text
    if camera:
        return text + f'\n[sources.face]\nkind = "camera"\ndevice = {quoted(camera)}\n' + _FACE
    if kit.clip is not None:
        return text + _clip(kit.clip) + _FACE
    return text


def quoted(text: str) -> str:
    """A text as TOML writes it (JSON's way is one of TOML's)."""
    return json.dumps(text, ensure_ascii=False)


def _clip(file: Path) -> str:
    path = quoted(str(file))
    return f'\n[sources.face]\nkind = "video"\npath = {path}\nloop = true\npace = "true"\n'
