"""What a payload may hold: JSON, of the extent that both engines take and give back unchanged."""

from __future__ import annotations

import math
from typing import Any

from spark_core.errors import InvalidRequest, Problem

__all__ = ["check_json", "check_text", "refused"]

#: How deep lists and objects may lie in each other. The embedded engine stores what is nested
#: more than 126 times and can never read it again.
DEEPEST = 32


def check_json(value: Any, pointer: str, depth: int = 0) -> None:
    """Fail unless *value*, which *pointer* names, is JSON."""
    match value:
        case None | bool():
            return
        case str():
            check_text(value, pointer)
        case int() if not -(2**63) <= value < 2**63:
            raise refused(pointer, "a whole number must fit into 64 bits")
        case float() if not math.isfinite(value):
            raise refused(pointer, "a number must be finite")
        case int() | float():
            return
        case dict() | list() | tuple() if depth == DEEPEST:
            raise refused(pointer, f"lists and objects may be nested {DEEPEST} times")
        case dict():
            for key, inner in value.items():
                _check_key(key, pointer)
                check_json(inner, f"{pointer}/{key}", depth + 1)
        case list() | tuple():
            for index, inner in enumerate(value):
                check_json(inner, f"{pointer}/{index}", depth + 1)
        case _:
            raise refused(pointer, f"a payload is JSON, which has no {type(value).__name__}")


def check_text(text: str, pointer: str) -> None:
    """Fail where *text* holds halves of characters, which no UTF-8 can say."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise refused(pointer, "the text is not valid Unicode") from None


def refused(pointer: str, detail: str) -> InvalidRequest:
    """The error for what *pointer* names."""
    return InvalidRequest(f"{pointer}: {detail}", problems=[Problem(pointer, detail)])


def _check_key(key: Any, pointer: str) -> None:
    if not isinstance(key, str):
        raise refused(pointer, "a field's name must be text")
    check_text(key, pointer)
