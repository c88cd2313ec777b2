"""Which version answers: policies, labels, shares; what is opened, closed and withheld."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from edgeagent.errors import ModelError, NotFound
from edgeagent.serve.http.exchange import Refused
from edgeagent.serve.inference import repository
from edgeagent.serve.inference.repository import Choice, Repository, Split, number_of
from edgeagent.testing.onnxgraph import echo_package

RepositoryOf = Callable[..., Repository]


def play(models: Repository, scene: Coroutine[Any, Any, None]) -> None:
    async def whole() -> None:
        try:
            await scene
        finally:
            await models.close()

    asyncio.run(whole())


@pytest.fixture
def three(models: Path) -> Path:
    for version in ("1.0.0", "1.10.0", "1.9.0"):
        echo_package(models, "echo", version=version)
    return models


@pytest.mark.parametrize(
    ("choice", "versions"),
    [
        (Choice(), ["1.10.0"]),
        (Choice(latest=2), ["1.10.0", "1.9.0"]),
        (Choice(latest=0), ["1.10.0", "1.9.0", "1.0.0"]),
        (Choice(only=("1.0.0", "1.9.0")), ["1.9.0", "1.0.0"]),
        (Choice(labels={"old": "1.0.0"}), ["1.10.0", "1.0.0"]),
        (Choice(canary=Split("1.9.0", 5)), ["1.10.0", "1.9.0"]),
    ],
)
def test_policies(
    three: Path, repository_of: RepositoryOf, choice: Choice, versions: list[str]
) -> None:
    models = repository_of(echo=choice)

    async def scene() -> None:
        assert await models.versions("echo") == versions

    play(models, scene())


def test_versions_by_name_number_and_label(three: Path, repository_of: RepositoryOf) -> None:
    models = repository_of(echo=Choice(latest=2, labels={"stable": "1.0.0"}))

    async def scene() -> None:
        asked = ("", "1.9.0", "1009000", "stable", "1000000")
        assert [(await models.get("echo", its)).version for its in asked] == [
            "1.10.0", "1.9.0", "1.9.0", "1.0.0", "1.0.0",
        ]  # fmt: skip
        for none in ("2.0.0", "newest", "../1.9.0", "1.9"):
            with pytest.raises(Refused) as refused:
                await models.get("echo", none)
            assert refused.value.status == 404
        for none in ("..", "a/b", "", "x" * 65, "\0", "nothing"):
            with pytest.raises(NotFound):
                await models.get(none)

    play(models, scene())


def test_a_canary_answers_its_share(three: Path, repository_of: RepositoryOf) -> None:
    models = repository_of(echo=Choice(canary=Split("1.9.0", 25)))

    async def scene() -> None:
        said = [(await models.get("echo")).version for _ in range(2000)]
        # Six standard deviations of 2,000 draws.
        assert 0.19 < said.count("1.9.0") / len(said) < 0.31
        assert set(said) == {"1.9.0", "1.10.0"}
        assert (await models.get("echo", "1.10.0")).version == "1.10.0"

    play(models, scene())


def test_a_shadow_is_drawn_by_its_share_and_never_for_itself(
    three: Path, repository_of: RepositoryOf
) -> None:
    models = repository_of(echo=Choice(latest=2, shadow=Split("1.9.0", 50)))

    async def scene() -> None:
        newest, shadow = await models.get("echo"), await models.get("echo", "1.9.0")
        drawn = [models.shadow(newest) for _ in range(1000)]
        assert 0.4 < sum(its is not None for its in drawn) / 1000 < 0.6
        assert models.shadow(shadow) is None

    play(models, scene())


def test_idle_ones_are_closed_but_not_those_that_were_loaded(
    models: Path, repository_of: RepositoryOf
) -> None:
    for name in ("asked", "loaded", "at-work"):
        echo_package(models, name)
    its = repository_of(idle_s=100.0)

    async def scene() -> None:
        asked, working = await its.get("asked"), await its.get("at-work")
        await its.load("loaded")
        for served in its.open_now():
            served.used -= 200.0
        working.used += 200.0
        await its.tick()
        assert [served.name for served in its.open_now()] == ["at-work", "loaded"]
        assert (await its.get("asked")) is not asked

    play(its, scene())


def test_the_longest_idle_makes_room(
    models: Path, repository_of: RepositoryOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "MOST_OPEN", 2)
    for name in ("a", "b", "c"):
        echo_package(models, name)
    its = repository_of()

    async def scene() -> None:
        await its.get("a")
        (await its.get("b")).used -= 5.0
        await its.get("c")
        assert [served.name for served in its.open_now()] == ["a", "c"]
        for served in its.open_now():
            served.used += 60.0  # both were asked just now, however slow this machine is
        with pytest.raises(Refused) as refused:
            await its.get("b")
        assert refused.value.status == 503

    play(its, scene())


def test_many_that_ask_at_once_share_one_opening(models: Path, repository_of: RepositoryOf) -> None:
    echo_package(models, "echo")
    its = repository_of()

    async def scene() -> None:
        served = await asyncio.gather(*(its.get("echo") for _ in range(20)))
        assert len(set(map(id, served))) == 1

    play(its, scene())


def test_what_is_unloaded_is_withheld_until_it_is_loaded(
    three: Path, repository_of: RepositoryOf
) -> None:
    its = repository_of(Choice(latest=0))

    async def scene() -> None:
        await its.get("echo")
        await its.unload("echo")
        with pytest.raises(Refused, match="unloaded"):
            await its.get("echo")
        assert its.ready("echo") is None
        assert {row["state"] for row in await its.index()} == {"UNAVAILABLE"}
        await its.load("echo")
        assert its.ready("echo") is not None
        assert [row["version"] for row in await its.index() if row["state"] == "READY"] == [
            "1.10.0"
        ]

    play(its, scene())


def test_a_broken_model_is_told_and_does_not_hide_the_others(
    models: Path, repository_of: RepositoryOf
) -> None:
    (echo_package(models, "broken") / "echo.onnx").write_bytes(b"no model")
    echo_package(models, "whole")
    its = repository_of(broken=Choice(at_start=True), whole=Choice(at_start=True))

    async def scene() -> None:
        assert its.starting
        await its.start()
        assert not its.starting
        assert [served.name for served in its.open_now()] == ["whole"]
        with pytest.raises(ModelError):
            await its.get("broken")
        rows = {row["name"]: row for row in await its.index()}
        assert rows["whole"]["state"] == "READY"
        assert "onnx" in rows["broken"]["reason"]

    play(its, scene())


def test_numbers_of_versions() -> None:
    assert number_of("1.2.3") == "1002003"
    assert number_of("2.0.0-rc.1") == "2000000"
