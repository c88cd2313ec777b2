"""When a certificate ends, read from its PEM file without a cryptography library.

X.509 (RFC 5280, section 4.1): Certificate → TBSCertificate → [0] version, serialNumber,
signature, issuer, validity {notBefore, notAfter}. Only these tags are walked.
"""

from __future__ import annotations

import ssl
from datetime import datetime, timezone
from pathlib import Path

from edgeagent.errors import InputError

_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18
_END = "-----END CERTIFICATE-----"


def ends_at(path: str | Path) -> datetime:
    """The end (UTC) of the first certificate in a PEM file. Raises InputError."""
    try:
        text = Path(path).read_text()
        first = text[text.index("-----BEGIN CERTIFICATE-----") : text.index(_END) + len(_END)]
        return _not_after(ssl.PEM_cert_to_DER_cert(first))
    except (OSError, ValueError, IndexError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            f"{path} is not a certificate that can be read: {why}",
            remedy="Name a PEM file that begins with -----BEGIN CERTIFICATE-----.",
        ) from error


def warning(path: str | Path, *, days: int = 30, now: datetime | None = None) -> str:
    """A sentence if the certificate ends within ``days`` or has ended, else an empty text."""
    end = ends_at(path)
    left = end - (now or datetime.now(timezone.utc))
    if left.total_seconds() <= 0:
        return f"the certificate {path} ended on {end:%Y-%m-%d}"
    if left.days < days:
        return f"the certificate {path} ends on {end:%Y-%m-%d}, in {left.days} days"
    return ""


def _not_after(der: bytes) -> datetime:
    _, certificate = _read(der, 0)
    _, body = _read(certificate, 0)
    position = _skip(body, 0) if body[0] == _VERSION else 0
    for _ in ("serialNumber", "signature", "issuer"):
        position = _skip(body, position)
    tag, validity = _read(body, position)
    if tag != _SEQUENCE:
        raise ValueError("no validity where it belongs")
    tag, value = _read(validity, _skip(validity, 0))
    return _time(tag, value.decode("ascii"))


def _time(tag: int, text: str) -> datetime:
    if tag == _UTC_TIME:
        # Two digits of the year: 50 and above are 1950–1999 (RFC 5280, section 4.1.2.5.1).
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("no time where it belongs")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc)


def _read(data: bytes, position: int) -> tuple[int, bytes]:
    start, end = _span(data, position)
    return data[position], data[start:end]


def _skip(data: bytes, position: int) -> int:
    return _span(data, position)[1]


def _span(data: bytes, position: int) -> tuple[int, int]:
    """Where the value begins and ends. Raises IndexError or ValueError for cut data."""
    length, start = data[position + 1], position + 2
    if length & 0x80:
        count = length & 0x7F
        length = int.from_bytes(data[start : start + count], "big")
        start += count
    if start + length > len(data):
        raise ValueError("it is cut short")
    return start, start + length
