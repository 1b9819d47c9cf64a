"""Names of tables and columns: as they are, and as SQL writes them."""

from __future__ import annotations

import re

__all__ = ["folded", "quoted", "unquoted", "without_schema"]

_QUOTED = r'"(?:[^"]|"")+"|\[[^\]]+\]|`(?:[^`]|``)+`'
_IDENTIFIER = re.compile(_QUOTED)
_IN_MAIN = re.compile(rf"""(?:main|"main"|\[main\]|`main`)\.({_QUOTED}|[^\s."'`\[\]]+)""", re.I)


def quoted(name: str) -> str:
    """*name* as SQL writes it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def unquoted(name: str) -> str:
    """*name* without the quotes that SQL writes around it, if there are any."""
    if not _IDENTIFIER.fullmatch(name):
        return name
    quote, inner = name[0], name[1:-1]
    return inner if quote == "[" else inner.replace(quote * 2, quote)


def without_schema(name: str) -> str:
    """The name of the table that is written as *name*, with ``main.`` before it or without."""
    found = _IN_MAIN.fullmatch(name)
    return unquoted(found[1] if found else name)


def folded(name: str) -> bytes:
    """*name* as SQLite compares names: the case of ASCII letters alone makes no difference."""
    return name.encode().lower()
