"""Where ONNX Runtime's execution providers come from: its wheel, or a vendor's plugin library.

A plugin is registered with the process once, by its path; then it lists the devices that it can
use, and a session names those it wants. Source: ONNX Runtime's "Plugin Execution Provider
Libraries" (onnxruntime.ai/docs/execution-providers/plugin-ep-libraries).
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from msgspec import Struct

from edgeagent.errors import ModelError
from edgeagent.infer.delegates import CPU_PROVIDER
from edgeagent.infer.modelfile import first_line

PACKAGES = {
    "OpenVINOExecutionProvider": "onnxruntime_ep_openvino",
    "QNNExecutionProvider": "onnxruntime_qnn",
}
"""Providers that come as a plugin in a Python package → its module, which tells where the library
lies (``get_library_path``)."""
_AWAY = "AzureExecutionProvider"
"""All wheels list it; it sends tensors away to be computed elsewhere."""
_CHOOSES = ("device", "device_type")
"""Options that name the kind of device: ``npu``, ``gpu`` or ``cpu``."""
_KINDS = ("NPU", "GPU", "CPU")
"""In the order in which they are taken where nobody names one."""
_registering = threading.Lock()
_registered: set[str] = set()
"""Libraries, in this process."""


class Place(Struct, frozen=True):
    """What a session is to be opened with."""

    name: str
    """Of the provider, as ONNX Runtime counts its operators."""
    options: dict[str, str]
    devices: tuple[Any, ...] = ()
    """Of a plugin; empty = it is in the wheel."""
    missing: str = ""
    """Why it can't be used; empty = it can, as far as is known before a model is opened."""


def installed_providers(ort: Any) -> list[str]:
    """Those of the wheel and of plugins' packages, besides the CPU's."""
    wheel = [its for its in _of_wheel(ort) if its not in (CPU_PROVIDER, _AWAY)]
    plugins = [its for its, module in PACKAGES.items() if find_spec(module) is not None]
    return [*wheel, *(its for its in plugins if its not in wheel)]


def place_of(ort: Any, provider: str, options: Mapping[str, str], threads: int) -> Place:
    """Where a provider is found that somebody asked for.

    Args:
        ort: the module ``onnxruntime``.
        provider: a name, or the path of a plugin library.
        options: of the provider.
        threads: of the session.
    """
    own = dict(options)
    if provider == "OpenVINOExecutionProvider":
        # It has threads of its own, as many as there are cores if nobody says otherwise.
        own = {"num_of_threads": str(threads), **own}
    available = _of_wheel(ort)
    if provider in available:
        return Place(provider, own)
    try:
        library = _library(provider)
    except (ImportError, AttributeError, OSError) as error:
        said = f"the package {PACKAGES[provider]} does not tell where its library is: {error}"
        return Place(provider, own, missing=said)
    if not library:
        known = ", ".join(available)
        said = f"{provider} is not in the installed onnxruntime, which has {known}"
        if provider in PACKAGES:
            said += f", nor is its plugin ({PACKAGES[provider].replace('_', '-')}) installed"
        return Place(provider, own, missing=said)
    if not hasattr(ort, "register_execution_provider_library"):
        said = f"onnxruntime {ort.__version__} takes no plugins; {provider} is one"
        return Place(provider, own, missing=said)
    try:
        devices = _devices(ort, library)
    except ModelError as error:
        return Place(provider, own, missing=str(error))
    return _chosen(provider, library, devices, own)


def _library(provider: str) -> str:
    """Path of a plugin; empty = it is none that is known here."""
    if "/" in provider:
        return provider
    module = PACKAGES.get(provider, "")
    if not module or find_spec(module) is None:
        return ""
    return str(importlib.import_module(module).get_library_path())


def _devices(ort: Any, library: str) -> list[Any]:
    """What a library can use; it is registered at its first use. Raises ModelError."""
    with _registering:
        if library not in _registered:
            try:
                ort.register_execution_provider_library(library, library)
            except Exception as error:
                # ONNX Runtime's exceptions have no base of their own.
                raise ModelError(f"{library} can't be used: {_cause(error)}") from error
            _registered.add(library)
        return [its for its in ort.get_ep_devices() if _from(its) == library]


def _of_wheel(ort: Any) -> list[str]:
    """Once a plugin is registered its providers are listed among those of the wheel, and asked for
    by their names they take nothing."""
    plugins = {its.ep_name for its in ort.get_ep_devices()} if _registered else set()
    wheel = (CPU_PROVIDER, _AWAY)
    return [its for its in ort.get_available_providers() if its in wheel or its not in plugins]


def _from(device: Any) -> str:
    return str(device.ep_metadata.get("library_path", ""))


def _chosen(provider: str, library: str, devices: list[Any], options: dict[str, str]) -> Place:
    """The device that is named, else the most special one."""
    wanted = ""
    for key in _CHOOSES:
        wanted = options.pop(key, wanted).upper()
    if "/" not in provider:
        devices = [its for its in devices if its.ep_name == provider]
    kinds = [its.device.type.name for its in devices]
    for kind in (wanted,) if wanted else _KINDS:
        if kind in kinds:
            one = devices[kinds.index(kind)]
            return Place(one.ep_name, options, devices=(one,))
    found = ", ".join(sorted(set(kinds))) or "no device"
    asked = f", not {wanted}" if wanted else ""
    return Place(provider, options, missing=f"{Path(library).name} finds {found}{asked} here")


def _cause(error: Exception) -> str:
    """Without the error's code, which says nothing to people."""
    return first_line(str(error).rpartition("FAIL : ")[2])
