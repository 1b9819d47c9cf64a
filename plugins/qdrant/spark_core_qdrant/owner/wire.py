"""What goes over the owner's socket: frames of a length and a msgpack document.

A request is ``[operation, arguments]``; an answer is ``["ok", result]``, or
``["error", class, message, hint]`` with the name of one of :mod:`spark_core.errors`.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import msgpack

from spark_core import errors

__all__ = ["error_answer", "read", "result_of", "write"]

_LENGTH = struct.Struct(">I")


async def read(reader: asyncio.StreamReader) -> Any:
    """The next document.

    :raises EOFError: the other end is gone (as :class:`asyncio.IncompleteReadError`).
    """
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    return msgpack.unpackb(await reader.readexactly(length), strict_map_key=False)


async def write(writer: asyncio.StreamWriter, document: Any) -> None:
    """Send *document*."""
    packed = msgpack.packb(document, default=list)
    # In one piece: two would wake the other end twice.
    writer.write(_LENGTH.pack(len(packed)) + packed)
    await writer.drain()


def error_answer(error: Exception) -> list[Any]:
    """The answer that makes the other end raise *error*."""
    if isinstance(error, errors.SparkError):
        return ["error", type(error).__name__, error.message, error.hint]
    return ["error", "BackendError", f"the embedded index failed: {type(error).__name__}", None]


def result_of(answer: list[Any]) -> Any:
    """The result in *answer*.

    :raises SparkError: the answer is an error.
    """
    if answer[0] == "ok":
        return answer[1]
    _, name, message, hint = answer
    raise getattr(errors, name)(message, hint=hint)
