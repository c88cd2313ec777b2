"""The services as systemd reads them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="not installed: systemd-analyze"
)


@pytest.mark.parametrize("name", ["edgeagent", "edgeagent-collect", "edgeagent-serve"])
def test_a_service_is_little_exposed(repository: Path, name: str) -> None:
    unit = repository / "packaging" / "systemd" / f"{name}.service"
    told = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", unit],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = re.search(r"exposure level for \S+: ([\d.]+)", told.stdout)
    assert found, told.stderr
    assert float(found[1]) <= 2.0


def test_every_key_of_the_units_is_known_to_the_oldest_systemd(
    repository: Path, tmp_path: Path
) -> None:
    units = [
        tmp_path / file.name for file in (repository / "packaging" / "systemd").glob("edgeagent*.*")
    ]
    assert len(units) == 6
    for unit in units:
        text = (repository / "packaging" / "systemd" / unit.name).read_text()
        # Programs and users of the package are not on the machine that tests.
        text = re.sub(r"^ExecStart=/usr/bin/edgeagentd?", "ExecStart=/bin/true", text, flags=re.M)
        absent = r"^(User|Group|EnvironmentFile|Documentation)=.*\n"
        unit.write_text(re.sub(absent, "", text, flags=re.M))
    told = subprocess.run(
        ["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False
    )
    said = [line for line in told.stderr.splitlines() if "edgeagent" in line]
    assert said == [], said
