"""``edgeagent fleet`` as people and scripts see it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from edgeagent.cli import fleet
from edgeagent.cli.app import Commands
from edgeagent.fleet.archive import Archive, Group, Heard, Refused
from edgeagent.fleet.database import open_database


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    app = typer.Typer(cls=Commands)
    app.command("other")(lambda: None)
    app.add_typer(fleet.app, name="fleet")
    return lambda *arguments: CliRunner().invoke(app, ["fleet", *map(str, arguments)])


@pytest.fixture
def filled(tmp_path: Path, made: Any) -> Path:
    path = tmp_path / "fleet.db"
    db = open_database(str(path))
    archive = Archive(db)
    odd = [made.record(seq) for seq in range(1, 40, 2)]
    archive.write(
        Group(
            arrivals=[
                made.results(1, 100, "line3-cam2-a91f"),
                made.arrival([*odd, made.gap(41, 2, 2, reason="outbox full: thinned")], "door-7"),
                made.arrival([made.gap(1, 4, None, epoch="E1", reason="database lost")],
                             "line3-cam2-a91f", "E2"),
            ],
            heard=[Heard("door-7", "E1", 45, False)],
            refused=[Refused("edgeagent/door-7/records", "the batch can't be read", b"x")],
        )
    )  # fmt: skip
    db.close()
    return path


def test_audit_names_what_is_missing_and_exits_1(invoke: Any, filled: Path) -> None:
    done = invoke("audit")
    assert done.exit_code == 1, done.output
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert all(line == line.rstrip() for line in lines)
    for text in ("door-7", "missing", "4, 6, 8", "1 told lost: outbox full: thinned",
                 "database lost", "could not be read"):  # fmt: skip
        assert text in done.stdout
    one = invoke("audit", "--device", "line3-cam2-a91f", "--json")
    assert one.exit_code == 0
    assert one.stdout.count("\n") == 1
    found = json.loads(one.stdout)
    assert found["complete"] is True
    assert [s["state"] for s in found["streams"]] == ["unknown", "complete"]


def test_a_database_that_is_not_there_is_not_an_empty_fleet(invoke: Any, tmp_path: Path) -> None:
    done = invoke("audit", "--db", "misspelt.db")
    assert done.exit_code == 3
    assert not (tmp_path / "misspelt.db").exists()
    assert invoke("audit", "--db", "mysql://x").exit_code == 2
    pytest.importorskip("psycopg", reason="the PostgreSQL client is an extra")
    assert invoke("audit", "--db", "postgresql://127.0.0.1:9/x").exit_code == 69


def test_import_counts_writes_confirms_and_tells_what_it_could_not_use(
    invoke: Any, tmp_path: Path, made: Any
) -> None:
    (tmp_path / "stick").mkdir()
    (tmp_path / "stick" / "d1.E1.1-9.batch").write_bytes(made.payload([made.record(1)]))
    done = invoke("import", "stick", "--confirms", "back", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["records"] == 1
    assert json.loads((tmp_path / "back" / "d1.E1.confirm").read_bytes())["upto"] == 1
    (tmp_path / "stick" / "bad.batch").write_bytes(b"?")
    done = invoke("import", "stick")
    assert done.exit_code == 1
    assert "bad.batch" in done.stdout
    assert invoke("import", "nothing").exit_code == 3


def test_collect_ends_when_idle_and_says_what_it_did(
    invoke: Any, broker: Any, made: Any, tmp_path: Path
) -> None:
    import paho.mqtt.publish as publish

    ready = [tmp_path / "fleet.db"]
    session = invoke("collect", "--port", broker.port, "--idle", "300 ms", "--json")
    assert session.exit_code == 0, session.output
    publish.single("edgeagent/d1/records", made.payload([made.record(1)]), 1, port=broker.port)
    done = invoke("collect", "--port", broker.port, "--idle", "300 ms", "--json")
    figures = json.loads(done.stdout)
    assert (figures["records"], figures["confirms"]) == (1, 1)
    assert ready[0].exists()


@pytest.mark.parametrize(
    "arguments", [["--partition", "3/2"], ["--keep", "long"], ["--idle", "x"], ["--db", "a://b"]]
)
def test_collect_refuses_what_it_cannot_read(invoke: Any, arguments: list[str]) -> None:
    assert invoke("collect", *arguments).exit_code == 2
