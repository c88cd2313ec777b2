"""Work beside the server's thread."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time

import pytest

from edgeagent.serve.http.aside import Aside


def test_results_errors_and_as_many_threads_as_are_needed() -> None:
    async def scene() -> None:
        aside = Aside("t", 3)
        assert await aside.run(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await aside.run(divmod, 1, 0)
        assert len(set(await asyncio.gather(*(aside.run(threading.get_ident)
                                              for _ in range(50))))) <= 3  # fmt: skip
        together = threading.Barrier(3)
        await asyncio.wait_for(
            asyncio.gather(*(aside.run(together.wait, 5) for _ in range(3))), 10
        )  # fmt: skip
        aside.close()

    asyncio.run(scene())


def test_what_nobody_waits_for_is_not_begun() -> None:
    async def scene() -> None:
        aside, gate, done = Aside("t"), threading.Event(), []
        first = asyncio.ensure_future(aside.run(gate.wait, 5))
        second = asyncio.ensure_future(aside.run(done.append, 1))
        await asyncio.sleep(0)
        second.cancel()
        gate.set()
        await first
        await aside.run(int)
        assert not done
        aside.close()

    asyncio.run(scene())


def test_the_process_ends_without_it() -> None:
    program = (
        "import asyncio, time\nfrom edgeagent.serve.http.aside import Aside\n"
        "async def main():\n  asyncio.ensure_future(Aside('t').run(time.sleep, 30))\n"
        "  await asyncio.sleep(0.1)\nasyncio.run(main())"
    )
    began = time.monotonic()
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    assert time.monotonic() - began < 15
