"""The doctor itself: table, deadlines, report."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.diagnose import doctor
from edgeagent.diagnose.checks import models
from edgeagent.diagnose.context import Context, context_of
from edgeagent.diagnose.doctor import CHECKS, Check, run
from edgeagent.diagnose.finding import Finding, Report


@pytest.fixture(autouse=True)
def _light_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading the real ones takes seconds and is tested with its check."""
    monkeypatch.setattr("edgeagent.infer.installed.LIBRARIES", {"onnx": (("msgspec", "msgspec"),)})
    monkeypatch.setattr(models, "_IMPORTS", {"msgspec": "msgspec"})


def fine(context: Context) -> Iterator[Finding]:
    yield Finding("fine", "ok", "all is well")


def broken(context: Context) -> Iterator[Finding]:
    yield Finding("broken", "note", "so far so good")
    raise RuntimeError("a bug")


def test_a_check_that_breaks_or_hangs_is_a_finding(make: Any) -> None:
    release = threading.Event()

    def hangs(context: Context) -> Iterator[Finding]:
        yield Finding("hangs", "ok", "before")
        release.wait(30)

    checks = (Check("fine", fine), Check("broken", broken), Check("hangs", hangs, 0.3),
              Check("fine", fine))  # fmt: skip
    started = time.monotonic()
    report = run(make(), checks)
    release.set()
    assert time.monotonic() - started < 5
    said = [(its.check, its.severity, its.what) for its in report.findings]
    assert said == [
        ("fine", "ok", "all is well"),
        ("broken", "note", "so far so good"),
        ("broken", "failed", "this check broke: RuntimeError: a bug"),
        ("hangs", "ok", "before"),
        ("hangs", "problem", "this check did not end within 0.3 s"),
        ("fine", "ok", "all is well"),
    ]
    assert report.worst == "failed" and report.exit_code == 1
    assert [its.check for its in report.problems()] == ["broken", "hangs"]


def test_the_whole_run_has_a_limit(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(doctor, "LIMIT_S", 0.3)

    def hangs(context: Context) -> Iterator[Finding]:
        release.wait(30)
        yield Finding("hangs", "ok", "late")

    report = run(make(), [Check(str(number), hangs, 60.0) for number in range(5)])
    release.set()
    assert report.took_s < 5
    assert [its.severity for its in report.findings] == ["problem"] * 5


@pytest.mark.parametrize(
    ("severities", "worst", "code"),
    [((), "ok", 0), (("ok", "note"), "note", 0), (("note", "problem", "ok"), "problem", 1),
     (("failed", "problem"), "failed", 1)],
)  # fmt: skip
def test_the_exit_code_is_that_of_the_worst(
    severities: tuple[Any, ...], worst: str, code: int
) -> None:
    report = Report(tuple(Finding("x", its, "w") for its in severities), 0.0)
    assert (report.worst, report.exit_code) == (worst, code)


def test_the_json_form() -> None:
    found = (Finding("a", "ok", "w"), Finding("b", "problem", "w", "h", "r"))
    assert json.loads(json.dumps(Report(found, 0.12345).to_dict())) == {
        "worst": "problem",
        "took_s": 0.123,
        "counts": {"ok": 1, "note": 0, "problem": 1, "failed": 0},
        "findings": [
            {
                "check": "a",
                "severity": "ok",
                "what": "w",
                "how": "",
                "remedy": "",
                "fixable": False,
            },
            {
                "check": "b",
                "severity": "problem",
                "what": "w",
                "how": "h",
                "remedy": "r",
                "fixable": False,
            },
        ],
    }


def test_a_healthy_device_has_no_problem(make: Any) -> None:
    report = run(make())
    assert report.problems() == [], report.problems()
    told = {its.check for its in report.findings}
    # Models, sources and certificates have nothing to tell without any; nobody can be asked.
    assert told == {check.name for check in CHECKS} - {
        "models", "golden", "handlers", "sources", "certificates", "limits", "agent",
    } | ({"limits"} & told)  # fmt: skip
    assert len(CHECKS) >= 40 and len({check.name for check in CHECKS}) == len(CHECKS)
    assert all(check.about.endswith(".") or check.about.endswith("?") for check in CHECKS)
    assert report.took_s < 10


def test_every_problem_has_a_remedy_and_nothing_is_written(tmp_path: Path, root: Path) -> None:
    """A device on which much is wrong at once."""
    (tmp_path / "agent.toml").write_text(
        '[device]\nid = "raspberrypi"\n[mqtt]\nhost = "127.0.0.1"\nport = 1\n'
        '[sources.cam]\nkind = "camera"\n[sources.clip]\nkind = "video"\npath = "none.mp4"\n'
        '[pipelines.p]\nmodel = "m"\nsource = "cam"\n'
    )
    (root / "sys/devices/platform/soc/soc:firmware/get_throttled").write_text("50005\n")
    before = sorted(tmp_path.rglob("*"))
    context = context_of(tmp_path / "agent.toml", data_dir=tmp_path / "data")
    report = run(Context(context.data_dir, context.loaded, context.fault, root=root))
    assert sorted(tmp_path.rglob("*")) == before
    wrong = {its.check for its in report.problems()}
    assert wrong == {"identity", "broker", "sources", "throttling"}
    for its in report.problems():
        assert its.remedy, its
        assert its.what and not its.what.endswith("."), its


def test_a_wrong_configuration_is_told_and_the_last_good_one_looked_at(tmp_path: Path) -> None:
    from edgeagent.config.load import load_or_last_good

    file = tmp_path / "agent.toml"
    file.write_text('[mqtt]\nhost = "127.0.0.1"\nport = 1\n')
    load_or_last_good(file, data_dir=tmp_path / "data")
    file.write_text("[mqtt]\nprot = 1\nhost = 5\n")
    report = run(context_of(file, data_dir=tmp_path / "data"))
    config = next(its for its in report.findings if its.check == "config")
    assert config.severity == "problem"
    assert config.what == f'{file}:2: mqtt.prot: unknown key; did you mean "port"?'
    assert config.how.startswith(f"{file}:3: mqtt.host: expected a text")
    assert config.remedy == "Correct it and try: edgeagent config check"
    broker = [its for its in report.findings if its.check == "broker"]
    assert [its.severity for its in broker] == ["failed"]
    (tmp_path / "data/config-last-good.json").unlink()
    report = run(context_of(file, data_dir=tmp_path / "data"))
    assert next(its for its in report.findings if its.check == "config").severity == "failed"


def test_no_file_stays_open(make: Any) -> None:
    before = set(os.listdir("/proc/self/fd"))
    run(make(["mqtt.host=127.0.0.1", "mqtt.port=1"]))
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 1  # the listing's own
