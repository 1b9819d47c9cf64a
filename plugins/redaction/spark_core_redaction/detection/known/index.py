"""The index of all that is known: one pass over a text finds every one of a hundred thousand.

A text is read word by word. Words that occur in no name are left behind at once; where known
words stand together, their group is looked up by its sorted words, so that the order in which
a name is written does not matter. Every step takes the same time however much is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import NamedTuple, TypeAlias

from ..letters import fold, is_capitalised, word_pattern
from .endings import stems
from .glued import Beginnings, joins, rows
from .tables import Owners, Table, each
from .terms import LONGEST, TAIL, digits_of, key_of, words_of
from .vocabulary import COMMON, MONTHS, TITLES

__all__ = ["KnownIndex", "Match", "Tables", "is_telling"]


#: Fewer digits are in many a longer number by chance.
PLENTY = 8


class Match(NamedTuple):
    """``text[start:end]`` is known, as the whole or a ``part`` of what ``identity`` names."""

    kind: str
    start: int
    end: int
    identity: str
    part: str = ""


#: A word where it stands.
_Word: TypeAlias = "re.Match[str]"


@dataclass(frozen=True, slots=True)
class Tables:
    """What leads to what is known; see :class:`.terms.Terms` for what each is."""

    lengths: Table[str, int]
    squeezed: Table[int, Owners]
    wholes: Table[str, Owners]
    families: Table[str, Owners]
    givens: Table[str, Owners]
    initials: Table[str, Owners]
    firms: Table[str, Owners]
    numbers: Table[str, Owners]
    tails: Table[str, Owners]
    towns: Table[str, Owners]
    beginnings: Beginnings


class KnownIndex:
    """What is known, to be looked for. It never changes: what does makes another one."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._forms: dict[str, tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self._tables.wholes)

    # ------------------------------------------------------------------------------- finding

    def find(self, text: str) -> list[Match]:
        """All that is known in *text*, in order, the longest where several begin together."""
        words = list(word_pattern(text).finditer(text))
        spelt = [word[0] for word in words]
        known = {word for word in set(spelt) if self._read(word)}
        places = [place for place, word in enumerate(spelt) if word in known]
        found = self._named(text, words, known, places)
        whole = [*self._told_apart(text, found), *self._counted(text, words, spelt)]
        return [*whole, *(g for g in self.glued(text) if not any(_within(g, m) for m in whole))]

    def glued(self, text: str) -> Iterator[Match]:
        """Whole names of several words, and numbers, that have no boundary before or behind."""
        if not self._tables.beginnings.sizes:
            return
        row, places = rows(text)
        end = 0
        for at in self._tables.beginnings.within(row):
            if at < end:
                continue
            for size in self._tables.beginnings.sizes:
                value = row[at : at + size]
                if len(value) < size:
                    continue
                match = self._stuck(text, value, places[at], places[at + size - 1] + 1)
                if match is not None:
                    end = at + size
                    yield match
                    break

    def _stuck(self, text: str, value: str, start: int, end: int) -> Match | None:
        """*value*, if it is known and stands so that words would not show it."""
        before, behind = text[max(start - 1, 0) : start], text[end : end + 1]
        if kinds := each(self._tables.numbers.get(value)):
            if len(value) < PLENTY and value.isdigit() and any(map(str.isdigit, (before, behind))):
                return None
            return Match(kinds[0], start, end, f"{kinds[0]}:{value}")
        if not self.knows(value) or not (before.isalnum() or behind.isalnum()):
            return None
        words = words_of(text[start:end])
        owners = self._tables.wholes.get(key_of(words)) if len(words) > 1 else None
        return None if owners is None else self._match(owners, start, end, text)

    def phone(self, digits: str) -> str | None:
        """The known number that *digits* are, written with or without its country."""
        return next(iter(each(self._tables.tails.get(digits_of(digits)[-TAIL:]))), None)

    def knows(self, squeezed: str) -> bool:
        """Whether *squeezed* is a known name without anything between its words."""
        return self._tables.squeezed.get(hash(squeezed)) is not None

    def _read(self, word: str) -> tuple[str, ...]:
        """The known words that *word* may be, in whatever form it is written."""
        forms = self._forms.get(word)
        if forms is None:
            if len(self._forms) > 200_000:
                self._forms.clear()
            folded = fold(word)
            length = self._tables.lengths.get
            found = [] if length(folded) is None else [folded]
            if len(folded) > 3:
                found += [stem for stem in stems(folded) if length(stem) is not None]
            if len(folded) > 5 and not found and self.knows(folded):
                found = [f"\0{folded}"]
            forms = self._forms[word] = tuple(dict.fromkeys(found))
        return forms

    def _named(
        self, text: str, words: list[_Word], known: set[str], places: list[int]
    ) -> list[Match]:
        found: list[Match] = []
        behind = 0
        for place in places:
            if place < behind:
                continue
            match = self._whole(text, words, place, known) or self._part(text, words, place)
            if match is not None:
                behind = match[0] + 1
                found.append(match[1])
        return found

    def _whole(
        self, text: str, words: list[_Word], place: int, known: set[str]
    ) -> tuple[int, Match] | None:
        """The longest name that begins at *place*, and the place of its last word."""
        group = _group(text, words, place, known)
        first = words[place]
        lengths = 0
        for form in self._read(first[0]):
            if form[0] == "\0":  # several words in one
                return place, Match("PERSON", first.start(), first.end(), f"PERSON:{form[1:]}")
            lengths |= self._tables.lengths.get(form) or 0
        for length in range(min(len(group), lengths.bit_length() - 1), 0, -1):
            if not lengths >> length & 1:
                continue
            taken = group[:length]
            owners = self._owners([words[n][0] for n in taken])
            if owners is None or (
                length == 1 and not is_telling(text, first.start(), first[0], alone=True)
            ):
                continue
            last = self._town(words, taken[-1], owners)
            return last, self._match(owners, first.start(), words[last].end(), text)
        return None

    def _town(self, words: list[_Word], last: int, owners: Owners) -> int:
        """The place of the last word of an address: its town may follow the street."""
        towns = (town for one in each(owners) for town in each(self._tables.towns.get(one)))
        left = {word for town in towns for word in town.split()}
        while left and last + 1 < len(words) and fold(words[last + 1][0]) in left:
            left.discard(fold(words[last + 1][0]))
            last += 1
        return last

    def _owners(self, words: Sequence[str]) -> Owners | None:
        forms = [self._read(word) for word in words]
        for choice in islice(product(*forms), 16):
            if (owners := self._tables.wholes.get(key_of(choice))) is not None:
                return owners
        return None

    def _match(self, owners: Owners, start: int, end: int, text: str) -> Match:
        if isinstance(owners, str):
            if owners[0] == "\0":
                return Match(owners[1:].partition(":")[0], start, end, owners[1:])
            return Match(self._kind(owners), start, end, f"entity:{owners}")
        people = [owner for owner in owners if owner[0] != "\0"] or list(owners)
        if len(people) == 1:
            return self._match(people[0], start, end, text)
        kind = "PERSON" if people[0][0] == "\0" else self._kind(people[0])
        return Match(kind, start, end, f"{kind}:{' '.join(words_of(text[start:end]))}")

    def _kind(self, owner: str) -> str:
        return "PERSON" if self._tables.firms.get(owner) is None else "ORGANIZATION"

    # ------------------------------------------------------------------------ parts of names

    def _part(self, text: str, words: list[_Word], place: int) -> tuple[int, Match] | None:
        """A given or family name that stands alone or with an initial."""
        word = words[place]
        if not is_telling(text, word.start(), word[0], alone=False):
            return None
        for form in self._read(word[0]):
            if (owners := self._tables.families.get(form)) is not None:
                return self._family(text, words, place, form, owners)
        for form in self._read(word[0]):
            if (owners := self._tables.givens.get(form)) is not None:
                return self._given(text, words, place, form, owners)
        return None

    def _family(
        self, text: str, words: list[_Word], place: int, form: str, owners: Owners
    ) -> tuple[int, Match]:
        word = words[place]
        start, letters = word.start(), ""
        for before in (words[n] for n in range(place - 1, max(place - 4, -1), -1)):
            if not _is_initial(before) or text[before.end() : start].strip(" .-\u00a0"):
                break
            start, letters = before.start(), fold(before[0]) + letters
        end, last = word.end(), place
        if not letters:
            end, last, letters = _initials_behind(text, words, place)
        if letters:
            fitting = [one for one in each(owners) if letters[0] in self._letters(one)[::2]]
            if len(fitting) == 1:
                return last, Match("PERSON", start, end, f"entity:{fitting[0]}")
            return last, Match("PERSON", start, end, f"PERSON:{letters} {form}")
        return place, Match("PERSON", start, end, self._whose(owners, form), "family")

    def _given(
        self, text: str, words: list[_Word], place: int, form: str, owners: Owners
    ) -> tuple[int, Match]:
        word = words[place]
        end, last, letters = _initials_behind(text, words, place)
        if letters:
            fitting = [one for one in each(owners) if letters[0] in self._letters(one)[1::2]]
            if len(fitting) == 1:
                return last, Match("PERSON", word.start(), end, f"entity:{fitting[0]}")
            return last, Match("PERSON", word.start(), end, f"PERSON:{form} {letters}")
        return place, Match("PERSON", word.start(), word.end(), self._whose(owners, form), "given")

    def _letters(self, owner: str) -> str:
        """The initials of a given and a family name, and of others that the same person has."""
        return "".join(each(self._tables.initials.get(owner)))

    def _whose(self, owners: Owners, form: str) -> str:
        return f"entity:{owners}" if isinstance(owners, str) else f"PERSON:{form}"

    def _told_apart(self, text: str, found: list[Match]) -> Iterator[Match]:
        """*found*, where a part that many share is that of the one whose whole name is there."""
        wholes: dict[str, set[str]] = {}
        for match in found:
            if not match.part and match.identity.startswith("entity:"):
                for word in words_of(text[match.start : match.end]):
                    wholes.setdefault(word, set()).add(match.identity)
        for match in found:
            if match.part and match.identity.startswith("PERSON:"):
                owners = wholes.get(match.identity.removeprefix("PERSON:"), set())
                if len(owners) == 1:
                    match = match._replace(identity=next(iter(owners)))
            yield match

    # ------------------------------------------------------------------------------- numbers

    def _counted(self, text: str, words: list[_Word], spelt: list[str]) -> Iterator[Match]:
        """Known numbers, however they are divided."""
        counted = {place for place, word in enumerate(spelt) if not word.isalpha()}
        if not counted:
            return
        if len(self._tables.tails):
            for match in _DIGITS.finditer(text):
                if known := self.phone(match[0]):
                    yield Match("PHONE", *match.span(), f"PHONE:{known}")
        end = 0
        for place in sorted(counted | {place - 1 for place in counted if place}):
            if words[place].start() < end:
                continue
            if number := self._number(text, words[place : place + 8]):
                end = number.end
                yield number

    def _number(self, text: str, words: Sequence[_Word]) -> Match | None:
        """The longest known number that begins with the first of *words*."""
        compact, end, found = "", words[0].start(), None
        for word in words:
            if text[end : word.start()].strip(" -./\u00a0"):
                break
            compact, end = compact + fold(word[0]), word.end()
            if kinds := each(self._tables.numbers.get(compact)):
                found = Match(kinds[0], words[0].start(), end, f"{kinds[0]}:{compact}")
        return found


_DIGITS = re.compile(r"(?<!\d)\+?\d(?:[ \u00a0().\-/]{0,3}\d){5,17}(?!\d)")


def _within(match: Match, other: Match) -> bool:
    return other.start <= match.start and match.end <= other.end


def _group(text: str, words: list[_Word], place: int, known: set[str]) -> list[int]:
    """The places of the known words from *place* on that may be one name with it."""
    group = [place]
    end = words[place].end()
    for next_ in range(place + 1, min(place + LONGEST + 2, len(words))):
        word = words[next_]
        if not joins(text[end : word.start()]):
            break
        end = word.end()
        if word[0] in known:
            group.append(next_)
        elif not _is_initial(word):
            break
    return group[:LONGEST]


def _is_initial(word: _Word) -> bool:
    return len(word[0]) == 1 and word[0].isupper()


def _initials_behind(text: str, words: list[_Word], place: int) -> tuple[int, int, str]:
    """The end, the place and the letters of the initials behind a name, with their last dot."""
    end, last, letters = words[place].end(), place, ""
    for next_ in range(place + 1, min(place + 3, len(words))):
        word = words[next_]
        dot = text[word.end() : word.end() + 1] == "."
        if not _is_initial(word) or text[end : word.start()].strip(" ,.\u00a0") or not dot:
            break
        end, last, letters = word.end() + 1, next_, letters + fold(word[0])
    return end, last, letters


def is_telling(text: str, start: int, word: str, *, alone: bool) -> bool:
    """Whether one word names somebody where it stands: a whole name that is ``alone`` does in any
    case but that of a common word, a part of a name where it is written like a name.
    """
    folded = fold(word)
    common = folded in COMMON or folded in MONTHS
    if len(folded) < 2 or folded.isdigit():
        return len(folded) > 4 and alone
    if not is_capitalised(word):
        return alone and not common
    if not alone and (folded in MONTHS or folded in TITLES or len(folded) < 3):
        return False
    return not (common and _begins_sentence(text, start))


def _begins_sentence(text: str, start: int) -> bool:
    before = text[max(0, start - 3) : start].rstrip(" \"'“„(*>-\t")
    return not before or before[-1] in ".!?:;\n\r"
