"""Families that are told by grids and maps: detectors, masks, poses."""

from __future__ import annotations

from edgeagent.manifest import OutputSpec
from edgeagent.prove.guess import Guess, Picture, Specs, picture_of


def yunet(inputs: Specs, outputs: Specs) -> Guess | None:
    """Two scores, a box and five landmarks for each of three strides."""
    last = sorted(spec.shape[-1] for spec in outputs if len(spec.shape) == 3)
    if len(outputs) != 12 or last != [1] * 6 + [4] * 3 + [10] * 3 or not _shown(inputs):
        return None
    return Guess(
        "yunet", "sure", "detect",
        OutputSpec(decoder="yunet", threshold=0.6, nms_iou=0.3),
        ["Twelve outputs, four for each of three strides: OpenCV's face detector YuNet.",
         "Width and height must be multiples of 32."],
        labels=("face",),
    )  # fmt: skip


def fastestdet(inputs: Specs, outputs: Specs) -> Guess | None:
    """One map with a sixteenth of the picture's rows and columns."""
    picture = _shown(inputs)
    if picture is None or len(outputs) != 1 or len(outputs[0].shape) != 4:
        return None
    _, *axes = outputs[0].shape
    cells = [picture.height // 16, picture.width // 16]
    values = axes[0] if axes[1:] == cells else axes[2] if axes[:2] == cells else 0
    if values < 6 or min(cells) < 2:
        return None
    return Guess(
        "fastestdet", "likely", "detect", OutputSpec(decoder="fastestdet", nms="any"),
        [f"One map of {cells[1]} × {cells[0]} cells, 16 pixels each, with {values} values: "
         f"objectness, box and {values - 5} classes.",
         "Write the labels in the order of the classes."],
    )  # fmt: skip


def movenet(inputs: Specs, outputs: Specs) -> Guess | None:
    """Seventeen points of one body, or of up to six with their boxes."""
    if not _shown(inputs) or len(outputs) != 1:
        return None
    if outputs[0].shape[1:] not in ((1, 17, 3), (6, 56)):
        return None
    return Guess(
        "movenet", "sure", "pose", OutputSpec(decoder="movenet", threshold=0.3),
        ["Seventeen points with y, x and score each: MoveNet."],
        labels=("person",),
    )  # fmt: skip


def mask(inputs: Specs, outputs: Specs) -> Guess | None:
    """A class, or a score for each class, for each pixel or every fourth."""
    picture = _shown(inputs)
    shape = outputs[0].shape if len(outputs) == 1 else ()
    if picture is None or len(shape) not in (3, 4) or -1 in shape[1:]:
        return None
    size = (picture.height, picture.width)
    whole = outputs[0].dtype.startswith(("int", "uint")) and outputs[0].quantization is None
    planar = len(shape) == 4 and _fits(shape[2:], size)
    if not planar and not _fits(shape[1:3], size):
        return None
    classes = 0 if len(shape) == 3 else shape[1] if planar else shape[3]
    output = OutputSpec(decoder="mask")
    if not whole and classes > 1:
        output.activation = "softmax"
    told = "class numbers" if whole else f"scores of {classes or 1} classes"
    return Guess(
        "mask", "likely", "segment", output,
        [f"Pixel for pixel {told}: a mask.",
         "Set background = true where class 0 means none of the labels.",
         'Set activation = "none" if the scores are no logits.' if not whole else
         "Class numbers carry no score: every label is told with score 1."],
    )  # fmt: skip


def raw_ssd(inputs: Specs, outputs: Specs) -> Guess | None:
    """A box and a row of scores for each of many candidates."""
    if not _shown(inputs) or len(outputs) != 2 or {len(spec.shape) for spec in outputs} != {3}:
        return None
    (one, four), (other, scores) = (spec.shape[1:] for spec in outputs)
    if four != 4:
        (one, four), (other, scores) = (other, scores), (one, four)
    if four != 4 or one != other or one < 100 or scores < 2:
        return None
    picture = _shown(inputs)
    if scores == 2 and one in (4420, 17640) and picture and picture.planar:
        return Guess(
            "ssd", "sure", "detect",
            OutputSpec(decoder="ssd", boxes="xyxy", background=True, threshold=0.7, nms_iou=0.3),
            [f"{one} candidates with a box and two scores: UltraFace (RFB or slim)."],
            labels=("background", "face"),
        )  # fmt: skip
    # With four columns in both nothing but names could tell, and a wrong guess reads rubbish.
    names = {} if scores != 4 else {"boxes": outputs[0].name}
    return Guess(
        "ssd", "guess", "detect",
        OutputSpec(decoder="ssd", boxes="xyxy", background=True, tensors=names),
        [f"A box and {scores} scores for each of {one} candidates, suppressed outside the graph.",
         "Boxes are taken as x1, y1, x2, y2 in 0..1; if they correct anchors, describe those in "
         "output.anchors (kind = ssd, pyramid or file).",
         'Column 0 is taken for the background; set activation = "softmax" or "sigmoid" if the '
         "scores are logits."],
    )  # fmt: skip


def table(inputs: Specs, outputs: Specs) -> Guess | None:
    """A short list of detections in one output, suppressed in the graph."""
    if not _shown(inputs) or len(outputs) != 1:
        return None
    shape = outputs[0].shape
    rows = shape[-2] if len(shape) in (2, 3) else 0
    if len(shape) not in (2, 3) or shape[-1] not in (6, 7) or not (rows == -1 or 5 < rows <= 1000):
        return None
    row = "x1 y1 x2 y2 score class" if shape[-1] == 6 else "batch x1 y1 x2 y2 class score"
    return Guess(
        "yolo", "guess", "detect", OutputSpec(decoder="yolo", nms="graph", units="pixels"),
        [f"A list of detections with {shape[-1]} values, taken as {row}: change output.row if "
         "they are others.",
         "Check `units` (exports differ) and write the labels in the order of the classes."],
    )  # fmt: skip


def _shown(inputs: Specs) -> Picture | None:
    return picture_of(inputs[0]) if len(inputs) == 1 else None


def _fits(axes: tuple[int, ...], size: tuple[int, int]) -> bool:
    """Whether a map is as large as the picture, or half or a quarter of it."""
    return (
        any(tuple(-(-side // part) for side in size) == tuple(axes) for part in (1, 2, 4))
        and min(axes) >= 16
    )
