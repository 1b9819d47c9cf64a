"""WAV files on the disk, cut into windows without being read."""

from __future__ import annotations

import io
import struct
import wave
from dataclasses import dataclass

from spark_core.gateway.forms import FilePart, Span

from .chunks import Window

__all__ = ["Recording", "open_recording"]


@dataclass(frozen=True)
class Recording:
    """PCM *sound*: so many ``channels`` of samples of ``width`` bytes, ``rate`` times a second."""

    sound: Span
    rate: int
    channels: int
    width: int

    @property
    def frame(self) -> int:
        """Bytes of all channels at one moment."""
        return self.channels * self.width

    @property
    def duration(self) -> float:
        """In seconds."""
        return self.sound.size // self.frame / self.rate

    def cut(self, window: Window) -> FilePart:
        """That part of it, as a WAV file of its own."""
        start, end = (round(time * self.rate) * self.frame for time in (window.start, window.end))
        sound = self.sound.within(start, end - start)
        return FilePart("file", "chunk.wav", "audio/wav", sound, self._head(sound.size))

    def _head(self, size: int) -> bytes:
        each_second = self.rate * self.frame
        return struct.pack(
            "<4sI4s 4sIHHIIHH 4sI",
            *(b"RIFF", 36 + size, b"WAVE"),
            *(b"fmt ", 16, wave.WAVE_FORMAT_PCM, self.channels, self.rate),
            *(each_second, self.frame, 8 * self.width),
            *(b"data", size),
        )


def open_recording(content: Span) -> Recording | None:
    """What is in *content*; None where that is no WAV file of PCM."""
    file = io.BufferedReader(content.within(0, content.size))
    try:
        found = wave.open(file)  # noqa: SIM115 - it has nothing to close
    except (wave.Error, EOFError, RuntimeError):
        return None
    if not (found.getframerate() and found.getnchannels() and found.getsampwidth()):
        return None
    frame = found.getnchannels() * found.getsampwidth()
    # Opening it reads up to the sound. What is recorded as it is sent has no true size.
    begin = file.tell()
    rest = (content.size - begin) // frame * frame
    size = min(found.getnframes() * frame or rest, rest)
    sound = content.within(begin, size)
    return Recording(sound, found.getframerate(), found.getnchannels(), found.getsampwidth())
