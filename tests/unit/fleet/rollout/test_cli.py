"""``edgeagent fleet rollout`` as people and scripts see it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from edgeagent.cli import rollout
from edgeagent.cli.app import Commands
from edgeagent.fleet.database import open_database
from edgeagent.fleet.rollout.ledger import Ledger


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    app = typer.Typer(cls=Commands)
    app.command("other")(lambda: None)
    app.add_typer(rollout.app, name="rollout")
    return lambda *words: CliRunner().invoke(app, ["rollout", *map(str, words)])


@pytest.fixture
def fleet(paper: Any, broker: Any) -> Any:
    devices = paper(lambda d, v: "failed" if (d, v) == ("d03", "2.0.0") else "committed")
    for n in range(12):
        devices.join(f"d{n:02}", "pi4" if n % 2 else "pi5", timezone="Europe/Berlin")
    devices.port = broker.port
    return devices


QUICK = ("--settle", "100 ms", "--silent", "2 s", "--reach", "1 s", "--soak", "0 s")


def test_from_the_forecast_to_the_report(invoke: Any, fleet: Any, tmp_path: Path) -> None:
    port = ("--port", fleet.port)
    done = invoke("create", "parts@2.0.0", *port, "--dry-run", "--waves", "25%,100%")
    assert done.exit_code == 0, done.output
    assert "12 devices of 2 profiles in 2 waves" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert json.loads(invoke("list", "--json").stdout) == []
    done = invoke("create", "parts@2.0.0", *port, *QUICK, "--waves", "25%,100%",
                  "--abort", "90% after 9", "--abort-profile", "90% after 9", "--json")  # fmt: skip
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["state"], found["total"]["well"], found["total"]["bad"]) == ("done", 11, 1)
    assert found["reasons"][0]["named"] == ["d03"]
    assert invoke("create", "parts@2.0.0", *port, "--device", "d00").exit_code == 3
    done = invoke("create", "parts@0.9.0", *port, "--dry-run")
    assert done.exit_code == 2 and "older than 1.0.0, 2.0.0" in done.stderr
    text = invoke("status").stdout
    assert "runs well on 11 of 12 devices, 1 went wrong" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80
    assert "prove: golden" in invoke("report").stdout
    for name, begins in (("a.html", "<!doctype"), ("a.md", "# Rollout"), ("a.json", "{")):
        assert invoke("report", "parts-2.0.0", "--to", name).exit_code == 0
        assert (tmp_path / name).read_text().startswith(begins)
    assert invoke("report", "--to", "a.pdf").exit_code == 2
    assert "done" in invoke("list").stdout
    assert invoke("pause").exit_code == 75


def test_detached_it_is_driven_by_run_and_wishes_wait(invoke: Any, fleet: Any) -> None:
    port = ("--port", fleet.port)
    done = invoke("create", "parts@2.0.1", *port, *QUICK, "--detach")
    assert done.stdout == "parts-2.0.1\n"
    busy = invoke("create", "parts@2.0.2", *port, *QUICK, "--detach")
    assert busy.exit_code == 75 and "parts-2.0.1" in busy.stderr
    found = json.loads(invoke("status", "--json").stdout)
    assert (found["state"], found["driver"], found["total"]["asked"]) == ("running", "", 0)
    assert "nobody drives it now" in invoke("abort", "--why", "not today").stderr
    done = invoke("run", "--once", *port)
    assert done.exit_code == 0, done.output
    done = invoke("status", "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert found["state"] == "aborted" and found["total"]["asked"] == 0
    assert [note["text"] for note in found["notes"] if note["what"] == "abort"] == [
        f"by {_me()}: not today"
    ]
    assert not fleet.asked


def _me() -> str:
    import getpass

    return getpass.getuser()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["create", "parts"], 2), (["create", "parts@new"], 2),
        (["create", "parts@1.0.0", "--waves", "5,100"], 2),
        (["create", "parts@1.0.0", "--waves", "50%,20%"], 2),
        (["create", "parts@1.0.0", "--abort", "10% after some"], 2),
        (["create", "parts@1.0.0", "--between", "at night"], 2),
        (["create", "parts@1.0.0", "--soak", "long"], 2),
        (["create", "parts@1.0.0", "--soak", "900 d"], 1),
        (["create", "parts@1.0.0", "--grow", "2"], 2),
        (["create", "parts@1.0.0", "--downgrade"], 2),
        (["create", "parts@1.0.0", "--give-back"], 2),
        (["create", "parts@1.0.0", "--sign", "none.pem"], 3),
        (["status"], 3), (["status", "--db", "misspelt.db"], 3), (["run", "--db", "no.db"], 3),
    ],
)  # fmt: skip
def test_what_can_not_be_meant_is_refused(invoke: Any, words: list[str], code: int) -> None:
    done = invoke(*words)
    assert done.exit_code == code, done.output


def test_a_rollout_that_is_not_there(invoke: Any, tmp_path: Path) -> None:
    open_database(str(tmp_path / "fleet.db")).close()
    for words in (("status", "x"), ("report", "x"), ("pause", "x"), ("run", "x")):
        done = invoke(*words)
        assert done.exit_code == 3 and "rollout list" in done.stderr


def test_ids_are_for_people(tmp_path: Path, drawn: Any) -> None:
    db = open_database(str(tmp_path / "fleet.db"))
    ledger, made = Ledger(db), []
    for n in range(3):
        one = ledger.create(drawn.plan(), [drawn.row(f"d{n}")], author="a", prefix="p", note="")
        made.append(one.id)
    assert made == ["parts-2.0.0", "parts-2.0.0-2", "parts-2.0.0-3"]
    assert ledger.get().id == made[-1]
    db.close()
