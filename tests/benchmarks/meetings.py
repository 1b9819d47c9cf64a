"""Long meetings, diarized in chunks that hold four speakers at most, with voiceprints.

Everything follows from a seed. Voices have a part in common, as those of one room do.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from spark_core_transcripts.chunks import Window, plan

__all__ = ["Meeting", "likeness", "meet"]

MOST = 4
LENGTH = 192
HOUR = 3600.0

#: How much of the room is in a voiceprint, against the voice.
ROOM = 0.5

Spoken = tuple[float, float, str]


@dataclass(frozen=True)
class Meeting:
    """Who spoke when, one after the other; and the diarization of each chunk."""

    truth: Sequence[Spoken]
    chunks: Sequence[dict[str, Any]]

    @property
    def speech(self) -> float:
        """Of everybody, in seconds."""
        return sum(end - start for start, end, _ in self.truth)

    def agreeing(self, turns: Iterable[Spoken]) -> float:
        """The seconds with the right speaker; each of *turns*' names is the person it is most
        of the time, and each person has one name.
        """
        shared: Counter[tuple[str, str]] = Counter()
        remaining = list(self.truth)
        for start, end, name in sorted(turns):
            while remaining and remaining[0][1] <= start:
                remaining.pop(0)
            for begins, ends, person in remaining:
                if begins >= end:
                    break
                shared[name, person] += min(end, ends) - max(start, begins)
        return _paired(shared)


def _paired(shared: Counter[tuple[str, str]]) -> float:
    """The most seconds first; near enough to the best where names are mostly right."""
    names: set[str] = set()
    people: set[str] = set()
    total = 0.0
    for (name, person), seconds in shared.most_common():
        if name not in names and person not in people:
            names.add(name)
            people.add(person)
            total += seconds
    return total


def likeness(noise: float) -> float:
    """The cosine similarity of two voiceprints of one person, of ten seconds or more each."""
    voice = 1 + ROOM**2
    return voice / (voice + noise**2)


def meet(seed: int, people: int, noise: float) -> Meeting:
    """An hour of *people*, in groups that change; *noise* is in their voiceprints."""
    chance = random.Random(f"{seed} {people} {noise}")
    room = _random(chance)
    voices = {
        f"person {n}": _unit([v + r * ROOM for v, r in zip(_random(chance), room, strict=True)])
        for n in range(people)
    }
    truth: list[Spoken] = []
    now = 0.0
    while now < HOUR:
        present = chance.sample(sorted(voices), min(people, chance.randint(2, MOST)))
        for _ in range(chance.randint(8, 25)):
            end = now + chance.uniform(1, 9)
            truth.append((now, end, chance.choice(present)))
            now = end + chance.uniform(0, 0.5)
    chunks = [_chunk(chance, window, truth, voices, noise) for window in plan(truth[-1][1])]
    return Meeting(truth, chunks)


def _chunk(
    chance: random.Random,
    window: Window,
    truth: Sequence[Spoken],
    voices: dict[str, list[float]],
    noise: float,
) -> dict[str, Any]:
    """The window's speakers under names of its own; who is too much gets another's name."""
    spoken: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for start, end, person in truth:
        if start < window.end and window.start < end:
            inside = (max(start, window.start) - window.start, min(end, window.end) - window.start)
            spoken[person].append(inside)
    seconds = {person: sum(b - a for a, b in spans) for person, spans in spoken.items()}
    heard = sorted(seconds, key=lambda person: -seconds[person])[:MOST]
    names = dict(zip(heard, chance.sample("wxyz", len(heard)), strict=True))
    known = [*names.values()]
    return {
        "offset": window.start,
        "duration": window.end - window.start,
        "segments": [
            {"start": start, "end": end, "speaker": names.get(person) or chance.choice(known)}
            for person, spans in spoken.items()
            for start, end in spans
        ],
        "speakers": {
            name: {"embedding": _noisy(chance, voices[person], noise, seconds[person])}
            for person, name in names.items()
        },
    }


def _noisy(chance: random.Random, voice: Sequence[float], noise: float, seconds: float) -> Any:
    """A voiceprint of so much speech; *noise* is that of ten seconds or more."""
    scale = noise * math.sqrt(10 / min(10, max(1, seconds))) / math.sqrt(LENGTH)
    return [value + chance.gauss(0, scale) for value in voice]


def _random(chance: random.Random) -> list[float]:
    return _unit([chance.gauss(0, 1) for _ in range(LENGTH)])


def _unit(vector: Sequence[float]) -> list[float]:
    length = math.hypot(*vector)
    return [value / length for value in vector]
