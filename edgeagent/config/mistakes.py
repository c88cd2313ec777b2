"""What was probably meant where a file is no TOML: the mistakes that people make.

Imported only for a file that can't be parsed. The parser's own sentence stays, for who knows
TOML; what follows it is for everybody else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from edgeagent.config.secret import redacted

_MOST = 20
_PAIR = re.compile(r"^\s*[A-Za-z0-9_.\"'-]+\s*=")
_CURLY = "“”„‟‘’‚‛«»"
_BARE_VALUE = re.compile(r"^\s*([A-Za-z0-9_.\"-]+)\s*=\s*([^\s\"'\[{#][^#]*?)\s*(?:#.*)?$")
_DECIMAL_COMMA = re.compile(r"^\s*([A-Za-z0-9_-]+)\s*=\s*(-?[0-9]+),([0-9]+)\s*(?:#.*)?$")
_COLON = re.compile(r"^\s*([A-Za-z0-9_-]+)\s*:\s*(\S.*?)?\s*$")
_HEADER = re.compile(r"^\s*\[\[?\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")


def remedy(said: str, text: str, number: int) -> str:
    """What to do about the line where parsing stopped; empty = nothing comes to mind.

    Args:
        said: the parser's sentence, its first letter small.
        text: of the whole file.
        number: of the line, from 1.
    """
    lines = text.split("\n")
    line = lines[number - 1] if number <= len(lines) else ""
    if text.lstrip()[:1] == "{":
        return "this looks like JSON; write TOML: [mqtt], and below it key = value"
    if any(mark in line for mark in _CURLY):
        return 'the quotes are typographic ones; write plain ones: "text"'
    if said.startswith(("cannot declare", "cannot overwrite")):
        return _twice(line, lines[: number - 1])
    if said.startswith(("unescaped", "invalid hex", "invalid escape")) and "\\" in line:
        return "write \\\\ for each \\, or put the text between ' '"
    if "unbalanced" in said or said.startswith(("unterminated", "illegal character")):
        return "a quote is missing"
    if said.startswith("invalid value"):
        return _value(line)
    if line.rstrip().endswith((",", ";")):
        return f"take away the {line.rstrip()[-1]} at the end of the line"
    comma = _DECIMAL_COMMA.match(line)
    if comma:
        return f"write {comma[1]} = {comma[2]}.{comma[3]}"
    colon = _COLON.match(line)
    if colon:
        return f"write {colon[1]} = {redacted(colon[2] or '…', colon[1])}"
    header = _HEADER.match(line)
    if header and re.search(r"[^A-Za-z0-9_.-]", header[1]):
        plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", header[1])
        return f"names have letters, digits, - and _ only: [{plain}]"
    return ""


def _twice(line: str, above: list[str]) -> str:
    """A table or a key that stands there already."""
    header = _HEADER.match(line)
    wanted = header[1] if header else line.partition("=")[0].strip()
    for number, earlier in enumerate(above, start=1):
        found = _HEADER.match(earlier)
        its = found[1] if found else earlier.partition("=")[0].strip()
        if its == wanted and bool(found) == bool(header):
            what = f"[{wanted}]" if header else wanted
            keep = "put its keys there" if header else "keep one of them"
            return f"{what} stands in line {number} already; {keep}"
    return "it stands there twice"


def _value(line: str) -> str:
    match = _BARE_VALUE.match(line)
    if match is None:
        written = line.split("#")[0].rstrip()
        return "nothing stands after =" if written.endswith("=") else ""
    key, value = match[1], match[2]
    if value.lower() in ("true", "false", "yes", "no", "on", "off"):
        return f"write {key} = {'true' if value.lower() in ('true', 'yes', 'on') else 'false'}"
    if '"' in value or "'" in value:
        return "texts begin and end with a quote"
    return f'texts need quotes: {key} = "{redacted(value, key)}"'


def further(text: str, number: int, parse: Callable[[str], object]) -> Iterator[ValueError]:
    """Faults below the one in a line, as far as that line stands for itself: the parser stops at
    the first, and a person wants to mend a file once.

    Args:
        text: of the whole file.
        number: of the line with the first fault.
        parse: raises ValueError with a ``line``.
    """
    lines = text.split("\n")
    for _ in range(_MOST):
        if not _stands_for_itself(lines[number - 1]):
            return
        lines[number - 1] = ""
        try:
            parse("\n".join(lines))
            return
        except ValueError as error:
            below = getattr(error, "line", 0)
            if below <= number or below > len(lines):
                return
            yield error
            number = below


def _stands_for_itself(line: str) -> bool:
    """Whether a fault in it says nothing about the lines below: it opens nothing."""
    opened = sum(line.count(mark) for mark in "[{") - sum(line.count(mark) for mark in "]}")
    pair = _PAIR.match(line) or _COLON.match(line)
    return bool(pair) and not opened and '"""' not in line and "'''" not in line


_ADDRESS = re.compile(
    r"^(?P<scheme>[a-z]+://)?(?:[^@/\s]*@)?(?P<name>[^:/\s]+)(?::(?P<port>\d+))?(?:/.*)?$"
)


def plain_host(address: str) -> str:
    """What to write in place of a URL or of a host with its port; empty where it is neither (an
    address of IPv6)."""
    match = _ADDRESS.match(address)
    if match is None or not (match["scheme"] or match["port"]):
        return ""
    port = match["port"] or ("8883" if match["scheme"] in ("mqtts://", "ssl://") else "")
    return f'write host = "{match["name"]}"' + (f" and port = {port}" if port else "")
