"""Taking secrets out of text that leaves the device.

What is known to be secret is taken out wherever it stands, in every way of writing it; what only
looks like one (a password beside its name, a private key, a token) as well.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote, urlsplit

from edgeagent.config.model import Config
from edgeagent.config.secret import HIDDEN, hide

SHORTEST = 4
"""What is shorter would be found in every other word."""
_LARGEST = 64 * 1024
_NAMED = re.compile(r"(?i)(PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|CREDENTIAL)")
_PATTERNS = (
    (re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*-----|\Z)", re.S),
     HIDDEN),
    (re.compile(r"\beyJ[\w-]{6,}\.[\w-]{6,}\.[\w-]*"), HIDDEN),
    (re.compile(r"(?i)\b(Bearer|Basic)\s+[A-Za-z0-9+/_.~-]{6,}=*"), rf"\1 {HIDDEN}"),
    (re.compile(
        r"(?i)((?:pass(?:word|wd|phrase)?|pwd|secret|token|api[_-]?key|authorization|credentials?)"
        r"[\"']?\s*[:=]\s*)(?:\"(?:[^\"\\]|\\.)*\"|'[^']*'|[^\s,;&}\]\"']+)"
    ), rf"\1{HIDDEN}"),
)  # fmt: skip


class Scrub:
    """Args: secrets: values that must not be seen."""

    def __init__(self, secrets: Iterable[str]) -> None:
        written = {form for its in secrets if len(its) >= SHORTEST for form in _forms(its)}
        # The longest first: one may be the beginning of another.
        words = sorted(written, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, words))) if words else None

    def __call__(self, text: str) -> str:
        """The text without them."""
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        text = hide(text)
        for pattern, put in _PATTERNS:
            text = pattern.sub(put, text)
        return text


def secrets_of(config: Config, files: Iterable[str]) -> set[str]:
    """All values that a configuration points to, that the environment holds and that systemd has
    handed over. ``files`` hold secrets; those that can't be read hold none for us."""
    found: set[str] = set()
    credentials = os.environ.get("CREDENTIALS_DIRECTORY", "")
    handed = sorted(Path(credentials).glob("*")) if credentials else []
    for file in (*map(Path, files), *handed):
        found |= set(_lines(file))
    found |= {value for name, value in os.environ.items() if _NAMED.search(name)}
    for source in config.sources.values():
        password = urlsplit(str(getattr(source, "url", ""))).password
        if password:
            found |= {password, unquote(password)}
    return {its for its in found if its.strip()}


def _lines(file: Path) -> Iterator[str]:
    try:
        if file.stat().st_size > _LARGEST:
            return
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    if text.strip():
        yield text.strip()
    # Of a key each line is one: a log breaks texts at line ends.
    yield from (line.strip() for line in text.splitlines() if not line.startswith("-----"))


def _forms(secret: str) -> Iterator[str]:
    yield secret
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield quote(secret, safe="")
    yield quote_plus(secret)
    yield base64.b64encode(secret.encode()).decode()
    yield base64.urlsafe_b64encode(secret.encode()).decode()
    yield secret.encode().hex()
