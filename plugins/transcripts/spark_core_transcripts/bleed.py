"""What a local microphone hears of the remote side, from the loudspeaker.

A local word is bleed only where text and time agree: the same word was said on the remote
channel before, and the local one came just as much later as others did. So a quiet local word
under loud remote speech stays. That the loudspeaker is heard at all must show in a run of words,
or in many: people say the same by chance as well, though as often a little earlier as later.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from statistics import median_low
from typing import NamedTuple

from .spans import SECOND

__all__ = ["Heard", "bleed", "same_words"]

#: How much later than the remote word a local one may be, before the lag is known.
SEARCHED = 500_000

#: How far from the lag a word in a row of bleed may be, and one that stands alone.
IN_A_ROW = 250_000
ALONE = 100_000

#: Bleed comes after what it is of. Recognisers are wrong by a frame: it may seem so much earlier.
FRAME = 80_000

#: A lag is believed where a run of so many words has it, or so many words in all, and so many
#: times as many as are that near to each other on the wrong side, where all is chance.
RUN = 4
MANY = 10
TIMES_CHANCE = 4

#: How many times the same word is looked at, so near: some recognisers repeat without end.
MOST_NEAR = 50

#: Words that start farther apart are not in one row.
SOON = 1_500_000

#: Words whose times were estimated agree within this, and count in a run.
ESTIMATED = SECOND

#: A row's words that were understood a little differently: how alike, and how long.
ALIKE = 0.75
LEAST_LETTERS = 4

#: Two channels hold the same sound if this share of their words is the same to this time.
SAME_SHARE = 0.95
SAME_TIME = 50_000
LEAST_WORDS = 5


class Heard(NamedTuple):
    """A word on one channel: when it starts, in microseconds, and its letters and digits."""

    start: int
    token: str


def bleed(local: Sequence[Heard], remote: Sequence[Heard], *, estimated: bool = False) -> set[int]:
    """The numbers of the *local* words that are only heard from *remote*.

    *estimated*: the times of one channel follow from its segments, so they are loose.
    """
    pairs = _pairs(local, remote, 0, ESTIMATED if estimated else SEARCHED)
    if estimated:
        rows = _rows(local, pairs)
        return {number for row in rows if len(row) >= RUN for number in row}
    lag = _lag(local, remote, pairs)
    if lag is None:
        return set()
    pairs = _pairs(local, remote, lag, IN_A_ROW)
    pairs |= _misheard(local, remote, lag, pairs)
    lags = {i: local[i].start - remote[j].start for i, j in pairs.items()}
    return {
        number
        for row in _rows(local, pairs)
        for number in row
        if lags[number] >= -FRAME and (len(row) > 1 or abs(lags[number] - lag) <= ALONE)
    }


def _lag(local: Sequence[Heard], remote: Sequence[Heard], pairs: Mapping[int, int]) -> int | None:
    """How much later bleed is heard, if enough of *pairs* show that there is any."""
    lags = {i: local[i].start - remote[j].start for i, j in pairs.items()}
    later = _nearest([lag for lag in lags.values() if lag >= -FRAME])
    if not later:
        return None
    by_chance = _nearest([-lag for lag in lags.values() if lag < -FRAME])
    lag = median_low(later)
    runs = _rows(local, {i: j for i, j in pairs.items() if abs(lags[i] - lag) <= ALONE})
    enough = len(later) >= max(MANY, TIMES_CHANCE * len(by_chance))
    return lag if enough or max(map(len, runs)) >= RUN else None


def _nearest(lags: Iterable[int]) -> list[int]:
    """Of *lags*, in order, the most that are no farther apart than what stands alone may be."""
    found = sorted(lags)
    ends = [bisect_right(found, lag + 2 * ALONE) for lag in found]
    return max((found[n:end] for n, end in enumerate(ends)), key=len, default=[])


def same_words(local: Sequence[Heard], remote: Sequence[Heard]) -> bool:
    """Whether both channels have the same words at the same times."""
    pairs = _pairs(local, remote, 0, SAME_TIME)
    most = max(len(local), len(remote))
    return most >= LEAST_WORDS and len(pairs) >= SAME_SHARE * most


def _pairs(local: Sequence[Heard], remote: Sequence[Heard], lag: int, reach: int) -> dict[int, int]:
    """Each local word with the remote one of the same text that is nearest to *lag* before it;
    every remote word once.
    """
    places: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for number, heard in enumerate(remote):
        if heard.token:
            places[heard.token].append((heard.start, number))
    for theirs in places.values():
        theirs.sort()
    taken: set[int] = set()
    pairs: dict[int, int] = {}
    for number, heard in enumerate(local):
        near = _near(places.get(heard.token, []), heard.start - lag, reach)
        free = [(abs(start - heard.start + lag), n) for start, n in near if n not in taken]
        if free:
            pairs[number] = min(free)[1]
            taken.add(pairs[number])
    return pairs


def _near(places: Sequence[tuple[int, int]], time: int, reach: int) -> Iterator[tuple[int, int]]:
    first = bisect_left(places, (time - reach, -1))
    for position in range(first, min(first + MOST_NEAR, len(places))):
        if places[position][0] > time + reach:
            return
        yield places[position]


def _rows(local: Sequence[Heard], pairs: Mapping[int, int]) -> list[list[int]]:
    """Local words that follow each other soon, as their remote ones do; one may be missing
    between.
    """
    rows: list[list[int]] = []
    for number in sorted(pairs):
        before = rows[-1][-1] if rows else number
        soon = local[number].start - local[before].start <= SOON
        if rows and soon and _follows(pairs, before, number):
            rows[-1].append(number)
        else:
            rows.append([number])
    return rows


def _follows(pairs: Mapping[int, int], one: int, other: int) -> bool:
    return other - one <= 2 and 0 < pairs[other] - pairs[one] <= 3


def _misheard(
    local: Sequence[Heard], remote: Sequence[Heard], lag: int, pairs: Mapping[int, int]
) -> dict[int, int]:
    """Beside a pair, the words that are nearly the same at the same time."""
    found: dict[int, int] = {}
    taken = set(pairs.values())
    for number, partner in pairs.items():
        for step in (-1, 1):
            i, j = number + step, partner + step
            if not (0 <= i < len(local) and 0 <= j < len(remote)) or i in pairs or j in taken:
                continue
            near = abs(local[i].start - remote[j].start - lag) <= IN_A_ROW
            if near and _alike(local[i].token, remote[j].token):
                found[i] = j
                taken.add(j)
    return found


def _alike(one: str, other: str) -> bool:
    if min(len(one), len(other)) < LEAST_LETTERS:
        return False
    return SequenceMatcher(None, one, other, autojunk=False).ratio() >= ALIKE
