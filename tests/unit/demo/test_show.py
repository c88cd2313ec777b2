"""What the visitor sees, on a terminal and without one."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from edgeagent.demo.show import LiveShow, PlainShow, View, open_show


def report() -> dict[str, Any]:
    return {
        "outbox": {"produced": 1200, "delivered": 1000, "pending": 200, "dropped": {}},
        "pipelines": {
            "belt": {"state": "ok", "model": "parts@1.0.0/int8", "fps": 15.0, "p50_ms": 2.0,
                     "records": 4},
        },
    }  # fmt: skip


def view(agent: dict[str, Any] | None, *, uplink: bool = True) -> View:
    reader = {"epochs": [{"arrived": 1000, "holes": []}]}
    return View(12.0, 30.0, uplink, agent, reader)


def console(terminal: bool) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=terminal, width=80, no_color=True), out


def test_lines_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    its, out = console(False)
    with open_show(its) as show:
        assert isinstance(show, PlainShow)
        show.say("fetching [the] clip")
        show.look(view(report()))
        show.act("the uplink is cut")
        monkeypatch.setattr("edgeagent.demo.show.time.monotonic", lambda: 1e9)
        show.look(view(report(), uplink=False))
        show.look(view(report(), uplink=False))
    lines = out.getvalue().splitlines()
    assert lines[:2] == ["fetching [the] clip", "the uplink is cut"]
    assert len(lines) == 3, "a line each few seconds, not each look"
    assert "uplink CUT, produced 1,200, delivered 1,000, waiting 200, reader has 1,000" in lines[2]
    assert "\x1b" not in out.getvalue()


def test_a_dead_agent_is_said() -> None:
    assert "agent not running, reader has 1,000" in view(None).line()


def test_the_picture_on_a_terminal() -> None:
    its, out = console(True)
    with open_show(its) as show:
        assert isinstance(show, LiveShow)
        show.say("fetching")
        show.act("the uplink is cut")
        show.look(view(report(), uplink=False))
        show.look(view(None))
    text = out.getvalue()
    for said in ("parts@1.0.0/int8", "1,200 produced", "200 waiting", "killed", "uplink is cut"):
        assert said in text
