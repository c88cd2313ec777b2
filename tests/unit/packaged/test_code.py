"""Code of packages in its process: what it can do, what it can't, what becomes of it."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeagent.errors import CodeFailed, NotPermitted, PackageError, ProofFailed
from edgeagent.manifest import Package
from edgeagent.packaged import code as code_module
from edgeagent.packaged import permit
from edgeagent.packaged.code import Code
from edgeagent.packaged.permit import Terms, Vouched, read
from edgeagent.prove.child import Limits, prove_in_child
from edgeagent.types import Detection, Label, Placement

ATTACKS = (Path(__file__).parent / "attacks.py").read_text()
HEAD = "from edgeagent.handler import *\n"
WHOLE = Placement()


def ask(code: Code, *values: float, placement: Placement = WHOLE) -> list[Any]:
    return code.decode([("y", np.array([values], np.float32))], placement)


def rushed(package: Package) -> Vouched:
    return Vouched(read(package), "a test", Terms(timeout_s=0.3, memory_bytes=64 << 20))


@pytest.mark.usefixtures("permitted")
def test_nothing_can_be_reached_or_changed(made: Any, tmp_path: Path) -> None:
    package = made(ATTACKS)
    code = Code(package, 0.0)
    try:
        names = [line.split("(")[0].removeprefix("def ") for line in ATTACKS.splitlines()
                 if line.startswith("def ")]  # fmt: skip
        told = [ask(code, number)[0].label for number in range(18)]
        through = [name for name, one in zip(names, told, strict=False) if "kept" not in one]
        assert not through
        assert (package.folder / "model.toml").is_file()
        assert code.deaths == 0
        assert ask(code, 99) == [Label("fine", 0.5)]
        assert set(code.stand) == {"system calls", "files", "network"} - code.lacks.keys()
        assert "few system calls" in code.receipt
    finally:
        code.close()
    assert not Path("/tmp/edgeagent-handler-was-here").exists()


def test_whatever_it_does_it_is_told_and_started_again(
    made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_module, "_AGAIN_S", 0.0)
    permit.use(rushed)
    code = Code(made(ATTACKS), 0.0)
    permit.use(permit.nobody)
    try:
        with pytest.raises(CodeFailed, match="MemoryError"):
            ask(code, -1)
        assert code.deaths == 0
        assert ask(code, 99)
        for number, says in ((-2, "no answer within 0.3 s"), (-3, "SIGSEGV"), (-4, "it ended")):
            with pytest.raises(CodeFailed, match=says):
                ask(code, number)
            assert says in code.loss()
            assert ask(code, 99) == [Label("fine", 0.5)]
            assert code.loss() == ""
        assert code.deaths == 3
        assert ask(code, -5) == [Label("done", 1.0)]
        assert 0 < len(code.figures()["printed"]) <= 200
    finally:
        code.close()


def test_a_device_short_of_time_is_no_fault_of_the_code(made: Any) -> None:
    permit.use(rushed)
    code = Code(made(ATTACKS), 0.0)
    permit.use(permit.nobody)
    try:
        os.kill(code.pid, signal.SIGSTOP)
        threading.Timer(0.5, os.kill, (code.pid, signal.SIGCONT)).start()
        assert ask(code, 99) == [Label("fine", 0.5)]
        assert code.deaths == 0
    finally:
        code.close()


def test_what_dies_again_and_again_is_put_aside(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_module, "_AGAIN_S", 0.02)
    monkeypatch.setattr(code_module, "TRIES", 3)
    permit.use(rushed)
    code = Code(made("import os\ndef decode(outputs, about):\n os._exit(1)\n"), 0.0)
    permit.use(permit.nobody)
    try:
        until = time.monotonic() + 30
        while "put aside" not in code.loss() and time.monotonic() < until:
            with pytest.raises(CodeFailed):
                ask(code, 1)
        assert code.deaths == 3
        began = time.perf_counter()
        with pytest.raises(CodeFailed, match="put aside after 3 deaths") as caught:
            ask(code, 1)
        assert time.perf_counter() - began < 0.05
        assert "rollback m" in caught.value.remedy
        assert code.pid == 0
    finally:
        code.close()


@pytest.mark.usefixtures("permitted")
def test_garbage_is_not_believed_and_costs_one_sample(made: Any) -> None:
    answers = [
        "[Label('a', float('nan'))]", "[Label('a', 7.0)]", "[Label('zebra', 0.5)]",
        "[Label('a' * 999, 0.5)]", "[Detection('a', 0.5, (0, 0, 1, 1))]", "'hello'", "None",
        "[Label('a', 0.5)] * 2000", "[Label('a', 'x')]", "1 / 0", "[Label(3, 0.5)]",
    ]  # fmt: skip
    body = "".join(f" if n == {at}: return {its}\n" for at, its in enumerate(answers))
    code = Code(
        made(f"{HEAD}def decode(o, about):\n n = int(o['y'][0, 0])\n{body} return "
             "[Label('b', 0.25), Label('a', 0.75)]\n", labels='"a", "b"'), 0.3,
    )  # fmt: skip
    try:
        for number in range(len(answers)):
            with pytest.raises(CodeFailed):
                ask(code, number)
        assert "ZeroDivisionError" in str(code_of(code, 9))
        assert "handler.py, line" in str(code_of(code, 9))
        assert code.deaths == 0
        assert ask(code, 99) == [Label("a", 0.75)]
    finally:
        code.close()


def code_of(code: Code, number: float) -> CodeFailed:
    with pytest.raises(CodeFailed) as caught:
        ask(code, number)
    return caught.value


@pytest.mark.usefixtures("permitted")
def test_boxes_come_back_to_the_frame_and_tensors_arrive_whole(made: Any) -> None:
    code = Code(
        made(
            HEAD + "def decode(o, about):\n"
            " assert not o['y'].flags.writeable and list(o) == ['y', 'z']\n"
            " assert o['z'].dtype.name == 'int64' and o['z'].shape == (3, 5)\n"
            " return [Detection('a', float(o['y'].sum() + o['z'].sum()) / 1e3,"
            " (0.25, 0.25, 0.5, 0.75))]\n",
            task="detect",
        ),
        0.0,
    )
    try:
        outputs = [("y", np.full((1, 7), 0.5, np.float32)), ("z", np.arange(15).reshape(3, 5))]
        (found,) = code.decode(outputs, Placement(0.0, 0.25, 1.0, 0.5))
        assert isinstance(found, Detection)
        assert found.box == pytest.approx((0.25, 0.0, 0.5, 1.0))
        assert found.score == pytest.approx((3.5 + 105) / 1e3)
        assert code.took.count == 1
    finally:
        code.close()


def test_code_that_does_not_load_says_where(made: Any) -> None:
    with pytest.raises(NotPermitted, match="runs none"):
        Code(made("x = 1\n"), 0.0)
    permit.use(permit.anybody)
    try:
        package = made("\n\nimport nowhere\n", name="n")
        with pytest.raises(PackageError, match=r"No module named 'nowhere' \(handler.py, line 3\)"):
            Code(package, 0.0)
    finally:
        permit.use(permit.nobody)


@pytest.mark.usefixtures("permitted")
def test_it_is_proven_within_the_limits_of_a_proof(made: Any) -> None:
    """Such as doctor's, which has seconds of processor time only."""
    package = made("def decode(outputs, about):\n return []\n")
    text = (package.folder / "model.toml").read_text()
    window = 'kind = "window"\nchannels = ["a", "b", "c", "d"]\nrate_hz = 1.0\nlength = 1'
    (package.folder / "model.toml").write_text(text.replace('kind = "tensor"', window))
    proof = prove_in_child(package.folder, limits=Limits(timeout_s=15, calls=3, seconds=0.2))
    assert proof.runs == 3 and "handler.py in a process of its own" in proof.receipt
    permit.use(permit.nobody)
    with pytest.raises(ProofFailed, match="this device runs none"):
        prove_in_child(package.folder, limits=Limits(timeout_s=15, calls=3, seconds=0.2))


@pytest.mark.usefixtures("permitted")
def test_it_ends_with_its_parent(made: Any, tmp_path: Path) -> None:
    package = made("def decode(o, about):\n while True: pass\n")
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        code = Code(package, 0.0)
        os.write(write_end, str(code.pid).encode())
        os._exit(0)
    os.close(write_end)
    pid = int(os.read(read_end, 20))
    os.close(read_end)
    os.waitpid(child, 0)
    until = time.monotonic() + 5
    while Path(f"/proc/{pid}/stat").exists() and " Z " not in _stat(pid):
        assert time.monotonic() < until
        time.sleep(0.01)


def _stat(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return " Z "
