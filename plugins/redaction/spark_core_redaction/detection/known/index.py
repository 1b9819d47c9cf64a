"""The index of all that is known: one pass over a text finds every one of a hundred thousand.

A text is read word by word. Words that occur in no name are left behind at once; where known
words stand together, their group is looked up by its sorted words, so that the order in which
a name is written does not matter. Every step takes the same time however much is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice, pairwise, product
from typing import NamedTuple, TypeAlias

from spark_core.contracts.detection import KnownEntity

from ..letters import WORD, fold, is_capitalised
from ..patterns.days import day_of
from ..patterns.net import emails
from .common import COMMON, FORMS, MONTHS, TITLES
from .endings import stems

__all__ = ["KnownIndex", "Match", "is_telling"]

#: A name of more words is found by its first so many.
LONGEST = 12

#: Digits by which a telephone number is known with and without its country.
TAIL = 8

#: One entity, or all that share what leads to them.
Owners: TypeAlias = "str | tuple[str, ...]"


class Match(NamedTuple):
    """``text[start:end]`` is known, as the whole or a ``part`` of what ``identity`` names."""

    kind: str
    start: int
    end: int
    identity: str
    part: str = ""


class _Word(NamedTuple):
    start: int
    end: int
    text: str


class KnownIndex:
    """What is known, to be looked for. Additions are seen at once; nothing is ever taken out."""

    def __init__(self) -> None:
        self._wholes: dict[str, Owners] = {}
        self._lengths: dict[str, int] = {}  # of each word: in names of which lengths, as bits
        self._families: dict[str, Owners] = {}
        self._givens: dict[str, Owners] = {}
        self._initials: dict[str, str] = {}
        self._firms: set[str] = set()
        self._numbers: dict[str, str] = {}
        self._tails: dict[str, str] = {}
        self._days: set[str] = set()
        self._squeezed: set[int] = set()
        self._forms: dict[str, tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self._wholes)

    # ------------------------------------------------------------------------------ learning

    def add(self, entities: Iterable[KnownEntity]) -> None:
        """Know *entities*, too."""
        for entity in entities:
            self._add(entity)
        self._forms.clear()

    def _add(self, entity: KnownEntity) -> None:
        is_person = entity.kind == "PERSON"
        if not is_person:
            self._firms.add(entity.id)
        for name in entity.names:
            self._add_name(entity.id, _words(name), name, is_person)
        if entity.given or entity.family:
            given, family = _words(entity.given), _words(entity.family)
            self._add_name(entity.id, given + family, f"{entity.given} {entity.family}", False)
            self._add_parts(entity.id, given, family)
        for email in entity.emails:
            self._add_email(email)
        for phone in entity.phones:
            self._add_phone(phone)
        for number in entity.numbers:
            self._add_number(number)
        for address in entity.addresses:
            self._add_address(address)
        self._days.update(filter(None, map(day_of, entity.births)))

    def _add_name(self, owner: str, words: list[str], written: str, is_person: bool) -> None:
        dropped = TITLES if is_person else FORMS
        bare = [word for word in words if word not in dropped]
        for form in (words, bare) if bare and len(bare) < len(words) else (words,):
            self._add_whole(owner, form)
        if is_person and len(bare) > 1:
            self._add_person(owner, bare, written)
        for other in _respelt(written):
            self._add_whole(owner, _words(other))

    def _add_person(self, owner: str, words: list[str], written: str) -> None:
        before, comma, behind = written.partition(",")
        if comma and any(word not in TITLES for word in _words(behind)):
            family = [word for word in _words(before) if word not in TITLES]
            given = [word for word in _words(behind) if word not in TITLES]
        else:
            given, family = words[:-1], words[-1:]
        if not given or not family:
            return
        if len(words) > 2:
            self._add_whole(owner, [given[0], family[-1]])
        if written[:1] < "\u0e00":  # elsewhere names are no words with spaces between
            self._add_parts(owner, given[:1], family[-1:])

    def _add_parts(self, owner: str, given: list[str], family: list[str]) -> None:
        for table, part in ((self._givens, given[:1]), (self._families, family)):
            for word in part:
                _join(table, word, owner)
                self._lengths.setdefault(word, 0)
        if given and family:
            letters = given[0][0] + family[-1][0]
            if letters not in (known := self._initials.get(owner, "")):
                self._initials[owner] = known + letters

    def _add_whole(self, owner: str, words: Sequence[str]) -> None:
        words = words[:LONGEST]
        if not words:
            return
        lengths, bit = self._lengths, 1 << len(words)
        for word in words:
            lengths[word] = lengths.get(word, 0) | bit
        _join(self._wholes, _key(words), owner)
        squeezed = "".join(words)
        self._squeezed.add(hash(squeezed))
        if len(words) == 2:
            self._squeezed.add(hash(words[1] + words[0]))

    def _add_email(self, email: str) -> None:
        email = email.strip()
        found = next(emails(email), None)
        if found is None or found.end - found.start < len(email):
            self._add_whole(f"\0EMAIL:{email.casefold()}", _words(email))

    def _add_phone(self, phone: str) -> None:
        digits = re.sub(r"\D", "", phone.replace("(0)", "").partition("x")[0])
        if len(digits) >= 7:
            self._tails.setdefault(digits[-TAIL:], _international(phone, digits))
        if 4 <= len(digits) <= TAIL + 2:
            self._numbers.setdefault(digits, f"PHONE:{digits}")

    def _add_number(self, number: str) -> None:
        compact = "".join(_words(number))
        if len(compact) >= 4 and any(map(str.isdigit, compact)):
            self._numbers.setdefault(compact, f"NUMBER:{compact}")

    def _add_address(self, address: str) -> None:
        for part in (address, *re.split(r"[,;\n]", address)[:1]):
            words = _words(part)
            if len(words) > 1 and any(map(str.isdigit, part)):
                self._add_whole(f"\0ADDRESS:{' '.join(words)}", words)

    # ------------------------------------------------------------------------------- finding

    def find(self, text: str) -> list[Match]:
        """All that is known in *text*, in order, the longest where several begin together."""
        known = {word for word in set(WORD.findall(text)) if self._read(word)}
        if not known and not self._numbers and not self._tails:
            return []
        words = [_Word(m.start(), m.end(), m[0]) for m in WORD.finditer(text)]
        found = [*self._named(text, words, known)] if known else []
        return [*self._told_apart(text, found), *self._counted(text, words)]

    def phone(self, digits: str) -> str | None:
        """The known number that *digits* are, written with or without its country."""
        return self._tails.get(re.sub(r"\D", "", digits)[-TAIL:])

    def is_birthday(self, day: str) -> bool:
        """Whether somebody known was born on *day*, ``YYYYMMDD``."""
        return day in self._days

    def knows(self, squeezed: str) -> bool:
        """Whether *squeezed* is a known name without anything between its words."""
        return hash(squeezed) in self._squeezed

    def _read(self, word: str) -> tuple[str, ...]:
        """The known words that *word* may be, in whatever form it is written."""
        forms = self._forms.get(word)
        if forms is None:
            if len(self._forms) > 200_000:
                self._forms.clear()
            folded = fold(word)
            lengths = self._lengths
            found = [folded] if folded in lengths else []
            if len(folded) > 3:
                found += [stem for stem in stems(folded) if stem in lengths]
            if len(folded) > 5 and not found and hash(folded) in self._squeezed:
                found = [f"\0{folded}"]
            forms = self._forms[word] = tuple(dict.fromkeys(found))
        return forms

    def _named(self, text: str, words: list[_Word], known: set[str]) -> Iterator[Match]:
        place = 0
        while place < len(words):
            if words[place].text not in known:
                place += 1
                continue
            match = self._whole(text, words, place, known) or self._part(text, words, place)
            if match is None:
                place += 1
                continue
            last, found = match
            yield found
            place = last + 1

    def _whole(
        self, text: str, words: list[_Word], place: int, known: set[str]
    ) -> tuple[int, Match] | None:
        """The longest name that begins at *place*, and the place of its last word."""
        group = _group(text, words, place, known)
        first = words[place]
        lengths = 0
        for form in self._read(first.text):
            if form[0] == "\0":  # several words in one
                return place, Match("PERSON", first.start, first.end, f"PERSON:{form[1:]}")
            lengths |= self._lengths[form]
        for length in range(min(len(group), lengths.bit_length() - 1), 0, -1):
            if not lengths >> length & 1:
                continue
            taken = group[:length]
            owners = self._owners([words[n].text for n in taken])
            if owners is None or (
                length == 1 and not is_telling(text, first.start, first.text, alone=True)
            ):
                continue
            last = taken[-1]
            return last, self._match(owners, first.start, words[last].end, text)
        return None

    def _owners(self, words: Sequence[str]) -> Owners | None:
        forms = [self._read(word) for word in words]
        for choice in islice(product(*forms), 16):
            if (owners := self._wholes.get(_key(choice))) is not None:
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
        return Match(kind, start, end, f"{kind}:{' '.join(_words(text[start:end]))}")

    def _kind(self, owner: str) -> str:
        return "ORGANIZATION" if owner in self._firms else "PERSON"

    # ------------------------------------------------------------------------ parts of names

    def _part(self, text: str, words: list[_Word], place: int) -> tuple[int, Match] | None:
        """A given or family name that stands alone or with an initial."""
        word = words[place]
        if not is_telling(text, word.start, word.text, alone=False):
            return None
        for form in self._read(word.text):
            if (owners := self._families.get(form)) is not None:
                return self._family(text, words, place, form, owners)
        for form in self._read(word.text):
            if (owners := self._givens.get(form)) is not None:
                return self._given(text, words, place, form, owners)
        return None

    def _family(
        self, text: str, words: list[_Word], place: int, form: str, owners: Owners
    ) -> tuple[int, Match]:
        word = words[place]
        start, letters = word.start, ""
        for before in (words[n] for n in range(place - 1, max(place - 4, -1), -1)):
            if not _is_initial(before) or text[before.end : start].strip(" .-\u00a0"):
                break
            start, letters = before.start, fold(before.text) + letters
        end, last = word.end, place
        if not letters:
            end, last, letters = _initials_behind(text, words, place)
        if letters:
            fitting = [one for one in _each(owners) if letters[0] in self._letters(one)[::2]]
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
            fitting = [one for one in _each(owners) if letters[0] in self._letters(one)[1::2]]
            if len(fitting) == 1:
                return last, Match("PERSON", word.start, end, f"entity:{fitting[0]}")
            return last, Match("PERSON", word.start, end, f"PERSON:{form} {letters}")
        return place, Match("PERSON", word.start, word.end, self._whose(owners, form), "given")

    def _letters(self, owner: str) -> str:
        """The initials of a given and a family name, and of others that the same person has."""
        return self._initials.get(owner, "")

    def _whose(self, owners: Owners, form: str) -> str:
        return f"entity:{owners}" if isinstance(owners, str) else f"PERSON:{form}"

    def _told_apart(self, text: str, found: list[Match]) -> Iterator[Match]:
        """*found*, where a part that many share is that of the one whose whole name is there."""
        wholes: dict[str, set[str]] = {}
        for match in found:
            if not match.part and match.identity.startswith("entity:"):
                for word in _words(text[match.start : match.end]):
                    wholes.setdefault(word, set()).add(match.identity)
        for match in found:
            if match.part and match.identity.startswith("PERSON:"):
                owners = wholes.get(match.identity.removeprefix("PERSON:"), set())
                if len(owners) == 1:
                    match = match._replace(identity=next(iter(owners)))
            yield match

    # ------------------------------------------------------------------------------- numbers

    def _counted(self, text: str, words: list[_Word]) -> Iterator[Match]:
        """Known numbers, however they are divided."""
        if self._tails:
            for match in _DIGITS.finditer(text):
                if known := self.phone(match[0]):
                    yield Match("PHONE", *match.span(), f"PHONE:{known}")
        if not self._numbers:
            return
        end = 0
        for place, (word, behind) in enumerate(pairwise((*words, _NOTHING))):
            if word.start < end or not (_has_digit(word.text) or _has_digit(behind.text)):
                continue
            if match := self._number(text, words[place : place + 8]):
                end = match.end
                yield match

    def _number(self, text: str, words: Sequence[_Word]) -> Match | None:
        """The longest known number that begins with the first of *words*."""
        compact, end, found = "", words[0].start, None
        for word in words:
            if text[end : word.start].strip(" -./\u00a0"):
                break
            compact, end = compact + fold(word.text), word.end
            if identity := self._numbers.get(compact):
                found = Match(identity.partition(":")[0], words[0].start, end, identity)
        return found


_NOTHING = _Word(0, 0, "")
_DIGITS = re.compile(r"(?<!\w)\+?\d(?:[ \u00a0().\-/]{0,3}\d){5,17}(?!\w)")


def _international(phone: str, digits: str) -> str:
    return f"+{digits}" if phone.strip(" (").startswith("+") else digits


def _has_digit(word: str) -> bool:
    return any(map(str.isdigit, word))


def _words(name: str) -> list[str]:
    return [fold(word) for word in WORD.findall(name)]


def _key(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else " ".join(sorted(words))


def _each(owners: Owners) -> tuple[str, ...]:
    return (owners,) if isinstance(owners, str) else owners


def _join(table: dict[str, Owners], key: str, owner: str) -> None:
    """Let *key* lead to *owner*, too."""
    before = table.setdefault(key, owner)
    if before is owner or before == owner:
        return
    if isinstance(before, str):
        table[key] = (before, owner)
    elif len(before) < SHARED and owner not in before:
        table[key] = (*before, owner)


#: Of a name that more people share nobody need know whose it is.
SHARED = 50

_UMLAUTS = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ø": "oe", "å": "aa"}
)
_SPELT_OUT = re.compile(r"(?i)([aou])e(?=[^aeiouy\W])")


def _respelt(name: str) -> Iterator[str]:
    """*name* with its umlauts spelt in the other way."""
    if not name.isascii():
        if (other := name.translate(_UMLAUTS)) != name:
            yield other
    elif "ue" in name or "oe" in name or "ae" in name:
        yield _SPELT_OUT.sub(r"\1", name)


@lru_cache(maxsize=1000)
def _joins(gap: str) -> bool:
    """Whether words with *gap* between them may be one name."""
    return gap.count("\n") < 2 and not gap.strip(" ,.-\u00a0\n\r\t'_&/+\"()·・‐–")


def _group(text: str, words: list[_Word], place: int, known: set[str]) -> list[int]:
    """The places of the known words from *place* on that may be one name with it."""
    group = [place]
    end = words[place].end
    for next_ in range(place + 1, min(place + LONGEST + 2, len(words))):
        word = words[next_]
        if word.start - end > 4 or not _joins(text[end : word.start]):
            break
        end = word.end
        if word.text in known:
            group.append(next_)
        elif not _is_initial(word):
            break
    return group[:LONGEST]


def _is_initial(word: _Word) -> bool:
    return len(word.text) == 1 and word.text.isupper()


def _initials_behind(text: str, words: list[_Word], place: int) -> tuple[int, int, str]:
    """The end, the place and the letters of the initials behind a name, with their last dot."""
    end, last, letters = words[place].end, place, ""
    for next_ in range(place + 1, min(place + 3, len(words))):
        word = words[next_]
        dot = text[word.end : word.end + 1] == "."
        if not _is_initial(word) or text[end : word.start].strip(" ,.\u00a0") or not dot:
            break
        end, last, letters = word.end + 1, next_, letters + fold(word.text)
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
