"""Lines: what they mean, and how they are found again after garbage."""

from __future__ import annotations

import time
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.capture.sensor.fields import Csv, Fields, parse_json, text_parser
from edgeagent.capture.sensor.lines import LineProbe
from edgeagent.capture.sensor.nmea import sentence_parser
from edgeagent.errors import SourceLost

GGA = "$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47"
"""The example of "NMEA Revealed"."""


def row(reader: Fields | Csv, line: str) -> list[float] | None:
    return reader.row(line)


def test_json_by_path() -> None:
    reader = Fields(parse_json, {"t": "sensors.0.t", "h": "", "door": "door"})
    assert row(reader, '{"sensors": [{"t": 21.5}], "h": "40.5", "door": "open"}') == [21.5, 40.5, 1]
    found = row(reader, '{"h": null, "door": false}')
    assert found is not None and found[0] != found[0] and found[1] != found[1] and found[2] == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "is no JSON"),
        ("[1, 2]", "is no JSON object"),
        ('{"a": 1}', "holds none of t"),
        ('{"t": "warm"}', "t is 'warm', no number"),
        ('{"t": [1]}', "no number"),
    ],
)
def test_json_that_can_not_be_used(line: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        row(Fields(parse_json, {"t": ""}), line)


def test_the_first_line_says_which_channels_there_are() -> None:
    reader = Fields(parse_json, {}, "at")
    assert row(reader, '{"at": 5, "a": 1, "name": "x", "ok": true, "b": "2.5"}') == [1, 2.5]
    assert reader.channels == ("a", "b") and reader.time_s == 5


def test_text_by_pattern_and_by_pairs() -> None:
    reader = Fields(text_parser(r"T=(?P<t>[-0-9.]+)\s*C"), {"t": ""})
    assert row(reader, "17:00 T=-3.5 C ok") == [-3.5]
    with pytest.raises(ValueError, match="does not match the pattern"):
        row(reader, "T=warm")
    reader = Fields(text_parser(""), {"temp": "", "rpm": ""})
    assert row(reader, "temp: 21.5, rpm = 1480 running") == [21.5, 1480]


def test_csv_by_places() -> None:
    reader = Csv({"y": "", "x": ""}, ["time", "x", "y"], "time")
    assert row(reader, "1.5,2,3") == [3, 2] and reader.time_s == 1.5
    assert row(Csv({"x": "", "y": ""}, ()), "1;2") == [1, 2]
    assert row(Csv({"x": "", "y": ""}, ()), "1 2") == [1, 2]
    with pytest.raises(ValueError, match="2 columns instead of 3"):
        row(reader, "2,3")
    with pytest.raises(ValueError, match=r"column 2 is 'a'"):
        row(reader, "1,a,3")
    with pytest.raises(LookupError, match="z"):
        Csv({"z": ""}, ["x", "y"])


def test_csv_without_names() -> None:
    reader = Csv({}, ())
    assert row(reader, "1,2") == [1, 2] and reader.channels == ("column1", "column2")


def test_nmea_values_have_names_and_places() -> None:
    reads = {"lat": "", "lon": "", "altitude": "", "sats": "GGA.7"}
    reader = Fields(sentence_parser(reads), reads)
    assert row(reader, GGA) == pytest.approx([48.1173, 11.516667, 545.4, 8], abs=1e-6)
    assert (
        row(
            reader, "$GPGSV,3,1,11,03,03,111,00*4A".replace("4A", _sum("GPGSV,3,1,11,03,03,111,00"))
        )
        is None
    )
    south = "GPGLL,3723.2475,S,12158.3416,W,161229.487,A"
    assert row(Fields(sentence_parser({"lat": ""}), {"lat": ""}), f"${south}*{_sum(south)}") == [
        pytest.approx(-37.387458, abs=1e-6)
    ]


def test_nmea_without_a_fix_is_no_value() -> None:
    empty = "GPGGA,123519,,,,,0,00,,,M,,M,,"
    reader = Fields(sentence_parser({"lat": "", "fix": ""}), {"lat": "", "fix": ""})
    found = row(reader, f"${empty}*{_sum(empty)}")
    assert found is not None and found[0] != found[0] and found[1] == 0


def _sum(body: str) -> str:
    total = 0
    for byte in body.encode():
        total ^= byte
    return f"{total:02X}"


@given(st.integers(1, len(GGA) - 4), st.characters(min_codepoint=33, max_codepoint=126))
def test_a_sentence_with_another_letter_is_refused(place: int, letter: str) -> None:
    broken = GGA[:place] + letter + GGA[place + 1 :]
    parse = sentence_parser({"lat": ""})
    if broken == GGA:
        assert parse(broken) is not None
        return
    with pytest.raises(ValueError, match=r"check sum|no NMEA"):
        parse(broken)


def test_nmea_agrees_with_another_reader() -> None:
    pynmea2 = pytest.importorskip("pynmea2")
    its = pynmea2.parse(GGA)
    ours = sentence_parser({"lat": ""})(GGA)
    assert ours is not None
    assert float(ours["lat"]) == pytest.approx(its.latitude)
    assert float(ours["lon"]) == pytest.approx(its.longitude)
    assert float(ours["altitude"]) == its.altitude


# --- finding lines ---------------------------------------------------------------------------


class Pieces:
    """A port that gives prepared pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = deque(pieces)

    def open(self) -> None: ...

    def close(self) -> None: ...

    def read(self, timeout_s: float) -> bytes:
        return self.pieces.popleft() if self.pieces else b""


def rows(probe: LineProbe, port: Pieces) -> list[list[float]]:
    found: list[list[float]] = []
    while port.pieces or probe._lines:
        batch = probe.read(time.monotonic())
        found += batch.values.tolist() if batch is not None else []
    return found


def probe_of(port: Pieces, *, joins_in: bool = False) -> LineProbe:
    probe = LineProbe("p", port, Csv({"x": "", "y": ""}, ()), joins_in=joins_in, patience=False)
    probe.open()
    return probe


@given(st.lists(st.integers(1, 12), min_size=1, max_size=40))
def test_lines_may_be_cut_anywhere(sizes: list[int]) -> None:
    text = b"".join(b"%d,%d\r\n" % (number, -number) for number in range(30))
    pieces, place = [], 0
    for size in sizes:
        pieces.append(text[place : place + size])
        place += size
    pieces.append(text[place:])
    port = Pieces(*filter(None, pieces))
    assert rows(probe_of(port), port) == [[number, -number] for number in range(30)]


def test_the_rest_of_a_line_at_the_beginning_is_no_line() -> None:
    port = Pieces(b"3,4\n5,6\n")  # 1234,4 from the middle
    assert rows(probe_of(port, joins_in=True), port) == [[5, 6]]


@given(st.binary(max_size=300))
def test_garbage_in_between_costs_the_line_it_touches(garbage: bytes) -> None:
    port = Pieces(b"1,2\n", garbage, b"\n3,4\n5,6\n")
    probe = probe_of(port)
    found = rows(probe, port)
    assert found[0] == [1, 2] and found[-2:] == [[3, 4], [5, 6]]


def test_after_garbage_the_next_batch_tells_the_hole() -> None:
    port = Pieces(b"1,2\nrubbish\n3,4\n")
    probe = probe_of(port)
    first, second = probe.read(0.0), probe.read(0.0)
    assert first is not None and second is not None
    assert (first.hole, second.hole) == (False, True)
    assert probe.faults.count == 1 and "rubbish" in probe.faults.last


def test_bytes_without_a_line_end_do_not_fill_the_memory() -> None:
    port = Pieces(*[b"\0" * 50_000] * 10, b"\n7,8\n")
    probe = probe_of(port)
    assert rows(probe, port) == [[7, 8]]
    assert probe.faults.count >= 1


def test_nothing_but_garbage_is_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("edgeagent.capture.sensor.lines.time.monotonic", lambda: now[0])
    port = Pieces()
    probe = probe_of(port)
    with pytest.raises(SourceLost, match="nothing of it can be used") as told:
        for _ in range(60):
            now[0] += 0.2
            port.pieces.append(b"\xff\xfe~~\n")
            probe.read(now[0])
    assert "baud" in told.value.remedy


def test_silence_beyond_what_is_usual_is_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("edgeagent.capture.sensor.lines.time.monotonic", lambda: now[0])
    port = Pieces()
    probe = LineProbe("p", port, Csv({"x": ""}, ()), joins_in=False, patience=True)
    probe.open()
    for _ in range(10):
        now[0] += 1.0
        port.pieces.append(b"1\n")
        probe.read(now[0])
    now[0] += 9.0
    assert probe.read(now[0]) is None
    now[0] += 2.0
    with pytest.raises(SourceLost, match="silent for 11 s"):
        probe.read(now[0])


def test_lines_that_waited_together_are_spread() -> None:
    port = Pieces(b"1,1\n2,2\n3,3\n")
    probe = probe_of(port)
    batch = probe.read(time.monotonic())
    assert batch is not None and (batch.times[1:] > batch.times[:-1]).all()


def test_a_sender_s_own_time_is_used() -> None:
    port = Pieces(b"0.00,1\n0.25,2\n0.50,3\n")
    probe = LineProbe("p", port, Csv({"x": ""}, ["t", "x"], "t"), joins_in=False, patience=False)
    probe.open()
    batch = probe.read(time.monotonic())
    assert batch is not None
    assert (batch.times[1:] - batch.times[:-1]).max() <= 0.25 + 1e-9
