"""What of a line is shown and kept: nothing that looks secret, nothing that a terminal obeys."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final

__all__ = ["told"]

HIDDEN: Final = "***"

#: Escape sequences, and then what is left of what is no text.
_STEERS: Final = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_NAME: Final = r"(?:token|secret|passw(?:or)?d|passphrase|api[_-]?key|access[_-]?key|credentials?)"

#: A secret is what group 2 is, if there are two groups.
_SECRET: Final = (
    re.compile(rf"""({_NAME}["']?\s*[=:]\s*["']?)([^\s"'&,;]+)""", re.IGNORECASE),
    re.compile(rf"(--?[\w-]*{_NAME}\s+)(\S+)", re.IGNORECASE),
    re.compile(r"\b((?:bearer|basic)\s+)([\w.~+/=-]{8,})", re.IGNORECASE),
    re.compile(r"(://)([^\s/@]+)(?=@)"),
)

#: Variables whose values are secret, and how long one must be to be told apart from usual words.
_VARIABLE: Final = re.compile(rf"{_NAME}|private|_KEY$", re.IGNORECASE)
_LONG: Final = 6


def told(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """*text* without what is secret by its form, or as the value of a variable in *environ*."""
    text = _STEERS.sub("", text)
    for name, value in environ.items():
        if len(value) >= _LONG and _VARIABLE.search(name):
            text = text.replace(value, HIDDEN)
    for pattern in _SECRET:
        text = pattern.sub(rf"\g<1>{HIDDEN}", text)
    return text
