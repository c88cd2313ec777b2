"""How the proofs say what they did: a line each."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

from machine import Failed


def tell(what: str, do: Callable[[], str]) -> None:
    """Do it and say how it went. Raises SystemExit with 1 where it went wrong."""
    began = time.monotonic()
    try:
        said = do()
    except (Failed, AssertionError, subprocess.SubprocessError) as error:
        print(f"FAILED  {time.monotonic() - began:5.1f} s  {what}: {error}", flush=True)
        raise SystemExit(1) from error
    print(f"ok      {time.monotonic() - began:5.1f} s  {what}: {said}", flush=True)
