"""By what an entity is found: its names in every order and spelling, its numbers and addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from spark_core.contracts.detection import KnownEntity

from ..letters import fold, word_pattern
from ..patterns.net import emails
from .vocabulary import FORMS, TITLES

__all__ = ["LONGEST", "TAIL", "Terms", "digits_of", "key_of", "words_of"]

#: A name of more words is found by its first so many.
LONGEST = 12

#: Digits by which a telephone number is known with and without its country.
TAIL = 8


class Terms:
    """What leads to *entity*, for each table of the index that is called the same.

    What is found by its own value, an e-mail address for instance, is led to by ``\\0`` and that.
    """

    __slots__ = (
        "_owner", "families", "firms", "givens", "initials", "lengths", "numbers", "squeezed",
        "tails", "towns", "wholes",
    )  # fmt: skip

    def __init__(self, entity: KnownEntity) -> None:
        self._owner = entity.id
        self.firms: dict[str, str] = {}
        self.wholes: dict[str, str] = {}  # whole names by their sorted words
        self.lengths: list[tuple[list[str], int]] = []  # words, and the bit of how many there are
        self.families: dict[str, str] = {}
        self.givens: dict[str, str] = {}
        self.initials: dict[str, str] = {}  # of its owner: one of a given, one of a family name
        self.numbers: dict[str, str] = {}  # what kind of number each is
        self.tails: dict[str, str] = {}  # telephone numbers by their last digits
        self.towns: dict[str, str] = {}  # what follows the first line of an address
        self.squeezed: dict[int, str] = {}  # hashes of names without anything between their words
        self._names(entity)
        for email in entity.emails:
            if not _PLAIN_EMAIL.fullmatch(email):
                self._email(email.strip())
        for phone in entity.phones:
            self._phone(phone)
        for number in entity.numbers:
            self._number(number)
        for address in entity.addresses:
            self._address(address)

    def values(self) -> Iterator[str]:
        """What is looked for without boundaries, too: whole names of several words, numbers."""
        for words, length in self.lengths:
            if length > 2:  # the bit of 1, that of 2, or none
                yield "".join(words)
                if len(words) == 2:
                    yield words[1] + words[0]
        yield from self.numbers

    def _names(self, entity: KnownEntity) -> None:
        add_name = self._person if entity.kind == "PERSON" else self._firm
        if entity.kind != "PERSON":
            self.firms[entity.id] = entity.kind
        for name in entity.names:
            add_name(name)
        if entity.given and entity.family:
            given, family = words_of(entity.given), words_of(entity.family)
            self._whole(self._owner, given + family)
            self._parts(given[:1], family)
        elif entity.given or entity.family:
            add_name(entity.given or entity.family)

    def _firm(self, name: str) -> None:
        self._name(name, FORMS)

    def _person(self, name: str) -> None:
        words = self._name(name, TITLES)
        if len(words) < 2:
            return
        family, given = words[-1:], words[0]
        if "," in name:
            before, _, behind = name.partition(",")
            if first := [word for word in words_of(behind) if word not in TITLES]:
                family, given = [w for w in words_of(before) if w not in TITLES][-1:], first[0]
        if len(words) > 2 and family:
            self._whole(self._owner, [given, family[0]])
        if name[0] < "\u0e00":  # elsewhere names are no words with spaces between
            self._parts([given], family)

    def _name(self, name: str, dropped: frozenset[str]) -> list[str]:
        """Take *name*, and what it is without the words that may be *dropped*: those."""
        words = words_of(name)
        self._whole(self._owner, words)
        if not dropped.isdisjoint(words):
            bare = [word for word in words if word not in dropped]
            if bare:
                words = bare
                self._whole(self._owner, words)
        if _MAY_BE_RESPELT.search(name):
            for other in _respelt(name):
                self._whole(self._owner, [w for w in words_of(other) if w not in dropped])
        return words

    def _parts(self, given: list[str], family: list[str]) -> None:
        for word in given:
            self.givens[word] = self._owner
        for word in family:
            self.families[word] = self._owner
        self.lengths.append((given + family, 0))
        if given and family:
            letters, known = given[0][0] + family[-1][0], self.initials.get(self._owner, "")
            if not known.startswith(letters):
                self.initials[self._owner] = known + letters

    def _whole(self, owner: str, words: list[str]) -> None:
        if not words:
            return
        if len(words) > LONGEST:
            words = words[:LONGEST]
        self.lengths.append((words, 1 << len(words)))
        self.wholes.setdefault(key_of(words), owner)
        self.squeezed[hash("".join(words))] = ""
        if len(words) == 2:
            self.squeezed[hash(words[1] + words[0])] = ""

    def _email(self, email: str) -> None:
        found = next(emails(email), None)
        if found is None or found.end - found.start < len(email):
            self._whole(f"\0EMAIL:{email.casefold()}", words_of(email))

    def _phone(self, phone: str) -> None:
        digits = digits_of(phone.replace("(0)", "").partition("x")[0])
        if len(digits) >= TAIL - 1:
            self.tails[digits[-TAIL:]] = f"+{digits}" if phone.strip(" (")[:1] == "+" else digits
        if 4 <= len(digits) <= TAIL + 2:
            self.numbers[digits] = "PHONE"

    def _number(self, number: str) -> None:
        compact = "".join(words_of(number))
        if len(compact) >= 4 and not compact.isalpha():
            self.numbers.setdefault(compact, "NUMBER")

    def _address(self, address: str) -> None:
        """Take the first line of *address*, and the words that may follow it."""
        line = _LINE.search(address)
        street = words_of(address[: line.start()] if line else address)
        if len(street) > 1 and not "".join(street).isalpha():
            owner = f"\0ADDRESS:{' '.join(street)}"
            self._whole(owner, street)
            if line and (town := words_of(address[line.end() :])):
                self.towns[owner] = " ".join(town)


_NO_DIGITS = re.compile(r"\D+")
_LINE = re.compile(r"[,;\n]")
_PLAIN_EMAIL = re.compile(r"[a-z0-9][a-z0-9._%+-]*@[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,24}", re.I)
_ASCII_WORDS = word_pattern("").findall


def digits_of(phone: str) -> str:
    """The digits of *phone* alone."""
    return _NO_DIGITS.sub("", phone)


def words_of(name: str) -> list[str]:
    """The folded words of *name*."""
    if name.isascii():
        return _ASCII_WORDS(name.lower())
    return [fold(word) for word in word_pattern(name).findall(name)]


def key_of(words: Sequence[str]) -> str:
    """What is the same for *words* in any order."""
    if len(words) == 1:
        return words[0]
    # Where each letter is a word, another order is another word.
    return " ".join(words if words[0] >= "\u0e00" else sorted(words))


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
