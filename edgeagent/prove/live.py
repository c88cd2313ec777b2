"""Live samples for a proof, handed to its children in memory: they never touch a disk.

What a camera sees now is the best thing to compare two versions on, and nothing that may be kept:
it has not been redacted. So it goes through anonymous memory (memfd_create) that ends with the
proof. Imported by both ends; numpy only where there are samples.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeagent.types import Sample


class Handles:
    """Samples in memory that children may read. Use it in a ``with``."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        """Copies of ``samples``."""
        self.fds: list[int] = []
        self.described: list[dict[str, Any]] = []
        """For the child: what each handle holds."""
        try:
            for sample in samples:
                self._add(sample)
        except BaseException:
            self.close()
            raise

    def _add(self, sample: Sample) -> None:
        from edgeagent.types import Frame

        values: Any = sample.pixels if isinstance(sample, Frame) else sample.values
        fd = os.memfd_create("sample", os.MFD_CLOEXEC)
        self.fds.append(fd)
        told = {"fd": fd, "shape": list(values.shape), "dtype": values.dtype.name}
        if not isinstance(sample, Frame):
            told |= {"rate_hz": sample.rate_hz, "channels": list(sample.channels)}
        self.described.append(told)
        data = memoryview(values.tobytes())
        while data:
            data = data[os.write(fd, data) :]

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)
        self.fds = []

    def __enter__(self) -> Handles:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read(described: Sequence[dict[str, Any]]) -> Iterator[tuple[str, Sample]]:
    """In the child: each sample with a name, one in memory at a time."""
    import numpy as np

    from edgeagent.types import Frame, Window

    for number, told in enumerate(described, 1):
        name = f"live sample {number}"
        dtype = np.dtype(told["dtype"])
        size = dtype.itemsize * int(np.prod(told["shape"]))
        values: Any = np.frombuffer(os.pread(told["fd"], size, 0), dtype).reshape(told["shape"])
        if "rate_hz" in told:
            channels = tuple(told["channels"])
            yield name, Window("live", number, values, told["rate_hz"], channels, 0, 0.0)
        else:
            yield name, Frame("live", number, values, 0, 0.0)
