"""Which runtimes work here, and can every configured model run?"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from edgeagent import plugins
from edgeagent.config.model import Pipeline
from edgeagent.device import health
from edgeagent.diagnose.context import Context
from edgeagent.diagnose.finding import Finding, Severity
from edgeagent.errors import Busy, EdgeAgentError, ProofFailed
from edgeagent.infer import installed
from edgeagent.manifest import Package, Variant, sha256_of
from edgeagent.plugins import to_install

_IMPORTS = {
    "ai_edge_litert": "ai_edge_litert.interpreter",
    "tflite_runtime": "tflite_runtime.interpreter",
    "onnxruntime": "onnxruntime",
}
_LOADING_S = 7.0
_GOLDEN_S = 6.0
_GOLDEN_MOST = 2
"""Models that are tried in one run, for it is to end within seconds."""
_ROOM = 160 << 20
"""Bytes that one more runtime and model may take."""


def runtimes(_: Context) -> Iterator[Finding]:
    """Installed, and loadable: a library may want another system or another numpy.

    Loading is tried in a child, all at once: it costs memory and may crash.
    """
    found = {runtime: installed.installed(runtime) for runtime in installed.LIBRARIES}
    children = {
        runtime: subprocess.Popen(
            [sys.executable, "-c", f"import {_IMPORTS[its[0]]}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )
        for runtime, its in found.items() if its
    }  # fmt: skip
    for runtime, its in found.items():
        if its is None:
            yield Finding("runtimes", "note", f"no runtime for {runtime} models is installed", "",
                          to_install(runtime))  # fmt: skip
        else:
            yield _loads(runtime, its, children[runtime])


def _loads(runtime: str, its: tuple[str, str], child: subprocess.Popen[bytes]) -> Finding:
    module, version = its
    name = f"{module.replace('_', '-')} {version}"
    how = f"{sys.executable} -c 'import {_IMPORTS[module]}'"
    try:
        _, said = child.communicate(timeout=_LOADING_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return Finding(
            "runtimes", "note", f"{name} takes longer than {_LOADING_S:g} s to load", how
        )
    if child.returncode == 0:
        return Finding("runtimes", "ok", f"{name} runs {runtime} models", how)
    lines = said.decode(errors="replace").strip().splitlines()
    reason = lines[-1] if lines else f"ended by signal {-child.returncode}"
    remedy = to_install(runtime, again=True)
    if b"numpy" in said.lower() or module == "tflite_runtime":
        remedy = "tflite-runtime needs an older numpy: pip install 'numpy<2'"
    return Finding("runtimes", "failed", f"{name} can't be loaded: {reason}", how, remedy)


def configured(context: Context) -> Iterator[Finding]:
    """Every model of a pipeline: is it here, whole, and is there something to run it?"""
    wanted = [
        (name, pipeline, model)
        for name, pipeline in context.config.pipelines.items()
        for model in (pipeline.model, pipeline.redact.model if pipeline.redact else "")
        if model
    ]
    if not wanted:
        return
    if context.find_model is None:
        yield Finding("models", "note", "models were not looked for: no search path is known")
        return
    for name, pipeline, model in wanted:
        version = pipeline.version if model == pipeline.model else ""
        try:
            package = context.find_model(model, version)
        except EdgeAgentError as error:
            yield Finding(
                "models", "failed", f"pipeline {name}: {error}", "",
                error.remedy or "See what is here: edgeagent models list",
            )  # fmt: skip
            continue
        yield from _package(name, pipeline, package)


def golden(context: Context) -> Iterator[Finding]:
    """Whether each model that is configured still answers its golden samples, tried in a process
    of its own."""
    from edgeagent.prove.child import Limits, prove_in_child
    from edgeagent.prove.golden import DEFAULT

    tried: set[str] = set()
    for name, pipeline in context.config.pipelines.items():
        package = _found(context, pipeline)
        if package is None or not pipeline.enabled or (title := _title(package)) in tried:
            continue
        tried.add(title)
        if len(tried) > _GOLDEN_MOST or not (package.folder / DEFAULT).is_file():
            continue
        if health.memory(context.root).get("available", _ROOM) < _ROOM:
            yield Finding(
                "golden", "note", "there is too little memory to try a model beside the agent",
                "/proc/meminfo", "sudo systemctl stop edgeagent; edgeagent doctor",
            )  # fmt: skip
            return
        limits = Limits(timeout_s=_GOLDEN_S, calls=2, seconds=0.2)
        try:
            proof = prove_in_child(package.folder, limits=limits, runtime=pipeline.runtime)
        except ProofFailed as error:
            slow = error.reason == "timeout"
            yield Finding(
                "golden", "note" if slow else "failed", f"pipeline {name}: {title}: {error}",
                "its golden samples, in a process of its own",
                f"edgeagent models lint {title}; edgeagent models rollback {package.name}",
            )  # fmt: skip
        except Busy as error:
            yield Finding("golden", "note", str(error))
        else:
            yield Finding("golden", "ok", f"{title}: {proof.golden} golden samples are "
                          "answered as expected", proof.receipt)  # fmt: skip


def _found(context: Context, pipeline: Pipeline) -> Package | None:
    """None where `configured` tells what is wrong."""
    try:
        return context.find_model(pipeline.model, pipeline.version) if context.find_model else None
    except EdgeAgentError:
        return None


def _title(package: Package) -> str:
    return f"{package.name}@{package.version}"


def _package(name: str, pipeline: Pipeline, package: Package) -> Iterator[Finding]:
    what = _title(package)
    broken = list(_damage(package))
    for said in broken:
        yield Finding(
            "models", "failed", f"pipeline {name}: {what}: {said}", str(package.folder),
            "Copy the package again: edgeagent models lint tells what is wrong with a copy",
        )  # fmt: skip
    runnable, reasons = [], []
    for variant in package.manifest.variant:
        reason = _obstacle(variant, pipeline)
        if reason:
            reasons.append(f"{variant.file}: {reason}")
        else:
            runnable.append(variant)
    if not runnable:
        extra = package.manifest.variant[0].runtime
        yield Finding(
            "models", "failed", f"pipeline {name}: no variant of {what} can run here",
            "; ".join(reasons), to_install(extra),
        )  # fmt: skip
    elif not broken:
        first = runnable[0]
        said = f"pipeline {name}: {what} can run, first {first.file}"
        if first.requires:
            # Whether a delegate works is known only once a model has run on it.
            wants = ", ".join(f"{key} {value}" for key, value in first.requires.items())
            said += f" where its needs are met ({wants})"
        severity: Severity = "note" if all(its.requires for its in runnable) else "ok"
        yield Finding("models", severity, said, str(package.folder))


def _damage(package: Package) -> Iterator[str]:
    listed = package.manifest.files
    names = dict.fromkeys([*listed, *(variant.file for variant in package.manifest.variant)])
    for name in names:
        try:
            path = package.path(name)
            size = path.stat().st_size
            entry = listed.get(name)
            if entry is not None and size != entry.bytes:
                yield f"{name} has {size} bytes instead of {entry.bytes}"
            elif entry is not None and sha256_of(path) != entry.sha256:
                yield f"{name} is not the file that was published (other sha256)"
        except OSError as error:
            yield f"{name}: {error.strerror}"
        except EdgeAgentError as error:
            yield str(error)


def _obstacle(variant: Variant, pipeline: Pipeline) -> str:
    """What keeps a variant from being considered here; empty = nothing."""
    chosen = pipeline.runtime.variant
    if chosen and chosen not in (variant.file, variant.runtime):
        return f"runtime.variant = {chosen!r} leaves it out"
    if variant.runtime == "plugin":
        name = variant.requires.get("plugin", "")
        return "" if name in plugins.known("runtime") else f"no plugin {name!r} is installed"
    if installed.installed(variant.runtime) is None:
        return f"no runtime for {variant.runtime} is installed"
    return ""
