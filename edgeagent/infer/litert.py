"""LiteRT sessions: ai-edge-litert where it is installed, else tflite-runtime.

Both libraries have one interface. ai-edge-litert is the first choice: an order of magnitude
faster on int8 models, and it verifies a file before it reads it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from edgeagent.errors import InferenceError, ModelError, RuntimeMissing
from edgeagent.infer import delegates, receipt
from edgeagent.infer.entry import open_entry
from edgeagent.infer.flatbuffer import read_graph
from edgeagent.infer.modelfile import TFLITE, damaged, first_line, read_head
from edgeagent.infer.quiet import hushed
from edgeagent.infer.receipt import Node
from edgeagent.infer.session import Options, Receipt
from edgeagent.infer.tensors import mismatch
from edgeagent.plugins import to_install
from edgeagent.types import Quantization, TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FOREIGN = (ValueError, RuntimeError, TypeError, AttributeError, SystemError, MemoryError)
_UNRESOLVED = re.compile(r"unresolved custom op: ([^\s.]+)")
_UNKNOWN = re.compile(r"op for builtin opcode '(\w+)' version '(\d+)'")
_RECURRENT = re.compile("LSTM|RNN|SVDF")
"""Operators that keep variable tensors from call to call."""
_JOINED = re.compile(r"[.\s]*(?=Node number \d|Restored original|Failed to apply)")
"""Where LiteRT joins several messages without anything between them."""
_announced = threading.Event()
"""XNNPACK has said its line; it says it once per process."""


class Library(Struct, frozen=True):
    """The TFLite library of this environment."""

    name: str
    interpreter: Any
    """The module that holds ``Interpreter``, ``load_delegate`` and ``OpResolverType``."""
    verifies: bool
    """It checks a file's structure itself before it reads it."""


def find_library() -> Library:
    """The installed TFLite library. Raises RuntimeMissing."""
    try:
        import ai_edge_litert
        import ai_edge_litert.interpreter as litert

        return Library(_titled("litert", ai_edge_litert), litert, verifies=True)
    except ImportError as error:
        missing = error
    try:
        import tflite_runtime
        import tflite_runtime.interpreter as tflite

        return Library(_titled("tflite-runtime", tflite_runtime), tflite, verifies=False)
    except ImportError:
        detail = "" if isinstance(missing, ModuleNotFoundError) else f" ({missing})"
    raise RuntimeMissing(
        f"TFLite models can't run here: neither ai-edge-litert nor tflite-runtime works{detail}",
        remedy=f"Install it: {to_install('litert')}",
    ) from missing


def open_litert(path: Path, options: Options) -> LiteRtSession:
    """Open a .tflite file.

    A delegate that can't be used leaves the model on the CPU and the reason in the receipt,
    unless ``options.require``.

    Raises:
        RuntimeMissing: no TFLite library is installed.
        ModelError: the file can't be used; the text names it, the reason and a remedy.
    """
    library = find_library()
    read_head(path, TFLITE)
    if not library.verifies:
        read_graph(path)
    external, fallback = None, ""
    if options.delegate not in delegates.BUILT_IN:
        try:
            external = delegates.load_external(
                library.interpreter.load_delegate, options.delegate, options.extra
            )
        except ModelError as error:
            if options.require:
                raise
            fallback = str(error)
    try:
        session = LiteRtSession(path, options, library, external, fallback)
    except ModelError as error:
        if not fallback:
            raise
        # A model may need the very delegate that could not be loaded.
        raise ModelError(f"{error}; {fallback}", remedy=error.remedy) from error
    if options.require and session.receipt.fallback:
        raise ModelError(
            f"{path}: {session.receipt.fallback}",
            remedy="Choose a variant that was made for it, or drop `require`.",
        )
    return session


class LiteRtSession:
    """One interpreter, owned by the thread that runs it first until it is handed over."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    receipt: Receipt
    stateless: bool
    """What it answers depends on nothing that it was asked before."""

    def __init__(
        self, path: Path, options: Options, library: Library, external: Any, fallback: str
    ) -> None:
        self._path = path
        self._options = options
        self._library = library
        self._claiming = threading.Lock()
        self._owner: int | None = None
        self._closed = False
        try:
            self._start(external, fallback)
        except _Refused as error:
            # The interpreter is in its original state after a delegate refused it, but a
            # vendor's library has run in it: a fresh one is cleaner.
            if options.require:
                raise ModelError(f"{path}: {error}") from error
            self._start(None, str(error))

    def _start(self, external: Any, fallback: str) -> None:
        options, library = self._options, self._library
        self._external = external
        self._interpreter = _build(self._path, options, library, external)
        self._vendor = receipt.Account(options.delegate, fallback, external is not None)
        try:
            self._vendor.partitions = receipt.partitions(self._interpreter) if external else 0
            self._entry = open_entry(self._interpreter, options.signature)
            self._allocated = self._allocate_first()
            ins, outs = self._entry.inputs(), self._entry.outputs()
        except ModelError as error:
            raise ModelError(f"{self._path}: {error}", remedy=error.remedy) from error
        except UnicodeDecodeError as error:
            raise damaged(self._path, TFLITE, f"a tensor's name is no text ({error})") from error
        except _FOREIGN as error:
            raise _unusable(self._path, library, error) from error
        self.inputs = tuple(_spec(self._path, name, detail) for name, detail in ins)
        self.outputs = tuple(_spec(self._path, name, detail) for name, detail in outs)
        self._places = [int(detail["index"]) for _, detail in ins]
        self._results = [int(detail["index"]) for _, detail in outs]
        self._shapes = [_dims(detail["shape"]) for _, detail in ins] if self._allocated else []
        self._set, self._get = self._entry.set, self._entry.get
        self._invoke = self._entry.invoke
        self._account()

    def run(self, tensors: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """See `Session.run`. Inputs of another shape are taken where the model allows it."""
        if self._owner != threading.get_ident():
            self._claim()
        try:
            if [tensor.shape for tensor in tensors] != self._shapes:
                self._resize(tensors)
            for index, tensor in zip(self._places, tensors, strict=True):
                self._set(index, tensor)
            self._invoke()
            return [self._get(index) for index in self._results]
        except _FOREIGN as error:
            wrong = mismatch(self.inputs, tensors)
            raise InferenceError(
                f"{self._path}: {wrong or _plain(str(error))}",
                remedy="Make [[input]] in model.toml agree with the model." if wrong else "",
            ) from error

    def reset(self) -> None:
        """Forget what the interpreter keeps between calls.

        `reset_all_variables` clears variable tensors (LSTMs), and does nothing to resource
        variables (streaming models), which live until the interpreter goes: those models get
        a new one, in less than a millisecond for a small model.
        """
        if self._closed or self._owner not in (None, threading.get_ident()):
            self._claim()
        if not self._resources:
            try:
                self._interpreter.reset_all_variables()
            except _FOREIGN as error:
                raise InferenceError(f"{self._path}: {_plain(str(error))}") from error
            return
        told = self.receipt
        self._start(self._external, self._vendor.fallback)
        self.receipt = told

    def operators(self) -> list[tuple[Node, str]]:
        """The model's operators with the place where each runs; empty where it is not known."""
        if not (self._allocated and self._entry.primary):
            return []
        nodes = receipt.nodes_of(self._interpreter)
        return receipt.place_litert(nodes, self._vendor.makers(nodes))

    def hand_over(self) -> None:
        """Let go: the next thread that runs the session owns it."""
        self._owner = None

    def close(self) -> None:
        """Free the interpreter; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._owner = None
        del self._entry, self._set, self._invoke, self._get
        # The delegate must outlive the interpreter that runs on it.
        del self._interpreter
        self._external = None

    def _claim(self) -> None:
        with self._claiming:
            if self._closed:
                raise InferenceError(f"{self._path}: the session is closed")
            if self._owner is not None:
                self._check_owner(self._owner)
            self._owner = threading.get_ident()

    def _check_owner(self, owner: int) -> None:
        """A thread that has ended owns nothing."""
        alive = {thread.ident: thread.name for thread in threading.enumerate()}
        if owner in alive:
            raise InferenceError(
                f"{self._path}: thread {threading.current_thread().name!r} ran a session "
                f"that belongs to thread {alive[owner]!r}",
                remedy="Open a session per thread, or hand this one over first.",
            )

    def _allocate_first(self) -> bool:
        """Plan memory; False = the default shape can't be, so wait for the first input's."""
        try:
            with _first_words():
                self._entry.allocate()
        except RuntimeError as error:
            dynamic = any(-1 in detail["shape_signature"] for _, detail in self._entry.inputs())
            if not dynamic or _UNRESOLVED.search(str(error)):
                raise
            return False
        return True

    def _resize(self, given: Sequence[NDArray[Any]]) -> None:
        wrong = mismatch(self.inputs, given)
        if wrong:
            raise ValueError(wrong)
        shapes = [tensor.shape for tensor in given]
        try:
            self._reshape(shapes)
        except RuntimeError:
            if self._shapes:
                self._reshape(self._shapes)
            raise
        self._shapes = shapes
        if not self._allocated:
            self._allocated = True
            self._account()

    def _reshape(self, shapes: Sequence[tuple[int, ...]]) -> None:
        for index, shape in zip(self._places, shapes, strict=True):
            self._entry.resize(index, shape)
        with _first_words():
            self._entry.allocate()

    def _account(self) -> None:
        nodes = receipt.nodes_of(self._interpreter)
        # Of another graph than the main one no nodes are told: it may have any.
        self._resources = not self._entry.primary or any(
            node.operator == "VAR_HANDLE" for node in nodes
        )
        self.stateless = not self._resources and not any(
            _RECURRENT.search(node.operator) for node in nodes
        )
        countable = self._allocated and self._entry.primary
        self.receipt = self._vendor.receipt(
            nodes if countable else [], self._library.name, self._options.threads
        )


class _Refused(Exception):
    """A delegate would not take the graph that it was given."""


def _build(path: Path, options: Options, library: Library, external: Any) -> Any:
    # The library maps the file: replace model files by renaming, never by writing into them,
    # or the mapping's pages change (or vanish, with SIGBUS) under a running model.
    resolver = library.interpreter.OpResolverType
    try:
        return library.interpreter.Interpreter(
            model_path=str(path),
            num_threads=options.threads,
            experimental_delegates=[external] if external else None,
            experimental_op_resolver_type=(
                resolver.BUILTIN_WITHOUT_DEFAULT_DELEGATES
                if options.delegate == "none"
                else resolver.AUTO
            ),
        )
    except RuntimeError as error:
        if external:
            title = delegates.title_of(options.delegate)
            raise _Refused(f"{title} refuses this model: {_plain(str(error))}") from error
        raise _unusable(path, library, error) from error
    except (*_FOREIGN, UnicodeDecodeError) as error:
        raise _unusable(path, library, error) from error


def _unusable(path: Path, library: Library, error: Exception) -> ModelError:
    text = str(error)
    if isinstance(error, SystemError) and not library.verifies:
        return ModelError(
            f"{path}: {library.name} failed inside ({text})",
            remedy="tflite-runtime 2.14 does not work with numpy 2: pip install 'numpy<2'",
        )
    custom = _UNRESOLVED.search(text)
    if custom:
        return _needs_operator(path, library, custom[1])
    unknown = _UNKNOWN.search(text)
    if unknown:
        return ModelError(
            f"{path}: {library.name} has no operator {unknown[1]} of version {unknown[2]}",
            remedy="Install a newer ai-edge-litert, or convert the model for an older one.",
        )
    if isinstance(error, RuntimeError):
        return ModelError(f"{path}: can't be made ready to run: {_plain(text)}")
    return damaged(path, TFLITE, text)


def _needs_operator(path: Path, library: Library, operator: str) -> ModelError:
    maker = delegates.CUSTOM_OPERATORS.get(operator)
    if maker:
        return ModelError(
            f"{path}: compiled for the delegate {maker!r}, which was not loaded",
            remedy=f'Set `runtime.delegate = "{maker}"` where the device is present, '
            "or use a variant that was not compiled for it.",
        )
    return ModelError(
        f"{path}: its custom operator {operator} is not part of {library.name}",
        remedy="Convert the model without custom operators, or name a delegate that brings it.",
    )


def _spec(path: Path, name: str, detail: dict[str, Any]) -> TensorSpec:
    import numpy as np

    dtype = np.dtype(detail["dtype"])
    if dtype.kind not in "fiubc":
        raise ModelError(
            f"{path}: tensor {name!r} holds {dtype.name or 'text'}, not numbers",
            remedy="Models with text tensors are not supported.",
        )
    scales = detail["quantization_parameters"]["scales"]
    if len(scales) > 1:
        raise ModelError(
            f"{path}: tensor {name!r} is quantized per channel, which is for weights only"
        )
    zeros = detail["quantization_parameters"]["zero_points"]
    scale = float(scales[0]) if len(scales) else 0.0
    signature, shape = _dims(detail["shape_signature"]), _dims(detail["shape"])
    return TensorSpec(
        name=name,
        shape=signature if len(signature) == len(shape) else shape,
        dtype=dtype.name,
        quantization=Quantization(scale, int(zeros[0])) if scale else None,
    )


def _dims(shape: Any) -> tuple[int, ...]:
    return tuple(int(length) for length in shape)


def _first_words() -> Any:
    """A context that swallows XNNPACK's one line, as long as it has not been said."""
    return nullcontext() if _announced.is_set() else hushed(_announced)


def _plain(text: str) -> str:
    return first_line(_JOINED.sub(". ", text))


def _titled(name: str, module: Any) -> str:
    return f"{name} {getattr(module, '__version__', '')}".strip()
