"""A model over many files: on all cores, resumable after any end, the same result each time.

`order` says what is done, `log` keeps what is done, `piece` does one file, `crew` has the
processes that do it (`cluster`: those of Dask), `run` puts them together and `formats` writes
the result.
"""
