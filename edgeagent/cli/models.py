"""``edgeagent models``: list, show, lint, init, golden, gallery."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeagent.cli import model_changes, model_code, model_views, optimize, options, render, views
from edgeagent.cli.options import AsJson, ConfigFile, DataDir
from edgeagent.cli.receipt import receipt
from edgeagent.errors import UsageError

app = typer.Typer(help="Models on this device and their packages.", no_args_is_help=True)
for change in (
    model_changes.install, model_changes.activate, model_changes.rollback, model_changes.hold,
    model_changes.unhold, model_changes.remove, model_code.sign, model_code.verify, model_code.pack,
):  # fmt: skip
    app.command()(change)

app.command()(optimize.optimize)
app.command()(receipt)

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Name, name@version, or a folder.")]


@app.command("list")
def list_(config: ConfigFile = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Every model package that is found, broken ones included."""
    from edgeagent.update.truth import Truths

    entries = options.library(config, data_dir).list()
    truths = Truths(options.data_folder(config, data_dir) / "models").all()
    data = model_views.entries(entries, truths)
    render.show(data, as_json, lambda: model_views.models(entries, truths))


@app.command()
def show(
    model: Model, config: ConfigFile = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """What a package says about itself."""
    import msgspec

    package = options.library(config, data_dir).find(model)
    data = {
        **msgspec.to_builtins(package.manifest),
        "folder": str(package.folder),
        "labels": list(package.labels),
        "handler": package.brings_code,
    }
    render.show(data, as_json, lambda: model_views.package(package))


@app.command()
def lint(
    model: Model,
    fix: Annotated[bool, typer.Option("--fix", help="Write [files] anew.")] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Check a package: description, files, hashes, what the model really takes and gives."""
    import msgspec

    from edgeagent.prove.lint import lint as examine

    folder = options.package_folder(model, config, data_dir)
    found = examine(folder, fix=fix)
    data = {"folder": str(folder), "findings": msgspec.to_builtins(found)}
    render.show(data, as_json, lambda: model_views.lint(folder, found))
    raise typer.Exit(1 if any(its.level == "error" for its in found) else 0)


@app.command()
def init(
    file: Annotated[
        Path | None, typer.Argument(metavar="[MODEL_FILE]", help="A .tflite or .onnx file.")
    ] = None,
    anomaly: Annotated[
        Path | None,
        typer.Option("--anomaly", metavar="FOLDER", help="Pictures of what is as it should be."),
    ] = None,
    backbone: Annotated[
        str,
        typer.Option(
            "--backbone",
            metavar="MODEL",
            help="Package or file whose inner maps describe pictures [default: parts].",
        ),
    ] = "",
    name: Annotated[
        str, typer.Option(help="Name of the model [default: from the file or folder].")
    ] = "",
    version: Annotated[str, typer.Option(help="Its version.")] = "0.1.0",
    licence: Annotated[
        str, typer.Option(help="Licence of the model, which no file tells: Apache-2.0 …")
    ] = "",
    into: Annotated[
        Path, typer.Option("--into", metavar="DIR", help="Folder of packages to make it in.")
    ] = Path("models"),
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a package: of a model file, or with --anomaly of a folder of good pictures.

    What can be read from a model file is filled in. Of about 50 good pictures a model is made
    here that finds what is not like them, and where.
    """
    if (file is None) == (anomaly is None) or (backbone and anomaly is None):
        raise UsageError(
            "models init takes either a model file or --anomaly FOLDER"
            + (" (--backbone belongs to the second)" if backbone else ""),
            remedy="edgeagent models init FILE.tflite, or edgeagent models init --anomaly FOLDER",
        )
    if anomaly is not None:
        _init_anomaly(anomaly, backbone, into, name, version, config, data_dir, as_json)
    elif file is not None:
        _init_file(file, into, name, version, licence, as_json)


def _init_anomaly(
    folder: Path, backbone: str, into: Path, name: str, version: str,
    config: Path | None, data_dir: Path | None, as_json: bool,
) -> None:  # fmt: skip
    from edgeagent.prove.pictures import BACKBONE, STEPS, fit_pictures, good_pictures

    source = options.library(config, data_dir).find(backbone or BACKBONE)
    count = len(good_pictures(folder)) + STEPS
    with render.progress("good pictures:", count, quiet=as_json) as tell:
        fitted = fit_pictures(folder, source, into, name, version, tell)
    data = {
        "folder": str(fitted.package.folder), "pictures": fitted.pictures,
        "backbone": fitted.backbone, "threshold": fitted.threshold, "usual": fitted.usual,
        "notes": fitted.notes,
    }  # fmt: skip
    render.show(data, as_json, lambda: model_views.fitted(fitted))


def _init_file(
    file: Path, into: Path, name: str, version: str, licence: str, as_json: bool
) -> None:
    from edgeagent.prove.init import propose, write_package

    proposal = propose(file, name, version, licence)
    package = write_package(proposal, into)
    data = {
        "folder": str(package.folder), "family": proposal.family,
        "confidence": proposal.confidence, "reasons": proposal.reasons,
    }  # fmt: skip
    render.show(data, as_json, lambda: model_views.proposal(package, proposal))


@app.command()
def golden(
    model: Model,
    samples: Annotated[
        list[Path] | None,
        typer.Option("--samples", metavar="FILE|DIR", help="Write expected.json from these."),
    ] = None,
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="Run its handler.py though nobody signed it yet.")
    ] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Ask the golden samples again (exit 1 if the answers differ), or write them anew."""
    from edgeagent.packaged import permit
    from edgeagent.prove.golden import check_golden, write_golden

    package = options.library(config, data_dir).find(model)
    if unsigned:
        permit.use(permit.anybody)
    if samples:
        write_golden(package, options.sample_files(samples))
    proof = check_golden(package)
    render.show(model_views.proof_data(proof), as_json, lambda: model_views.proof(proof))
    raise typer.Exit(0 if proof.passed else 1)


@app.command()
def gallery(
    model: Model,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder of pictures for each name.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Write the vectors there.")],
    find: Annotated[
        str, typer.Option(metavar="MODEL", help="Cut out what it finds before comparing.")
    ] = "",
    margin: Annotated[float, typer.Option(min=0.0, help="Added to its boxes, a share.")] = 0.0,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a gallery of known things for a model that embeds. Exit 1 if one can't be used."""
    from contextlib import ExitStack

    from edgeagent.prove.gallery import make_gallery, write_gallery
    from edgeagent.prove.predict import Predictor

    library = options.library(config, data_dir)
    with ExitStack() as opened:
        embedder = opened.enter_context(Predictor(library.find(model)))
        finder = opened.enter_context(Predictor(library.find(find))) if find else None
        made = make_gallery(embedder, folder, finder, margin)
    if made.known:
        write_gallery(made, out)
    data = {"file": str(out), "labels": made.labels, "skipped": len(made.skipped)}
    render.show(data, as_json, lambda: views.gallery(out, made.labels))
    views.skipped(made.skipped)
    raise typer.Exit(1 if made.skipped or not made.known else 0)
