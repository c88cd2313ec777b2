"""All commands, put together. Modules of commands import the library when they run, so
``--help`` and completion stay quick."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from edgeagent import __version__
from edgeagent.cli import (
    alerts,
    batch,
    bench,
    config,
    crashes,
    demo,
    desired,
    devices,
    doctor,
    drift,
    enrol,
    evaluate,
    explain,
    fleet,
    infer,
    models,
    orders,
    outbox,
    pool,
    privacy,
    render,
    replay,
    repository,
    rollout,
    run,
    send,
    setup,
    sight,
    simulate,
    status,
    support,
    tune,
    why,
)
from edgeagent.errors import EdgeAgentError

INTERNAL = 70


class Commands(TyperGroup):
    """Turns errors into one message and the exit code of the contract."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except EdgeAgentError as problem:
            if debugging():
                raise
            render.error(problem)
            raise typer.Exit(problem.exit_code) from problem
        except BrokenPipeError:
            # The reader of our output went away (head, less): nothing is wrong. What is left
            # in the buffer must not be written at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            raise typer.Exit(0) from None
        except (typer.Exit, typer.Abort, KeyboardInterrupt):
            raise
        except Exception as problem:
            if debugging() or _is_usage(problem):
                raise
            render.error(_unexpected(problem))
            raise typer.Exit(INTERNAL) from problem


def debugging() -> bool:
    """Whether tracebacks are wanted."""
    return os.environ.get("EDGEAGENT_DEBUG", "") not in ("", "0")


def _is_usage(problem: Exception) -> bool:
    """Whether it is the parser's own complaint, which prints itself and exits 2."""
    return hasattr(problem, "exit_code") and hasattr(problem, "format_message")


def _unexpected(problem: Exception) -> EdgeAgentError:
    return EdgeAgentError(
        f"this should not have happened: {type(problem).__name__}: {problem}",
        remedy="Please report it with the output of the same command under EDGEAGENT_DEBUG=1.",
    )


def _version(wanted: bool) -> None:
    if wanted:
        render.text(f"edgeagent {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=Commands,
    name="edgeagent",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def edgeagent(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Machine learning on devices: offline first, accounted for, explained.

    Exit codes: 0 done, 1 found a problem, 2 usage, 3 not found, 69 unavailable, 70 internal,
    75 try again, 77 not permitted, 78 bad configuration.
    """


app.command("run")(run.run)
app.command("demo")(demo.demo)
app.command("setup")(setup.setup)
app.command("infer")(infer.infer)
app.command("batch")(batch.batch)
app.command("eval")(evaluate.evaluate)
app.command("explain")(explain.explain)
app.command("bench")(bench.bench)
app.command("tune")(tune.tune)
app.command("replay")(replay.replay)
app.command("status")(status.status)
app.command("doctor")(doctor.doctor)
app.command("why")(why.why)
app.command("support-bundle")(support.support_bundle)
app.command("identify")(orders.identify)
app.command("drill")(orders.drill)
app.command("ping")(orders.ping)
app.command("logs")(orders.logs)
app.command("cancel")(orders.cancel)
app.command("capture")(orders.capture)
app.command("restart")(orders.restart)
app.command("crashes")(crashes.crashes)
app.command("purge")(privacy.purge)
app.add_typer(orders.pipeline, name="pipeline")
app.add_typer(devices.app, name="devices")
app.add_typer(outbox.app, name="outbox")
app.add_typer(privacy.app, name="privacy")
app.add_typer(config.app, name="config")
models.app.command()(drift.reference)
app.add_typer(models.app, name="models")
app.add_typer(drift.app, name="drift")
app.add_typer(pool.app, name="pool")
for command in (repository.init, repository.publish, repository.serve, repository.sign):
    fleet.app.command()(command)
for command in (enrol.enroll, enrol.revoke, enrol.replace, enrol.enrolled, enrol.accept):
    fleet.app.command()(command)
fleet.app.add_typer(repository.keys, name="key")
for command in (send.send, send.answers, sight.ls, sight.show, sight.watch, alerts.alerts):
    fleet.app.command()(command)
fleet.app.command("simulate")(simulate.simulate)
fleet.app.add_typer(desired.app, name="desired")
fleet.app.add_typer(rollout.app, name="rollout")
app.add_typer(fleet.app, name="fleet")
