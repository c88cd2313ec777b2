"""Plugins that say that they can hang run in a child, and are none the wiser."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from plugged import Plugged, Windows

from edgeagent import plugins
from edgeagent.agent.build import make_source
from edgeagent.capture import decoder, rhythm
from edgeagent.capture.hosted import HostedSource
from edgeagent.capture.source import PICTURES, Wanted
from edgeagent.config.model import PluginConfig
from edgeagent.errors import SourceEnded, SourceLost
from edgeagent.types import Frame, Window


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., HostedSource]]:
    made: list[HostedSource] = []
    known = {"pictures": Plugged, "values": Windows}
    monkeypatch.setattr(plugins, "find", lambda _kind, name: known[name])

    def make(plugin: str, wanted: Wanted = PICTURES, **options: Any) -> HostedSource:
        source = make_source("p", PluginConfig(plugin=plugin, options=options), wanted)
        assert isinstance(source, HostedSource)
        made.append(source)
        return source

    yield make
    for source in made:
        source.close()


def test_frames_come_by_shared_memory(host: Callable[..., HostedSource]) -> None:
    source = host("pictures")
    source.open()
    frame = source.read()
    assert isinstance(frame, Frame)
    assert frame.pixels.shape == (20, 30, 3)
    assert (frame.pixels == frame.pixels[0, 0, 0]).all()


def test_windows_keep_their_values_channels_and_rate(host: Callable[..., HostedSource]) -> None:
    source = host("values", Wanted(("x", "y"), 100.0, 16, 8))
    source.open()
    for _ in range(3):
        window = source.read()
        assert isinstance(window, Window)
        assert window.values.shape == (16, 2)
        assert window.values.dtype == "float32"
        assert (window.rate_hz, window.channels) == (100.0, ("x", "y"))
        assert float(window.values[0, 0]) % 1 == 0.25


def test_its_end_its_bug_and_its_own_words(host: Callable[..., HostedSource]) -> None:
    ending = host("pictures", count=2, then="end")
    ending.open()
    with pytest.raises(SourceEnded):
        for _ in range(4):
            ending.read()
    buggy = host("pictures", count=2, then="bug")
    buggy.open()
    with pytest.raises(SourceLost, match="ZeroDivisionError: a bug of the plugin"):
        for _ in range(4):
            buggy.read()
    with pytest.raises(SourceLost, match="the door is shut"):
        host("pictures", shut=True).open()


def test_one_that_hangs_is_told_in_time(
    host: Callable[..., HostedSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rhythm, "LEAST_SILENCE_S", 0.5)
    monkeypatch.setattr(Plugged, "open_s", 0.5, raising=False)
    monkeypatch.setattr(decoder, "_OPEN_SPARE_S", 5.0)
    source = host("pictures", count=5, then="hang")
    source.open()
    began = time.monotonic()
    with pytest.raises(SourceLost, match="without a picture"):
        for _ in range(10):
            source.read()
    assert time.monotonic() - began < 3.0
