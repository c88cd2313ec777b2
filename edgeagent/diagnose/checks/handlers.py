"""Does a configured model bring code, and may it run here?"""

from __future__ import annotations

from collections.abc import Iterator

from edgeagent.diagnose.context import Context
from edgeagent.diagnose.finding import Finding
from edgeagent.errors import EdgeAgentError


def signed(context: Context) -> Iterator[Finding]:
    """Each `handler.py` of a pipeline's model: allowed, signed, unchanged, and alive."""
    told: set[str] = set()
    for name, pipeline in context.config.pipelines.items():
        try:
            package = (
                context.find_model(pipeline.model, pipeline.version) if context.find_model else None
            )
        except EdgeAgentError:
            continue  # `models` tells what is wrong with it
        if package is None or not package.brings_code or package.name in told:
            continue
        told.add(package.name)
        from edgeagent.update.vouching import permit_of

        title = f"handler.py of {package.name} {package.version}"
        try:
            vouched = permit_of(context.config, context.data_dir)(package)
        except EdgeAgentError as error:
            yield Finding("handlers", "failed", f"pipeline {name}: {error}",
                          str(package.folder), error.remedy)  # fmt: skip
            continue
        yield Finding("handlers", "ok", f"{title} may run, by {vouched.by}", str(package.folder))
        yield from _running(context, title)
    if not told and context.config.plugins.packaged:
        yield Finding("handlers", "note", "plugins.packaged is set, and no configured model "
                      "brings code", "", "Take it out of agent.toml if none is to")  # fmt: skip


def _running(context: Context, title: str) -> Iterator[Finding]:
    """What the running agent tells of it."""
    if context.ask_agent is None:
        return
    try:
        status = context.ask_agent()
    except EdgeAgentError:
        return  # no agent runs, which is told elsewhere
    for name, its in status.get("pipelines", {}).items():
        figures = its.get("handler") if isinstance(its, dict) else None
        if not figures:
            continue
        for fence, why in figures.get("lacks", {}).items():
            yield Finding("handlers", "problem", f"pipeline {name}: {title} runs without a fence "
                          f"for {fence}: {why}", "", "Use a kernel that has it, or no packaged "
                          "code on this device")  # fmt: skip
        if figures.get("aside"):
            yield Finding("handlers", "failed", f"pipeline {name}: {figures['aside']}", "",
                          "edgeagent models rollback, or install one that is mended")  # fmt: skip
