"""``edgeagent models sign|verify|pack``: packages that bring code, and packages as one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeagent.cli import options, render
from edgeagent.cli.options import AsJson, ConfigFile, DataDir
from edgeagent.errors import PackageError

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the package.")]


def sign(
    folder: Folder,
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="An operator's key.")],
    passphrase_file: Annotated[
        Path | None, typer.Option("--passphrase-file", metavar="FILE", help="With its passphrase.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Vouch for a package's handler.py as an operator (edgeagent fleet key operator makes keys).

    What the fleet's repository publishes is signed there already.
    """
    from edgeagent.cli.reach import private_key
    from edgeagent.durable import put
    from edgeagent.manifest import load_package
    from edgeagent.prove.lint import write_files
    from edgeagent.update.vouching import CODE, SIGNATURE, statement

    package = load_package(folder)
    put(folder / SIGNATURE, private_key(key, passphrase_file).envelope(statement(package), CODE))
    write_files(package)
    told = {"file": str(folder / SIGNATURE), "model": package.name, "version": package.version}
    render.show(told, as_json, lambda: render.plain(f"{folder / SIGNATURE} is written"))


def verify(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name, name@version or folder.")],
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Whether the files are those that model.toml lists, and whether its code may run here.

    Exit 1 where a file is another one, 77 where its handler.py is not to be run.
    """
    from edgeagent.packaged.permit import vouched
    from edgeagent.prove.lint import lint

    package = options.library(config, data_dir).find(model)
    wrong = [str(its) for its in lint(package.folder, fetched=True) if its.level == "error"]
    if wrong:
        raise PackageError("\n".join(wrong), remedy="Install it anew, or: edgeagent models lint")
    by = vouched(package).by if package.brings_code else ""
    title = f"{package.name} {package.version}"
    said = f"; its handler.py may run here, by {by}" if by else ""
    told = {"model": package.name, "version": package.version, "handler": by or None}
    render.show(told, as_json, lambda: render.plain(f"{title}: every file is as listed{said}"))


def pack(
    folder: Folder,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="To be written.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """A package as one .tar.gz for a stick or a mail: `models install FILE` takes it.

    Only what model.toml lists gets in; the same package gives the same bytes.
    """
    from edgeagent.prove.pack import pack as packed

    file = packed(folder, out)
    said = f"{file}: {file.stat().st_size:,} bytes; edgeagent models install {file}"
    render.show({"file": str(file)}, as_json, lambda: render.plain(said))
