"""Server-sent events, out of bytes that may be cut anywhere, and back into bytes."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from spark_core.errors import BackendError

__all__ = ["Event", "EventReader"]

#: Bytes that one event may have.
LARGEST: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its ``data``, and its other lines as they came."""

    data: bytes | None
    others: tuple[bytes, ...] = ()

    def encoded(self, data: bytes | None = None) -> bytes:
        """The event as it is sent, with other *data* if that is given."""
        data = self.data if data is None else data
        lines = [*self.others] if data is None else [*self.others, b"data: " + data]
        return b"".join(line + b"\n" for line in lines) + b"\n"


class EventReader:
    """Reads events from what is fed."""

    def __init__(self) -> None:
        self._rest = b""
        self._lines: list[bytes] = []
        self._mark = BOM_UTF8

    @property
    def is_within(self) -> bool:
        """Whether an event has begun and is not whole."""
        return bool(self._rest.strip() or self._lines)

    def feed(self, piece: bytes) -> Iterator[Event]:
        """The events that are whole with *piece*.

        :raises BackendError: one is far too large.
        """
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            line, self._mark = line.removeprefix(self._mark), b""  # it may stand at the begin
            if line := line.removesuffix(b"\r"):
                self._lines.append(line)
            elif self._lines:
                yield self._taken()
        if len(self._rest) + sum(map(len, self._lines)) > LARGEST:
            raise BackendError(f"the answer has an event of more than {LARGEST} bytes")

    def _taken(self) -> Event:
        lines, self._lines = self._lines, []
        data = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
        others = tuple(line for line in lines if not line.startswith(b"data:"))
        return Event(b"\n".join(data) if data else None, others)
