"""Reads forms (``multipart/form-data``): their fields, and where in them the file is."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from spark_core.errors import InvalidRequest

__all__ = ["FIELD_BYTES", "Field", "File", "FormReader", "boundary_of", "late_fields"]

#: What all fields of a form may take, in bytes, with what stands around them.
FIELD_BYTES: Final = 1024 * 1024

#: The parts that a form may have: each takes longer than its bytes alone.
MOST_PARTS: Final = 1000

#: Ends the head of each part.
HEAD_END: Final = b"\r\n\r\n"

# It warns of each body that is no form, with bytes of it: the caller is told, or the backend.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


@dataclass
class Field:
    """A field; ``start`` is where its value begins in the form, None behind the file."""

    name: str
    start: int | None
    value: bytearray

    @property
    def text(self) -> str:
        """Its value."""
        return self.value.decode("utf-8", "surrogateescape")


@dataclass
class File:
    """A file: *size* bytes from *start* on in the form."""

    name: str
    filename: str
    media_type: str
    start: int
    size: int = 0


class FormReader:
    """The parts of a form that comes in pieces. ``file`` is the first one."""

    def __init__(self, boundary: bytes) -> None:
        self.boundary = boundary
        self.fields: list[Field] = []
        self.file: File | None = None
        self.whole = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_begin": self._begin_header,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_headers_finished": self._end_head,
                "on_part_data": self._data,
                "on_end": self._end,
            },
        )
        self._parsed = self._in_fields = self._parts = 0
        self._held = b""
        self._headers: list[tuple[bytearray, bytearray]] = []
        self._part: Field | File | None = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        :raises InvalidRequest: it is no form, or too much of one.
        """
        if self.file is not None:
            self._parse(data)
            return
        # Head by head, so that it is known where what follows begins.
        data, begin = self._held + data, 0
        while self.file is None and (end := data.find(HEAD_END, begin)) >= 0:
            self._parse(data[begin : end + 4])
            begin = end + 4
        self._held = data[begin:]
        if self.file is not None:
            self._parse(self._held)
            self._held = b""
        self._check(self._parsed + len(self._held) if self.file is None else self._in_fields)

    def end(self) -> None:
        """There is no more.

        :raises InvalidRequest: something is missing.
        """
        self._parse(self._held)
        if not self.whole:
            raise InvalidRequest("the form ends too early")

    def _parse(self, data: bytes) -> None:
        self._parsed += len(data)
        try:
            self._parser.write(data)
        except FormParserError:
            raise InvalidRequest("the body is not a form (multipart/form-data)") from None

    def _check(self, size: int) -> None:
        if size > FIELD_BYTES:
            raise InvalidRequest(f"the fields of the form take more than {FIELD_BYTES} bytes")

    # --------------------------------------------------------------- what the parser calls

    def _begin(self) -> None:
        self._headers = []
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise InvalidRequest(f"the form has more than {MOST_PARTS} parts")

    def _begin_header(self) -> None:
        self._headers.append((bytearray(), bytearray()))

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._headers[-1][0].extend(data[start:end])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._headers[-1][1].extend(data[start:end])

    def _end_head(self) -> None:
        headers = {bytes(name).lower(): bytes(value) for name, value in self._headers}
        _, about = parse_options_header(headers.get(b"content-disposition", b""))
        name = _text(about.get(b"name", b""))
        start = self._parsed if self.file is None else None
        if b"filename" not in about:
            self._part = Field(name, start, bytearray())
            self.fields.append(self._part)
        elif self.file is None:
            media_type = _text(headers.get(b"content-type", b"application/octet-stream"))
            self._part = self.file = File(name, _text(about[b"filename"]), media_type, self._parsed)
        else:
            self._part = None  # another file

    def _data(self, data: bytes, start: int, end: int) -> None:
        if isinstance(self._part, File):
            self._part.size += end - start
        elif self._part is not None:
            self._part.value += data[start:end]
            self._in_fields += end - start
            self._check(self._in_fields)

    def _end(self) -> None:
        self.whole = True


def boundary_of(content_type: bytes) -> bytes | None:
    """What parts the form that *content_type* announces; None where that is no form."""
    kind, options = parse_options_header(content_type)
    return (options.get(b"boundary") or None) if kind == b"multipart/form-data" else None


def late_fields(tail: bytes, boundary: bytes) -> list[Field]:
    """The fields that begin in the *tail* of a form, if it is one."""
    begin = tail.find(b"\r\n--" + boundary + b"\r\n")
    if begin < 0:
        return []
    reader = FormReader(boundary)
    with suppress(InvalidRequest):
        reader.feed(tail[begin + 2 :])
        reader.end()
    return reader.fields


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
