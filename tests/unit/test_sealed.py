"""What a sealed process still knows of itself, as a user who is not root."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
import ctypes, os, resource, sys  # here, while their files may be read
from pathlib import Path
from edgeagent.sealed import dumpable, seal
from edgeagent.store import wear
from edgeagent.store.outbox import Outbox
from edgeagent.store.settings import OutboxSettings
box = Outbox.open(
    Path(sys.argv[1]), device="d", machine="m", boot="b" * 32, settings=OutboxSettings()
)
if os.geteuid() == 0:
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
assert seal() and dumpable() is False
try:
    open("/proc/self/io")
except PermissionError:
    print("refused")
print(os.pread(wear._opened(os.getpid()), 1024, 0).decode(), flush=True)
os._exit(0)
"""


def test_what_it_writes_is_counted_on(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("refused"), done.stderr
    assert "write_bytes" in done.stdout
