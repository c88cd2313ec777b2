"""External TFLite delegates: vendors' libraries, loaded by their stable C interface.

What Python sees when one fails differs by the way it fails (a missing library is an OSError,
a library that is no delegate an AttributeError, an absent device a ValueError), and the first
two also print a traceback from a destructor. So the library and its entry point are tried
here before the runtime's own loader sees them. A delegate that crashes takes the process with
it: new ones are first tried in a child.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from edgeagent.errors import ModelError
from edgeagent.infer.modelfile import first_line

if TYPE_CHECKING:
    from edgeagent.config.model import Runtime
    from edgeagent.manifest import Package

BUILT_IN = ("", "xnnpack", "none")
CPU_PROVIDER = "CPUExecutionProvider"
LIBRARIES = {
    "edgetpu": "libedgetpu.so.1",
    "vx": "libvx_delegate.so",
    "ethosu": "libethosu_delegate.so",
    "qnn": "libQnnTFLiteDelegate.so",
    "teflon": "libteflon.so",
    "hexagon": "libhexagon_delegate.so",
}
"""Short names of vendors' libraries, as the dynamic linker finds them."""
CUSTOM_OPERATORS = {"edgetpu-custom-op": "edgetpu", "ethos-u": "ethosu"}
"""Operators that compilers leave in a model which only one delegate can run."""
_ENTRY = "tflite_plugin_create_delegate"

_LINKER = ("lib", "usr/lib", "usr/local/lib")

Loader = Callable[[str, dict[str, str]], Any]


def library_of(delegate: str) -> str:
    """File or soname of a delegate named in the configuration."""
    return LIBRARIES.get(delegate, delegate)


def find_library_file(delegate: str, root: Path = Path("/")) -> Path | None:
    """Where a delegate's library lies; None = not where the dynamic linker looks. Nothing is
    loaded: one that crashes would take the process with it."""
    name = Path(library_of(delegate))
    # Debian keeps libraries of each architecture apart.
    folders = [*_LINKER, f"usr/lib/{platform.machine()}-linux-gnu"]
    places = [root / name.relative_to("/")] if name.is_absolute() else [
        root / folder / name for folder in folders
    ]  # fmt: skip
    return next((place for place in places if place.exists()), None)


def title_of(delegate: str) -> str:
    """The name shown in receipts: ``edgetpu`` or the library's file name."""
    return delegate if delegate in LIBRARIES else Path(delegate).name


def same_delegate(one: str, other: str) -> bool:
    """Whether two namings mean one library: ``edgetpu`` and ``/usr/lib/libedgetpu.so.1``."""
    return Path(library_of(one)).name == Path(library_of(other)).name


def accelerators(package: Package, runtime: Runtime) -> tuple[str, ...]:
    """Delegates and providers besides the runtimes' own that a model may be run on."""
    asked = [runtime.delegate] if runtime.delegate not in BUILT_IN else []
    asked += [runtime.provider] if runtime.provider not in ("", CPU_PROVIDER) else []
    for variant in package.manifest.variant:
        its = variant.requires
        asked += [its[key] for key in ("delegate", "provider") if its.get(key)]
    return tuple(dict.fromkeys(asked))


def on_processor(runtime: Runtime) -> Runtime:
    """The same, without what is configured of others."""
    return replace(runtime, delegate="", provider="", options={}, require=False)


def load_external(load: Loader, delegate: str, options: Mapping[str, str]) -> Any:
    """The runtime's delegate object for a library.

    Args:
        load: the runtime's ``load_delegate``.
        delegate: a key of `LIBRARIES`, a soname or a path.
        options: passed to the library; all values are strings there.

    Raises:
        ModelError: the library is missing, is no delegate, or refuses (no device).
    """
    library = library_of(delegate)
    _check_library(library)
    try:
        return load(library, dict(options))
    except (OSError, AttributeError, ValueError, RuntimeError) as error:
        detail = first_line(str(error).partition("\n")[2])
        raise ModelError(
            f"delegate {library} refuses to start{': ' + detail if detail else ''}",
            remedy="Check that its device is there, that its driver fits the library's version "
            "and that this user may open it.",
        ) from error


def _check_library(library: str) -> None:
    try:
        handle = ctypes.PyDLL(library)
    except OSError as error:
        raise ModelError(
            f"delegate {library} can't be loaded: {error}",
            remedy="Install the vendor's package, or give the library's full path.",
        ) from error
    if not hasattr(handle, _ENTRY):
        raise ModelError(
            f"{library} is a library but no TFLite delegate: it lacks {_ENTRY}",
            remedy="Name the vendor's external delegate, e.g. libvx_delegate.so.",
        )
