"""What may be changed without a signature is judged by its effect."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from edgeagent.update.protected import local_only, protected

BEFORE: dict[str, Any] = {
    "device": {"id": "a", "name": ""},
    "mqtt": {"host": "one", "prefix": "edgeagent"},
    "storage": {"data_dir": "", "max": "512 MiB"},
    "commands": {"allow": ["ping"], "max_age": "7 d"},
    "trust": {"require_signature": "protected"},
    "privacy": {"pictures": "events"},
    "serve": None,
    "sources": {
        "cam": {"kind": "camera", "device": "/dev/video0", "mask": [[[0, 0], [1, 0], [1, 1]]]},
        "imu": {"kind": "iio"},
    },
    "pipelines": {
        "door": {"source": "cam", "sources": {}, "model": "parts", "threshold": 0.5,
                 "redact": {"labels": ["person"]}, "live": False},
    },
}  # fmt: skip


def changed(path: str, value: Any) -> dict[str, Any]:
    after = deepcopy(BEFORE)
    *above, last = path.split(".")
    table = after
    for key in above:
        table = table[key]
    table[last] = value
    return after


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("commands.allow", ["ping", "capture"], "commands.allow"),
        ("commands.max_age", "99 d", "commands.max_age"),
        ("trust.require_signature", "never", "trust.require_signature"),
        ("mqtt.host", "two", "mqtt.host"),
        ("privacy.pictures", "asked", "privacy.pictures"),
        ("serve", {"listen": "0.0.0.0:80"}, "serve"),
        ("pipelines.door.redact", None, "pipelines.door.redact"),
        ("pipelines.door.redact", {"labels": []}, "pipelines.door.redact"),
        ("pipelines.door.live", True, "pipelines.door.live"),
        ("pipelines.door.image", True, "pipelines.door.image"),
        ("sources.cam.mask", [], "sources.cam.mask"),
        # The same by other ways.
        ("pipelines.beside", {"source": "cam", "model": "parts"}, "pipelines.beside.redact"),
        ("sources.again", {"kind": "camera", "device": "/dev/video0"}, "sources.again.mask"),
        ("sources.out", {"kind": "rtsp", "url": "rtsp://x", "password_file": "/etc/shadow",
                         "mask": [[]]}, "sources.out.password_file"),
    ],
)  # fmt: skip
def test_protected(path: str, value: Any, told: str) -> None:
    assert told in protected(BEFORE, changed(path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("pipelines.door.threshold", 0.7),
        ("device.name", "Door 7"),
        ("sources.cam.fps", 3),
        ("pipelines.beside", {"source": "cam", "redact": {"labels": ["person"]}}),
    ],
)
def test_free(path: str, value: Any) -> None:
    assert protected(BEFORE, changed(path, value)) == []
    assert local_only(BEFORE, changed(path, value)) == []


@pytest.mark.parametrize("path", ["device.id", "mqtt.prefix", "storage.data_dir"])
def test_what_only_the_devices_own_files_set(path: str) -> None:
    assert local_only(BEFORE, changed(path, "elsewhere")) == [path]


def test_leaving_out_what_a_signature_had_set_is_a_change_as_well() -> None:
    signed = changed("commands.allow", [])
    assert protected(signed, BEFORE) == ["commands.allow"]
