"""The index of all that is known: one pass over a text finds every one of a hundred thousand.

A text is read word by word. Words that occur in no name are left behind at once; where known
words stand together, their group is looked up by its sorted words, so that the order in which
a name is written does not matter. Every step takes the same time however much is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice, product
from typing import NamedTuple, TypeAlias

from spark_core.contracts.detection import KnownEntity

from ..letters import fold, is_capitalised, word_pattern
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


#: A word where it stands.
_Word: TypeAlias = "re.Match[str]"


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
        self._towns: dict[str, str] = {}  # what follows the first line of an address
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
        add_name = self._add_person if is_person else self._add_firm
        for name in entity.names:
            add_name(entity.id, name)
        if entity.given and entity.family:
            given, family = _words(entity.given), _words(entity.family)
            self._add_whole(entity.id, given + family)
            self._add_parts(entity.id, given[:1], family)
        elif entity.given or entity.family:
            add_name(entity.id, entity.given or entity.family)
        for email in entity.emails:
            if not _PLAIN_EMAIL.fullmatch(email):
                self._add_email(email)
        for phone in entity.phones:
            self._add_phone(phone)
        for number in entity.numbers:
            self._add_number(number)
        for address in entity.addresses:
            self._add_address(address)

    def _add_firm(self, owner: str, name: str) -> None:
        self._add_name(owner, name, FORMS)

    def _add_person(self, owner: str, name: str) -> None:
        words = self._add_name(owner, name, TITLES)
        if len(words) < 2:
            return
        family, given = words[-1:], words[0]
        if "," in name:
            before, _, behind = name.partition(",")
            if first := [word for word in _words(behind) if word not in TITLES]:
                family, given = [w for w in _words(before) if w not in TITLES][-1:], first[0]
        if len(words) > 2 and family:
            self._add_whole(owner, [given, family[0]])
        if name[0] < "\u0e00":  # elsewhere names are no words with spaces between
            self._add_parts(owner, [given], family)

    def _add_name(self, owner: str, name: str, dropped: frozenset[str]) -> list[str]:
        """Know *name*, and what it is without the words that may be *dropped*: those."""
        words = _words(name)
        self._add_whole(owner, words)
        if not dropped.isdisjoint(words):
            bare = [word for word in words if word not in dropped]
            if bare:
                words = bare
                self._add_whole(owner, words)
        if _MAY_BE_RESPELT.search(name):
            for other in _respelt(name):
                self._add_whole(owner, [w for w in _words(other) if w not in dropped])
        return words

    def _add_parts(self, owner: str, given: list[str], family: list[str]) -> None:
        for table, part in ((self._givens, given), (self._families, family)):
            for word in part:
                _join(table, word, owner)
                self._lengths.setdefault(word, 0)
        if given and family:
            letters = given[0][0] + family[-1][0]
            known = self._initials.setdefault(owner, letters)
            if letters not in known:
                self._initials[owner] = known + letters

    def _add_whole(self, owner: str, words: Sequence[str]) -> None:
        if not words:
            return
        if len(words) > LONGEST:
            words = words[:LONGEST]
        lengths, bit = self._lengths, 1 << len(words)
        for word in words:
            lengths[word] = lengths.get(word, 0) | bit
        _join(self._wholes, _key(words), owner)
        self._squeezed.add(hash("".join(words)))
        if len(words) == 2:
            self._squeezed.add(hash(words[1] + words[0]))

    def _add_email(self, email: str) -> None:
        email = email.strip()
        found = next(emails(email), None)
        if found is None or found.end - found.start < len(email):
            self._add_whole(f"\0EMAIL:{email.casefold()}", _words(email))

    def _add_phone(self, phone: str) -> None:
        digits = _NO_DIGITS.sub("", phone.replace("(0)", "").partition("x")[0])
        if len(digits) > TAIL + 2:
            self._tails.setdefault(digits[-TAIL:], _international(phone, digits))
        elif len(digits) >= 4:
            if len(digits) >= TAIL - 1:
                self._tails.setdefault(digits[-TAIL:], _international(phone, digits))
            self._numbers.setdefault(digits, f"PHONE:{digits}")

    def _add_number(self, number: str) -> None:
        compact = "".join(_words(number))
        if len(compact) >= 4 and not compact.isalpha():
            self._numbers.setdefault(compact, f"NUMBER:{compact}")

    def _add_address(self, address: str) -> None:
        """Know the first line of *address*, and the words that may follow it."""
        words = _words(address)
        line = _LINE.search(address)
        street = _words(address[: line.start()]) if line else words
        if len(street) > 1 and not "".join(street).isalpha():
            owner = f"\0ADDRESS:{' '.join(street)}"
            self._add_whole(owner, street)
            if len(words) > len(street):
                self._towns[" ".join(street)] = " ".join(words[len(street) :])

    # ------------------------------------------------------------------------------- finding

    def find(self, text: str) -> list[Match]:
        """All that is known in *text*, in order, the longest where several begin together."""
        words = list(word_pattern(text).finditer(text))
        spelt = [word[0] for word in words]
        known = {word for word in set(spelt) if self._read(word)}
        places = [place for place, word in enumerate(spelt) if word in known]
        found = self._named(text, words, known, places)
        return [*self._told_apart(text, found), *self._counted(text, words, spelt)]

    def phone(self, digits: str) -> str | None:
        """The known number that *digits* are, written with or without its country."""
        return self._tails.get(_NO_DIGITS.sub("", digits)[-TAIL:])

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
            lengths |= self._lengths[form]
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
        street = owners.removeprefix("\0ADDRESS:") if isinstance(owners, str) else ""
        left = set(self._towns.get(street, "").split())
        while left and last + 1 < len(words) and fold(words[last + 1][0]) in left:
            left.discard(fold(words[last + 1][0]))
            last += 1
        return last

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
        if not is_telling(text, word.start(), word[0], alone=False):
            return None
        for form in self._read(word[0]):
            if (owners := self._families.get(form)) is not None:
                return self._family(text, words, place, form, owners)
        for form in self._read(word[0]):
            if (owners := self._givens.get(form)) is not None:
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
                return last, Match("PERSON", word.start(), end, f"entity:{fitting[0]}")
            return last, Match("PERSON", word.start(), end, f"PERSON:{form} {letters}")
        return place, Match("PERSON", word.start(), word.end(), self._whose(owners, form), "given")

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

    def _counted(self, text: str, words: list[_Word], spelt: list[str]) -> Iterator[Match]:
        """Known numbers, however they are divided."""
        counted = {place for place, word in enumerate(spelt) if not word.isalpha()}
        if not counted:
            return
        if self._tails:
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
            if identity := self._numbers.get(compact):
                found = Match(identity.partition(":")[0], words[0].start(), end, identity)
        return found


_NO_DIGITS = re.compile(r"\D+")
_LINE = re.compile(r"[,;\n]")
_PLAIN_EMAIL = re.compile(r"[a-z0-9][a-z0-9._%+-]*@[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,24}", re.I)
_DIGITS = re.compile(r"(?<!\w)\+?\d(?:[ \u00a0().\-/]{0,3}\d){5,17}(?!\w)")


def _international(phone: str, digits: str) -> str:
    return f"+{digits}" if phone.strip(" (").startswith("+") else digits


_ASCII_WORDS = word_pattern("").findall


def _words(name: str) -> list[str]:
    if name.isascii():
        return _ASCII_WORDS(name.lower())
    return [fold(word) for word in word_pattern(name).findall(name)]


def _key(words: Sequence[str]) -> str:
    if len(words) == 1:
        return words[0]
    # Where each letter is a word, another order is another word.
    return " ".join(words if words[0] >= "\u0e00" else sorted(words))


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
_MAY_BE_RESPELT = re.compile(r"[äöüÄÖÜøå]|[aou]e", re.IGNORECASE)
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
    end = words[place].end()
    for next_ in range(place + 1, min(place + LONGEST + 2, len(words))):
        word = words[next_]
        if word.start() - end > 4 or not _joins(text[end : word.start()]):
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
