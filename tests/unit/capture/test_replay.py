"""Tables of sensor values as windows; what is no number is told, never used."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.capture.replay import ReplaySource
from edgeagent.capture.source import Wanted
from edgeagent.config.model import CsvConfig, ReplayConfig
from edgeagent.errors import InputError, NotFound, SourceEnded
from edgeagent.types import Window


def play(source: ReplaySource) -> tuple[list[Window], list[str]]:
    got, faults = [], []
    source.open()
    while True:
        try:
            got.append(source.read())
        except InputError as error:
            faults.append(str(error))
        except SourceEnded:
            source.close()
            return got, faults


def from_csv(file: Path, text: str, wanted: Wanted | None = None, **keys: object) -> ReplaySource:
    file.write_text(text)
    return ReplaySource("s", CsvConfig(path=str(file), **keys), wanted or Wanted())  # type: ignore[arg-type]


def from_json(
    file: Path, rows: list[object], wanted: Wanted | None = None, **keys: object
) -> ReplaySource:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ReplaySource("s", ReplayConfig(path=str(file), **keys), wanted or Wanted())  # type: ignore[arg-type]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rows.txt"


# --- plain rows ----------------------------------------------------------------------------


def test_csv_rows_become_windows(file: Path) -> None:
    text = "x,y,z\n" + "".join(f"{n},{n * 2},{n * 3}\n" for n in range(10))
    source = from_csv(file, text, Wanted(("z", "x"), 10.0, 4, 3))
    got, faults = play(source)
    assert not faults
    assert [window.values[:, 1].tolist() for window in got] == [
        [0, 1, 2, 3],
        [3, 4, 5, 6],
        [6, 7, 8, 9],
    ]
    assert got[0].values[:, 0].tolist() == [0, 3, 6, 9]
    assert got[0].channels == ("z", "x")
    assert got[0].rate_hz == 10.0
    assert got[0].values.dtype == np.float32
    assert got[1].origin == f"{file}:8"


def test_json_lines_become_windows(file: Path) -> None:
    rows = [{"t": n * 0.1, "temp": 20 + n, "name": "a"} for n in range(4)]
    got, faults = play(from_json(file, rows, Wanted(None, None, 2), time="t"))
    assert not faults
    assert [window.values.tolist() for window in got] == [[[20], [21]], [[22], [23]]]
    assert got[0].channels == ("temp",)
    assert got[0].rate_hz == pytest.approx(10.0)


def test_without_a_model_every_row_is_a_window(file: Path) -> None:
    got, _ = play(from_csv(file, "a\n1\n2\n3\n"))
    assert [window.values.tolist() for window in got] == [[[1]], [[2]], [[3]]]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters_and_a_byte_order_mark(file: Path, delimiter: str) -> None:
    text = "\ufeff" + delimiter.join(("x", "y")) + "\r\n" + delimiter.join(("1", "2")) + "\r\n"
    got, faults = play(from_csv(file, text))
    assert not faults
    assert got[0].channels == ("x", "y")
    assert got[0].values.tolist() == [[1, 2]]


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"x": 1}\n{"x": 2}\n'))
    got, _ = play(ReplaySource("s", ReplayConfig(path="-"), Wanted()))
    assert [window.values[0, 0] for window in got] == [1, 2]


def test_a_real_recording(assets: Path) -> None:
    path = assets / "sensor" / "nab_machine_temperature_system_failure.csv"
    config = CsvConfig(path=str(path), time="timestamp", channels=["value"])
    got, faults = play(ReplaySource("s", config, Wanted(("value",), 1 / 300, 12)))
    assert len(got) > 1800
    assert all(np.isfinite(window.values).all() for window in got)
    # The recording has a few holes and repeated hours (daylight saving), which are told.
    assert all("time goes back" in fault for fault in faults)
    assert len(faults) < 20


# --- bad rows ------------------------------------------------------------------------------

BAD_CELLS = [
    ("nan", "x is nan, not a finite number"),
    ("inf", "x is inf"),
    ("-Infinity", "x is -inf"),
    ("1e39", "not a finite number"),
    ("", "x is empty"),
    ("  ", "x is empty"),
    ("hot", "x is 'hot', not a number"),
    ("1.5.2", "not a number"),
    ("0x10", "not a number"),
]


@pytest.mark.parametrize(("cell", "words"), BAD_CELLS)
def test_a_bad_cell_is_told_with_its_line_and_breaks_the_window(
    file: Path, cell: str, words: str
) -> None:
    lines = [str(n) for n in range(7)]
    lines[3] = cell
    text = "n,x\n" + "".join(f"0,{line}\n" for line in lines)
    source = from_csv(file, text, Wanted(("x",), 1.0, 3, 1))
    got, faults = play(source)
    assert len(faults) == 1
    assert faults[0].startswith(f"{file}:5: ")
    assert words in faults[0]
    assert [window.values[:, 0].tolist() for window in got] == [[0, 1, 2], [4, 5, 6]]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("1", "1 values instead of 2"),
        ("1,2,3", "3 values instead of 2"),
        ('"1,2', "instead of 2"),
        ("1;2", "instead of 2"),
    ],
)
def test_rows_of_the_wrong_length(file: Path, row: str, words: str) -> None:
    got, faults = play(from_csv(file, f"x,y\n1,2\n{row}\n"))
    assert len(got) == 1
    assert len(faults) == 1
    assert words in faults[0]


def test_a_decimal_comma_gets_a_hint(file: Path) -> None:
    _, faults = play(from_csv(file, "x;y\n1,5;2\n"))
    assert "(a decimal comma?)" in faults[0]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "is no JSON"),
        ("[1, 2]", "is no JSON object"),
        ('"x"', "is no JSON object"),
        ('{"y": 1}', "x is missing or null"),
        ('{"x": null}', "x is missing or null"),
        ('{"x": "3"}', "x is '3', not a number"),
        ('{"x": true}', "not a number"),
        ('{"x": [1]}', "not a number"),
        ('{"x": NaN}', "not a finite number"),
        ('{"x": Infinity}', "not a finite number"),
        ('{"x": 1e400}', "not a finite number"),
        ('{"x": ' + "9" * 400 + "}", "too large"),
        ("[" * 100000, "is no JSON"),
        ("\x00\x01\ufffd", "is no JSON"),
    ],
)
def test_bad_json_lines(file: Path, line: str, words: str) -> None:
    file.write_text(f'{{"x": 1}}\n\n{line}\n{{"x": 2}}\n')
    config = ReplayConfig(path=str(file), channels=["x"])
    got, faults = play(ReplaySource("s", config, Wanted()))
    assert [window.values[0, 0] for window in got] == [1, 2]
    assert len(faults) == 1
    assert faults[0].startswith(f"{file}:3: ")
    assert words in faults[0]


def test_a_file_of_random_bytes(file: Path) -> None:
    file.write_bytes(bytes(range(256)) * 40)
    got, faults = play(ReplaySource("s", ReplayConfig(path=str(file)), Wanted()))
    assert not got
    assert faults


@pytest.mark.parametrize(
    ("text", "keys", "words"),
    [
        ("", {}, "the file is empty"),
        ("1,2\n3,4\n", {}, "numbers instead of names"),
        ("x,y\n1,2\n", {"channels": ["z"]}, "has no column 'z'; its header says x, y"),
        ("x,y\n1,2\n", {"time": "t"}, "has no column 't'"),
    ],
)
def test_headers_that_can_not_be_used(
    file: Path, text: str, keys: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        from_csv(file, text, **keys).open()  # type: ignore[arg-type]


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        ReplaySource("s", CsvConfig(path=str(tmp_path / "none.csv")), Wanted()).open()


def test_too_few_rows_for_a_window_are_told(file: Path) -> None:
    source = from_csv(file, "x\n1\n2\n3\n", Wanted(None, 1.0, 5))
    got, faults = play(source)
    assert not got
    assert len(faults) == 1
    assert "3 usable rows are too few: a window needs 5" in faults[0]
    assert source.tally.unused == 3


def test_rows_in_no_window_are_counted(file: Path) -> None:
    source = from_csv(file, "x\n1\n2\n3\n4\n5\n", Wanted(None, 1.0, 2))
    got, _ = play(source)
    assert len(got) == 2
    assert source.tally.unused == 1


@given(
    st.lists(
        st.one_of(st.floats(-1e6, 1e6, width=32), st.sampled_from(["nan", "", "x"])), max_size=60
    ),
    st.integers(1, 6),
    st.integers(1, 8),
)
def test_windows_hold_exactly_the_usable_neighbours(
    tmp_path_factory: pytest.TempPathFactory, cells: list[object], length: int, hop: int
) -> None:
    """Against a model that cuts each run of usable rows by itself."""
    file = tmp_path_factory.getbasetemp() / "rows.csv"
    text = "k,x\n" + "".join(
        f"0,{cell!r}\n" if isinstance(cell, float) else f"0,{cell}\n" for cell in cells
    )
    got, faults = play(from_csv(file, text, Wanted(("x",), 1.0, length, hop)))
    runs: list[list[float]] = [[]]
    for cell in cells:
        if isinstance(cell, float):
            runs[-1].append(cell)
        else:
            runs.append([])
    expected = [
        run[start : start + length]
        for run in runs
        for start in range(0, len(run) - length + 1, hop)
    ]
    assert [window.values[:, 0].tolist() for window in got] == [
        np.array(run, np.float32).tolist() for run in expected
    ]
    bad = sum(not isinstance(cell, float) for cell in cells)
    assert len(faults) == bad + (0 if expected else 1)


# --- time ----------------------------------------------------------------------------------


def test_rows_that_fit_are_taken_as_they_are(file: Path) -> None:
    rows = [{"t": 5 + n * 0.01 + (0.0004 if n % 2 else 0), "x": n} for n in range(100)]
    got, faults = play(from_json(file, rows, Wanted(("x",), 100.0, 10), time="t"))
    assert not faults
    assert [window.values[:, 0].tolist() for window in got] == [
        list(range(start, start + 10)) for start in range(0, 100, 10)
    ]


def test_another_rate_is_interpolated_by_time(file: Path) -> None:
    rows = [{"t": n * 0.01, "x": 3.0 * n * 0.01} for n in range(101)]
    got, faults = play(from_json(file, rows, Wanted(("x",), 40.0, 20), time="t"))
    assert not faults
    values = np.concatenate([window.values[:, 0] for window in got])
    np.testing.assert_allclose(values, 3.0 * np.arange(len(values)) / 40.0, atol=1e-5)
    assert len(got) == 2
    assert got[0].rate_hz == 40.0


def test_another_rate_is_filtered_where_rows_have_no_time(file: Path) -> None:
    count = 4000
    wave = np.sin(2 * np.pi * 5 * np.arange(count) / 1000)
    text = "x\n" + "".join(f"{value}\n" for value in wave)
    source = from_csv(file, text, Wanted(("x",), 100.0, 50), rate_hz=1000.0)
    got, faults = play(source)
    assert not faults
    assert len(got) == 8
    values = np.concatenate([window.values[:, 0] for window in got])
    expected = np.sin(2 * np.pi * 5 * np.arange(len(values)) / 100)
    np.testing.assert_allclose(values[30:-30], expected[30:-30], atol=2e-3)


def test_a_hole_in_time_breaks_the_window(file: Path) -> None:
    times = [0.0, 0.1, 0.2, 0.3, 5.0, 5.1, 5.2, 5.3]
    rows = [{"t": time, "x": index} for index, time in enumerate(times)]
    got, _ = play(from_json(file, rows, Wanted(("x",), 10.0, 3, 1), time="t"))
    assert [window.values[:, 0].tolist() for window in got] == [
        [0, 1, 2], [1, 2, 3], [4, 5, 6], [5, 6, 7],
    ]  # fmt: skip


def test_time_that_goes_back_is_told_and_starts_anew(file: Path) -> None:
    times = [10.0, 10.1, 10.2, 3.0, 3.1, 3.2, 3.3]
    rows = [{"t": time, "x": index} for index, time in enumerate(times)]
    source = from_json(file, rows, Wanted(("x",), 10.0, 3), time="t")
    got, faults = play(source)
    assert faults == [f"{file}:4: time goes back from 10.2 to 3.0"]
    assert [window.values[:, 0].tolist() for window in got] == [[0, 1, 2], [4, 5, 6]]


def test_times_as_dates(file: Path) -> None:
    text = "when,x\n" + "".join(f"2026-11-24 18:00:0{n},{n}\n" for n in range(6))
    text += "2026-11-24T18:00:06Z,6\nyesterday,7\n"
    got, faults = play(from_csv(file, text, Wanted(("x",), None, 3), time="when"))
    assert len(got) == 2
    assert got[0].rate_hz == pytest.approx(1.0)
    assert len(faults) == 1
    assert "neither seconds nor a date" in faults[0]


def test_positions_follow_time_and_go_on_through_loops(file: Path) -> None:
    rows = [{"t": 100 + n * 0.5, "x": n} for n in range(4)]
    source = from_json(file, rows, Wanted(("x",), 2.0, 2), time="t", loop=True)
    source.open()
    positions = []
    for _ in range(5):
        source.read()
        positions.append(source.position_s)
    source.close()
    assert positions[:2] == [0.5, 1.5]
    assert positions == sorted(positions)
    assert positions[4] > positions[2] > positions[1]


def test_eight_channels_at_one_kilohertz_are_cheap(file: Path) -> None:
    import time

    names = [f"c{n}" for n in range(8)]
    row = ",".join("0.123" for _ in names)
    source = from_csv(
        file, ",".join(names) + "\n" + (row + "\n") * 4000, Wanted(tuple(names), 1000.0, 512, 256)
    )
    began = time.process_time()
    got, _ = play(source)
    spent = time.process_time() - began
    assert len(got) == 14
    # Four seconds of recording; a tenth of a core would be 0.4 s.
    assert spent < 0.4
