"""Options that belong together are one parameter of a command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.testing import CliRunner

from edgeagent.cli.bundle import Bundle, bundled
from edgeagent.cli.reach import Broker, PlainBroker


@dataclass(frozen=True)
class Box(Bundle):
    width: Annotated[int, typer.Option("--width", min=1, help="Of it.")] = 3
    labels: Annotated[list[str] | None, typer.Option("--label")] = None


got: list[tuple[Any, ...]] = []
app = typer.Typer()


@app.command()
@bundled
def pack(
    what: Annotated[str, typer.Argument()],
    box: Box = Box(width=5),
    twice: Annotated[bool, typer.Option("--twice")] = False,
) -> None:
    """Pack it."""
    got.append((what, box, twice))


def run(*arguments: str) -> Any:
    got.clear()
    return CliRunner().invoke(app, arguments)


def test_the_options_of_a_bundle_are_the_commands() -> None:
    assert run("pen").exit_code == 0
    assert got == [("pen", Box(width=5), False)]
    assert run("pen", "--width", "7", "--label", "a", "--label", "b", "--twice").exit_code == 0
    assert got == [("pen", Box(7, ["a", "b"]), True)]


def test_they_are_checked_and_shown_like_others() -> None:
    assert run("pen", "--width", "0").exit_code == 2
    said = run("--help").output
    assert "Pack it." in said and "--width" in said and "Of it." in said and "[default: 5" in said


def test_a_broker_is_reached_by_its_options(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.touch()
    plain = PlainBroker(host="a,b", port=1884).link()
    assert [(its.host, its.port, its.tls) for its in plain.endpoints] == [
        ("a", 1884, False), ("b", 1884, False),
    ]  # fmt: skip
    assert [its.tls for its in Broker(ca=str(authority)).link().endpoints] == [True]
