"""(kind, name) → class: a built-in table first, entry points second.

A module is imported only when the configuration names what lives in it, which keeps OpenCV,
runtimes and protocol libraries out of processes that don't need them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgeagent.errors import NotFound, RuntimeMissing

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Kind = Literal["source", "runtime", "preparer", "postprocessor", "rule", "action"]

_GROUPS: dict[str, str] = {
    "source": "edgeagent.sources",
    "runtime": "edgeagent.runtimes",
    "preparer": "edgeagent.preparers",
    "postprocessor": "edgeagent.postprocessors",
    "rule": "edgeagent.rules",
    "action": "edgeagent.actions",
}

BUILT_IN: dict[tuple[str, str], str] = {
    ("source", "camera"): "edgeagent.capture.camera:CameraSource",
    ("source", "rtsp"): "edgeagent.capture.rtsp:RtspSource",
    ("source", "mjpeg"): "edgeagent.capture.rtsp:MjpegSource",
    ("source", "snapshot"): "edgeagent.capture.rtsp:SnapshotSource",
    ("source", "command"): "edgeagent.capture.command:CommandSource",
    ("source", "folder"): "edgeagent.capture.folder:FolderSource",
    ("source", "images"): "edgeagent.capture.files:ImagesSource",
    ("source", "video"): "edgeagent.capture.files:VideoSource",
    ("source", "jsonl"): "edgeagent.capture.sensor.jsonl:open_jsonl",
    ("source", "csv"): "edgeagent.capture.sensor.jsonl:open_jsonl",
    ("source", "iio"): "edgeagent.capture.sensor.sysfs:open_sysfs",
    ("source", "hwmon"): "edgeagent.capture.sensor.sysfs:open_sysfs",
    ("source", "thermal"): "edgeagent.capture.sensor.sysfs:open_sysfs",
    ("source", "power_supply"): "edgeagent.capture.sensor.sysfs:open_sysfs",
    ("source", "w1"): "edgeagent.capture.sensor.sysfs:open_sysfs",
    ("source", "serial"): "edgeagent.capture.sensor.serial:open_serial",
    ("source", "modbus"): "edgeagent.capture.sensor.modbus:open_modbus",
    ("source", "mqtt"): "edgeagent.capture.sensor.mqtt:MqttSource",
    ("source", "audio"): "edgeagent.capture.audio:open_audio",
    ("source", "synthetic"): "edgeagent.capture.scenes:SyntheticSource",
    ("runtime", "litert"): "edgeagent.infer.litert:open_litert",
    ("runtime", "onnx"): "edgeagent.infer.onnx:open_onnx",
    ("preparer", "image"): "edgeagent.prepare.image:ImagePreparer",
    ("preparer", "line"): "edgeagent.prepare.line:LinePreparer",
    ("preparer", "window"): "edgeagent.prepare.window:WindowPreparer",
    ("preparer", "audio"): "edgeagent.prepare.window:WindowPreparer",
    ("postprocessor", "classify"): "edgeagent.interpret.classify:Classify",
    ("postprocessor", "ssd"): "edgeagent.interpret.ssd:ssd",
    ("postprocessor", "yolo"): "edgeagent.interpret.yolo:yolo",
    ("postprocessor", "yolox"): "edgeagent.interpret.grid:YoloX",
    ("postprocessor", "fastestdet"): "edgeagent.interpret.grid:FastestDet",
    ("postprocessor", "yunet"): "edgeagent.interpret.yunet:YuNet",
    ("postprocessor", "blazeface"): "edgeagent.interpret.blazeface:BlazeFace",
    ("postprocessor", "movenet"): "edgeagent.interpret.pose:MoveNet",
    ("postprocessor", "heatmap"): "edgeagent.interpret.pose:HeatMap",
    ("postprocessor", "mask"): "edgeagent.interpret.segment:Segment",
    ("postprocessor", "embed"): "edgeagent.interpret.embed:Embed",
    ("postprocessor", "db"): "edgeagent.interpret.db:TextBoxes",
    ("postprocessor", "ctc"): "edgeagent.interpret.ctc:Ctc",
    ("postprocessor", "autoencoder"): "edgeagent.interpret.anomaly:Autoencoder",
    ("postprocessor", "patches"): "edgeagent.interpret.patches:Patches",
    ("postprocessor", "regress"): "edgeagent.interpret.regress:Regress",
    ("postprocessor", "none"): "edgeagent.interpret.regress:Nothing",
    ("postprocessor", "handler"): "edgeagent.packaged.handled:Handled",
    ("rule", "handler"): "edgeagent.packaged.handled:no_rule",
}

_PACKAGES = {
    "litert": "edgeagent-runtime-litert", "tflite": "edgeagent-runtime-litert",
    "onnx": "edgeagent-runtime-onnx", "cv": "edgeagent-runtime-opencv",
    "fleet": "edgeagent-fleet", "all": "edgeagent-full",
}  # fmt: skip
"""Extra → package of Debian; what is not named here is in edgeagent-libs."""
_OF_DESKS = {"parquet": "pyarrow", "dask": "distributed"}
"""Extra → what it brings, where neither packages nor the tarball have it: work for a desk."""

PLUGINS_FOLDER = "/usr/local/lib/edgeagent/plugins"
"""Where packages and the tarball look for plugins of others."""


def find(kind: Kind, name: str) -> Any:
    """The class (or opener) registered under ``name``.

    Raises:
        NotFound: nobody offers it; the text says what is known and what comes close.
        RuntimeMissing: it is known, but a library that it needs is not installed, or can't be
            loaded: for want of memory, or of a library of the system.
    """
    place = BUILT_IN.get((kind, name))
    if place is None:
        for entry in _entries(kind):
            if entry.name == name:
                return entry.load()
        raise NotFound(f"there is no {kind} {name!r}{_hint(kind, name)}")
    module, attribute = place.split(":")
    try:
        return getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] == "edgeagent":
            raise NotFound(f"{kind} {name!r} is not part of this build") from error
        raise RuntimeMissing(
            f"{kind} {name!r} needs the Python package {error.name!r}, which is not installed",
            remedy=f"Install it: {to_install(_extra(error.name))}",
        ) from error
    except (ImportError, MemoryError) as error:
        # NumPy writes a page of advice, and what it is about in the last line.
        said = (str(error).strip().splitlines() or ["there is not enough memory"])[-1]
        raise RuntimeMissing(f"{kind} {name!r}: a library can't be loaded: {said}") from error


def to_install(extra: str, *, again: bool = False) -> str:
    """The command that brings an extra (``litert``, ``cv``, ``fleet``), for how this agent was
    installed: by pip, by packages of Debian, or from the tarball.

    Args:
        extra: of pyproject.toml.
        again: it is there but broken.
    """
    by = installed_by()
    if by and extra in _OF_DESKS:
        return to_install_package(_OF_DESKS[extra])
    if by == "deb":
        package = _PACKAGES.get(extra, "edgeagent-libs")
        anew = again or package == "edgeagent-libs"
        return f"sudo apt install {'--reinstall ' if anew else ''}{package}"
    if by == "tarball":
        return "sudo ./install.sh of the tarball, which holds it"
    return f"pip install {'--force-reinstall ' if again else ''}'edgeagent[{extra}]'"


def to_install_package(name: str) -> str:
    """The command that brings a package of somebody else."""
    where = f" --target {PLUGINS_FOLDER}" if installed_by() else ""
    return f"pip install{where} {name}"


def installed_by() -> str:
    """``deb``, ``tarball``, or nothing where pip did it."""
    try:
        return (Path(sys.prefix) / "installed-by").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def known(kind: Kind) -> list[str]:
    """All names of a kind, sorted."""
    names = {name for (its, name) in BUILT_IN if its == kind}
    names.update(entry.name for entry in _entries(kind))
    return sorted(names)


def _entries(kind: Kind) -> Iterable[EntryPoint]:
    # Imported late: reading the metadata of packages takes longer than opening a small model.
    from importlib.metadata import entry_points

    return entry_points(group=_GROUPS[kind])


def _hint(kind: Kind, name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, known(kind), n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(known(kind))}"


def _extra(module: str | None) -> str:
    extras = {"cv2": "cv", "onnxruntime": "onnx", "ai_edge_litert": "litert", "numpy": "litert",
              "serial": "serial", "pymodbus": "modbus", "soundfile": "sound"}  # fmt: skip
    return extras.get((module or "").split(".")[0], "all")
