"""Conversations whose truth is known, as a recogniser and a diarizer might hear them.

Everything follows from a seed. People take turns, with pauses and overlaps; they reply shortly
within each other's turns; the recogniser gives some words no time, or too long a one; the
diarizer is a little early or late, and joins a turn over a reply.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

__all__ = ["Conversation", "Heard", "Setting", "converse"]

REPLIES = (("Yes.",), ("Right.",), ("No.",), ("I", "see."), ("Okay.",), ("Exactly.",))
SYLLABLES = ("ba", "den", "fo", "gri", "ka", "lum", "mer", "no", "pel", "ri", "sta", "tu", "ve")


@dataclass(frozen=True)
class Setting:
    """What kind of conversation: how many talk, and how clean it is heard."""

    name: str = "plain"
    speakers: int = 2
    seconds: float = 300.0
    overlap: float = 0.15  #: share of changes at which the next speaker comes in early
    replies: float = 0.25  #: chance of a reply in a pause between sentences
    backchannels: float = 0.05  #: chance of a reply over a running sentence
    untimed: float = 0.04  #: words without times, beside all numbers; 0: every word has some
    cuts: float = 0.35  #: sentence ends at which the recogniser ends a segment
    stretched: float = 0.3  #: words before a pause that last until the next word
    jitter: float = 0.12  #: of the diarizer's borders, standard deviation in seconds
    joins: float = 0.5  #: pauses in seconds over which the diarizer joins a turn
    ghosts: float = 0.5  #: turns per minute of somebody who says nothing then


@dataclass(frozen=True)
class Heard:
    """A word with its speaker; after the recogniser perhaps without times."""

    word: str
    start: float | None
    end: float | None
    speaker: str

    @property
    def span(self) -> tuple[float, float]:
        """Of a word that has times."""
        assert self.start is not None
        assert self.end is not None
        return self.start, self.end


@dataclass
class Conversation:
    """What was said, in the order of time; what was recognised; when somebody spoke."""

    truth: list[Heard] = field(default_factory=list)
    words: list[dict[str, object]] = field(default_factory=list)
    segments: list[dict[str, object]] = field(default_factory=list)
    turns: list[dict[str, object]] = field(default_factory=list)


def converse(seed: int, setting: Setting) -> Conversation:
    """One conversation; the same *seed* and *setting* give the same one."""
    chance = random.Random(f"{seed} {setting}")
    truth = sorted(_talk(chance, setting), key=lambda heard: heard.span)
    recognised = list(_recognised(chance, setting, truth))
    return Conversation(
        truth=truth,
        words=[{"word": w.word, "start": w.start, "end": w.end} for w in recognised],
        segments=list(_segments(chance, setting, recognised)),
        turns=list(_turns(chance, setting, truth)),
    )


# ------------------------------------------------------------------------------------ what is said


def _talk(chance: random.Random, setting: Setting) -> Iterator[Heard]:
    names = [f"person {number}" for number in range(setting.speakers)]
    now, speaker = 0.5, names[0]
    while now < setting.seconds:
        others = [name for name in names if name != speaker]
        for _ in range(chance.randint(1, 4)):
            sentence = list(_sentence(chance, speaker, now))
            yield from sentence
            now = sentence[-1].span[1]
            if chance.random() < setting.backchannels:
                over = chance.choice(sentence).span[0]
                yield from _reply(chance, chance.choice(others), over)
            if chance.random() < setting.replies:
                reply = _reply(chance, chance.choice(others), now + chance.uniform(0.05, 0.3))
                yield from reply
                now = reply[-1].span[1]
            now += chance.uniform(0.1, 0.6)
        speaker = chance.choice(others)
        early = chance.random() < setting.overlap
        now += -chance.uniform(0.2, 1.2) if early else chance.uniform(0.0, 0.8)


def _sentence(chance: random.Random, speaker: str, now: float) -> Iterator[Heard]:
    length = chance.randint(3, 14)
    for position in range(length):
        word = "".join(chance.choices(SYLLABLES, k=chance.randint(1, 3)))
        if chance.random() < 0.03:
            word = str(chance.randint(10, 2040))
        end = now + (0.1 + 0.05 * len(word)) * chance.uniform(0.8, 1.25)
        yield Heard(word + "." * (position == length - 1), now, end, speaker)
        now = end + chance.expovariate(1 / 0.04)


def _reply(chance: random.Random, speaker: str, now: float) -> list[Heard]:
    said = []
    for word in chance.choice(REPLIES):
        said.append(Heard(word, now, now + chance.uniform(0.2, 0.45), speaker))
        now = said[-1].span[1] + 0.03
    return said


# ------------------------------------------------------------------------------ what is recognised


def _recognised(chance: random.Random, setting: Setting, truth: Sequence[Heard]) -> Iterator[Heard]:
    kept = [heard for heard in truth if not _missed(chance, heard, truth)]
    for number, heard in enumerate(kept):
        start, end = (time + chance.gauss(0, 0.03) for time in heard.span)
        following = kept[number + 1].span[0] if number + 1 < len(kept) else end
        if following - end > 0.3 and chance.random() < setting.stretched:
            end = following
        word = replace(heard, start=max(0.0, start), end=max(0.0, start + 0.02, end))
        number = setting.untimed > 0 and heard.word[0].isdigit()
        if number or chance.random() < setting.untimed:
            word = replace(word, start=None, end=None)
        elif setting.untimed and chance.random() < 0.02:
            word = replace(word, end=word.start)
        yield word


def _missed(chance: random.Random, heard: Heard, truth: Sequence[Heard]) -> bool:
    """A word here and there; every second reply that somebody speaks over."""
    start, end = heard.span
    is_reply = any(heard.word in reply for reply in REPLIES)
    covered = is_reply and any(
        other.speaker != heard.speaker and other.span[0] < end and start < other.span[1]
        for other in truth
    )
    return chance.random() < (0.5 if covered else 0.01)


def _segments(
    chance: random.Random, setting: Setting, words: Sequence[Heard]
) -> Iterator[dict[str, object]]:
    """Cut at sentence ends, but not at all of them, and whoever speaks."""
    part: list[Heard] = []
    for number, word in enumerate(words):
        part.append(word)
        ends = word.word.endswith(".") and chance.random() < setting.cuts
        if ends or len(part) >= 60 or number + 1 == len(words):
            times = [time for w in part if w.start is not None for time in w.span]
            yield {
                "text": " " + " ".join(w.word for w in part),
                "start": min(times, default=None),
                "end": max(times, default=None),
            }
            part = []


# ----------------------------------------------------------------------------------- who is heard


def _turns(
    chance: random.Random, setting: Setting, truth: Sequence[Heard]
) -> Iterator[dict[str, object]]:
    """Each speaker's words, joined over pauses, with borders that are a little off."""
    speakers = sorted({heard.speaker for heard in truth})
    for number, speaker in enumerate(speakers):
        spans = [heard.span for heard in truth if heard.speaker == speaker]
        for start, end in _joined(spans, setting.joins):
            start, end = (time + chance.gauss(0, setting.jitter) for time in (start, end))
            if end - start > 0.1:
                yield {"start": max(0.0, start), "end": end, "speaker": f"SPEAKER_{number:02}"}
    for _ in range(round(setting.ghosts * setting.seconds / 60)):
        start = chance.uniform(0, setting.seconds)
        ghost = f"SPEAKER_{chance.randrange(len(speakers)):02}"
        yield {"start": start, "end": start + chance.uniform(0.15, 0.4), "speaker": ghost}


def _joined(spans: Sequence[tuple[float, float]], pause: float) -> Iterator[tuple[float, float]]:
    start, end = spans[0]
    for following, its_end in spans[1:]:
        if following - end > pause:
            yield start, end
            start = following
        end = its_end
    yield start, end
