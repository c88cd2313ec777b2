"""The order of versions: semver 2.0.0, item 11."""

from __future__ import annotations

import itertools

import pytest

from edgeagent.prove.semver import is_version, version_order

ASCENDING = [
    "nonsense",
    "v1",
    "0.0.1",
    "0.9.9",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.2.0",
    "1.10.0",
    "2.0.0",
    "10.0.0",
]


def test_the_order_of_the_standard() -> None:
    for low, high in itertools.combinations(ASCENDING, 2):
        assert version_order(low) < version_order(high), (low, high)


def test_build_metadata_does_not_count() -> None:
    assert version_order("1.0.0+a") == version_order("1.0.0+b")


@pytest.mark.parametrize("text", ["1.0.0", "0.1.0-rc.1", "1.2.3+build.5", "1.0.0-x-y.z"])
def test_versions(text: str) -> None:
    assert is_version(text)


@pytest.mark.parametrize(
    "text",
    ["", "1", "1.0", "01.0.0", "1.0.0-", "1.0.0 ", "1.0.0\n", "v1.0.0", "1.0.0/..", "latest"],
)
def test_no_versions(text: str) -> None:
    assert not is_version(text)
