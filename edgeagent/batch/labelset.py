"""Samples to be labelled as a folder that annotation tools open.

    images/…jpg, instances.json   COCO: the model's boxes as annotations with scores
    samples/…wav|npy              sound and sensor values
    samples.jsonl                 one line a sample, whatever it is, with all that is known of it

Each sample is there once, under a name made of its device and id. The folder may be written again
and again, also over one that was left half written: files are whole or not there, and the lists are
written last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from edgeagent import durable
from edgeagent.batch.formats.coco import annotation
from edgeagent.errors import unwritable

INSTANCES, LINES = "instances.json", "samples.jsonl"
_PLACES = {"image/jpeg": ("images", ".jpg"), "audio/wav": ("samples", ".wav"),
           "application/x-npy": ("samples", ".npy")}  # fmt: skip
_ATTRIBUTES = (
    "device", "site", "pipeline", "source", "frame", "model", "threshold", "reason", "why",
    "useful", "at", "clock",
)  # fmt: skip

Meta = dict[str, Any]
"""What `agent.pooling` tells of a sample."""


class Labelled(Struct):
    """One sample; read only where its file is not there yet."""

    meta: Meta
    sha256: str
    size: int
    read: Callable[[], bytes]

    @classmethod
    def of(cls, meta: Meta, body: bytes) -> Labelled:
        """One that is in memory."""
        return cls(meta, hashlib.sha256(body).hexdigest(), len(body), lambda: body)


class Report(Struct):
    """What is in the folder now."""

    folder: Path
    samples: int = 0
    new: int = 0
    """Files that were not there before."""
    images: int = 0
    annotations: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    """Samples of a form that this version does not know."""


def write_set(samples: Iterable[Labelled], folder: Path) -> Report:
    """Write all of them, each once; what has the same name and size is not written again.

    Raises: NotPermitted, StoreFull, StoreError, UsageError (`errors.unwritable`).
    """
    report = Report(folder)
    metas: dict[str, Meta] = {}
    contents: set[tuple[str, str]] = set()
    for its in samples:
        meta = its.meta
        place = _PLACES.get(str(meta.get("type", "")))
        if place is None:
            report.unreadable.append(f"{meta.get('id')}: {meta.get('type')}")
            continue
        name = f"{place[0]}/{_safe(meta['device'])}-{_safe(meta['id'])}{place[1]}"
        content = str(meta["device"]), its.sha256
        if name in metas or content in contents:
            continue
        contents.add(content)
        metas[name] = meta
        report.new += _put(folder / name, its)
    _write_lists(metas, report)
    return report


def _put(file: Path, its: Labelled) -> bool:
    """Whether it was not there yet, whole."""
    try:
        if file.is_file() and file.stat().st_size == its.size:
            return False
    except OSError as error:
        raise unwritable(file, error) from error
    durable.replace(file, its.read())
    return True


def _write_lists(metas: dict[str, Meta], report: Report) -> None:
    report.samples = len(metas)
    lines: list[bytes] = []
    for name, meta in sorted(metas.items()):
        reason = str(meta.get("reason", ""))
        report.reasons[reason] = report.reasons.get(reason, 0) + 1
        told = {key: value for key, value in meta.items() if key != "labels"}
        lines.append(msgspec.json.encode({"file": name, **told}))
    durable.replace(report.folder / LINES, b"".join(line + b"\n" for line in lines))
    pictures = {name: its for name, its in sorted(metas.items()) if name.startswith("images/")}
    if pictures:
        durable.replace(report.folder / INSTANCES, msgspec.json.encode(_coco(pictures, report)))


def _coco(pictures: dict[str, Meta], report: Report) -> dict[str, Any]:
    """COCO (https://cocodataset.org/#format-data); categories are the packages' labels in their
    order, and numbers of pictures do not change when others come."""
    categories: dict[str, int] = {}
    for meta in pictures.values():
        for label in meta.get("labels") or ():
            categories.setdefault(label, len(categories) + 1)
    images: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    for name, meta in pictures.items():
        width, height = meta["size"]
        image = {
            "id": int(hashlib.sha256(name.encode()).hexdigest()[:12], 16),
            "file_name": name, "width": width, "height": height,
            "date_captured": meta.get("at", ""), "attributes": _attributes(meta),
        }  # fmt: skip
        images.append(image)
        for its in meta["predictions"]:
            if "box" not in its and "polygons" not in its:
                continue
            kind = categories.setdefault(its["label"], len(categories) + 1)
            notes.append(
                {"id": len(notes) + 1, "category_id": kind, **annotation(its, image),
                 "attributes": {"pre_label": True, "model": meta["model"]}}
            )  # fmt: skip
    report.images, report.annotations = len(images), len(notes)
    return {
        "info": {"description": "samples to be labelled, with what models said, by edgeagent"},
        "images": images, "annotations": notes,
        "categories": [{"id": kind, "name": label} for label, kind in categories.items()],
    }  # fmt: skip


def _attributes(meta: Meta) -> dict[str, Any]:
    """What is known of a picture; of a classifier also what it said."""
    found = {key: meta[key] for key in _ATTRIBUTES if meta.get(key) not in (None, "")}
    labels = [its for its in meta["predictions"] if "score" in its and "box" not in its]
    if labels and "polygons" not in labels[0]:
        found["label"], found["score"] = labels[0].get("label", ""), labels[0]["score"]
    return found


def _safe(text: Any) -> str:
    """Part of a file's name: ids are plain already, but these came from elsewhere."""
    return "".join(sign if sign.isalnum() or sign in "-_" else "_" for sign in str(text))[:80]
