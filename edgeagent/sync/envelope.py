"""A batch as the payload of one message (contract §2): JSON or MessagePack, plain or zlib.

Records are JSON when they leave the outbox, so JSON is put together without being read; a
MessagePack batch costs a decoding. Compressed JSON is smaller than compressed MessagePack.
"""

from __future__ import annotations

import zlib
from typing import Any, Literal

import msgspec
from msgspec import Struct

from edgeagent.errors import InputError
from edgeagent.store.batch import Batch

OVERHEAD_BYTES = 200
"""The envelope around the records, at most (device id, epoch and numbers included)."""

_ZLIB_LEVEL = 6
_UNPACKED_MAX_BYTES = 64 * 1024 * 1024


class Encoding(Struct, frozen=True):
    """How batches are written."""

    form: Literal["json", "msgpack"] = "json"
    compression: Literal["zlib", "none"] = "zlib"

    @property
    def content_type(self) -> str:
        return f"application/{self.form}"

    @property
    def name(self) -> str:
        """The user property ``encoding``."""
        return "zlib" if self.compression == "zlib" else "plain"

    def encode(self, batch: Batch, device: str) -> bytes:
        """The payload of a batch."""
        payload = batch.envelope(device)
        if self.form == "msgpack":
            payload = msgspec.msgpack.encode(msgspec.json.decode(payload))
        return zlib.compress(payload, _ZLIB_LEVEL) if self.compression == "zlib" else payload


def decode(payload: bytes) -> Any:
    """The object in a payload, told by its first bytes alone (for readers on 3.1.1).

    Raises:
        InputError: it is damaged, or written in a way that is not known here (zstd).
    """
    try:
        if payload[:1] == b"\x78":
            inflater = zlib.decompressobj()
            payload = inflater.decompress(payload, _UNPACKED_MAX_BYTES)
            if not inflater.eof:
                raise InputError("the batch is cut short, or larger than 64 MiB")
        if payload[:4] == b"\x28\xb5\x2f\xfd":
            raise InputError("the batch is compressed with zstd, which is not supported here")
        if payload[:1] == b"{":
            return msgspec.json.decode(payload)
        return msgspec.msgpack.decode(payload)
    except (zlib.error, msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise InputError(f"the batch can't be read: {error}") from error
