"""Which board it is, told from made-up device trees."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from edgeagent.config.load import load
from edgeagent.device.profile import (
    Board,
    Node,
    detect,
    find_profile,
    load_profiles,
    profile_layer,
)
from edgeagent.errors import ConfigError, NotFound

TREES = {
    # model, compatible (most specific first) as the boards show them
    "rpi4": ("Raspberry Pi 4 Model B Rev 1.5", ["raspberrypi,4-model-b", "brcm,bcm2711"]),
    "rpi5": ("Raspberry Pi 5 Model B Rev 1.0", ["raspberrypi,5-model-b", "brcm,bcm2712"]),
    "rpi-zero2w": (
        "Raspberry Pi Zero 2 W Rev 1.0", ["raspberrypi,model-zero-2-w", "brcm,bcm2837"],
    ),
    "imx8mp": ("NXP i.MX8MPlus EVK board", ["fsl,imx8mp-evk", "fsl,imx8mp"]),
    "imx93": ("NXP i.MX93 11X11 EVK board", ["fsl,imx93-11x11-evk", "fsl,imx93"]),
    "jetson-orin-nano": (
        "NVIDIA Jetson Orin Nano Developer Kit",
        ["nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005", "nvidia,tegra234"],
    ),
    "rk3588": ("Radxa ROCK 5B", ["radxa,rock-5b", "rockchip,rk3588"]),
    "qcs6490": (
        "Qualcomm Technologies, Inc. Robotics RB3gen2",
        ["qcom,qcs6490-rb3gen2", "qcom,qcm6490"],
    ),
    "am62a": ("Texas Instruments AM62A7 SK", ["ti,am62a7-sk", "ti,am62a7"]),
    "am67a": ("BeagleBoard.org BeagleY-AI", ["beagle,am67a-beagley-ai", "ti,j722s"]),
    "coral-dev": ("Google i.MX8MQ Phanbell", ["google,imx8mq-phanbell", "fsl,imx8mq"]),
    "generic-aarch64": ("Some Board", ["acme,board", "acme,soc"]),
}  # fmt: skip


def tree(root: Path, model: str, compatible: list[str]) -> Path:
    base = root / "sys/firmware/devicetree/base"
    base.mkdir(parents=True)
    (base / "model").write_bytes(model.encode() + b"\0")
    (base / "compatible").write_bytes(b"".join(name.encode() + b"\0" for name in compatible))
    return root


@pytest.mark.parametrize("name", TREES)
def test_boards_are_told_by_their_device_tree(name: str, tmp_path: Path) -> None:
    model, compatible = TREES[name]
    match = detect(tree(tmp_path, model, compatible), arch="aarch64")
    assert match.profile.name == name
    if not name.startswith("generic"):
        assert any(f'"{its}"' in said for said in match.evidence for its in compatible)


def test_a_pi_with_a_hat_is_that(tmp_path: Path) -> None:
    root = tree(tmp_path, *TREES["rpi5"])
    (root / "dev").mkdir()
    (root / "dev/hailo0").touch()
    match = detect(root, arch="aarch64")
    assert match.profile.name == "rpi5-hailo8l"
    assert "/dev/hailo0 exists" in match.evidence


def test_a_32_bit_python_on_a_pi_gets_no_64_bit_profile(tmp_path: Path) -> None:
    match = detect(tree(tmp_path, *TREES["rpi4"]), arch="armv7l")
    assert match.profile.name == "generic"
    assert match.evidence == ("no profile fits a Python built for armv7l",)


def test_no_device_tree_at_all(tmp_path: Path) -> None:
    assert detect(tmp_path, arch="aarch64").profile.name == "generic-aarch64"
    assert detect(tmp_path, arch="x86_64").profile.name == "generic-x86_64"


def test_intel_by_cpu(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(
        "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) N100\n"
    )
    match = detect(tmp_path, arch="x86_64")
    assert match.profile.name == "intel-n100"
    assert '/proc/cpuinfo: "Intel(R) N100"' in match.evidence


def test_this_machine_has_a_profile() -> None:
    match = detect()
    assert match.profile.detect.arch in ("", platform.machine())
    assert match.evidence


def test_a_node_counts_only_with_its_driver(tmp_path: Path) -> None:
    (tmp_path / "dev/accel").mkdir(parents=True)
    (tmp_path / "dev/accel/accel0").touch()
    driver = tmp_path / "sys/bus/pci/drivers/amdxdna"
    driver.mkdir(parents=True)
    device = tmp_path / "sys/class/accel/accel0/device"
    device.mkdir(parents=True)
    (device / "driver").symlink_to(driver)
    board = Board(tmp_path)
    assert board.driver("/dev/accel/accel0") == "amdxdna"
    assert board.has(Node("/dev/accel/accel0", "amdxdna"))
    assert not board.has(Node("/dev/accel/accel0", "intel_vpu"))
    assert board.has(Node("/dev/accel/accel0"))
    assert not board.has(Node("/dev/hailo0"))


def test_shipped_profiles_are_whole(repository: Path) -> None:
    profiles = load_profiles([repository / "device_profiles"])
    names = [profile.name for profile, _ in profiles]
    files = sorted(file.stem for file in (repository / "device_profiles").glob("*.toml"))
    assert names == files
    for profile, _ in profiles:
        assert profile.detect.arch in ("x86_64", "aarch64")
        assert profile.verified or profile.name.startswith("generic") or profile.sources
        # What it sets by default must be a configuration that loads.
        load(profile=profile_layer(folders=[repository / "device_profiles"]),
             flags=[f"device.profile={profile.name}"])  # fmt: skip


def test_only_what_was_run_is_called_verified(repository: Path) -> None:
    profiles = load_profiles([repository / "device_profiles"])
    assert [its.name for its, _ in profiles if its.verified] == ["generic-x86_64"]


def test_a_profile_sets_defaults_below_the_file(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p/board.toml").write_text(
        'name = "board"\ntitle = "Board"\n[detect]\narch = "aarch64"\n'
        '[config.outbox]\nmax = "8 MiB"\nqueue = 64\n'
    )
    (tmp_path / "agent.toml").write_text("[outbox]\nqueue = 128\n")
    layer = profile_layer(tmp_path, arch="aarch64", folders=[tmp_path / "p"])
    loaded = load(tmp_path / "agent.toml", profile=layer)
    assert (loaded.config.outbox.max, loaded.config.outbox.queue) == ("8 MiB", 128)
    assert loaded.origins()["outbox.max"] == f"{tmp_path}/p/board.toml:6"
    with pytest.raises(ConfigError, match=r"device\.profile: there is no device profile 'bord'"):
        load(tmp_path / "agent.toml", profile=layer, flags=["device.profile=bord"])


def test_faults_in_a_profile_name_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('name = "a"\ntitle = "A"\n[detect]\narchs = "x"\n')
    with pytest.raises(ConfigError, match=r"a\.toml:4: detect\.archs: unknown key; did you mean"):
        load_profiles([tmp_path])
    (tmp_path / "a.toml").write_text("name = \n")
    with pytest.raises(ConfigError, match=r"a\.toml: line 1"):
        load_profiles([tmp_path])


def test_the_first_folder_wins(tmp_path: Path) -> None:
    for number in ("1", "2"):
        (tmp_path / number).mkdir()
        (tmp_path / number / "x.toml").write_text(f'name = "x"\ntitle = "{number}"\n')
    assert find_profile("x", [tmp_path / "1", tmp_path / "2"]).profile.title == "1"


def test_an_unknown_profile_says_what_was_meant(repository: Path) -> None:
    with pytest.raises(NotFound) as caught:
        find_profile("rpi-zero-2w", [repository / "device_profiles"])
    assert caught.value.remedy == 'did you mean "rpi-zero2w"?'
