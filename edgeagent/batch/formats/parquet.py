"""The flat table as Parquet, by pyarrow (the extra ``parquet``)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, BinaryIO

from edgeagent.batch.formats import Writer
from edgeagent.batch.formats.table import COLUMNS, flat
from edgeagent.errors import RuntimeMissing
from edgeagent.plugins import to_install

if TYPE_CHECKING:
    from edgeagent.manifest import Package

_ROWS = 20_000
"""A row group; so many are in memory at once."""


def parquet(package: Package) -> Writer:
    """Columns as in CSV, with types. Raises RuntimeMissing."""
    del package
    try:
        import pyarrow
        from pyarrow.parquet import ParquetWriter
    except ModuleNotFoundError as error:
        raise RuntimeMissing(
            "Parquet needs the Python package 'pyarrow', which is not installed",
            remedy=f"Install it: {to_install('parquet')}, or choose --format csv.",
        ) from error
    types = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
    schema = pyarrow.schema([(name, types[kind]) for name, kind in COLUMNS.items()])

    def write(rows: Iterator[bytes], file: BinaryIO) -> None:
        flattened = chain.from_iterable(map(flat, rows))
        with ParquetWriter(file, schema, compression="zstd") as out:
            while group := list(islice(flattened, _ROWS)):
                columns: dict[str, list[Any]] = {
                    name: [row.get(name) for row in group] for name in COLUMNS
                }
                out.write_table(pyarrow.table(columns, schema=schema))

    return write
