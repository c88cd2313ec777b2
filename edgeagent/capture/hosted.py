"""A plugin's source in a child process, because it says of itself that it can hang.

``hangs = True`` on its class is all that it takes: it stays as naive as every source, and has the
deadlines, the fresh start at each opening and the shared memory of the cameras here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgeagent.capture.child import Opened
from edgeagent.capture.decoder import DecoderSource
from edgeagent.errors import EdgeAgentError, SourceEnded, SourceLost

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgeagent.capture.source import Wanted
    from edgeagent.config.model import PluginConfig
    from edgeagent.types import Sample

_OPEN_S = 10.0


class HostedSource(DecoderSource):
    """The parent's side; samples are frames or windows, as the plugin gives them."""

    def __init__(self, name: str, config: PluginConfig, plugin: type[Any], wanted: Wanted) -> None:
        super().__init__(
            name,
            "edgeagent.capture.hosted:HostedDecoder",
            origin=config.plugin,
            fps=config.fps,
            queue=config.queue,
            open_s=float(getattr(plugin, "open_s", _OPEN_S)),
            network=bool(getattr(plugin, "network", False)),
        )
        self.live = bool(getattr(plugin, "live", True))
        self._config = config
        self._place = f"{plugin.__module__}:{plugin.__qualname__}"
        self._wanted = wanted

    def params(self) -> dict[str, Any]:
        """What the child is told."""
        wanted = {key: getattr(self._wanted, key) for key in self._wanted.__struct_fields__}
        return {
            "place": self._place, "name": self.name, "options": self._config.options,
            "wanted": wanted,
        }  # fmt: skip

    def read(self) -> Sample:  # type: ignore[override]
        """The newest sample. Raises as `DecoderSource.read`; SourceEnded at its end."""
        frame = super().read()
        about = self.about
        if not about:
            return frame
        from edgeagent.types import Window

        values = frame.pixels.view("float32")
        return Window(
            frame.source, frame.number, values, about["rate_hz"], tuple(about["channels"]),
            frame.at_ns, frame.mono_ms, frame.origin,
        )  # fmt: skip


class HostedDecoder:
    """The child's side. Args: ``place`` (``module:Class``), ``name``, ``options``, ``wanted``."""

    def __init__(
        self, place: str, name: str, options: dict[str, Any], wanted: dict[str, Any]
    ) -> None:
        self._place = place
        self._name = name
        self._options = options
        self._wanted = wanted
        self._source: Any = None
        self._sample: Any = None
        self.about: dict[str, Any] | None = None
        """Of windows: ``rate_hz`` and ``channels``."""

    def open(self) -> Opened:
        """Make the source and open it. Raises what it raises."""
        from edgeagent.capture.source import Wanted

        channels = self._wanted.pop("channels", None)
        wanted = Wanted(tuple(channels) if channels else None, **self._wanted)
        module, _, qualname = self._place.partition(":")
        plugin: Any = import_module(module)
        for part in qualname.split("."):
            plugin = getattr(plugin, part)
        source = self._source = self._guarded(plugin, self._name, self._options, wanted)
        self._guarded(source.open)
        tally = getattr(source, "tally", None)
        return Opened(getattr(tally, "rate_hz", 0.0), getattr(tally, "note", ""))

    def grab(self) -> None:
        """Have it read its next sample. Raises what it raises."""
        self._sample = self._guarded(self._source.read)

    def picture(self, into: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """The pixels of a frame; the bytes of a window's values."""
        del into
        import numpy as np

        sample = self._sample
        if hasattr(sample, "pixels"):
            pixels: NDArray[np.uint8] = sample.pixels
            return pixels
        self.about = {"rate_hz": sample.rate_hz, "channels": list(sample.channels)}
        return np.ascontiguousarray(sample.values, np.float32).view(np.uint8)

    def close(self) -> None:
        """Close the source."""
        if self._source is not None:
            self._guarded(self._source.close)

    @staticmethod
    def _guarded(call: Any, *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except (EdgeAgentError, SourceEnded):
            raise
        except Exception as error:
            # A plugin's bug ends this session; its text is what the author needs.
            raise SourceLost(f"{type(error).__name__}: {error}") from error
