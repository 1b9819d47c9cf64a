"""Forms with one file, read from the disk and sent to a backend without holding it in memory."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

__all__ = ["FilePart", "Form", "Multipart", "Span"]

#: Bytes that are read at once.
PIECE: Final = 256 * 1024


class Span(io.RawIOBase):
    """*size* bytes from *start* of the open file *fd*, which is not closed with it.

    Several may be read at once: none moves the file's own position.
    """

    def __init__(self, fd: int, start: int, size: int) -> None:
        self._fd = fd
        self._start = start
        self._at = 0
        self.size = size

    def within(self, start: int, size: int) -> Span:
        """The part of it of at most *size* bytes that begins at *start*."""
        start = min(start, self.size)
        return Span(self._fd, self._start + start, min(size, self.size - start))

    async def pieces(self) -> AsyncIterator[bytes]:
        """All of it, from its beginning."""
        at = 0
        while at < self.size:
            most = min(PIECE, self.size - at)
            piece = await asyncio.to_thread(os.pread, self._fd, most, self._start + at)
            if not piece:
                raise EOFError("a file became shorter while it was read")
            at += len(piece)
            yield piece

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: object, /) -> int:
        """As files do."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        data = os.pread(self._fd, min(len(view), self.size - self._at), self._start + self._at)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """As files do, but never beyond its ends."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        self._at = min(max(base + offset, 0), self.size)
        return self._at


@dataclass(frozen=True)
class FilePart:
    """The file of a form; ``head`` comes before ``content``."""

    name: str
    filename: str
    media_type: str
    content: Span
    head: bytes = b""

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.head) + self.content.size


@dataclass(frozen=True)
class Form:
    """What a request gave: fields in their order, of which several may have one name, and a file.

    As a need it is that of the request which is answered; its file goes when that is done.
    """

    fields: tuple[tuple[str, str], ...] = ()
    file: FilePart | None = None

    def last(self, name: str) -> str | None:
        """What the field called *name* says; of several, the last."""
        return dict(self.fields).get(name)

    def without(self, names: Iterable[str]) -> Form:
        """Everything but the fields that are called so."""
        left_out = frozenset(names)
        return replace(self, fields=tuple(f for f in self.fields if f[0] not in left_out))

    def having(self, *fields: tuple[str, str]) -> Form:
        """With *fields* instead of those that have the same names."""
        kept = self.without(name for name, _ in fields).fields
        return replace(self, fields=(*kept, *fields))


class Multipart:
    """*form* as bytes, which may be iterated over again; ``length`` is how many."""

    def __init__(self, form: Form, boundary: str = "") -> None:
        boundary = boundary or os.urandom(16).hex()
        self.media_type = f"multipart/form-data; boundary={boundary}"
        self._start = "".join(_parts(form, boundary)).encode(errors="surrogateescape")
        self._end = f"\r\n--{boundary}--\r\n".encode()
        self._file = form.file
        if form.file is not None:
            self._start += form.file.head
        self.length = len(self._start) + len(self._end)
        self.length += form.file.content.size if form.file is not None else 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._start
        if self._file is not None:
            async for piece in self._file.content.pieces():
                yield piece
        yield self._end


def _parts(form: Form, boundary: str) -> Iterator[str]:
    """Everything before the file's content, or before the form's end."""
    separator = f"--{boundary}\r\n"
    for name, value in form.fields:
        yield f'{separator}Content-Disposition: form-data; name="{_quoted(name)}"\r\n\r\n{value}'
        separator = f"\r\n--{boundary}\r\n"
    if form.file is not None:
        file = form.file
        yield f'{separator}Content-Disposition: form-data; name="{_quoted(file.name)}"; '
        yield f'filename="{_quoted(file.filename)}"\r\n'
        yield f"Content-Type: {_one_line(file.media_type)}\r\n\r\n"


def _quoted(text: str) -> str:
    """As browsers write names."""
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _one_line(text: str) -> str:
    return text.replace("\r", " ").replace("\n", " ")
