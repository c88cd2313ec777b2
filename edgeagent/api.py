"""What a Python program needs of this package: a `Model` to ask, an `Agent` to run or to ask.

    from edgeagent import Model
    model = Model("parts")
    print(model.predict(picture))

The path from the array to the predictions is the one that a pipeline runs: what is measured and
proven of a package on this device holds here too.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from edgeagent.errors import InputError, Unavailable, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgeagent.agent.running import Agent as Running
    from edgeagent.infer import Receipt
    from edgeagent.manifest import InputSpec, Package
    from edgeagent.types import Joint, Prediction, Sample

    Array = NDArray[Any]
    Given = Union[Array, Sample, Joint, str, Path, Mapping[str, Any]]

_READY_S = 60.0
_STOP_S = 10.0
_LOOK_S = 0.02


class Model:
    """A model package, opened: may be asked from any thread, one sample at a time.

    Args:
        model: name, ``name@version``, the folder of a package, or a model file.
        threshold: scores below it are not told; None = the package's.
        variant: file or runtime of the variant to run; empty = the first that works here.
        threads: of the runtime.
        delegate: TFLite delegate, a name or a library; empty = none.
        data_dir: of an agent, whose models are searched too; None = the default one.

    Raises:
        NotFound: there is no such model or variant.
        ModelError: it can't run here; the text says why.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        threshold: float | None = None,
        variant: str = "",
        threads: int | None = None,
        delegate: str = "",
        data_dir: Path | None = None,
    ) -> None:
        from edgeagent.config import paths
        from edgeagent.config.model import Runtime
        from edgeagent.prove.predict import Predictor
        from edgeagent.update.library import Library, default_folders

        folders = default_folders(data_dir or paths.data_dir(), working=True)
        self.package: Package = Library(folders).find(str(model))
        runtime = Runtime(variant=variant, threads=threads, delegate=delegate)
        self._predictor = Predictor(self.package, runtime, threshold)
        self._asking = threading.Lock()

    @property
    def name(self) -> str:
        """Name, version and precision of what runs: ``parts@1.2.0/int8``."""
        return self._predictor.model

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels that can come; empty where nobody knows."""
        return self._predictor.labels

    @property
    def receipt(self) -> Receipt:
        """What really runs where."""
        return self._predictor.receipt

    def predict(self, given: Given, *, rgb: bool = False) -> list[Prediction]:
        """What the model says of one sample, best score first.

        Args:
            given: a picture, uint8 (height, width, 3) BGR as OpenCV reads it, or (height, width)
                grey; values of sensors or sound, (length, channels) or (length,) at the model's
                rate; a `Frame` or `Window`; the path of a file (its first sample); or, for a model
                with several inputs, such a thing for each by name.
            rgb: the picture's channels are red, green, blue, as those of Pillow.

        Raises:
            InputError: the sample does not fit; the text says what would.
            InferenceError: the runtime refused, or the outputs are not numbers.
        """
        sample = self._sample(given, rgb)
        with self._asking:
            try:
                return self._predictor(sample).predictions
            finally:
                self._predictor.hand_over()

    __call__ = predict

    def stream(self, path: str | Path) -> Iterator[tuple[Sample, list[Prediction]]]:
        """Each sample of a recording (video, sound, CSV, JSON lines) with what the model says of
        it; what the model carries from sample to sample begins anew.

        Raises:
            NotFound, NotPermitted, InputError: it can't be read.
        """
        from edgeagent.prove.samples import read_samples

        self.reset()
        for sample in read_samples(Path(path), self.package):
            yield sample, self.predict(sample)

    def reset(self) -> None:
        """Forget carried state: the next sample begins a new stream."""
        with self._asking:
            self._predictor.reset()
            self._predictor.hand_over()

    def close(self) -> None:
        """Give the runtime's memory back; a second call does nothing."""
        self._predictor.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Model {self.name}: {self.receipt.sentence()}>"

    def _sample(self, given: Given, rgb: bool) -> Sample | Joint:
        from edgeagent.types import Frame, Joint, Window

        if isinstance(given, (Frame, Window, Joint)):
            return given
        specs = {spec.name: spec for spec in self.package.manifest.input if spec.value is None}
        if isinstance(given, Mapping):
            if given.keys() != specs.keys():
                raise InputError(
                    f"{self.name} has the inputs {', '.join(specs)}, not {', '.join(given)}"
                )
            parts = {name: self._one(its, specs[name], rgb) for name, its in given.items()}
            return Joint(next(iter(parts.values())), parts)
        if len(specs) > 1:
            raise InputError(
                f"{self.name} has several inputs",
                remedy=f"Give one for each by name: {{{', '.join(specs)}: …}}.",
            )
        return self._one(given, next(iter(specs.values())), rgb)

    def _one(self, given: Any, spec: InputSpec, rgb: bool) -> Sample:
        from edgeagent.prove.samples import first_sample
        from edgeagent.types import Frame, Window

        if isinstance(given, (Frame, Window)):
            return given
        if isinstance(given, (str, Path)):
            return first_sample(Path(given), self.package)
        if spec.kind == "image":
            return Frame("python", 1, _pixels(given, rgb), 0, 0.0)
        values = _values(given)
        channels = tuple(spec.channels) or tuple(f"c{n}" for n in range(values.shape[1]))
        return Window("python", 1, values, spec.rate_hz, channels, 0, 0.0)


def _pixels(given: Any, rgb: bool) -> NDArray[np.uint8]:
    """A picture as frames have it. Raises InputError."""
    import numpy as np

    pixels = np.asarray(given)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3) or not pixels.size:
        raise InputError(
            f"a picture is (height, width, 3) or (height, width), not {pixels.shape}",
            remedy="Take one picture out of a batch; take transparency off with picture[..., :3].",
        )
    if pixels.dtype != np.uint8:
        raise InputError(
            f"a picture's values are uint8, 0 to 255, not {pixels.dtype}",
            remedy="Of values from 0 to 1: (picture * 255).astype(numpy.uint8).",
        )
    return np.ascontiguousarray(pixels[..., ::-1]) if rgb and pixels.ndim == 3 else pixels


def _values(given: Any) -> NDArray[np.float32]:
    """Values of sensors as windows have them. Raises InputError."""
    import numpy as np

    try:
        values = np.asarray(given, np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"values that are no numbers: {error}") from error
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or not values.size:
        raise InputError(f"values are (length, channels) or (length,), not {values.shape}")
    return values


class Agent:
    """An agent, asked over its control socket as the command line does.

    ``Agent("agent.toml")`` describes one for this process: `start` runs it in a thread, a ``with``
    starts and stops it. `Agent.connect` finds one that runs already.

    Args:
        config: its configuration file.
        data_dir: where it keeps its data; None = as the configuration says.
        settings: ``"key=value"``, as ``--set`` of ``edgeagent run``.
        until_done: it ends when all files are through and delivered.
    """

    def __init__(
        self,
        config: str | Path,
        data_dir: str | Path | None = None,
        *,
        settings: Sequence[str] = (),
        until_done: bool = False,
    ) -> None:
        from edgeagent.config.load import data_dir_of

        self.config = Path(config)
        self.data_dir = Path(data_dir or data_dir_of(self.config, settings))
        self._settings = list(settings)
        self._until_done = until_done
        self._running: Running | None = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self.code: int | None = None
        """How it ended: 0, or 1 where a finite run could not use all that it was given."""

    @classmethod
    def connect(cls, data_dir: str | Path | None = None, config: str | Path | None = None) -> Agent:
        """The agent that runs on a data folder; without any, the one of this machine.

        Raises:
            Unavailable: none runs there.
            NotPermitted: its socket belongs to somebody else.
        """
        from edgeagent.config import paths

        if data_dir is None and config is None and not paths.there(paths.SYSTEM_DATA):
            data_dir = paths.data_dir()
        agent = cls(config or paths.SYSTEM_CONFIG, data_dir)
        agent.status()
        return agent

    def start(self) -> Agent:
        """Run it in a thread of this process, and wait until it answers.

        Raises:
            ConfigError: the configuration is wrong.
            Busy: another agent holds the data folder.
            UsageError: it runs already.
        """
        if self._thread is not None and self._thread.is_alive():
            raise UsageError(f"the agent of {self.data_dir} runs already in this process")
        self._failure = self.code = None
        self._running = self._make()
        self._thread = threading.Thread(target=self._run, name="agent", daemon=True)
        self._thread.start()
        waiting, left_s = threading.Event(), _READY_S
        while self._thread.is_alive() and left_s > 0 and not self._answers():
            left_s -= _LOOK_S
            waiting.wait(_LOOK_S)
        if self._failure is not None:
            raise self._failure
        return self

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for its end; its code, or None after the time. Raises what ended it."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        if self._failure is not None:
            raise self._failure
        return self.code

    def stop(self) -> int | None:
        """End it in order, as SIGTERM does; what is pending stays on disk. Its code."""
        if self._running is not None:
            self._running.stop()
        return self.wait(_STOP_S)

    def status(self) -> dict[str, Any]:
        """Its own report, as ``edgeagent status --json`` prints it. Raises Unavailable."""
        report: dict[str, Any] = self._client().status()
        return report

    def ask(self, type_: str, **arguments: Any) -> dict[str, Any]:
        """Run a command (``doctor``, ``outbox``, ``pipeline`` …) to its end: what it gives.

        Raises:
            Unavailable: it does not run.
            EdgeAgentError: the command was refused or failed; of the class that its reason names.
        """
        result: dict[str, Any] = self._client().result(type_, **arguments)
        return result

    def __enter__(self) -> Agent:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _client(self) -> Any:
        from edgeagent.serve.client import ControlClient, find_socket

        return ControlClient(find_socket(self.data_dir))

    def _answers(self) -> bool:
        try:
            self.status()
        except Unavailable:
            return False
        return True

    def _make(self) -> Running:
        from edgeagent.agent.start import make

        return make(self.config, self.data_dir, flags=self._settings,
                    until_done=self._until_done, strict=True)  # fmt: skip

    def _run(self) -> None:
        try:
            assert self._running is not None
            self.code = self._running.run()
            while self._running.renewed:
                # The fleet has given it another configuration.
                self._running = self._make()
                self.code = self._running.run()
        except BaseException as error:  # noqa: BLE001 - told by whoever waits for it
            self._failure = error
