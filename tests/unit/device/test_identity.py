"""Device id and machine hash, on made-up root folders."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.device.identity import device_id, factory_name, machine_hash


def machine(root: Path, id_: str) -> Path:
    (root / "etc").mkdir(parents=True)
    (root / "etc/machine-id").write_text(id_)
    return root


def test_the_hash_follows_the_machine_id_and_does_not_show_it(tmp_path: Path) -> None:
    id_ = "0123456789abcdef0123456789abcdef"
    one = machine_hash(machine(tmp_path / "a", id_ + "\n"))
    assert one == machine_hash(machine(tmp_path / "b", id_))
    assert one != machine_hash(machine(tmp_path / "c", id_[::-1]))
    assert re.fullmatch("[0-9a-f]{32}", one)
    assert id_[:4] not in one[:4]


def test_without_machine_id_the_first_real_network_card_tells(tmp_path: Path) -> None:
    assert machine_hash(tmp_path) == ""
    machine(tmp_path, "uninitialized\n")
    for name, address in (("lo", "00:00:00:00:00:00"), ("eth1", "02:00:00:00:00:02")):
        (tmp_path / "sys/class/net" / name).mkdir(parents=True)
        (tmp_path / "sys/class/net" / name / "address").write_text(address + "\n")
    second = machine_hash(tmp_path)
    assert second
    (tmp_path / "sys/class/net/eth0").mkdir()
    (tmp_path / "sys/class/net/eth0/address").write_text("02:00:00:00:00:01\n")
    assert machine_hash(tmp_path) not in ("", second)


@pytest.mark.parametrize(
    ("hostname", "stem"),
    [
        ("line3-cam2", "line3-cam2"),
        ("line3.factory.example", "line3"),
        ("Käfer 7", "K-fer-7"),
        ("", "device"),
        ("...", "device"),
        ("x" * 100, "x" * 59),
    ],
)
def test_the_default_id(tmp_path: Path, hostname: str, stem: str) -> None:
    root = machine(tmp_path, "0" * 32)
    assert device_id("", root, hostname) == f"{stem}-{machine_hash(root)[:4]}"


@given(st.text(max_size=120))
def test_a_default_id_can_always_stand_in_a_topic(hostname: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", device_id("", Path("/nonexistent"), hostname))


def test_a_configured_id_is_taken_as_it_is(tmp_path: Path) -> None:
    assert device_id("door-7", tmp_path) == "door-7"


@pytest.mark.parametrize(
    ("identity", "name"),
    [("raspberrypi-a91f", "raspberrypi"), ("raspberrypi", "raspberrypi"), ("door-7", ""),
     ("RaspberryPi-0000", "raspberrypi"), ("raspberrypi-kitchen", "")],
)  # fmt: skip
def test_names_of_images_are_known(identity: str, name: str) -> None:
    assert factory_name(identity) == name
