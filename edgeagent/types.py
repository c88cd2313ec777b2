"""The nouns that cross a boundary between stages. No I/O here.

Samples and predictions live in one process and are frozen structs. What
reaches a file or a wire (`Record`, `BlobRef`) is a `msgspec.Struct`.

Conventions: boxes are ``(x1, y1, x2, y2)``, normalised to 0..1 of the *captured* frame
(they may leave it by a little: clip when drawing, never when deciding). Pictures are uint8
height × width × 3 in **BGR**, as OpenCV gives them, or height × width for grey. ``at_ns`` is
wall time in nanoseconds since 1970 (UTC); ``mono_ms`` is CLOCK_BOOTTIME in milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Union

import msgspec
from msgspec import Struct, field

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in 0..1 of the captured frame."""


# --- samples -------------------------------------------------------------------------------


class Frame(Struct, frozen=True):
    """One image. ``pixels`` is uint8 (h, w, 3) BGR or (h, w); never written to."""

    source: str
    number: int
    pixels: NDArray[np.uint8]
    at_ns: int
    mono_ms: float
    origin: str = ""
    """File name, URL or device that it came from, for people."""
    truth: Any = None
    """What a synthetic scene or a labelled file knows about it; never read by a pipeline."""
    stream_ms: float | None = None
    """Its time within a recording or a scene; None = it comes from the living world."""

    @property
    def when_ms(self) -> float:
        """The time by which is decided: what lies between two samples of a recording does not
        depend on how fast it is read."""
        return self.mono_ms if self.stream_ms is None else self.stream_ms


class Window(Struct, frozen=True):
    """A stretch of sensor values or sound: ``values`` is float32 (length, channels)."""

    source: str
    number: int
    values: NDArray[np.float32]
    rate_hz: float
    channels: tuple[str, ...]
    at_ns: int
    mono_ms: float
    origin: str = ""
    truth: Any = None
    stream_ms: float | None = None
    """As a frame's."""

    @property
    def when_ms(self) -> float:
        """As a frame's."""
        return self.mono_ms if self.stream_ms is None else self.stream_ms


Sample = Union[Frame, Window]


class Joint(Struct, frozen=True):
    """Samples of several sources that belong together: what was there when the leading one was
    taken. Places and times are the leading one's."""

    lead: Sample
    parts: dict[str, Sample]
    """By the name of the model's input; the leading one is among them."""
    missing: str = ""
    """Not empty: what is not there, in words; the rest can't be used then."""

    @property
    def stream_ms(self) -> float | None:
        return self.lead.stream_ms

    @property
    def when_ms(self) -> float:
        return self.lead.when_ms

    def partners(self) -> dict[str, Any]:
        """Input → what was taken for it beside the leading sample, as it stands in records."""
        return {
            name: {
                "source": its.source,
                "frame": its.number,
                "apart_ms": round(its.when_ms - self.when_ms, 1),
            }
            for name, its in self.parts.items()
            if its is not self.lead
        }


# --- tensors -------------------------------------------------------------------------------


class Quantization(Struct, frozen=True):
    """real = scale × (stored − zero_point), per tensor."""

    scale: float
    zero_point: int


class TensorSpec(Struct, frozen=True):
    """One model input or output. Dynamic dimensions are −1."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    """numpy name: ``float32``, ``int8`` …"""
    quantization: Quantization | None = None


class Placement(Struct, frozen=True):
    """Where the prepared picture lies in the input tensor.

    A point (u, v), normalised to 0..1 of the tensor, shows the point
    ((u − left) / width, (v − top) / height) of the captured frame, normalised likewise.
    """

    left: float = 0.0
    top: float = 0.0
    width: float = 1.0
    height: float = 1.0

    def to_frame(self, box: Box) -> Box:
        """A box in tensor coordinates (0..1) as a box of the captured frame."""
        x1, y1, x2, y2 = box
        return (
            (x1 - self.left) / self.width,
            (y1 - self.top) / self.height,
            (x2 - self.left) / self.width,
            (y2 - self.top) / self.height,
        )

    def to_tensor(self, box: Box) -> Box:
        """The inverse of `to_frame`."""
        x1, y1, x2, y2 = box
        return (
            x1 * self.width + self.left,
            y1 * self.height + self.top,
            x2 * self.width + self.left,
            y2 * self.height + self.top,
        )


WHOLE = Placement()


class Prepared(Struct, frozen=True):
    """What goes into a session, and what is needed to read its answer."""

    tensors: list[NDArray[Any]]
    """In the order of the session's inputs, in the tensors' own dtypes."""
    placement: Placement = WHOLE
    features: NDArray[np.float32] | None = None
    """The float input before quantization: an autoencoder's error is measured against it."""


# --- predictions ---------------------------------------------------------------------------


class Label(Struct, frozen=True):
    """The sample as a whole is ``label`` with ``score`` (0..1)."""

    label: str
    score: float


class Detection(Struct, frozen=True):
    """Something at ``box``. ``points`` are landmarks (x, y) in 0..1 of the frame."""

    label: str
    score: float
    box: Box
    points: tuple[tuple[float, float], ...] = ()
    track: int = 0
    """Identity over frames, given by the tracker; 0 = none yet."""
    refined: tuple[tuple[str, Prediction], ...] = ()
    """What further models said about this part of the frame, each under its name."""


class Keypoints(Struct, frozen=True):
    """A pose: ``points`` are (x, y, score) in 0..1 of the frame, in the model's order."""

    label: str
    score: float
    points: tuple[tuple[float, float, float], ...]
    box: Box = (0.0, 0.0, 1.0, 1.0)
    track: int = 0
    refined: tuple[tuple[str, Prediction], ...] = ()


class Mask(Struct, frozen=True):
    """Pixels of one label: ``share`` of the frame (0..1) and polygons in 0..1."""

    label: str
    score: float
    share: float
    polygons: tuple[tuple[tuple[float, float], ...], ...] = ()


class Anomaly(Struct, frozen=True, eq=False):
    """How unlike the usual the sample is; alarming when ``score`` exceeds ``threshold``.

    Of a picture also where: ``regions`` are boxes with their scores, the worst first, and
    ``heat`` (rows, columns) is a score for each cell of a grid over the captured frame.
    """

    score: float
    threshold: float
    regions: tuple[tuple[Box, float], ...] = ()
    heat: NDArray[np.float32] | None = None

    def __eq__(self, other: object) -> bool:
        # Not by the heat: arrays have no truth, and the regions say where it is.
        return isinstance(other, Anomaly) and self._told() == other._told()

    def __hash__(self) -> int:
        return hash(self._told())

    def _told(self) -> tuple[object, ...]:
        return self.score, self.threshold, self.regions

    @property
    def alarming(self) -> bool:
        return self.score > self.threshold


class Regression(Struct, frozen=True):
    """A measured quantity."""

    name: str
    value: float
    unit: str = ""


class Embedding(Struct, frozen=True):
    """A vector for comparison by cosine."""

    vector: tuple[float, ...]


class Text(Struct, frozen=True):
    """What is written there; ``score`` (0..1) is the mean over its letters."""

    text: str
    score: float


class Raw(Struct, frozen=True):
    """Outputs that no decoder reads (``decoder = "none"``): name → nested list."""

    outputs: dict[str, Any]


Prediction = Union[Label, Detection, Keypoints, Mask, Anomaly, Regression, Embedding, Text, Raw]


# --- records: what is durable and leaves the device ----------------------------------------


class BlobRef(msgspec.Struct, frozen=True):
    """Evidence that a record refers to, by content."""

    sha256: str
    bytes: int
    type: str


class Evidence(msgspec.Struct, frozen=True):
    """Bytes that prove an event (already redacted), with their media type."""

    type: str
    data: bytes
    number: int = 0
    """Of the sample that it shows; 0 = it is not said."""


class Draft(msgspec.Struct):
    """A record before the store has numbered it.

    ``seq``, ``boot`` and ``clock`` are given by the store when it commits. ``event`` is the
    key of an event within this process: the store turns the key of a ``new`` phase into
    ``data.id = "e-<seq>"`` and writes the same id into the phases that follow.
    """

    kind: str
    pipeline: str = ""
    at_ns: int = 0
    mono_ms: float = 0.0
    data: dict[str, Any] = msgspec.field(default_factory=dict)
    model: str = ""
    config: str = ""
    source: str = ""
    frame: int = 0
    event: str = ""
    evidence: tuple[Evidence, ...] = ()
    """Redacted pictures and the like; stored with the record and replaced by `blobs`."""
    test: bool = False
    actions: tuple[str, ...] = ()
    """Plugins that act on it, when an event begins and when it ends; not stored."""


class Health(Struct, frozen=True):
    """State of one unit for status and doctor."""

    name: str
    state: str
    """``ok`` | ``degraded`` | ``down`` | ``ended``"""
    reason: str = ""
    detail: dict[str, Any] = field(default_factory=dict)
