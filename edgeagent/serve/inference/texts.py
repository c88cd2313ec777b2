"""Tensors of texts (BYTES): each element with its length before it, or a string in JSON.

Format: Triton's extension_binary_data. Runtimes take texts, so elements must be UTF-8.
"""

from __future__ import annotations

import base64
import binascii
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeagent.serve.http.exchange import Refused

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LENGTH = struct.Struct("<I")


def texts_of(data: memoryview, count: int, where: str) -> NDArray[Any]:
    """So many elements, which are all of the bytes. Raises Refused (400)."""
    if count * _LENGTH.size > len(data):
        raise Refused(400, f"{where}: {len(data)} bytes can't hold {count} elements")
    found = np.empty(count, object)
    at = 0
    for number in range(count):
        if at + _LENGTH.size > len(data):
            raise Refused(400, f"{where}: the bytes end before element {number} of {count}")
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if length > len(data) - at:
            raise Refused(
                400, f"{where}: element {number} has {length} bytes, {len(data) - at} follow"
            )
        found[number] = _text(bytes(data[at : at + length]), f"{where}, element {number}")
        at += length
    if at != len(data):
        raise Refused(400, f"{where}: {len(data) - at} bytes follow the last element")
    return found


def texts_of_json(data: list[Any], count: int | None, where: str) -> NDArray[Any]:
    """Strings, flat or nested; TensorFlow's ``{"b64": …}`` too. Raises Refused (400)."""
    try:
        raw = np.asarray(data, object)
    except ValueError as error:
        raise Refused(400, f"{where}.data: {error}") from error
    if count is not None and raw.size != count:
        raise Refused(400, f"{where}.data: {count} strings, got {raw.size}")
    found = np.empty(raw.size, object)
    for number, value in enumerate(raw.flat):
        found[number] = _string(value, where)
    return found.reshape(raw.shape)


def bytes_of_texts(array: NDArray[Any]) -> bytes:
    """Elements as they go over the wire."""
    parts = []
    for value in array.flat:
        element = value if isinstance(value, bytes) else str(value).encode()
        parts += [_LENGTH.pack(len(element)), element]
    return b"".join(parts)


def _string(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and isinstance(value.get("b64"), str) and len(value) == 1:
        try:
            return _text(base64.b64decode(value["b64"], validate=True), where)
        except binascii.Error as error:
            raise Refused(400, f"{where}.data: b64: {error}") from error
    raise Refused(400, f"{where}.data: values of BYTES only: strings")


def _text(element: bytes, where: str) -> str:
    try:
        return element.decode()
    except UnicodeDecodeError as error:
        raise Refused(400, f"{where}: not UTF-8: {error.reason}") from error
