"""The page of proofs, and the reasons for what a service may still do."""

from __future__ import annotations

from pathlib import Path

import pytest

import exposure
import proven

PAGE = "# Page\n<!-- boot-12 -->\nold\n<!-- /boot-12 -->\ntext\n<!-- arm64 -->\n<!-- /arm64 -->\n"


def test_a_section_is_replaced_and_the_others_stay() -> None:
    page = proven.placed(PAGE, "boot-12", "new")
    assert page == PAGE.replace("old", "new")
    page = proven.placed(page, "arm64", "| a |")
    assert "new" in page and "<!-- arm64 -->\n| a |\n<!-- /arm64 -->" in page
    with pytest.raises(SystemExit, match="no place for tarball"):
        proven.placed(PAGE, "tarball", "new")


def test_a_transcript_stays_as_it_is_and_markdown_is_markdown() -> None:
    said = "noise of a tool\nok  1.0 s  boot: up\nFAILED  2.0 s  purge: a file is left\n"
    assert proven.section(said, "Run.") == (
        "Run.\n\n```\nok  1.0 s  boot: up\nFAILED  2.0 s  purge: a file is left\n```"
    )
    assert proven.section("| a |\n|---|\n", "Run.") == "Run.\n\n| a |\n|---|"


def test_the_page_has_a_place_for_each_proof(repository: Path) -> None:
    page = (repository / "docs" / "proven.md").read_text()
    for name in proven.PROOFS:
        assert proven.placed(page, name, "x") != page
        assert all((proven.HERE / script).is_file() for script, *_ in proven.PROOFS[name])


def test_reasons_are_found_by_the_name_that_systemd_gives() -> None:
    known = exposure.reasons(
        "| exposure | why |\n|---|---|\n"
        "| `PrivateNetwork=`, `RestrictAddressFamilies=~AF_(INET\\|INET6)` | a link |\n"
        "| `RootDirectory=` | as it is |\n"
    )
    assert exposure.reason("RestrictAddressFamilies=~AF_(INET|INET6)", known) == "a link"
    assert exposure.reason("RootDirectory=/RootImage=", known) == "as it is"
    assert exposure.reason("RestrictAddressFamilies=~AF_UNIX", known) == ""
