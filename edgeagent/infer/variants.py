"""From a model package to an opened session: which of its variants runs here."""

from __future__ import annotations

import os
import platform
from collections.abc import Collection

from msgspec.structs import replace

from edgeagent import plugins
from edgeagent.config.model import Runtime
from edgeagent.config.units import size_bytes
from edgeagent.errors import EdgeAgentError, ModelError, NotFound, PackageError, RuntimeMissing
from edgeagent.infer import delegates
from edgeagent.infer.installed import installed
from edgeagent.infer.session import Opener, Options, Session
from edgeagent.manifest import Package, Variant, sha256_of


def open_package(package: Package, runtime: Runtime) -> tuple[Session, Variant]:
    """Open the first variant of a package that works here, or the configured one.

    State tensors of the manifest are carried by the session. Why variants before the chosen
    one do not run is told in its receipt (``skipped``).

    Raises:
        NotFound: ``runtime.variant`` names none of the package's variants.
        RuntimeMissing: all that is wrong is that no runtime for it is installed.
        ModelError: no variant can be used; the text has one line per variant.
    """
    failures: list[tuple[Variant, EdgeAgentError]] = []
    for variant in _candidates(package, runtime.variant):
        try:
            session = _open(package, variant, runtime)
        except (ModelError, NotFound) as error:
            failures.append((variant, error))
            continue
        if failures:
            told = tuple(f"{skipped.file}: {error}" for skipped, error in failures)
            session.receipt = replace(session.receipt, skipped=told)
        return session, variant
    raise _nothing_runs(package, failures)


def likely(package: Package, wanted: str = "", delegate: Collection[str] = ()) -> Variant:
    """The variant that `open_package` will most probably open here, without loading anything:
    the only one that a device needs to fetch.

    Args:
        package: its files need not be there.
        wanted: ``runtime.variant`` of the configuration.
        delegate: TFLite delegates whose library is here.

    Raises:
        NotFound, RuntimeMissing, ModelError: none can run here; the text says why.
    """
    failures: list[tuple[Variant, EdgeAgentError]] = []
    for variant in _candidates(package, wanted):
        needed = variant.requires.get("delegate", "")
        try:
            _check_machine(variant)
            if needed and not any(delegates.same_delegate(one, needed) for one in delegate):
                raise ModelError(f"it requires the delegate {needed!r}, which is not installed")
            if variant.runtime != "plugin" and installed(variant.runtime) is None:
                raise RuntimeMissing(
                    f"it requires the runtime {variant.runtime}, which is not installed",
                    remedy=f"Install it: {plugins.to_install(variant.runtime)}",
                )
        except (ModelError, NotFound) as error:
            failures.append((variant, error))
            continue
        return variant
    raise _nothing_runs(package, failures)


def check_file(package: Package, variant: Variant) -> None:
    """Compare a variant's file with ``[files]``, where the package lists it.

    A damaged model that still loads answers wrongly and without an error (40 % of damages to
    large files), so the hash is the only protection.

    Raises:
        PackageError: the file is missing or is not the one that was published.
    """
    path = package.path(variant.file)
    entry = package.manifest.files.get(variant.file)
    if entry is None:
        return
    try:
        size = path.stat().st_size
        same = size == entry.bytes and sha256_of(path) == entry.sha256
    except FileNotFoundError as error:
        raise PackageError(
            f"{path}: the file is missing",
            remedy="Install the package again, or take the variant out of model.toml.",
        ) from error
    except OSError as error:
        raise PackageError(f"{path}: can't be read: {error.strerror}") from error
    if not same:
        told = f"{size} bytes instead of {entry.bytes}" if size != entry.bytes else "other sha256"
        raise PackageError(
            f"{path}: not the file that model.toml describes ({told})",
            remedy="Copy the package again; after a change of your own: "
            f"edgeagent models lint --fix {package.folder}",
        )


def _candidates(package: Package, wanted: str) -> list[Variant]:
    variants = package.manifest.variant
    if not wanted:
        return variants
    chosen = [one for one in variants if wanted in (one.file, one.runtime)]
    if not chosen:
        known = ", ".join(f"{one.file} ({one.runtime})" for one in variants)
        raise NotFound(
            f"{package.name}@{package.version} has no variant {wanted!r}; it has: {known}",
            remedy="Correct `runtime.variant`: a file name or a runtime.",
        )
    return chosen


def _open(package: Package, variant: Variant, runtime: Runtime) -> Session:
    options = _options(variant, runtime)
    check_file(package, variant)
    session: Session = _opener(variant)(package.path(variant.file), options)
    if not package.manifest.state:
        return session
    from edgeagent.infer.state import Carrying

    try:
        return Carrying(session, package.manifest.state)
    except ModelError as error:
        session.close()
        raise PackageError(f"{package.folder / 'model.toml'}: {error}") from error


def _opener(variant: Variant) -> Opener:
    name = variant.requires.get("plugin", "") if variant.runtime == "plugin" else variant.runtime
    opener: Opener = plugins.find("runtime", name)
    return opener


def _options(variant: Variant, runtime: Runtime) -> Options:
    """What to open a variant with; raises ModelError where it can't run on this machine."""
    requires = variant.requires
    _check_machine(variant)
    delegate = _asked(variant, "delegate", runtime.delegate)
    provider = _asked(variant, "provider", runtime.provider)
    return Options(
        threads=runtime.threads or 1,
        delegate=delegate if variant.runtime == "litert" else "",
        provider=provider if variant.runtime == "onnx" else "",
        # What a variant was made for is no wish: elsewhere it is slow or does not run.
        require=runtime.require or "delegate" in requires or "provider" in requires,
        signature=variant.signature,
        extra=dict(runtime.options),
    )


def _asked(variant: Variant, key: str, configured: str) -> str:
    needed = variant.requires.get(key, "")
    if not needed:
        return configured
    if configured and not delegates.same_delegate(configured, needed):
        raise ModelError(
            f"it requires the {key} {needed!r}, and {configured!r} is configured",
            remedy=f"Set `runtime.{key}` to {needed!r}, or choose another variant.",
        )
    return configured or needed


def _check_machine(variant: Variant) -> None:
    arch = variant.requires.get("arch", "")
    if arch and _arch(arch) != _arch(platform.machine()):
        raise ModelError(f"it requires the architecture {arch}; this is {platform.machine()}")
    memory = variant.requires.get("memory", "")
    if memory:
        present = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        try:
            needed = size_bytes(memory)
        except ValueError as error:
            raise PackageError(f"requires.memory: {error}") from error
        if needed > present:
            raise ModelError(
                f"it requires {memory} of memory; this machine has {present >> 20} MiB"
            )


def _arch(name: str) -> str:
    return {"arm64": "aarch64", "amd64": "x86_64", "x64": "x86_64"}.get(name.lower(), name.lower())


def _nothing_runs(
    package: Package, failures: list[tuple[Variant, EdgeAgentError]]
) -> EdgeAgentError:
    what = f"{package.name}@{package.version}"
    errors = [error for _, error in failures]
    remedy = next((error.remedy for error in errors if error.remedy), "")
    if len(errors) == 1:
        text = str(errors[0])
    else:
        text = "none of its variants runs here" + "".join(
            f"\n  {variant.file}: {error}" for variant, error in failures
        )
    missing = all(isinstance(error, RuntimeMissing) for error in errors)
    return (RuntimeMissing if missing else ModelError)(f"{what}: {text}", remedy=remedy)
