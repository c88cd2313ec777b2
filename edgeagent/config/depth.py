"""How deep a document from outside is nested."""

from __future__ import annotations

from typing import Any


def deeper(found: Any, most: int) -> bool:
    """Whether tables and lists lie in one another more than ``most`` times. Walks level by level:
    a document that is nested on purpose exhausts no stack."""
    level = [found]
    for _ in range(most):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return False
    return True
