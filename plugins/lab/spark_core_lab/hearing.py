"""What is heard in a recording without a model: loud stretches, their words and their pitch."""

from __future__ import annotations

import io
import math
import wave
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

__all__ = ["Heard", "Stretch", "Word", "hear", "voice"]

FRAME_SECONDS: Final = 0.02
EVERY: Final = 8  #: of how many samples one is looked at for loudness
GAP_FRAMES: Final = 15  #: of silence, that part two stretches
QUIET: Final = 0.01  #: of full scale, below which nothing is heard
WORD_SECONDS: Final = 0.3
PITCH_SECONDS: Final = 0.5  #: of a stretch, that its pitch is taken from
EMBEDDING: Final = 192  #: numbers, as TitaNet has

WORDS: Final = (
    *("the", "harbour", "opens", "early", "and", "every", "north", "pump", "runs", "while"),
    *("ada", "calls", "ben", "about", "a", "late", "invoice", "for", "seven", "bearings"),
)


@dataclass(frozen=True)
class Word:
    """A word; times in seconds."""

    word: str
    start: float
    end: float


@dataclass(frozen=True)
class Stretch:
    """Something said without a pause; ``pitch`` in hertz."""

    start: float
    end: float
    pitch: float
    words: tuple[Word, ...]

    @property
    def text(self) -> str:
        """Its words in a row."""
        return " ".join(word.word for word in self.words)


@dataclass(frozen=True)
class Heard:
    """All of a recording."""

    duration: float
    stretches: tuple[Stretch, ...]

    @property
    def text(self) -> str:
        """All that was said."""
        return " ".join(stretch.text for stretch in self.stretches)


def hear(recording: bytes) -> Heard:
    """What there is to hear in a WAV file.

    :raises ValueError: it is none.
    """
    try:
        with wave.open(io.BytesIO(recording)) as file:
            rate, samples = file.getframerate(), _samples(file)
    except (wave.Error, EOFError, RuntimeError) as error:
        raise ValueError("this is not a WAV file") from error
    found = (_stretch(samples, rate, *bounds) for bounds in _loud(samples, rate))
    return Heard(len(samples) / rate, tuple(found))


def _samples(file: wave.Wave_read) -> array[int]:
    """The first channel, as 16 bits each."""
    width, channels = file.getsampwidth(), file.getnchannels()
    data = file.readframes(file.getnframes())
    if width == 1:
        return array("h", ((byte - 128) << 8 for byte in data[::channels]))
    if width > 2:  # the two highest bytes of each, which come last
        kept = bytearray(len(data) // width * 2)
        kept[0::2], kept[1::2] = data[width - 2 :: width], data[width - 1 :: width]
        data = bytes(kept)
    samples = array("h", data[: len(data) // 2 * 2])
    return samples[::channels]


def _loud(samples: array[int], rate: int) -> Iterator[tuple[int, int]]:
    """Where it is loud: the frames at which each such stretch begins and ends."""
    size = max(int(rate * FRAME_SECONDS), 1)
    loud = [
        frame
        for frame in range(len(samples) // size)
        if _loudness(samples[frame * size : (frame + 1) * size : EVERY]) > QUIET
    ]
    edges = [n for n, (a, b) in enumerate(pairwise(loud), 1) if b - a > GAP_FRAMES]
    for first, last in pairwise([0, *edges, len(loud)] if loud else []):
        yield loud[first] * size, (loud[last - 1] + 1) * size


def _loudness(samples: Sequence[int]) -> float:
    return sum(map(abs, samples)) / len(samples) / 32768


def _stretch(samples: array[int], rate: int, start: int, end: int) -> Stretch:
    begin, length = start / rate, (end - start) / rate
    number = max(round(length / WORD_SECONDS), 1)
    step = length / number
    pitch = _pitch(samples[start : min(end, start + int(rate * PITCH_SECONDS))], rate)
    words = (
        Word(
            WORDS[(round(begin * 10) + n) % len(WORDS)],
            round(begin + n * step, 2),
            round(begin + (n + 1) * step, 2),
        )
        for n in range(number)
    )
    return Stretch(round(begin, 2), round(begin + length, 2), pitch, tuple(words))


def _pitch(samples: Sequence[int], rate: int) -> float:
    """How often the sound swings in a second."""
    crossings = sum(a < 0 <= b for a, b in pairwise(samples))
    return crossings * rate / max(len(samples), 1)


def voice(pitch: float) -> list[float]:
    """A unit vector for a voice: near for pitches that are near, whatever the recording."""
    place = math.log2(max(pitch, 20.0)) * 8
    numbers = [math.cos(place * math.sin(n + 1) * 4 + n * n) for n in range(EMBEDDING)]
    length = math.sqrt(sum(number * number for number in numbers))
    return [round(number / length, 6) for number in numbers]
