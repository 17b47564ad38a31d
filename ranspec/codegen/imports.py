"""What a Python file imports."""

from __future__ import annotations

import ast
from functools import lru_cache


@lru_cache(maxsize=128)
def imported_modules(source: str) -> frozenset[str]:
    """Return the top-level modules that a file imports anywhere.

    Most files of a build are copies, the same in the next.
    """
    nodes = list(ast.walk(ast.parse(source)))
    plain = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    named = [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return frozenset(name.partition(".")[0] for name in (*plain, *named))
