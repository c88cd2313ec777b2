"""Secrets come from files, the environment or systemd credentials, and are never shown.

`hide` works on any text on its way to people (messages, logs, bundles), `redacted` on tables.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from edgeagent.errors import ConfigError

HIDDEN = "***"

_URL_SECRET = re.compile(r"(?P<scheme>\b[A-Za-z][A-Za-z0-9+.-]*://)(?P<user>[^\s/@:]*):[^\s/@]*@")
_URL_QUERY = re.compile(
    r"(?i)(?P<key>[?&](?:pass(?:word|wd)?|pwd|token|secret|api_?key|auth)=)[^&\s\"']+"
)
_SECRET_KEY = re.compile(r"(?i)(pass(word|wd|phrase)?|pwd|secret|token|api_?key|credentials?)$")


def read_secret(name: str, file: str = "") -> str | None:
    """The secret called ``name`` (``mqtt``, ``cam0``), or None where none is set.

    Looked for in ``file`` (its first line), then in the environment variable
    ``EDGEAGENT_<NAME>_PASSWORD``, then among systemd's credentials under ``name``.

    Raises:
        ConfigError: the file is named but can't be read.
    """
    if not file:
        value = os.environ.get(f"EDGEAGENT_{name.upper().replace('-', '_')}_PASSWORD")
        folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
        if value is not None or not folder or not (Path(folder) / name).is_file():
            return value
        file = str(Path(folder) / name)
    try:
        return Path(file).read_text(encoding="utf-8").split("\n")[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the secret of {name} can't be read from {file}: {error}",
            remedy="Create the file and make it readable for the agent's user.",
        ) from error


def hide(text: str) -> str:
    """``rtsp://admin:pw@cam/1`` → ``rtsp://admin:***@cam/1``, anywhere in a text."""
    text = _URL_SECRET.sub(rf"\g<scheme>\g<user>:{HIDDEN}@", text)
    return _URL_QUERY.sub(rf"\g<key>{HIDDEN}", text)


def holds_secret(text: str) -> bool:
    """Whether `hide` would change it."""
    return hide(text) != text


def redacted(value: Any, key: str = "") -> Any:
    """Tables as they may be shown: values of keys such as ``token`` and passwords in URLs are
    replaced. Names of files (``password_file``) stay, they are no secret."""
    if isinstance(value, dict):
        return {name: redacted(item, str(name)) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted(item, key) for item in value]
    if _SECRET_KEY.search(key) and value not in (None, "", True, False):
        return HIDDEN
    return hide(value) if isinstance(value, str) else value
