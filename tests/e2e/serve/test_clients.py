"""Other people's clients, as they are published, each in a virtual environment of its own.

``EDGEAGENT_CLIENTS`` names the folder that holds these; without them the tests say how to make
them.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from asking import TOKEN, Client

HERE = Path(__file__).parent / "clients"
WANTED = {
    "triton": "tritonclient[http]==2.73.0",
    "kserve": "kserve==0.21.0",
    "ovms": "ovmsclient==2023.1",
    "perf": "tritonclient==2.41.1 nvidia-cuda-runtime-cu12==12.9.79",
    "schemathesis": "schemathesis==4.32.5",
    "browser": "playwright==1.65.2",
}


def venv(name: str) -> Path:
    """Where a client is installed; skips where it is not."""
    folder = Path(os.environ.get("EDGEAGENT_CLIENTS", "/nonexistent")) / name
    if not (folder / "bin" / "python").exists():
        pytest.skip(
            f"no {name} client: python -m venv $EDGEAGENT_CLIENTS/{name} && "
            f"$EDGEAGENT_CLIENTS/{name}/bin/pip install {WANTED[name]}"
        )
    return folder


def run(
    *command: str | Path, timeout_s: float = 100.0, cwd: Path | None = None, **environment: str
) -> str:
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=timeout_s,
        check=False, cwd=cwd, env={**clean, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize(
    ("name", "script"), [("triton", "triton.py"), ("kserve", "kserve_rest.py"), ("ovms", "ovms.py")]
)
def test_a_client_gets_its_own_numbers_back(served: Client, name: str, script: str) -> None:
    arguments = [str(served.port), *([TOKEN] if name == "triton" else [])]
    assert run(venv(name) / "bin" / "python", HERE / script, *arguments).endswith("ok\n")


def test_perf_analyzer_measures_it(served: Client) -> None:
    """Triton's load tool, which wants configuration and statistics, and binary tensors."""
    folder = venv("perf")
    site = next(folder.glob("lib/python3*/site-packages"))
    tool = next(folder.glob("**/bin/perf_analyzer"), None) or next(folder.glob("**/perf_analyzer"))
    libraries = str(site / "nvidia" / "cuda_runtime" / "lib")
    missing = subprocess.run(
        ["ldd", tool], capture_output=True, text=True, check=False,
        env={**os.environ, "LD_LIBRARY_PATH": libraries},
    ).stdout  # fmt: skip
    if "not found" in missing:
        pytest.skip(f"perf_analyzer lacks libraries (Debian: libb64-0d): {missing}")
    said = run(tool, "-m", "digits", "-u", f"127.0.0.1:{served.port}", "-i", "http", "-p", "500",
               "-s", "999", "-r", "5", "--concurrency-range", "1",
               LD_LIBRARY_PATH=libraries)  # fmt: skip
    assert "Throughput:" in said, said
    before = served("GET", "/v2/models/digits/stats").json["model_stats"][0]["inference_count"]
    assert before > 100  # it has counted what it was asked


def test_schemathesis_finds_no_fault(served: Client, full: bool, tmp_path: Path) -> None:
    """Requests made up from the OpenAPI document, good ones and bad ones."""
    run(
        venv("schemathesis") / "bin" / "schemathesis", "run",
        f"http://127.0.0.1:{served.port}/openapi.json",
        "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,"
        "response_schema_conformance,unsupported_method,ignored_auth",
        "--max-examples", "100" if full else "5", "--exclude-path", "/api/events/stream",
        "--request-timeout", "20", "--seed", "1", timeout_s=900 if full else 110, cwd=tmp_path,
    )  # fmt: skip
    assert served("GET", "/v2/health/ready").status == 200
