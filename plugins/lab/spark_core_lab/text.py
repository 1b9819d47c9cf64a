"""Text without a model: tokens that can be put together again, and answers that echo."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from typing import Any, Final

__all__ = ["arguments", "echo", "from_tokens", "merged", "to_tokens"]

TOKEN_BYTES: Final = 3
READ: Final = 2000  #: characters of a prompt that are echoed

#: How many tokens come in one event; with it, 64 tokens are 39 events.
MERGES: Final = (1, 2, 1, 2, 2, 1, 3, 1, 2, 1, 2)


def to_tokens(text: str) -> list[int]:
    """Numbers for the bytes of *text*, three at a time."""
    data = text.encode("utf-8", "replace")
    pieces = (data[n : n + TOKEN_BYTES] for n in range(0, len(data), TOKEN_BYTES))
    return [int.from_bytes(b"\x01" + piece, "big") for piece in pieces]


def from_tokens(tokens: Sequence[int]) -> str:
    """The text that *tokens* were made from."""
    sizes = ((token, (token.bit_length() - 1) // 8) for token in tokens if token > 0)
    data = b"".join(token.to_bytes(size + 1, "big")[1:] for token, size in sizes)
    return data.decode("utf-8", "replace")


def count(text: str) -> int:
    """How many tokens *text* has."""
    return -(-len(text.encode("utf-8", "replace")) // TOKEN_BYTES)


def echo(prompt: str, tokens: int) -> list[str]:
    """An answer of so many *tokens*: the words of *prompt* again and again, numbered."""
    words = re.findall(r"\w+", prompt[:READ]) or ["nothing"]
    return [f"{' ' if n else ''}{word}-{n}" for n, word in zip(range(tokens), cycle(words))]


def merged(tokens: Sequence[str]) -> Iterator[tuple[str, int]]:
    """*tokens* as they come in events: the text of some, and how many they are."""
    start = 0
    for size in cycle(MERGES):
        if start >= len(tokens):
            return
        some = tokens[start : start + size]
        yield "".join(some), len(some)
        start += size


def arguments(schema: Mapping[str, Any], words: Iterator[str]) -> Any:
    """A value that fits *schema*, as far as it is a simple one, out of *words*."""
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if kind == "object":
        fields = schema.get("properties", {})
        return {name: arguments(inner, words) for name, inner in fields.items()}
    if kind == "array":
        return [arguments(schema.get("items", {}), words)]
    word = next(words)
    simple: dict[str, Any] = {"integer": len(word), "number": len(word) + 0.5, "boolean": True}
    return simple.get(kind if isinstance(kind, str) else "string", word)
