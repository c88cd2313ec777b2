"""A model package as one file, to be carried: the same package always gives the same bytes."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

from edgeagent.durable import put
from edgeagent.errors import PackageError, unwritable
from edgeagent.manifest import load_package
from edgeagent.prove.lint import lint

_MODE = 0o644


def pack(folder: Path, out: Path | None = None) -> Path:
    """Write ``{name}-{version}.tar.gz`` (or ``out``) of what model.toml lists; the file.

    Raises:
        PackageError: a file is missing or another one than listed.
        NotFound: there is no package. NotPermitted, StoreFull: it can't be written.
    """
    package = load_package(folder)
    wrong = [str(its) for its in lint(folder, fetched=True) if its.level == "error"]
    if wrong:
        raise PackageError("\n".join(wrong), remedy=f"See: edgeagent models lint --fix {folder}")
    above = f"{package.name}/{package.version}"
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as squeezed,
        tarfile.open(fileobj=squeezed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in ("model.toml", *sorted(package.manifest.files)):
            file = package.path(name)
            if not file.is_file():
                continue  # a variant that was not fetched here
            entry = tarfile.TarInfo(f"{above}/{name}")
            entry.size, entry.mode = file.stat().st_size, _MODE
            with file.open("rb") as stream:
                archive.addfile(entry, stream)
    target = out or Path(f"{package.name}-{package.version}.tar.gz")
    try:
        put(target, packed.getvalue())
    except OSError as error:
        raise unwritable(target, error) from error
    return target
