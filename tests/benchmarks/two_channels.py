"""Conversations on two channels, whose local microphone hears the loudspeaker, too.

The local words are known one by one: said here, or only heard. Everything follows from a seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from conversations import REPLIES, Heard, Setting, converse

__all__ = ["LOCAL", "LocalWord", "TwoChannels", "listen"]

LOCAL = "person 0"


@dataclass(frozen=True)
class LocalWord:
    """A word that was recognised on the local channel."""

    heard: Heard
    bleed: bool  #: it was said on the remote side
    covered: bool  #: somebody spoke there at the same time


@dataclass(frozen=True)
class TwoChannels:
    """What was recognised on each channel, in the order of time."""

    local: Sequence[LocalWord]
    remote: Sequence[Heard]


def listen(seed: int, level: float) -> TwoChannels:
    """One conversation, in which the local microphone hears a share *level* of remote words."""
    truth = converse(seed, Setting(speakers=3, overlap=0.4, backchannels=0.3)).truth
    chance = random.Random(f"{seed} {level}")
    remote = [heard for heard in truth if heard.speaker != LOCAL]
    own = [heard for heard in truth if heard.speaker == LOCAL]
    own += _by_chance(chance, remote)
    local = [LocalWord(_jittered(chance, h), False, _covered(h, remote)) for h in own]
    local += [LocalWord(heard, True, True) for heard in _bleed(chance, remote, own, level)]
    local.sort(key=lambda word: word.heard.span)
    return TwoChannels(local, [_jittered(chance, heard) for heard in remote])


def _jittered(chance: random.Random, heard: Heard) -> Heard:
    start, end = heard.span
    start = max(0.0, start + chance.gauss(0, 0.03))
    return replace(heard, start=start, end=max(start + 0.02, end))


def _covered(heard: Heard, others: Sequence[Heard]) -> bool:
    start, end = heard.span
    return any(other.span[0] < end and start < other.span[1] for other in others)


def _by_chance(chance: random.Random, remote: Sequence[Heard]) -> Iterator[Heard]:
    """Replies that both sides give at about the same time."""
    for heard in remote:
        if (heard.word,) in REPLIES and chance.random() < 0.15:
            shift = chance.uniform(-0.3, 0.3)
            start, end = (max(0.0, time + shift) for time in heard.span)
            yield Heard(heard.word, start, end, LOCAL)


def _bleed(
    chance: random.Random, remote: Sequence[Heard], own: Sequence[Heard], level: float
) -> Iterator[Heard]:
    """Remote words a little later; fewer where the local speaker speaks, some misheard."""
    delay = chance.uniform(0.03, 0.2)
    for heard in remote:
        if chance.random() < level * (0.3 if _covered(heard, own) else 1.0):
            late = replace(heard, start=heard.span[0] + delay, end=heard.span[1] + delay)
            if chance.random() < 0.1:
                late = replace(late, word=late.word[:-2] + chance.choice(("ra", "s", "ten")))
            yield _jittered(chance, late)
