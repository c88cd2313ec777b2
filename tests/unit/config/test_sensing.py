"""What is wrong with sources of values, each with its place and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.config.load import load
from edgeagent.errors import ConfigError

SERIAL = '[sources.s]\nkind = "serial"\ndevice = "/dev/ttyUSB0"\n'
MODBUS = '[sources.s]\nkind = "modbus"\nhost = "plc"\n'
MQTT = '[mqtt]\nhost = "b"\n[sources.s]\nkind = "mqtt"\n'
IIO = '[sources.s]\nkind = "iio"\n'


def faults(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "a.toml"
    file.write_text(text)
    try:
        load(file)
    except ConfigError as error:
        return [line.replace(f"{tmp_path}/", "") for line in str(error).splitlines()]
    return []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (IIO + "channels = { x = { scale = 0 } }", "a.toml:3: sources.s.channels.x.scale: every "
         "value would be the offset; 1 leaves values as they are"),
        (IIO + "channels = { x = { min = 5, max = 1 } }", "a.toml:3: sources.s.channels.x.min: min "
         "is 5, max is 1: nothing lies between; exchange them"),
        (IIO + "channels = { x = { points = [[0, 1]] } }", "a.toml:3: sources.s.channels.x.points: "
         "expected at least 2 points, found 1; for one, use offset"),
        (IIO + "channels = { x = { points = [[0, 1], [0, 2]] } }", "a.toml:3: "
         "sources.s.channels.x.points: two points say what 0 means; keep one of them"),
        (IIO + "channels = { x = { raed = 'a' } }", "a.toml:3: sources.s.channels.x.raed: unknown "
         'key; did you mean "read"?'),
        (IIO + "channels = { x = { stuck = 5 } }", "a.toml:3: sources.s.channels.x.stuck: expected "
         'a duration such as "60 s" (us, ms, s, min, h, d), found 5; write "5" in quotes'),
        (IIO + 'align = "cubic"', 'a.toml:3: sources.s.align: expected one of "hold", "linear", '
         '"mean", found "cubic"'),
        ('[sources.s]\nkind = "serial"', "a.toml:1: sources.s: expected a device, found none; add "
         'device = "/dev/serial/by-id/…" (see edgeagent devices list)'),
        (SERIAL + 'pattern = "T=([0-9]+)"', "a.toml:4: sources.s.pattern: expected a pattern with "
         "named groups, found none; name what it finds: (?P<t>[-0-9.]+)"),
        (SERIAL + 'pattern = "("', "a.toml:4: sources.s.pattern: is no regular expression: missing "
         "), unterminated subpattern at position 0"),
        (SERIAL + 'pattern = "(?P<temp>.)"\nchannels = { tmp = {} }', "a.toml:5: "
         'sources.s.channels.tmp: expected a named group of the pattern, found "tmp"; did you mean '
         '"temp"?'),
        (SERIAL + 'format = "csv"\ncolumns = ["x", "y"]\nchannels = { a = { read = "z" } }',
         'a.toml:6: sources.s.channels.a.read: expected a column, found "z"; known here: x, y'),
        (SERIAL + 'format = "json"\ncolumns = ["x"]', "a.toml:5: sources.s.columns: a json line "
         'has no columns; take it away, or say format = "csv"'),
        (SERIAL + "baud = 960000000", "a.toml:4: sources.s.baud: expected a whole number from 50 "
         "to 4000000, found 960000000"),
        (MODBUS + "channels = {}", "a.toml:4: sources.s.channels: expected at least one channel, "
         "found none; add a table for each register: [sources.….channels.t] with address = …"),
        (MODBUS + 'device = "/dev/x"\nchannels = { t = { address = 1 } }', "a.toml:1: sources.s: "
         "host (TCP) and device (RTU) are both given; give one of them"),
        (MODBUS + 'channels = { t = { address = 65535, type = "float32" } }', "a.toml:4: "
         "sources.s.channels.t.address: float32 at 65535 reaches beyond the last register, 65535"),
        (MODBUS + 'channels = { t = { address = 1, table = "coil", type = "float32" } }',
         "a.toml:4: sources.s.channels.t.type: a coil is one bit, not float32; say type = "
         '"bool"'),
        ('[sources.s]\nkind = "mqtt"\ntopic = "a"\nchannels = { t = {} }', "a.toml:1: sources.s: "
         "it reads at the agent's own broker, and there is none; add host to [mqtt]"),
        (MQTT + "channels = { t = {} }", "a.toml:5: sources.s.channels.t: expected a topic, found "
         'none; add topic = "…" here, or to the source for all channels'),
        (MQTT + 'topic = "a/#/b"\nchannels = { t = {} }', "a.toml:5: sources.s.topic: expected a "
         'topic or a filter, found "a/#/b"; + stands for one whole part between two /, # for all '
         "that follow, at the end"),
        ('[sources.s]\nkind = "audio"', "a.toml:1: sources.s: neither a file nor a device; add "
         'path = "….wav" or device = "hw:CARD=…"'),
        ('[sources.s]\nkind = "audio"\npath = "a.wav"\ndevice = "hw:0"', "a.toml:1: sources.s: "
         "path and device are both given; keep one of them"),
        ('[sources.s]\nkind = "audio"\ndevice = "hw:0"\nchannel = 2\nchannels = 2', "a.toml:4: "
         "sources.s.channel: channel 2 is not among 2 (0 is the first)"),
    ],
)  # fmt: skip
def test_message(tmp_path: Path, text: str, said: str) -> None:
    assert faults(tmp_path, text) == [said]


@pytest.mark.parametrize(
    "text",
    [
        IIO,
        IIO + 'device = "adxl345"\nchannels = { x = { points = [[0, 1], [5, 2]], fill = 0 } }',
        SERIAL + 'format = "csv"\ncolumns = ["t", "x"]\ntime = "t"\nchannels = { x = {} }',
        SERIAL + 'format = "nmea"\nchannels = { lat = {}, s = { read = "GGA.7" } }',
        MODBUS + 'channels = { t = { address = 65534, type = "float32", order = "CDAB" } }',
        MQTT + 'channels = { t = { topic = "zigbee2mqtt/+/state", read = "temperature" } }',
        '[sources.s]\nkind = "jsonl"\npath = "-"\nlive = true\nchannels = { x = { unit = "g" } }',
        '[sources.s]\nkind = "jsonl"\npath = "a"\nchannels = ["x", "y"]',
        '[sources.s]\nkind = "audio"\ndevice = "default"\nquiet = -50',
    ],
)
def test_sound(tmp_path: Path, text: str) -> None:
    assert faults(tmp_path, text) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (IIO + "buffer = true", "a.toml:1: sources.s: expected rate_hz beside buffer, found none; "
         "add rate_hz = …, as sampling_frequency_available of the device lists it"),
        (IIO + 'trigger = "t"', "a.toml:3: sources.s.trigger: has no effect without buffer; add "
         "buffer = true"),
        (IIO + 'buffer = true\nrate_hz = 50\nchannels = { x = { device = "b" } }', "a.toml:5: "
         "sources.s.channels.x.device: a buffer is of one device; make a source of its own for it"),
    ],
)  # fmt: skip
def test_buffers(tmp_path: Path, text: str, said: str) -> None:
    assert faults(tmp_path, text) == [said]
