"""What goes over the owner's socket: frames of a length and a msgpack document.

A request is ``[operation, arguments]``; an answer is ``["ok", result]``, or
``["error", class, message, details]`` with the name of one of :mod:`spark_core.errors`, and
whatever else it is made with. What is not of this form is taken for a broken connection.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import msgpack

from spark_core import errors

__all__ = ["error_answer", "packed", "read", "result_of", "write"]

#: The longest document, in bytes: nobody waits, or makes room, for more than that.
LONGEST = 2**28

_LENGTH = struct.Struct(">I")


async def read(reader: asyncio.StreamReader) -> Any:
    """The next document.

    :raises EOFError: the other end is gone (as :class:`asyncio.IncompleteReadError`).
    :raises ConnectionError: the other end does not speak like this.
    """
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > LONGEST:
        raise ConnectionError("a frame is too long")
    try:
        return msgpack.unpackb(await reader.readexactly(length), strict_map_key=False)
    except ValueError:
        raise ConnectionError("a frame holds no document") from None


def packed(document: Any) -> bytes:
    """*document* as a frame.

    :raises InvalidRequest: it cannot be one.
    """
    try:
        body: bytes = msgpack.packb(document)
    except (TypeError, ValueError, OverflowError):
        raise errors.InvalidRequest("the embedded index cannot store or find such data") from None
    if len(body) > LONGEST:
        raise errors.InvalidRequest(
            f"more than {LONGEST // 2**20} MiB at once are too much for the embedded index"
        )
    return _LENGTH.pack(len(body)) + body


async def write(writer: asyncio.StreamWriter, frame: bytes) -> None:
    """Send what :func:`packed` made."""
    writer.write(frame)
    await writer.drain()


def error_answer(error: BaseException) -> list[Any]:
    """The answer that makes the other end raise *error*."""
    if not isinstance(error, errors.SparkError):
        error = errors.BackendError(f"the embedded index failed: {type(error).__name__}")
    details: dict[str, Any] = {"hint": error.hint}
    if isinstance(error, errors.InvalidRequest):
        details["problems"] = [(problem.pointer, problem.detail) for problem in error.problems]
    if isinstance(error, errors.Unavailable):
        details["retry_after"] = error.retry_after
    return ["error", type(error).__name__, error.message, details]


def result_of(answer: list[Any]) -> Any:
    """The result in *answer*.

    :raises SparkError: the answer is an error.
    """
    if answer[0] == "ok":
        return answer[1]
    _, name, message, details = answer
    if "problems" in details:
        details["problems"] = [errors.Problem(*problem) for problem in details["problems"]]
    raise getattr(errors, name)(message, **details)
