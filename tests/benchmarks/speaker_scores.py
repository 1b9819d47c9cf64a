"""How well words are attributed to speakers: cpWER and WDER.

A transcript is a sequence of ``(speaker, word)`` in the order of time.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import cache

__all__ = ["Said", "cp_errors", "cpwer", "edit_distance", "wder", "wder_counts"]

Said = Sequence[tuple[str | None, str]]


def edit_distance(one: Sequence[str], other: Sequence[str]) -> int:
    """Insertions, deletions and substitutions from *one* to *other* (Myers' bit vectors)."""
    if not one:
        return len(other)
    places: dict[str, int] = defaultdict(int)
    for position, word in enumerate(one):
        places[word] |= 1 << position
    whole, last = (1 << len(one)) - 1, 1 << (len(one) - 1)
    up, down, distance = whole, 0, len(one)
    for word in other:
        match = places.get(word, 0)
        diagonal = (((match & up) + up) ^ up) | match | down
        right, left = down | ~(diagonal | up) & whole, up & diagonal
        distance += bool(right & last) - bool(left & last)
        right, left = right << 1 | 1, left << 1
        up, down = (left | ~(diagonal | right)) & whole, right & diagonal & whole
    return distance


def cp_errors(reference: Said, hypothesis: Said) -> tuple[int, int]:
    """The errors of the best one-to-one pairing of speakers, and the words of *reference*.

    A speaker that has no partner is inserted or deleted as a whole.
    """
    ours, theirs = _streams(reference), _streams(hypothesis)
    size = max(len(ours), len(theirs))
    ours += [[]] * (size - len(ours))
    theirs += [[]] * (size - len(theirs))
    costs = [[edit_distance(one, other) for other in theirs] for one in ours]
    return _cheapest(costs), len(reference)


def cpwer(reference: Said, hypothesis: Said) -> float:
    """The concatenated minimum-permutation word error rate."""
    errors, words = cp_errors(reference, hypothesis)
    return errors / words


def wder(reference: Said, hypothesis: Said) -> float:
    """The word diarization error rate: of aligned words, the share with the wrong speaker."""
    wrong, aligned = wder_counts(reference, hypothesis)
    return wrong / aligned


def wder_counts(reference: Said, hypothesis: Said) -> tuple[int, int]:
    """Aligned words (alike or substituted) with the wrong speaker, and all aligned words.

    Speakers are paired one to one so that most words are right; a word of none is wrong.
    """
    pairs = list(_aligned([word for _, word in reference], [word for _, word in hypothesis]))
    agreeing = Counter((reference[i][0], hypothesis[j][0]) for i, j in pairs)
    rows = sorted({speaker for speaker, _ in agreeing}, key=str)
    columns = sorted({speaker for _, speaker in agreeing} - {None}, key=str)
    size = max(len(rows), len(columns))
    costs = [[0] * size for _ in range(size)]
    for (row, column), count in agreeing.items():
        if column is not None:
            costs[rows.index(row)][columns.index(column)] = -count
    return len(pairs) + _cheapest(costs), len(pairs)


def _streams(said: Said) -> list[list[str]]:
    streams: dict[str | None, list[str]] = defaultdict(list)
    for speaker, word in said:
        streams[speaker].append(word)
    return list(streams.values())


def _cheapest(costs: Sequence[Sequence[int]]) -> int:
    """The least sum of one cost from each row, no column twice."""

    @cache
    def least(taken: int) -> int:
        row = taken.bit_count()
        free = (column for column in range(len(costs)) if not taken >> column & 1)
        return min((costs[row][c] + least(taken | 1 << c) for c in free), default=0)

    return least(0)


def _aligned(one: Sequence[str], other: Sequence[str]) -> Iterable[tuple[int, int]]:
    """The pairs of positions that an alignment with the fewest edits puts side by side."""
    rows = [list(range(len(other) + 1))]
    for number, word in enumerate(one, 1):
        above, row = rows[-1], [number]
        for position, candidate in enumerate(other):
            replaced = above[position] + (word != candidate)
            row.append(min(replaced, above[position + 1] + 1, row[-1] + 1))
        rows.append(row)
    i, j = len(one), len(other)
    while i and j:
        if rows[i][j] == rows[i - 1][j - 1] + (one[i - 1] != other[j - 1]):
            i, j = i - 1, j - 1
            yield i, j
        elif rows[i][j] == rows[i - 1][j] + 1:
            i -= 1
        else:
            j -= 1
