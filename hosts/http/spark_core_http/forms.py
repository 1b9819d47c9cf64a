"""Forms that are looked into before it is decided what becomes of them.

That is done where a plugin answers some requests to a relay itself, and where the model's name
must choose among several backends. What comes before the file is read, and most clients put all
fields there: then the rest streams through. Where the file comes first, the body goes to the
disk, not into memory: audio is large, and private.
"""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Final, Protocol

from spark_core import DataDirectory
from spark_core.errors import InvalidRequest, Problem, StorageFull
from spark_core.gateway.forms import FilePart, Form, Multipart, Span

from .form_reading import FormReader, late_fields

__all__ = ["YES", "Beginning", "Framed", "Spooled", "read_beginning", "temporary", "write"]

#: Bytes within which a form's file must begin, or else the form is read to its end.
BEGINNING: Final = 65536

#: Bytes at a form's end in which fields are looked for that should have come before the file.
TAIL: Final = 65536

#: Bytes that are written to the disk, or read from it, at once.
PIECE: Final = 1024 * 1024

#: What says that a field is wanted.
YES: Final = frozenset({"true", "1", "yes", "on"})


class Framed(Protocol):
    """A form that is passed on, ``again`` if need be; ``model`` is what it names, if it does."""

    model: str | None
    again: bool

    def body(self, model: str | None) -> tuple[int | None, AsyncIterable[bytes]]:
        """Its length, if that is known, and its bytes, with *model* as the model's name."""
        ...


class Beginning:
    """A form whose file streams through, with the ``fields`` that came before it.

    It is not ``readable`` where it is no form: what is wrong with it is for the backend to say.
    Where one of the ``late`` fields comes after the file, it is refused.
    """

    def __init__(
        self,
        reader: FormReader,
        taken: list[bytes],
        rest: Callable[[], AsyncIterator[bytes]],
        length: int | None,
        readable: bool,
    ) -> None:
        self.model: str | None = None
        self.again = False
        self.readable = readable
        self.has_file = reader.file is not None
        # Not those behind a small file: what is answered must not depend on how much came at once.
        self.fields = [(f.name, f.text) for f in reader.fields if f.start is not None]
        self.late: frozenset[str] = frozenset()
        self._reader = reader
        self._taken = taken
        self._rest = rest
        self._length = length

    def pieces(self) -> AsyncIterator[bytes]:
        """All of it, as it comes."""
        return _chained(self._taken, self._rest())

    async def keep(self, file: IO[bytes]) -> None:
        """Let the rest of it come to *file*, from which it can be sent again."""
        await write(file, self._rest())
        rest = Span(file.fileno(), 0, file.seek(0, os.SEEK_END))
        self._rest, self.again = rest.pieces, True

    def body(self, model: str | None) -> tuple[int | None, AsyncIterable[bytes]]:
        """Beginning and rest."""
        taken = b"".join(self._taken)
        beginning = self._renamed(taken, model) if model is not None else taken
        length = self._length
        if length is not None:
            length += len(beginning) - len(taken)
        pieces = _chained([beginning], self._rest())
        return length, self._watched(pieces) if self.late else pieces

    def _renamed(self, taken: bytes, model: str) -> bytes:
        for field in reversed(self._reader.fields):
            if field.name == "model" and field.start is not None:
                end = field.start + len(field.value)
                taken = taken[: field.start] + model.encode() + taken[end:]
        return taken

    async def _watched(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The last piece is held back until it is known that nothing came too late."""
        kept, size = deque[bytes](), 0
        async for piece in pieces:
            if kept:
                yield kept[-1]
            kept.append(piece)
            size += len(piece)
            while size - len(kept[0]) >= TAIL:
                size -= len(kept.popleft())
        for field in late_fields(b"".join(kept), self._reader.boundary):
            if field.name in self.late and field.text.strip().lower() in YES:
                raise _too_late(field.name)
        if kept:
            yield kept[-1]


def _too_late(name: str) -> InvalidRequest:
    detail = f"it must come before the file, or in the query (?{name}=true)"
    return InvalidRequest(f"{name}: {detail}", problems=[Problem(f"/{name}", detail)])


class Spooled:
    """A form that lies on the disk."""

    def __init__(self, file: IO[bytes], boundary: bytes) -> None:
        self._raw = Span(file.fileno(), 0, file.seek(0, os.SEEK_END))
        self._boundary = boundary
        self.model: str | None = None
        self.again = True
        self.form = Form()

    async def read(self) -> None:
        """Find out what is in it.

        :raises InvalidRequest: it is no form.
        """
        self.form = await asyncio.to_thread(self._read)

    def _read(self) -> Form:
        reader = FormReader(self._boundary)
        self._raw.seek(0)
        while piece := self._raw.read(PIECE):
            reader.feed(piece)
        reader.end()
        fields = tuple((field.name, field.text) for field in reader.fields)
        if (found := reader.file) is None:
            return Form(fields)
        content = self._raw.within(found.start, found.size)
        return Form(fields, FilePart(found.name, found.filename, found.media_type, content))

    def body(self, model: str | None) -> tuple[int | None, AsyncIterable[bytes]]:
        """As it came, unless the model has another name."""
        if model is None or model == self.form.last("model"):
            return self._raw.size, self._raw.pieces()
        # Under the same boundary: the request's head says which.
        renamed = Multipart(self.form.having(("model", model)), self._boundary.decode("latin-1"))
        return renamed.length, renamed


# --------------------------------------------------------------------------------- reading


async def read_beginning(
    pieces: AsyncIterator[bytes], boundary: bytes, length: int | None
) -> Beginning:
    """What comes of a form before its file."""
    reader, taken, size = FormReader(boundary), list[bytes](), 0
    readable = True
    async for piece in pieces:
        taken.append(piece)
        size += len(piece)
        try:
            reader.feed(piece)
        except InvalidRequest:
            readable = False
        if not readable or reader.file is not None or size >= BEGINNING:
            break
    return Beginning(reader, taken, lambda: pieces, length, readable)


@contextmanager
def temporary(directory: DataDirectory) -> Iterator[IO[bytes]]:
    """A file in *directory* that nobody else can open, and that is gone at the end.

    :raises StorageFull: there is no room for more.
    """
    folder = directory.made() / "tmp"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            yield file
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StorageFull(f"there is no room for the upload in {folder}") from None


async def write(file: IO[bytes], pieces: AsyncIterable[bytes]) -> None:
    """Write *pieces* to *file*."""
    held, size = list[bytes](), 0
    async for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= PIECE:
            await asyncio.to_thread(_write_all, file, b"".join(held))
            held, size = [], 0
    await asyncio.to_thread(_write_all, file, b"".join(held))


def _write_all(file: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


async def _chained(first: Iterable[bytes], rest: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    for piece in first:
        yield piece
    async for piece in rest:
        yield piece
